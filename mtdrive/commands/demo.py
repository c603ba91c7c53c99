"""`mtdrive demo`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mtdrive.commands import Commands, register, tell


def add(commands: Commands) -> None:
    """Register `demo`."""
    parser = register(commands, "demo", _demo, "record, train, drive and compare, in one go")
    parser.add_argument("--minutes", type=float, default=15.0, help="for everything (default: 15)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="gets report.html (default: demo)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="cores to use (default: 2)")
    parser.epilog = "Needs no GPU and no data. Ctrl-C stops it, and the same command goes on where it was."


def _demo(options: argparse.Namespace, rest: list[str]) -> int:
    from mtdrive.demo import demo
    from mtdrive.demo_plan import DemoSettings

    settings = DemoSettings(minutes=options.minutes, seed=options.seed, workers=options.workers)
    try:
        page = demo(options.out, settings, lambda line: tell([line]))
    except KeyboardInterrupt:
        tell(["stopped; the same command goes on"])
        return 130
    _show(page.with_suffix(".json"))
    sys.stdout.write(f"{page} shows what came out\n")
    return 0


def _show(report: Path) -> None:
    """Print how the agents drove."""
    from rich.console import Console
    from rich.table import Table

    from mtdrive.demo_report import FIGURES

    agents = json.loads(report.read_text())["agents"]
    table = Table("agent", "traffic", *FIGURES.values())
    for name, rows in agents.items():
        for density, row in rows.items():
            values = ("-" if row[key] is None else f"{row[key]:.1f}" for key in FIGURES)
            table.add_row(name.replace("_", " "), density, *values)
    Console().print(table)
