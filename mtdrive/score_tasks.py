"""The figures of all tasks in one table, beside those of predictors that have learned nothing.

Importing this file does not import torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mtdrive.files import write_atomically, write_csv

BETTER, NOT_BETTER = "better", "NOT BETTER"
MARGIN = 0.05
"""A figure is better if it is nearer to the best one by more than this share: less may be chance."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A line of the table."""

    task: str
    """The name of the task, or what else the figure is about."""
    name: str = ""
    """As the evaluation of the task alone calls it; empty where nothing could be scored."""
    title: str = ""
    """With the unit."""
    value: float | None = None
    half: float | None = None
    """Half the 95 % interval of the value, where it is known."""
    trivial: float | None = None
    """What a predictor that has learned nothing gets on the same frames."""
    predictor: str = ""
    """Which one that is."""
    best: float | None = None
    """The value without any error; None where no value is better than another."""
    over: str = ""
    """How much was scored."""
    note: str = ""
    """Why there is no value."""

    @property
    def verdict(self) -> str:
        """`BETTER` or `NOT_BETTER` than the trivial predictor, the note if there is one, or empty."""
        if self.note or self.value is None or self.trivial is None or self.best is None:
            return self.note
        ours, theirs = abs(self.value - self.best), abs(self.trivial - self.best)
        return BETTER if ours < (1 - MARGIN) * theirs else NOT_BETTER


@dataclass(frozen=True)
class TaskScore:
    """The table."""

    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    """What else the user should know."""

    def document(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        rows = [{**asdict(figure), "verdict": figure.verdict} for figure in self.figures]
        return {"rows": rows, "notes": list(self.notes)}

    def write(self, folder: Path) -> None:
        """Write `tasks.json` and `tasks.csv`."""
        rows = self.document()["rows"]
        header = list(rows[0]) if rows else []
        write_csv(folder / "tasks.csv", header, [list(row.values()) for row in rows])
        content = json.dumps(self.document(), indent=1, allow_nan=False) + "\n"
        write_atomically(folder / "tasks.json", content.encode())


def compared(
    task: str,
    found: Mapping[str, float | None],
    trivial: Mapping[str, float | None],
    titles: Mapping[str, tuple[str, float | None]],
    predictor: str,
    over: str,
) -> list[Figure]:
    """Return a line for each of the figures that has a title.

    Args:
        task: its name.
        found: the figures.
        trivial: those of the predictor that has learned nothing.
        titles: the title and the best value of each.
        predictor: that predictor.
        over: how much was scored.
    """
    lines = []
    for name, (title, best) in titles.items():
        if name in found:
            against = None if best is None else known(trivial.get(name))
            lines.append(
                Figure(
                    task=task, name=name, title=title, value=known(found[name]), trivial=against,
                    predictor="" if against is None else predictor, best=best, over=over,
                )
            )  # fmt: skip
    return lines


def known(value: float | None) -> float | None:
    """Return a number, None for NaN and infinity, which JSON does not have."""
    return value if value is not None and math.isfinite(value) else None


def cells(figure: Figure) -> Sequence[str]:
    """Return a line as text: task, figure, value, trivial value, predictor, verdict, over."""
    half = "" if figure.half is None else f" ± {figure.half:.3g}"
    value = _number(figure.value) + half if figure.name else ""
    trivial = "" if figure.trivial is None else _number(figure.trivial)
    return figure.task, figure.title, value, trivial, figure.predictor, figure.verdict, figure.over


def _number(value: float | None) -> str:
    """Return four digits or so; a dash if nothing is known."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
