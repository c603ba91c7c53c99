"""A picture of how a run went: losses, their weights, and each task's share of the shared gradient."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

from mtdrive.files import write_atomically

PANELS = {
    "train": "loss",
    "weight": "factor in the update",
    "share": "share of the gradient",
}
"""What is drawn: figures called KIND/NAME, and what they are."""

Curve = tuple[list[int], list[float]]


def draw_curves(folder: Path) -> None:
    """Write `curves.png` from the `log.jsonl` of a run's folder; nothing where there is nothing to draw."""
    curves = {kind: read_curves(folder / "log.jsonl", kind) for kind in PANELS}
    drawn = {kind: named for kind, named in curves.items() if named}
    if not drawn:
        return
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(7, 2.6 * len(drawn)), layout="constrained")
    for row, (kind, named) in enumerate(drawn.items()):
        axes = figure.add_subplot(len(drawn), 1, row + 1, ylabel=PANELS[kind], xlabel="step")
        for name, (steps, values) in named.items():
            axes.plot(steps, values, label=name)
        if kind == "train" and all(value > 0 for _, values in named.values() for value in values):
            axes.set_yscale("log")
        if kind == "share":
            axes.set_ylim(0, 1)
        axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_atomically(folder / "curves.png", picture.getvalue())


def read_curves(log: Path, kind: str) -> dict[str, Curve]:
    """Return steps and values of every figure called `kind/NAME`, where NAME has no further part."""
    curves: dict[str, Curve] = {}
    for line in _lines(log):
        for key, value in line.items():
            name = key.removeprefix(f"{kind}/")
            if name != key and "/" not in name and value is not None and math.isfinite(value):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(int(line["step"]))
                values.append(value)
    return curves


def _lines(log: Path) -> Sequence[dict[str, float]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
