"""`mtdrive evaluate`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mtdrive.commands import Commands, register, show


def add(commands: Commands) -> None:
    """Register `evaluate`."""
    parser = register(
        commands,
        "evaluate",
        _evaluate,
        "score the depth of a checkpoint by a published protocol",
        settings=True,
    )
    parser.usage = (
        "mtdrive evaluate CHECKPOINT [--config FILE] [--source CLASS --source.SETTING VALUE ...] "
        "[--protocol eigen] [--scaling median] [--flip true] [--out DIR]"
    )
    parser.add_argument(
        "checkpoint", type=Path, help="a checkpoint folder, such as runs/NAME/checkpoints/best"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write depth.json and depth.csv (a line an image)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument(
        "--settings", action="store_true", help="list every setting with its meaning, and stop"
    )
    parser.epilog = (
        "For example: mtdrive evaluate runs/a/checkpoints/best --source KittiRaw --source.root KITTI "
        "--source.split test.txt --protocol eigen --scaling median --flip true"
    )


def _evaluate(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive import experiment
    from mtdrive.checkpoint import write_atomically

    if options.settings:
        sys.stdout.write(experiment.evaluation_parser().format_help())
        return
    score = experiment.evaluate(options.checkpoint, rest)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        score.write_csv(options.out / "depth.csv")
        write_atomically(options.out / "depth.json", json.dumps(score.summary()).encode())
    show(score.summary(), options.json)
