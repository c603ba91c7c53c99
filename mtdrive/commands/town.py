"""`mtdrive town`: the embedded CARLA server."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mtdrive.commands import Commands, register

DEFAULT = "Grid"


def add(commands: Commands) -> None:
    """Register `town`."""
    parser = register(commands, "town", _serve, "serve a town to clients of CARLA on this machine")
    parser.add_argument("--port", type=int, default=2000, help="0 lets the system choose (default: 2000)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--town", metavar="NAME", help=f"a map by its name (default: {DEFAULT})")
    place.add_argument("--xodr", type=Path, metavar="FILE", help="any OpenDRIVE map, .xodr or .xodr.gz")
    parser.add_argument("--seed", type=int, default=0, help="of the sensors' noise (default: 0)")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT",
        help="for tests, any number of: kill@TICK, hang@TICK:SECONDS, close@TICK, drop-frame@TICK:SENSOR, "
        "late-frame@TICK:SENSOR, wrong-version",
    )
    parser.add_argument(
        "--end-with-input", action="store_true", help="stop when the standard input ends, as with its parent"
    )


def _serve(options: argparse.Namespace, rest: list[str]) -> None:
    # Read when numpy is loaded. With more, a product of small matrices waits for cores that are drawing.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from mtdrive.envs.town.faults import read_fault
    from mtdrive.envs.town.renderer import Renderer
    from mtdrive.envs.town.roads import TownMap, load_map, map_names
    from mtdrive.envs.town.serve import serve
    from mtdrive.envs.town.server import Maps
    from mtdrive.envs.town.stage import Land, Painter
    from mtdrive.errors import ConfigError

    def paint(land: Land) -> Painter:
        assert isinstance(land, TownMap)
        renderer = Renderer(land)
        sys.stderr.write(f"drawing by {renderer.description}\n")
        return renderer

    if not 0 <= options.port < 1 << 16:
        raise ConfigError(f"--port must be 0 to 65535, found {options.port}")
    if options.xodr is not None and not options.xodr.is_file():
        raise ConfigError(f"--xodr: there is no file {options.xodr}")
    name, faults = str(options.xodr or options.town or DEFAULT), [read_fault(x) for x in options.fault]
    serve(Maps(load_map, map_names), name, paint, options.port, options.seed, options.end_with_input, faults)
