"""The interference report: figures, one page, and everything as JSON."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mtdrive.curves import read_curves
from mtdrive.errors import ConfigError
from mtdrive.files import write_atomically
from mtdrive.interference import ALL

MAIN = {"abs_rel": -1, "miou": 1, "epe": -1, "ade": -1}
"""The figure that stands for a task, the first that it has, and whether more is better; else its loss."""

MEAN = "mean"

COLUMNS = 12
"""Of a picture that are named."""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .6em 0 } td, th { padding: .25em .7em; text-align: right }
th { font-weight: 600; text-align: left } img { max-width: 100% } .note { color: #666 }
"""


def compare(folder: Path, singles: Mapping[str, Path]) -> dict[str, Any]:
    """Return how much better or worse each task is than alone: the last figures on the validation data.

    `delta` is the share by which it is better, `delta_m` its mean over the tasks (Vandenhende et al.,
    "Multi-Task Learning for Dense Prediction Tasks: A Survey", PAMI 2021, https://arxiv.org/abs/2004.13379).

    Raises:
        ConfigError: if a run has no such figures, or the two have none in common.
    """
    joint = _last(folder)
    rows = [_row(task, joint, _last(single), single) for task, single in singles.items()]
    return {"tasks": rows, "delta_m": sum(row["delta"] for row in rows) / len(rows)} if rows else {}


def _row(task: str, joint: Mapping[str, float], alone: Mapping[str, float], single: Path) -> dict[str, Any]:
    common = sorted(joint.keys() & alone.keys())
    for figure, sign in (*MAIN.items(), ("", -1)):
        ending = f"/{task}/{figure}" if figure else f"/{task}"
        key = next((key for key in common if key.endswith(ending) and alone[key]), None)
        if key is not None:
            return {
                "task": task,
                "figure": key.removeprefix("validation/"),
                "together": joint[key],
                "alone": alone[key],
                "delta": sign * (joint[key] - alone[key]) / abs(alone[key]),
            }
    raise ConfigError(
        f"{single}: its log.jsonl has no validation figure of {task!r} that this run has, too; give both the "
        "same validation data"
    )


def _last(folder: Path) -> dict[str, float]:
    """Return the last validation figures in the log of a run."""
    path = folder / "log.jsonl"
    if not path.is_file():
        raise ConfigError(f"{folder}: is no run, it has no log.jsonl; give a folder such as runs/policy")
    found: dict[str, float] = {}
    for line in path.read_text().splitlines():
        values = json.loads(line)
        found |= {n: x for n, x in values.items() if n.startswith("validation/") and x is not None}
    return found


def over_training(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the log of a run has of cosines, shares and weights, by kind and name."""
    return {kind: read_curves(folder / "log.jsonl", kind) for kind in ("cosine", "share", "weight")}


def write_report(out: Path, found: Mapping[str, Any]) -> Path:
    """Write `inspect.json`, the figures as PNG and the page, and return where the page is."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = {name: draw(found) for name, draw in FIGURES.items()}
    for name, picture in pictures.items():
        if picture:
            write_atomically(out / f"{name}.png", picture)
    write_atomically(out / "inspect.json", (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    page = out / "inspect.html"
    write_atomically(page, _page(found, pictures).encode())
    return page


def _page(found: Mapping[str, Any], pictures: Mapping[str, bytes | None]) -> str:
    def image(name: str) -> str:
        data = base64.b64encode(pictures[name] or b"").decode()
        return f'<img alt="{name}" src="data:image/png;base64,{data}">' if data else ""

    names = found["losses"]
    whole = found["cosines"][ALL]
    repeats = found["same_task_on_the_next_batch"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Interference</title><style>{STYLE}</style>",
        f"<h1>What the tasks do to each other</h1><p>{escape(found['checkpoint'])}, after step "
        f"{found['step']}, on {found['batches']} batches of the training data.</p>",
        "<h2>Cosines of gradients at the encoder's weights</h2>",
        _table(["", "mean", "deviation", "batches in conflict"], [_pair(*item) for item in whole.items()]),
        '<p class="note">Below 0, a step on one loss makes the other larger. Gradients of batches are noisy; '
        "measure a cosine by that of a loss with itself on the next batch: "
        f"{', '.join(f'{escape(n)} {_number(x[MEAN])}' for n, x in repeats.items()) or 'unknown'}.</p>",
        image("cosines"),
        "<h2>Who changes the encoder</h2>",
        _table(["", "weight", "share of the gradient"], [_strength(name, found) for name in names]),
        image("shares"),
        "<h2>Look-ahead affinity</h2>",
        '<p class="note">By how many percent the loss of a column falls after a step of the encoder on the '
        "loss of a row alone, all steps being equally long.</p>",
        _table(["", *names], [_affinity(name, found) for name in names if name in found["affinity"]]),
        _compared(found.get("compared") or {}),
        "<h2>Over training</h2>" + image("training") if pictures["training"] else "",
        "</html>\n",
    ]
    return "\n".join(parts)


def _pair(pair: str, figures: Mapping[str, Any]) -> list[str]:
    conflict = figures["conflict"]
    share = "-" if conflict is None else f"{conflict:.0%}"
    return [pair.replace("~", " and "), _number(figures["mean"]), _number(figures["deviation"]), share]


def _strength(name: str, found: Mapping[str, Any]) -> list[str]:
    weight = found["weights"].get(name.partition("@")[0], {"mean": None})["mean"]
    share = found["norm_share"][ALL][name]
    return [name, _number(weight), "-" if share is None else f"{share:.0%}"]


def _affinity(name: str, found: Mapping[str, Any]) -> list[str]:
    row = found["affinity"][name]
    return [name, *(_number(row[other]["mean"], 100) for other in found["losses"])]


def _compared(compared: Mapping[str, Any]) -> str:
    if not compared:
        return ""
    rows = [
        [row["figure"], f"{row['together']:.4g}", f"{row['alone']:.4g}", f"{row['delta']:+.1%}"]
        for row in compared["tasks"]
    ]
    total = f"<p>Mean over the tasks: {compared['delta_m']:+.1%} (above 0: better together).</p>"
    return "<h2>Together and alone</h2>" + _table(["", "together", "alone", "better by"], rows) + total


def _number(value: float | None, scale: float = 1.0) -> str:
    return "-" if value is None else f"{scale * value:.3f}"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    rows = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(text)}</td>' for text in rest)}</tr>"
        for first, *rest in lines
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def draw_cosines(found: Mapping[str, Any]) -> bytes | None:
    """Draw the cosines: a row a pair, a column a stage."""
    from matplotlib.figure import Figure  # slow to import

    stages = [stage for stage in found["cosines"] if stage != ALL]
    names = list(found["cosines"][ALL])
    rows = [[_known(found["cosines"][stage][pair]["mean"]) for stage in stages] for pair in names]
    figure = Figure(figsize=(8, _height(names)), layout="constrained")
    axes = figure.add_subplot(xlabel="stage of the encoder: how much smaller its level")
    most = _colour(axes, names, stages, rows)
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            ink = "white" if abs(value) > 0.6 * most else "black"
            text = f"{round(value, 2) + 0:.2f}" if math.isfinite(value) else "-"  # no -0.00
            axes.text(column, row, text, ha="center", va="center", fontsize="x-small", color=ink)
    return _png(figure)


def draw_shares(found: Mapping[str, Any]) -> bytes | None:
    """Draw each loss's share of the gradient by stage."""
    from matplotlib.figure import Figure  # slow to import

    stages = [*(stage for stage in found["norm_share"] if stage != ALL), ALL]
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.add_subplot(xlabel="stage of the encoder", ylabel="share of the gradient", ylim=(0, 1))
    bottom = [0.0] * len(stages)
    for name in found["losses"]:
        heights = [found["norm_share"][stage][name] or 0.0 for stage in stages]
        axes.bar(stages, heights, bottom=bottom, label=name)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return _png(figure)


def draw_training(found: Mapping[str, Any]) -> bytes | None:
    """Draw what the log of the run has."""
    from matplotlib.figure import Figure  # slow to import

    kinds = {kind: curves for kind, curves in found["over_training"].items() if curves}
    if not kinds:
        return None
    heights = [_height(curves) if kind == "cosine" else 2.6 for kind, curves in kinds.items()]
    figure = Figure(figsize=(8, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(kinds), 1, height_ratios=heights)
    for row, (kind, curves) in enumerate(kinds.items()):
        axes = figure.add_subplot(grid[row], xlabel="step")
        if kind == "cosine":
            steps = sorted({step for known, _ in curves.values() for step in known})
            at = [dict(zip(*curve, strict=True)) for curve in curves.values()]
            _colour(axes, list(curves), steps, [[_known(x.get(step)) for step in steps] for x in at])
            continue
        axes.set_ylabel(kind)
        for name, (steps, values) in curves.items():
            axes.plot(steps, values, label=name)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return _png(figure)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _height(pairs: Sequence[str] | Mapping[str, Any]) -> float:
    return 1.2 + 0.2 * len(pairs)


def _colour(axes: Any, pairs: Sequence[str], columns: Sequence[Any], cosines: list[list[float]]) -> float:
    """Show a cosine as a colour, blue where two losses agree and red where they are in conflict.

    Returns:
        The largest, either way.
    """
    most = max((abs(x) for row in cosines for x in row if math.isfinite(x)), default=1.0) or 1.0
    image = axes.imshow(cosines, cmap="RdBu", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    some = range(0, len(columns), len(columns) // COLUMNS + 1)
    axes.set_xticks(some, [str(columns[column]) for column in some])
    axes.set_yticks(range(len(pairs)), [pair.replace("~", " and ") for pair in pairs], fontsize="small")
    axes.figure.colorbar(image, ax=axes, label="cosine")
    return most


def _png(figure: Any) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()


FIGURES = {"cosines": draw_cosines, "shares": draw_shares, "training": draw_training}
"""What draws each picture."""
