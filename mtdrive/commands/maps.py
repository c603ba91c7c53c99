"""`mtdrive maps`: the networks that traffic needs on maps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mtdrive.commands import Commands, each, register


def add(commands: Commands) -> None:
    """Register `maps`."""
    parser = register(commands, "maps", _maps, "prepare maps for traffic")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="make the SUMO networks of maps",
        description="Make the SUMO networks of maps and keep them in the cache; needs netconvert.",
        epilog="For example: mtdrive maps build Town01 my_town.xodr. The variable MTDRIVE_MAPS names folders "
        "of maps, MTDRIVE_CACHE the folder of what is made. Town's own maps have their networks.",
    )
    build.add_argument(
        "maps", nargs="+", metavar="NAME|FILE", help="a map by its name, or an .xodr or .xodr.gz file"
    )
    build.add_argument("--again", action="store_true", help="also those that are there already")


def _maps(options: argparse.Namespace, rest: list[str]) -> int:
    from mtdrive.envs.networks import build, known_network
    from mtdrive.envs.town.roads import map_text
    from mtdrive.errors import ConfigError, DataError

    def attempt(source: str, _: Path) -> None:
        try:
            name, xodr = map_text(source)
        except ConfigError as error:
            raise DataError(str(error)) from error
        known = None if options.again else known_network(name, xodr)
        sys.stdout.write(f"{name}: {known or build(name, xodr)}\n")
        sys.stdout.flush()

    return each({source: Path(source) for source in dict.fromkeys(options.maps)}, attempt)
