"""Servers: Town or CARLA as a process of our own, or one that somebody else runs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import IO

from mtdrive.envs import guard
from mtdrive.envs.health import Server, ServerSettings
from mtdrive.envs.line import Line, WrongServer, connect
from mtdrive.envs.town import Town
from mtdrive.errors import ConfigError, SimulatorError

SCRIPT = "CarlaUE4.sh"
PORTS = 3
"""Consecutive ports that CARLA listens on."""


def open_server(settings: ServerSettings | str = "town", town: str | None = None) -> Server:
    """Return a server for `with`; Town starts with the map `town`, other servers load it later.

    Raises:
        ConfigError: there is no such kind of server, or CARLA is not where it should be.
    """
    if isinstance(settings, str):
        settings = ServerSettings(settings)
    if settings.server == "town":
        return TownServer(settings, town)
    if settings.server == "carla":
        return CarlaServer(settings)
    address = re.fullmatch(r"([^:\s]+):(\d{1,5})", settings.server)
    if not address or not 0 < int(address[2]) < 1 << 16:
        raise ConfigError(f"server must be town, carla or host:port, found {settings.server!r}")
    return OtherServer(settings, address[1], int(address[2]))


def free_port(count: int = 1, avoid: Collection[int] = ()) -> int:
    """Return the first of `count` consecutive ports that are free now.

    Raises:
        SimulatorError: there are none.
    """
    for _ in range(100):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            first = _bind(stack, 0)
            for further in range(1, count):
                _bind(stack, first + further)
            if first not in avoid:
                return first
    raise SimulatorError(f"found no {count} consecutive ports that are free; end other servers")


def _bind(stack: contextlib.ExitStack, port: int) -> int:
    taken = stack.enter_context(socket.socket())
    taken.bind(("", port))
    return int(taken.getsockname()[1])


class TownServer(Server):
    """The embedded server."""

    def __init__(self, settings: ServerSettings, town: str | None) -> None:
        """Take the settings and the map."""
        super().__init__(settings)
        self._map = town
        self._town: Town | None = None
        self._starts = 0
        self._used: set[int] = set()

    def _launch(self) -> None:
        while self.port in self._used or not self.port:
            self._kill(at_once=True)
            faults = next(iter(self.settings.faults[self._starts :]), ())
            seed, patience = self.settings.seed, self.settings.start
            self._town = Town(self._map, seed=seed, patience=patience, faults=faults)
            self._starts += 1
            self.port = self._town.__enter__().port
        self._used.add(self.port)

    def _connect(self) -> Line:
        return connect(self.host, self.port, self.runs)

    def runs(self) -> bool:
        """Whether the process is there."""
        return self._town is not None and self._town.alive

    def _kill(self, at_once: bool) -> None:
        if self._town is not None and self._town.alive and at_once:
            self._town.process.kill()
        if self._town is not None:
            self._town.stop()
        self._town = None


class CarlaServer(Server):
    """Unreal CARLA, started by its script in a process group of its own."""

    def __init__(self, settings: ServerSettings) -> None:
        """Take the settings.

        Raises:
            ConfigError: there is no start script.
        """
        super().__init__(settings)
        root = settings.root or os.environ.get("CARLA_ROOT", "")
        self._script = Path(root, SCRIPT)
        if not root or not self._script.is_file():
            raise ConfigError(
                f"expected CARLA's folder with {SCRIPT} in CARLA_ROOT, found {root or 'nothing'}; "
                "download CARLA 0.9.16 and set the variable, or take the server `town`"
            )
        self._used: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[str] | None = None

    def _launch(self) -> None:
        self.port = free_port(PORTS, self._used)
        self._used.add(self.port)
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  _kill closes
        command = [str(self._script), *self.settings.flags, f"-carla-rpc-port={self.port}"]
        self._process = subprocess.Popen(
            [sys.executable, "-I", guard.__file__, *command],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def _connect(self) -> Line:
        """Wait until it listens; before, it is refused."""
        deadline = time.monotonic() + self.settings.start
        while True:
            try:
                return connect(self.host, self.port, self.runs, self.settings.start)
            except WrongServer:
                raise
            except SimulatorError as error:
                if not self.runs() or time.monotonic() > deadline:
                    raise SimulatorError(f"CARLA did not start: {self._said() or error}") from None
            time.sleep(0.1)

    def _said(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return "; ".join(lines[-2:])

    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def _kill(self, at_once: bool) -> None:
        if self._process is None or self._log is None:
            return
        if at_once and self.runs():
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()  # the guard ends its group when its input ends
        self._log.close()
        self._process = self._log = None


class OtherServer(Server):
    """A server that somebody else runs; a restart waits until it answers again."""

    def __init__(self, settings: ServerSettings, host: str, port: int) -> None:
        """Take the settings and the address."""
        super().__init__(settings)
        self.host, self.port = host, port

    def _launch(self) -> None:
        pass

    def _connect(self) -> Line:
        return connect(self.host, self.port, self.runs)

    def runs(self) -> bool:
        """Whether the process is there: it is not seen from here."""
        return True

    def _kill(self, at_once: bool) -> None:
        pass
