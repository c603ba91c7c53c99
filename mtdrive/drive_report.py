"""One self-contained page about an evaluation: figures, and a map of each drive with its infractions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mtdrive.drive_plan import Assignment
from mtdrive.drive_record import Mistake, Record
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.scoring import NAME
from mtdrive.errors import DataError
from mtdrive.files import write_atomically

FILE = "report.html"
MARGIN = 15.0
"""Metres around a route."""
THIN = 3
"""Every so many points of a lane are drawn."""
COLOURS = {
    "pedestrian": "#b00020", "vehicle": "#d81b60", "static": "#8e24aa", "red_light": "#e53935",
    "stop_sign": "#fb8c00", "off_lane": "#6d4c41", "deviation": "#000", "blocked": "#000", "timeout": "#000",
}  # fmt: skip
NOTE = (
    f'The scores are "{NAME}" and its siblings: the rules of CARLA\'s Leaderboard without its scenarios, so '
    "they are no Leaderboard or Bench2Drive scores. After &plusmn; is half the 95 % t interval over seeds."
)
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; color: #222 }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2em }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .92em }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
thead th { border-bottom: 2px solid #888; vertical-align: bottom }
.drives { display: grid; grid-template-columns: repeat(auto-fill, minmax(20em, 1fr)); gap: 1.2em }
.drive { border: 1px solid #ddd; border-radius: 6px; padding: .7em; font-size: .88em }
.drive.failed { border-color: #e0a0a0 } .drive h3 { font-size: 1em; margin: 0; overflow-wrap: anywhere }
.drive svg { width: 100%; height: 15em; background: #f4f4f0; border-radius: 4px } .drive p { margin: .3em 0 }
.drive ol { margin: .3em 0; padding-left: 1.6em } .town { fill: none; stroke: #d9d9d2; stroke-width: 3 }
.way { fill: none; stroke: #9ccc9c; stroke-width: 3; stroke-linejoin: round }
.note { color: #555; font-size: .9em }
.track { fill: none; stroke: #1565c0; stroke-width: 1.1 } text { fill: #fff; text-anchor: middle }
"""


def write_report(
    out: Path, planned: Sequence[Assignment], records: Sequence[Record], found: Mapping[str, Any]
) -> Path:
    """Write the page, and return where it is; `found` is what `drive_scores.summary` gives."""
    path = out / FILE
    write_atomically(path, page(planned, records, found).encode())
    return path


def page(planned: Sequence[Assignment], records: Sequence[Record], found: Mapping[str, Any]) -> str:
    """Return the page."""
    drives, ended = found["drives"], found["drives"]["ended"]
    missing = drives["planned"] - drives["recorded"]
    ends = ", ".join(f"{count} {name}" for name, count in ended.items())
    towns = {record.plan.town for record in records}
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(found['agent'])} in closed loop</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(found['agent'])} in closed loop</h1>",
            f"<p>{drives['planned']} drives were planned. How they ended: {escape(ends) or 'none did'}"
            f"{f'; {missing} have no record and count as zero' if missing else ''}. The simulator failed "
            f"{found['simulator']['failures']} times; this is not counted against the agent.</p>",
            f'<p class="note">{NOTE}</p>',
            "<h2>Figures</h2>",
            _figures(found),
            "<h2>Manoeuvres</h2>",
            _manoeuvres(found["manoeuvres"]),
            "<h2>Drives</h2>",
            '<p class="note">Green: the route. Blue: the drive. Numbers: infractions, in their order.</p>',
            town_shapes(towns),
            '<div class="drives">',
            *(_drive(record) for record in sorted(records, key=lambda r: (not r.failed, r.plan.name))),
            "</div></body></html>\n",
        ]
    )


def table(header: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Return a table of texts."""
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in line) + "</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def label(row: Mapping[str, Any]) -> str:
    """Return what a row of figures is about."""
    return "all" if row["group"] == "all" else f"{row['group']} {row['value']}"


def number(figure: Mapping[str, float | None], digits: int = 1) -> str:
    """Return a mean with half its interval, a dash if nothing is known."""
    if figure["mean"] is None:
        return "-"
    half = "" if figure["half"] is None else f" ± {figure['half']:.{digits}f}"
    return f"{figure['mean']:.{digits}f}{half}"


def _figures(found: Mapping[str, Any]) -> str:
    parts = found["rows"]
    lines = [["drives planned", *(str(row["planned"]) for row in parts)]]
    lines += [["ended by the agent's failure", *(str(row["agent_failures"]) for row in parts)]]
    for key, title in found["titles"].items():
        lines.append([title, *(number(row["figures"][key], 2 if key.endswith("km") else 1) for row in parts)])
    return table(["", *map(label, parts)], lines)


def _manoeuvres(found: Mapping[str, Mapping[str, int]]) -> str:
    header = ["", *(name.replace("_", " ") for name in next(iter(found.values()), {}))]
    return table(header, ([name, *map(str, counts.values())] for name, counts in found.items()))


def town_shapes(names: Iterable[str]) -> str:
    """Return the lanes of each town once; the maps refer to them."""
    paths = "".join(f'<path id="{_id(name)}" class="town" d="{_lanes(name)}"/>' for name in sorted(names))
    return f'<svg width="0" height="0" style="position:absolute"><defs>{paths}</defs></svg>'


def _lanes(town: str) -> str:
    try:
        lanes = RoadMap.named(town).lanes
    except DataError:
        return ""  # a map that only the server has
    return "".join(_path([*lane.xyz[:-1:THIN, :2].tolist(), lane.xyz[-1, :2].tolist()]) for lane in lanes)


def _path(points: Iterable[Sequence[float]]) -> str:
    return "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y, *_ in points)


def _id(town: str) -> str:
    return "town-" + "".join(c if c.isalnum() else "-" for c in town)


def _drive(record: Record) -> str:
    plan, score = record.plan, record.scores["2.0"].driving_score
    lines = "".join(f"<li>{escape(_told(mistake))}</li>" for mistake in record.mistakes)
    video = f'<p><a href="{escape(record.video)}">video</a></p>' if record.video else ""
    failure = f"<p><b>The agent failed:</b> {escape(record.failure)}</p>" if record.failure else ""
    kind = "drive failed" if record.failed else "drive"
    return (
        f'<div class="{kind}"><h3>{escape(plan.name)}</h3>{draw_map(record)}'
        f"<p>{escape(record.ended)}: score {score:.1f}, {100 * record.completion:.0f} % of "
        f"{record.length:.0f} m in {record.seconds:.0f} s</p>"
        f"{failure}{f'<ol>{lines}</ol>' if lines else ''}{video}</div>"
    )


def _told(mistake: Mistake) -> str:
    found = mistake.infraction
    detail = f" ({found.detail})" if found.detail else ""
    return f"{found.kind.replace('_', ' ')}{detail} after {found.time:.1f} s, command {mistake.command}"


def draw_map(record: Record, others: Mapping[str, Record] | None = None) -> str:
    """Return the map of a drive: x to the right, y down, as CARLA's frame is seen from above.

    `others` drove the same route; they are drawn below it, in the colours that they go by.
    """
    track = [(x, y) for _, x, y, _ in record.track]
    points = np.array([*record.line, *track])
    if not len(points):
        return ""
    low, high = points.min(0) - MARGIN, points.max(0) + MARGIN
    width, height = (high - low).tolist()
    marks = "".join(
        _mark(number, m.infraction.kind, m.infraction.xyz[:2], max(width, height) / 45)
        for number, m in enumerate(record.mistakes, start=1)
    )
    below = "".join(
        f'<path class="track" style="stroke:{colour}" d="{_path((x, y) for _, x, y, _ in other.track)}"/>'
        for colour, other in (others or {}).items()
        if other.track
    )
    x, y = record.line[0] if record.line else track[0]
    return (
        f'<svg viewBox="{low[0]:.1f} {low[1]:.1f} {width:.1f} {height:.1f}">'
        f'<use href="#{_id(record.plan.town)}"/><path class="way" d="{_path(record.line)}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#2e7d32"><title>start</title></circle>'
        f'{below}<path class="track" d="{_path(track)}"/>{marks}</svg>'
    )


def _mark(number: int, kind: str, xy: Sequence[float], radius: float) -> str:
    x, y = xy
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{COLOURS.get(kind, "#000")}">'
        f"<title>{escape(kind)}</title></circle>"
        f'<text x="{x:.1f}" y="{y + radius * 0.4:.1f}" font-size="{radius * 1.2:.1f}">{number}</text>'
    )
