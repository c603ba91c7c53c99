"""The page of a demonstration: one file, which needs only the videos beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from mtdrive.curves import Curve
from mtdrive.demo_curves import draw_training, panels
from mtdrive.demo_depth import NETWORK, DepthLook
from mtdrive.demo_plan import SHARES, TITLES, Book
from mtdrive.drive_plan import Assignment
from mtdrive.drive_record import Record
from mtdrive.drive_report import NOTE, STYLE, draw_map, number, table, town_shapes
from mtdrive.envs.scoring import NAME
from mtdrive.files import write_atomically

FILES = "report.html", "report.json"
FIGURES = {
    "score_2.0": NAME,
    "done": "routes done, %",
    "completion": "route completion, %",
    "collisions_per_km": "collisions per km",
    "red_lights_per_km": "red lights run per km",
}
"""Columns of the table of agents."""
TRAFFIC = {
    "empty": "without other cars",
    "regular": "with other cars and people",
    "dense": "in dense traffic",
}
COLOURS = {
    "policy": "#1565c0", "blind": "#d81b60", "expert": "#2e7d32", "constant_velocity": "#fb8c00",
    "stand_still": "#757575",
}  # fmt: skip
"""Of ways on maps; that of the policy is the one of `drive_report.STYLE`."""
OWN = """
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em }
img { max-width: 100% } video { width: 100% } .drive table { width: 100% }
"""
WHAT = {
    "policy": "sees the image, the speed and the command",
    "blind": "trained on the same drives, but sees the speed and the command alone",
    "expert": "knows everything; the policy learned from it",
    "constant_velocity": "straight on at 6 m/s",
    "stand_still": "brakes",
}


@dataclass(frozen=True)
class Driven:
    """What became of one agent."""

    planned: Sequence[Assignment]
    records: Sequence[Record]
    found: Mapping[str, Any]
    """What `drive_scores.summary` gives."""


def write_demo(out: Path, book: Book, driven: Mapping[str, Driven], depth: DepthLook) -> Path:
    """Write `report.json` and the page, and return where the page is."""
    log = out / "policy" / "log.jsonl"
    recorded = json.loads((out / "drives" / "train" / "coverage.json").read_text())
    found = summary(book, driven, depth, log, recorded)
    write_atomically(out / FILES[1], (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    write_atomically(out / FILES[0], page(found, driven, depth, log).encode())
    return out / FILES[0]


def summary(
    book: Book, driven: Mapping[str, Driven], depth: DepthLook, log: Path, recorded: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all figures as JSON takes them."""
    return {
        "name": NAME,
        "settings": asdict(book.settings),
        "seconds": {phase: round(book.spent[phase], 1) for phase in SHARES if phase in book.spent},
        "recorded": recorded,
        "training": {
            title: {name: _ends(curve) for name, curve in curves.items()}
            for title, curves in panels(log).items()
        },
        "depth": {"frames": depth.frames, "scores": depth.scores},
        "agents": {name: agent_rows(drives.found) for name, drives in driven.items()},
    }


def _ends(curve: Curve) -> dict[str, float]:
    """Return how a curve begins and ends."""
    steps, values = curve
    return {"first": values[0], "last": values[-1], "steps": steps[-1]}


def agent_rows(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent's figures by the density of the traffic."""
    return {
        row["value"]: {
            "planned": row["planned"],
            **{key: row["figures"][key]["mean"] for key in FIGURES},
        }
        for row in found["rows"]
        if row["group"] == "density"
    }


def page(found: Mapping[str, Any], driven: Mapping[str, Driven], depth: DepthLook, log: Path) -> str:
    """Return the page."""
    levels = {name: score["abs_rel"] for name, score in depth.scores.items() if name != NETWORK}
    towns = {plan.town for drives in driven.values() for plan in drives.planned}
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>A driving policy from nothing</title><style>{STYLE}{OWN}</style></head><body>",
            "<h1>A driving policy from nothing</h1>",
            _done(found),
            "<h2>How the agents drove</h2>",
            f'<p class="note">{NOTE}</p>',
            *(_agents(driven, density) for density in found["settings"]["densities"]),
            _legend(driven),
            "<h2>How training went</h2>",
            _image(draw_training(log, levels)),
            "<h2>What the network takes for depth</h2>",
            _depth(depth),
            "<h2>Where they drove</h2>",
            '<p class="note">Green band: the route. Numbers: infractions of the policy. Videos show the car '
            "from behind and what the policy sees, with the way that it means to go.</p>",
            town_shapes(towns),
            '<div class="drives">',
            *(_card(plan, driven) for plan in next(iter(driven.values())).planned),
            "</div></body></html>\n",
        ]
    )


def _done(found: Mapping[str, Any]) -> str:
    """Say what was done, and how long it took."""
    recorded, training = found["recorded"], found["training"]
    steps = max((end["steps"] for ends in training.values() for end in ends.values()), default=0)
    notes = {
        "record": f"{recorded['drives']} drives of the expert, {recorded['minutes']:.0f} minutes in all",
        "train": f"{steps} steps",
    }
    lines = [[TITLES[phase], f"{s / 60:.1f}", notes.get(phase, "")] for phase, s in found["seconds"].items()]
    total = sum(found["seconds"].values()) / 60
    return (
        "<p>One command recorded an expert's drives, trained one network on them to drive and, from the bare "
        "video, to see depth, and let it drive routes that it had not seen. A network that sees nothing was "
        "trained beside it.</p>" + table(["", "minutes", ""], [*lines, ["in all", f"{total:.1f}", ""]])
    )


def _agents(driven: Mapping[str, Driven], density: str) -> str:
    lines = []
    for name, drives in driven.items():
        rows = [row for row in drives.found["rows"] if row["group"] == "density" and row["value"] == density]
        for row in rows:
            figures = (number(row["figures"][key], 2 if key.endswith("km") else 1) for key in FIGURES)
            lines.append([_spoken(name), str(row["planned"]), *figures])
    return f"<h3>{TRAFFIC[density].capitalize()}</h3>" + table(["agent", "drives", *FIGURES.values()], lines)


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _legend(names: Iterable[str]) -> str:
    lines = "".join(f"<li>{_swatch(name)}{escape(_spoken(name))}: {WHAT[name]}</li>" for name in names)
    return f"<ul>{lines}</ul>"


def _swatch(name: str) -> str:
    return f'<span class="swatch" style="background:{COLOURS[name]}"></span>'


def _image(content: bytes) -> str:
    return f'<p><img alt="" src="data:image/png;base64,{base64.b64encode(content).decode()}"></p>'


def _depth(depth: DepthLook) -> str:
    names = list(next(iter(depth.scores.values())))
    lines = [[name, *(f"{score[key]:.3f}" for key in names)] for name, score in depth.scores.items()]
    return (
        '<p class="note">Learned from video alone, without a depth label. Left: the image. Middle: '
        f"predicted. Right: true. Bright is near. Errors are means over {depth.frames} frames of the test "
        "drives, scaled to the median of the true depth; abs_rel and rmse should be small, a1 large.</p>"
        + table(["depth", *names], lines)
        + "".join(map(_image, depth.pictures))
    )


def _card(plan: Assignment, driven: Mapping[str, Driven]) -> str:
    """Return what became of one route."""
    records = {
        name: record
        for name, drives in driven.items()
        for record in drives.records
        if record.plan.name == plan.name
    }
    title = f"{plan.town}, route {plan.number + 1}, {TRAFFIC[plan.density]}"
    if not records:
        return f'<div class="drive failed"><h3>{escape(title)}</h3><p>could not be driven</p></div>'
    lines = [
        [_spoken(name), f"{100 * r.completion:.0f} %", f"{r.scores['2.0'].driving_score:.0f}", _end(r)]
        for name, r in records.items()
    ]
    shown = records.get("policy", next(iter(records.values())))
    others = {COLOURS[name]: record for name, record in records.items() if record is not shown}
    video = f"driven/policy/{shown.video}" if shown.video else ""
    film = f'<video controls preload="none" src="{escape(video)}"></video>' if video else ""
    return (
        f'<div class="drive"><h3>{escape(title)}</h3>{draw_map(shown, others)}'
        f"{table(['', 'driven', 'score', 'end'], lines)}{film}</div>"
    )


def _end(record: Record) -> str:
    """Return how a route ended, and what else went wrong on it."""
    ended = "done" if record.ended == "completed" else record.ended
    kinds = dict.fromkeys((ended, *(infraction.kind for infraction in record.infractions)))
    return ", ".join(kind.replace("_", " ") for kind in kinds)
