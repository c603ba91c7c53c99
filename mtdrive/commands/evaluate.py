"""`mtdrive evaluate`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mtdrive.commands import Commands, register, show, tell


def add(commands: Commands) -> None:
    """Register `evaluate`."""
    parser = register(
        commands,
        "evaluate",
        _evaluate,
        "score depth, flow or motion of a checkpoint by a published protocol, or its driving open-loop",
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
        choices=("depth", "flow", "odometry", "policy"),
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
    {"depth": _depth, "flow": _flow, "odometry": _odometry, "policy": _policy}[options.kind](options, rest)


def _depth(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive import evaluations
    from mtdrive.files import write_atomically

    score = evaluations.depth(options.checkpoint, rest)
    if options.out is not None:
        score.write_csv(options.out / "depth.csv")
        write_atomically(options.out / "depth.json", json.dumps(score.summary()).encode())
    show(score.summary(), options.json)


def _flow(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive import evaluations
    from mtdrive.files import write_atomically

    score = evaluations.flow(options.checkpoint, rest)
    if options.out is not None:
        score.write_csv(options.out / "flow.csv")
        write_atomically(options.out / "flow.json", json.dumps(score.summary()).encode())
    show(score.summary(), options.json)


def _odometry(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive import evaluations

    score = evaluations.odometry(options.checkpoint, rest)
    if options.out is not None:
        score.write(options.out)
    tell(score.notes())
    show(score.document() if options.json else score.table(), options.json)


def _policy(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive import evaluations
    from mtdrive.files import write_atomically

    score = evaluations.policy(options.checkpoint, rest)
    if options.out is not None:
        score.write_csv(options.out / "policy.csv")
        write_atomically(options.out / "policy.json", json.dumps(score.summary()).encode())
    show(score.summary(), options.json)
