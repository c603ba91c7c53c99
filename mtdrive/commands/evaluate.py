"""`mtdrive evaluate`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdrive.commands import Commands, register, show, tell

if TYPE_CHECKING:
    from mtdrive.score_tasks import TaskScore

WIDTH = 130
"""Characters that the table of all tasks may take; it becomes unreadable in fewer."""


def add(commands: Commands) -> None:
    """Register `evaluate`."""
    parser = register(
        commands,
        "evaluate",
        _evaluate,
        "score depth, flow, motion or segmentation of a checkpoint by a published protocol, its driving "
        "open-loop, or all its tasks on recorded drives in one table",
        settings=True,
    )
    parser.usage = (
        "mtdrive evaluate CHECKPOINT [--kind KIND] [--config FILE] "
        "[--source CLASS --source.SETTING VALUE ...] [--SETTING VALUE ...] [--out DIR]"
    )
    parser.add_argument(
        "checkpoint", type=Path, help="a checkpoint folder, such as runs/NAME/checkpoints/best"
    )
    parser.add_argument(
        "--kind",
        choices=("depth", "flow", "odometry", "policy", "segmentation", "tasks"),
        default="depth",
        help="what to score; depth if not given",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write KIND.json and KIND.csv (a line an image or window), and the trajectories of odometry",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument(
        "--settings", action="store_true", help="list every setting of the kind with its meaning, and stop"
    )
    parser.epilog = (
        "For example: mtdrive evaluate runs/a/checkpoints/best --source KittiRaw --source.root KITTI "
        "--source.split test.txt --protocol eigen --scaling median --flip true"
    )


def _evaluate(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive import evaluations

    if options.settings:
        sys.stdout.write(evaluations.evaluation_parser(options.kind).format_help())
        return
    run = {"odometry": _odometry, "tasks": _tasks}.get(options.kind, _images)
    run(options, rest)


def _images(options: argparse.Namespace, rest: list[str]) -> None:
    """Score what has errors of each image and a summary."""
    from mtdrive import evaluations
    from mtdrive.files import write_atomically

    score: Any = getattr(evaluations, options.kind)(options.checkpoint, rest)
    if options.out is not None:
        score.write_csv(options.out / f"{options.kind}.csv")
        write_atomically(options.out / f"{options.kind}.json", json.dumps(score.summary()).encode())
    show(score.summary(), options.json)


def _odometry(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive import evaluations

    score = evaluations.odometry(options.checkpoint, rest)
    if options.out is not None:
        score.write(options.out)
    tell(score.notes())
    show(score.document() if options.json else score.table(), options.json)


def _tasks(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive import evaluations

    score = evaluations.tasks(options.checkpoint, rest)
    if options.out is not None:
        score.write(options.out)
    tell(score.notes)
    if options.json:
        show(score.document(), as_json=True)
    else:
        _table(score)


def _table(score: TaskScore) -> None:
    """Print a line for each figure; what is no better than a trivial predictor stands out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mtdrive.score_tasks import NOT_BETTER, cells

    table = Table()
    for name in ("task", "figure", "value", "trivial", "trivial predictor", "verdict", "over"):
        table.add_column(name, no_wrap=name != "verdict")
    for before, figure in zip((None, *score.figures), score.figures, strict=False):
        if before is not None and before.task != figure.task:
            table.add_section()
        style = "bold red" if figure.verdict.startswith(NOT_BETTER) else ""
        table.add_row(*(Text(cell) for cell in cells(figure)), style=style)
    console = Console()
    Console(width=max(console.width, WIDTH)).print(table)
