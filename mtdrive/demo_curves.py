"""Curves of a demonstration: how training went."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from mtdrive.curves import Curve, read_curves

POLICY_LOSS, DEPTH_LOSS, ERROR = "policy loss", "depth losses", "abs_rel of depth on the test drives"
WEIGHT = "weight of the loss"


def panels(log: Path) -> dict[str, dict[str, Curve]]:
    """Return the curves of a joint run by what they show."""
    terms, tested = read_curves(log, "train/depth"), read_curves(log, "validation/test/depth")
    whole, validation = read_curves(log, "train"), read_curves(log, "validation/test")
    return {
        POLICY_LOSS: _named({"in training": whole.get("policy"), "test drives": validation.get("policy")}),
        DEPTH_LOSS: _named({name: terms.get(name) for name in ("photometric", "coarse")}),
        WEIGHT: read_curves(log, "weight"),
        ERROR: _named({"the network": tested.get("abs_rel")}),
    }


def _named(curves: Mapping[str, Curve | None]) -> dict[str, Curve]:
    return {name: curve for name, curve in curves.items() if curve}


def draw_training(log: Path, levels: Mapping[str, float]) -> bytes:
    """Return a PNG of how a joint run went; `levels` are errors of depth that need no network, by name."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(11, 6), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(2, 2).flat, panels(log).items(), strict=True):
        for name, (steps, values) in curves.items():
            axes.plot(steps, values, label=name)
        if title == ERROR:
            for (name, level), style in zip(levels.items(), ("--", ":"), strict=False):
                axes.axhline(level, color="grey", linestyle=style, label=name)
        axes.set(title=title, xlabel="step")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=90)
    return picture.getvalue()
