"""Disturbs evaluations in closed loop, and holds what comes out against the undisturbed one.

Usage: python -m scripts.fault_drives [--routes 20] [--faults 20] [--kills 10] [--workers 2] [--out FOLDER]

First the expert's routes are driven undisturbed. Then Town kills itself or hangs at random steps: the records
must be the same, and a server back within 15 s. Then the evaluator is killed at random moments, alone or with
its workers, and goes on: again the same. The figures are printed as JSON; the exit status is 1 if something
differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mtdrive.drive import crashes, evaluate
from mtdrive.drive_plan import DriveSettings
from mtdrive.drive_record import Record
from mtdrive.drive_scores import write_tables
from mtdrive.envs.health import ServerSettings

FIRST, LAST = 30, 200
"""Steps of a server within which it fails; a route of 50 m takes about 130."""
HANG = 90.0
"""Seconds: longer than any patience."""
HANGS = 0.3
"""The share of faults that are hangs."""
BACK = 15.0
"""Seconds in which a server must be back."""


def faults(draw: random.Random, count: int) -> tuple[tuple[str, ...], ...]:
    """Return a fault for each of so many starts of a server."""
    ticks = [draw.randint(FIRST, LAST) for _ in range(count)]
    return tuple((f"hang@{tick}:{HANG:g}" if draw.random() < HANGS else f"kill@{tick}",) for tick in ticks)


def same(records: list[Record], others: list[Record]) -> bool:
    """Return whether records are equal but for what depends on the run."""
    return [replace(r, wall={}) for r in records] == [replace(r, wall={}) for r in others]


def figures(out: Path) -> Any:
    """Return all figures of an evaluation but those of its simulators."""
    found = json.loads((out / "scores.json").read_text())
    return {name: value for name, value in found.items() if name != "simulator"}


def disturbed(settings: DriveSettings, options: argparse.Namespace, plain: list[Record]) -> dict[str, Any]:
    """Drive while servers fail, and return what came of it."""
    draw, out, begun = random.Random(f"{options.seed} faults"), options.out / "faults", time.monotonic()
    each = -(-options.faults // options.workers) + 2  # of each worker; one may be done before its last ones
    server = ServerSettings(pause=0.1, faults=faults(draw, each))
    outcome = evaluate(out, settings, options.workers, server, "none")
    write_tables(out, outcome.planned, outcome.records, crashes(out))
    back = [record.wall["back"] for record in outcome.records if "back" in record.wall]
    return {
        "faults": len(crashes(out)),
        "records": len(outcome.records),
        "the same": same(outcome.records, plain) and figures(out) == figures(options.out / "plain"),
        "longest time until a server is back, s": max(back, default=None),
        "seconds": round(time.monotonic() - begun, 1),
    }


def killed(
    settings: DriveSettings, options: argparse.Namespace, plain: list[Record], lasts: float
) -> dict[str, Any]:
    """Kill the evaluator at random records and moments, let it finish, and return what came of it."""
    draw, out = random.Random(f"{options.seed} kills"), options.out / "kills"
    command = [sys.executable, "-m", "mtdrive", "drive", *arguments(settings), "--out", str(out)]
    command += ["--workers", str(options.workers), "--videos", "none"]
    at = []
    latest = max(1, options.routes - 3 * options.workers)  # after the last kill something is left to drive
    for mark in sorted(draw.randrange(latest) for _ in range(options.kills)):
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.glob("routes/*.json"))) < mark:
            time.sleep(0.05)
        try:
            process.wait(draw.uniform(0.0, 2 * options.workers * lasts / options.routes))
            break  # it was done before
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL) if len(at) % 2 else os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        at.append(len(list(out.glob("routes/*.json"))))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    outcome = evaluate(out, settings, videos="none")
    return {
        "kills": len(at),
        "records at each": at,
        "records": len(outcome.records),
        "driven again in the end": len(outcome.driven),
        "the same": same(outcome.records, plain) and figures(out) == figures(options.out / "plain"),
    }


def arguments(settings: DriveSettings) -> list[str]:
    """Return settings as a command line has them."""
    given = asdict(settings)
    names = ("towns", "routes", "length", "turns", "densities")
    texts = [",".join(map(str, given[n])) if isinstance(given[n], tuple) else str(given[n]) for n in names]
    return [
        settings.agent,
        *(x for name, text in zip(names, texts, strict=True) for x in (f"--{name}", text)),
    ]


def main() -> int:
    """Drive, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--routes", type=int, default=20)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--town", default="Small")
    parser.add_argument("--density", default="regular", choices=["empty", "regular", "dense"])
    parser.add_argument("--seed", type=int, default=0, help="of the faults and the moments")
    parser.add_argument("--out", type=Path, help="a new folder; a temporary one if not given")
    options = parser.parse_args()
    options.out = options.out or Path(tempfile.mkdtemp(prefix="fault_drives_"))
    settings = DriveSettings(
        agent="expert",
        towns=(options.town,),
        routes=options.routes,
        length=(40.0, 60.0),
        turns=0,
        densities=(options.density,),
    )
    begun, out = time.monotonic(), options.out / "plain"
    plain = evaluate(out, settings, options.workers, videos="none")
    write_tables(out, plain.planned, plain.records, crashes(out))
    lasts = time.monotonic() - begun
    found: dict[str, Any] = {
        "undisturbed": {"records": len(plain.records), "seconds": round(lasts, 1)},
        "servers that fail": disturbed(settings, options, plain.records),
        "an evaluator that is killed": killed(settings, options, plain.records, lasts),
    }
    print(json.dumps(found, indent=1))
    failing, dying = found["servers that fail"], found["an evaluator that is killed"]
    good = failing["the same"] and dying["the same"] and len(plain.records) == options.routes
    quick = (failing["longest time until a server is back, s"] or 0) < BACK
    enough = failing["faults"] >= options.faults and dying["kills"] == options.kills
    return 0 if good and quick and enough else 1


if __name__ == "__main__":
    sys.exit(main())
