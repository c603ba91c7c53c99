"""`mtdrive inspect`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtdrive.commands import Commands, register, show


def add(commands: Commands) -> None:
    """Register `inspect`."""
    parser = register(
        commands,
        "inspect",
        _inspect,
        "show what the tasks of a checkpoint do to each other",
        settings=True,
    )
    parser.usage = (
        "mtdrive inspect CHECKPOINT|RUN --out DIR [--batches N] [--single TASK=RUN ...] [--SETTING VALUE ...]"
    )
    parser.add_argument("checkpoint", type=Path, help="a run's folder, or one of its checkpoints")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument(
        "--batches", type=int, default=16, help="training batches to measure; 16 if not given"
    )
    parser.add_argument(
        "--lookahead", type=int, default=4, help="how many of these for the affinity; 4 if not given"
    )
    parser.add_argument(
        "--reach",
        type=float,
        default=1e-4,
        help="length of its steps as a share of that of the encoder's weights; 0.0001 if not given",
    )
    parser.add_argument(
        "--single",
        action="append",
        default=[],
        metavar="TASK=RUN",
        help="a run of this task alone, to compare with; for each task",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.epilog = (
        "Settings are those of the run, for example --data.drives.source.root DIR if its data have moved."
    )


def _inspect(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.errors import ConfigError, check_least
    from mtdrive.inspection import document, inspect, locate
    from mtdrive.inspection_report import compare, over_training, write_report
    from mtdrive.interference import ALL

    check_least("inspect", options, {"batches": 1, "lookahead": 0, "reach": 0})
    singles = {}
    for text in options.single:
        task, equals, run = text.partition("=")
        if not (task and equals and run):
            raise ConfigError(f"--single takes TASK=RUN, such as policy=runs/policy, found {text!r}")
        singles[task] = Path(run)
    checkpoint, folder = locate(options.checkpoint)
    if singles and folder is None:
        raise ConfigError(f"--single compares runs, and {checkpoint} lies in none; give the folder of a run")
    compared = compare(folder, singles) if folder else {}
    seen, step = inspect(checkpoint, rest, options.batches, options.lookahead, options.reach)
    found = {
        "checkpoint": str(options.checkpoint),
        "step": step,
        "batches": options.batches,
        **document(seen),
        "compared": compared,
        "over_training": over_training(folder) if folder else {},
    }
    write_report(options.out, found)
    show({p.replace("~", " and "): x["mean"] for p, x in found["cosines"][ALL].items()}, options.json)
