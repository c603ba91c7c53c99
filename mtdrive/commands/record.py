"""`mtdrive record`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mtdrive.commands import Commands, names, register, tell

if TYPE_CHECKING:
    from mtdrive.record import Outcome


def add(commands: Commands) -> None:
    """Register `record`."""
    parser = register(commands, "record", _record, "record drives of an expert to train on")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets a folder for each drive")
    parser.add_argument("--towns", type=names, default=("Grid", "Large"), help="default: Grid,Large")
    parser.add_argument("--drives", type=int, default=20, metavar="N", help="in all (default: 20)")
    parser.add_argument("--seconds", type=float, default=60.0, help="the longest drive (default: 60)")
    parser.add_argument(
        "--weathers",
        type=names,
        default=("ClearNoon", "WetNoon", "HardRainNoon", "ClearSunset"),
        help="names in carla.WeatherParameters (default: ClearNoon,WetNoon,HardRainNoon,ClearSunset)",
    )
    parser.add_argument(
        "--densities",
        type=names,
        default=("regular", "dense"),
        help="of traffic: empty, regular, dense (default: regular,dense)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--size", type=_size, default=(320, 160), metavar="WxH", help="of the images (default: 320x160)"
    )
    parser.add_argument("--fov", type=float, default=90.0, help="horizontal, degrees (default: 90)")
    parser.add_argument("--rate", type=float, default=10.0, help="frames per second (default: 10)")
    parser.add_argument(
        "--labels",
        type=names,
        default=("depth", "semantics"),
        help="of depth, semantics, flow; none for none (default: depth,semantics)",
    )
    parser.add_argument(
        "--shifted", action="store_true", help="add a camera that is moved aside and turned in each drive"
    )
    parser.add_argument(
        "--noisy", type=float, default=0.5, help="share of drives with pushed steering (default: 0.5)"
    )
    parser.add_argument(
        "--wish",
        type=_wish,
        action="append",
        default=[],
        metavar="WHAT=SHARE",
        help="go on until so many of the frames show it: standing, braking, leader, red_light, stop_sign",
    )
    parser.add_argument(
        "--most",
        type=int,
        default=0,
        metavar="N",
        help="further drives for wishes (default: as many as --drives)",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="a server each (default: 1)")
    parser.add_argument(
        "--server", default="town", help="town, carla (in CARLA_ROOT) or host:port (default: town)"
    )
    parser.epilog = (
        "For example: mtdrive record --out drives --towns Grid,Large --drives 60 --workers 2. The same "
        "command goes on with a recording that was stopped."
    )


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]*)x([1-9][0-9]*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected width x height as 320x160, found {text!r}")
    return int(found[1]), int(found[2])


def _wish(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    try:
        return name, float(share)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected one such as leader=0.2, found {text!r}") from None


def _record(options: argparse.Namespace, rest: list[str]) -> int:
    from mtdrive.coverage import coverage, read_drives, write_coverage
    from mtdrive.envs.health import ServerSettings
    from mtdrive.record import record
    from mtdrive.record_plan import RecordSettings

    same = ("towns", "drives", "seconds", "weathers", "densities", "seed", "fov", "rate", "labels")
    given = {name: getattr(options, name) for name in (*same, "shifted", "noisy", "most")}
    size = {"width": options.size[0], "height": options.size[1]}
    settings = RecordSettings(**size, **given, wishes=dict(options.wish))
    outcome = record(options.out, settings, options.workers, ServerSettings(options.server))
    drives, damaged = read_drives(options.out)
    tell(f"error: {line}" for line in damaged)
    if drives:
        write_coverage(options.out, coverage(drives))
        sys.stdout.write(f"{options.out / 'coverage.png'} shows what the drives cover\n")
    _tell(outcome, settings.rate)
    if outcome.interrupted:
        return 130
    return 1 if outcome.failed or damaged else 0


def _tell(outcome: Outcome, rate: float) -> None:
    frames = sum(done.frames for done in outcome.recorded.values())
    sys.stdout.write(
        f"recorded {len(outcome.recorded)} drives, {frames / rate / 60:.1f} minutes in "
        f"{outcome.seconds / 60:.1f}; {len(outcome.present)} were there\n"
    )
    tell(f"error: {name} could not be recorded: {why}" for name, why in sorted(outcome.failed.items()))
    if outcome.interrupted:
        tell(["stopped; the same command goes on"])
