"""`mtdrive conformance`: whether a server is one that the environment can drive on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mtdrive.commands import Commands, register

if TYPE_CHECKING:
    from mtdrive.envs.conformance import Finding


def add(commands: Commands) -> None:
    """Register `conformance`."""
    text = "try a CARLA server against what driving relies on, and write a report"
    parser = register(commands, "conformance", _run, text)
    parser.add_argument("--host", default="127.0.0.1", help="of a server that runs (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=2000, help="its port (default: 2000)")
    parser.add_argument(
        "--start",
        choices=("town", "carla"),
        help="start a server instead; carla needs the variable CARLA_ROOT",
    )
    parser.add_argument("--town", metavar="NAME", help="the map to try (default: the one that is loaded)")
    parser.add_argument(
        "--out", type=Path, default=Path("conformance.json"), metavar="FILE", help="default: conformance.json"
    )


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    from mtdrive.envs.conformance import try_server
    from mtdrive.envs.servers import open_server

    with open_server(options.start or f"{options.host}:{options.port}", options.town) as server:
        report = try_server(server, options.town, _tell)
    report.save(options.out)
    good, count = sum(finding.ok for finding in report.findings), len(report.findings)
    where = f"{report.server}, {report.town}"
    sys.stdout.write(f"{good} of {count} checks are as expected on {where}; see {options.out}\n")
    return 0 if report.ok else 1


def _tell(finding: Finding) -> None:
    sys.stdout.write(f"{'ok  ' if finding.ok else 'FAIL'} {finding.name}: {finding.found}\n")
    if not finding.ok:
        sys.stdout.write(f"     expected: {finding.expected}\n")
    sys.stdout.flush()
