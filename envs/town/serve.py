"""Run a server in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence

from mtdrive.envs.town.faults import Fault
from mtdrive.envs.town.process import READY
from mtdrive.envs.town.quiet import Quiet
from mtdrive.envs.town.sensors import MakePainter
from mtdrive.envs.town.server import Maps, Server
from mtdrive.envs.town.versions import Wire, installed_client, wire


def serve(
    maps: Maps,
    name: str,
    paint: MakePainter,
    port: int = 2000,
    seed: int = 0,
    end_with_input: bool = False,
    faults: Sequence[Fault] = (),
) -> None:
    """Serve until SIGTERM or Ctrl-C, or the end of the standard input where asked.

    Raises:
        ConfigError: there is no such map, the port is taken, or the client that is installed is of another
            release than the server speaks to.
    """
    logging.basicConfig(format="mtdrive town: %(message)s", stream=sys.stderr, level=logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Quiet())
    release = check_client()
    asyncio.run(_serve(Server(maps, name, paint, release, seed, faults), port, end_with_input))


def check_client() -> Wire:
    """Return the table of the client that is installed here.

    Raises:
        ConfigError: Town does not speak its release.
    """
    return wire(installed_client())


async def _serve(server: Server, port: int, end_with_input: bool) -> None:
    if end_with_input:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _read_input, server.stop)
    await server.run(port, _tell)


def _read_input(stop: Callable[[], None]) -> None:
    """Skip what comes in; at its end, stop."""
    if not os.read(sys.stdin.fileno(), 1 << 16):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop()


def _tell(port: int) -> None:
    sys.stdout.write(f"{READY}{port}\n")
    sys.stdout.flush()
