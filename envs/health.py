"""A server's life: start, health, restart, end.

It is healthy while its process runs and its line is not hung up. A restart takes a new port, because sensors
of the old session connect again for ever and would hear those of the new one.
"""

from __future__ import annotations

import atexit
import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType

from mtdrive.envs.line import Line, WrongServer
from mtdrive.errors import SimulatorError

LONGEST_PAUSE = 30.0
SOUND_LIFE = 60.0
"""Seconds after which a crash is not counted with the one before."""


@dataclass(frozen=True)
class ServerSettings:
    """Which server, and how it is started."""

    server: str = "town"
    """`town`; `carla`, which starts CarlaUE4.sh; or `host:port` of one that runs."""
    root: str = ""
    """The folder of CarlaUE4.sh; empty for the variable CARLA_ROOT."""
    flags: tuple[str, ...] = ("-RenderOffScreen", "-nosound", "-quality-level=Epic")
    """What CarlaUE4.sh is given beside the port, such as `-quality-level=Low` or `-graphicsadapter=1`."""
    start: float = 300.0
    """Seconds that a start may last."""
    attempts: int = 4
    """Starts that a restart tries."""
    pause: float = 1.0
    """Seconds before a restart; each further one in a row waits twice as long."""
    seed: int = 0
    """Of the noise of Town's sensors."""
    faults: tuple[tuple[str, ...], ...] = ()
    """For tests: what Town's first, second, ... start is to suffer, as `mtdrive town --fault` takes it."""


class Server(ABC):
    """A server while the block lasts: `with open_server("town") as server`."""

    def __init__(self, settings: ServerSettings) -> None:
        """Take the settings; nothing is started yet."""
        self.settings = settings
        self.host, self.port = "127.0.0.1", 0
        self.crashes = 0
        """Restarts in a row, each soon after the one before, and no whole episode between them."""
        self._line: Line | None = None
        self.since = 0.0
        """When it was started last, by `time.monotonic`."""
        self._owner = os.getpid()

    def __enter__(self) -> Server:
        """Start it, or connect to it.

        Raises:
            SimulatorError: it does not start or answer, or is of another version than the client.
        """
        self._owner = os.getpid()
        atexit.register(self.stop)
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it if it is ours."""
        self.stop()

    @property
    def line(self) -> Line:
        """The line to it."""
        if self._line is None:
            raise SimulatorError("the server is not running; use `with open_server(...) as server`")
        return self._line

    @property
    def alive(self) -> bool:
        """Whether its process runs and it has not hung up; one that hangs is alive."""
        return self._line is not None and self.runs() and self._line.open

    def restart(self) -> None:
        """End it and start it at a new port, after a pause that grows with the crashes in a row.

        Raises:
            SimulatorError: it does not start.
        """
        self.crashes = self.crashes + 1 if time.monotonic() - self.since < SOUND_LIFE else 1
        self._end(at_once=True)
        for attempt in range(self.settings.attempts):
            time.sleep(min(LONGEST_PAUSE, self.settings.pause * 2.0 ** (self.crashes - 1 + attempt)))
            try:
                self._start()
                return
            except SimulatorError as error:
                if isinstance(error, WrongServer) or attempt == self.settings.attempts - 1:
                    raise

    def stop(self, at_once: bool = False) -> None:
        """End it if it is ours, else hang up; twice does no harm. One that hangs is ended `at_once`."""
        if os.getpid() == self._owner:  # a fork inherits the exit handlers
            atexit.unregister(self.stop)
            self._end(at_once)

    def _start(self) -> None:
        try:
            self._launch()
            self._line = self._connect()
        except BaseException:
            self._end(at_once=True)
            raise
        self.since = time.monotonic()

    def _end(self, at_once: bool) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None
        self._kill(at_once)

    @abstractmethod
    def _launch(self) -> None:
        """Start the process and set the port."""

    @abstractmethod
    def _connect(self) -> Line:
        """Return a line to a server of the right version."""

    @abstractmethod
    def runs(self) -> bool:
        """Whether the process is there."""

    @abstractmethod
    def _kill(self, at_once: bool) -> None:
        """End the process, if there is one and it is ours."""
