"""`mtdrive drive`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdrive.commands import Commands, names, register, tell

if TYPE_CHECKING:
    from mtdrive.drive import Outcome


def add(commands: Commands) -> None:
    """Register `drive`."""
    parser = register(commands, "drive", _drive, "drive routes with an agent, and score it")
    parser.add_argument(
        "agent",
        metavar="AGENT",
        help="expert, constant_velocity, stand_still, a checkpoint's folder, or module:Class",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets a record for each drive")
    parser.add_argument(
        "--towns", type=names, default=(), help="default: Grid, or all those of --routes-file X.xml"
    )
    parser.add_argument(
        "--routes", type=int, default=10, metavar="N", help="random routes in each town (default: 10)"
    )
    parser.add_argument("--routes-seed", type=int, default=0, help="of the random routes (default: 0)")
    parser.add_argument(
        "--length", type=_span, default=(200.0, 400.0), metavar="LEAST,MOST", help="metres (default: 200,400)"
    )
    parser.add_argument("--turns", type=int, default=1, help="fewest turns of a random route (default: 1)")
    parser.add_argument(
        "--routes-file", default="", metavar="FILE", help="the Leaderboard's .xml or NoCrash's .txt instead"
    )
    parser.add_argument(
        "--weathers",
        type=names,
        default=("ClearNoon",),
        help="names in carla.WeatherParameters (default: ClearNoon)",
    )
    parser.add_argument(
        "--densities",
        type=names,
        default=("regular",),
        help="of traffic: empty, regular, dense (default: regular)",
    )
    parser.add_argument(
        "--seeds", type=_numbers, default=(0,), help="of the traffic, such as 0,1,2 (default: 0)"
    )
    parser.add_argument(
        "--repetitions", type=int, default=1, metavar="N", help="drives with each seed (default: 1)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="a server each (default: 1)")
    parser.add_argument(
        "--server", default="town", help="town, carla (in CARLA_ROOT) or host:port (default: town)"
    )
    parser.add_argument(
        "--videos", default="failures", choices=["failures", "all", "none"], help="(default: failures)"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="that the agent may need for a step (default: 20)",
    )
    parser.epilog = (
        "For example: mtdrive drive expert --out runs/expert --towns Grid,New --routes 8 --seeds 0,1,2 "
        "--workers 2. The same command goes on with an evaluation that was stopped."
    )


def _span(text: str) -> tuple[float, float]:
    try:
        least, most = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected two numbers such as 200,400, found {text!r}") from None
    return least, most


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0,1,2, found {text!r}") from None


def _drive(options: argparse.Namespace, rest: list[str]) -> int:
    from mtdrive.drive import crashes, evaluate
    from mtdrive.drive_plan import DriveSettings
    from mtdrive.drive_report import write_report
    from mtdrive.drive_scores import write_tables

    same = (
        "agent", "towns", "routes", "routes_seed", "length", "turns", "routes_file", "weathers", "densities",
        "seeds", "repetitions", "server",
    )  # fmt: skip
    settings = DriveSettings(**{name: getattr(options, name) for name in same})
    outcome = evaluate(
        options.out, settings, options.workers, videos=options.videos, patience=options.patience
    )
    found = write_tables(options.out, outcome.planned, outcome.records, crashes(options.out))
    page = write_report(options.out, outcome.planned, outcome.records, found)
    _show(found)
    sys.stdout.write(f"{page} shows each drive\n")
    return _tell(outcome)


def _show(found: Mapping[str, Any]) -> None:
    """Print the figures of all drives, and of each part how many routes were done and how they scored."""
    from rich.console import Console
    from rich.table import Table

    from mtdrive.drive_report import label, number

    parts = found["rows"]
    whole = Table("figure", "all drives")
    for key, title in found["titles"].items():
        whole.add_row(title, number(parts[0]["figures"][key], 2 if key.endswith("km") else 1))
    Console().print(whole)
    table = Table("part", "drives", found["name"], "routes done, %")
    for row in parts[1:]:
        figures = (number(row["figures"][key]) for key in ("score_2.0", "done"))
        table.add_row(label(row), str(row["planned"]), *figures)
    Console().print(table)


def _tell(outcome: Outcome) -> int:
    """Say what else there is to say, and return the exit status."""
    sys.stdout.write(
        f"drove {len(outcome.driven)} of {len(outcome.planned)} routes in {outcome.seconds / 60:.1f} "
        f"minutes; {len(outcome.present)} were there\n"
    )
    broken = [record for record in outcome.records if record.failure]
    tell(f"error: {name} could not be driven: {why}" for name, why in sorted(outcome.failed.items()))
    tell(f"error: {record.plan.name}: the agent failed: {record.failure}" for record in broken)
    if outcome.interrupted:
        tell(["stopped; the same command goes on"])
        return 130
    return 1 if outcome.failed or broken else 0
