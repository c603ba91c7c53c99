"""Faults on demand, to test what stands above a simulator: a server that dies, hangs or loses a frame.

Steps are counted from the start of the server, as frames are. `kill`, `hang` and `close` come before their
step is made, so that the call that asked for it is the one that suffers.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mtdrive.envs.town.blueprints import REMOTE
from mtdrive.errors import ConfigError

KILL, HANG, CLOSE, DROP, LATE, WRONG = "kill", "hang", "close", "drop-frame", "late-frame", "wrong-version"
FORMS = (
    f"{KILL}@TICK, {HANG}@TICK:SECONDS, {CLOSE}@TICK, {DROP}@TICK:SENSOR, {LATE}@TICK:SENSOR or {WRONG}, "
    "where TICK counts the server's steps from 1 and SENSOR is a type such as camera.rgb"
)
WRONG_RELEASE = "0.9.15"
"""What `wrong-version` claims."""
LONGEST = 86400.0
"""Seconds that a server may hang."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when."""

    kind: str
    tick: int = 0
    seconds: float = 0.0
    sensor: str = ""
    """The blueprint's id."""


def read_fault(text: str) -> Fault:
    """Read one of `FORMS`.

    Raises:
        ConfigError: it is none.
    """
    if text == WRONG:
        return Fault(WRONG)
    kind, tick, more = _split(text)
    if kind in (KILL, CLOSE) and more is None:
        return Fault(kind, tick)
    if kind == HANG and more is not None and re.fullmatch(r"\d+(\.\d+)?", more):
        if 0 < float(more) <= LONGEST:
            return Fault(kind, tick, seconds=float(more))
        raise ConfigError(f"fault {text!r}: expected above 0 and at most {LONGEST:g} seconds, found {more}")
    if kind in (DROP, LATE) and more is not None:
        if f"sensor.{more}" not in REMOTE:
            known = ", ".join(sorted(name.removeprefix("sensor.") for name in REMOTE))
            raise ConfigError(f"fault {text!r}: expected a sensor of {known}; found {more!r}")
        return Fault(kind, tick, sensor=f"sensor.{more}")
    raise ConfigError(f"fault {text!r}: expected {FORMS}")


def _split(text: str) -> tuple[str, int, str | None]:
    """Return the kind, the step, and what comes after it."""
    found = re.fullmatch(r"([a-z-]+)@([0-9]{1,15})(?::(.+))?", text)
    if not found:
        raise ConfigError(f"fault {text!r}: expected {FORMS}")
    if int(found[2]) < 1:
        raise ConfigError(f"fault {text!r}: the first step is 1")
    return found[1], int(found[2]), found[3]


class Faults:
    """The faults of a server."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = tuple(faults)
        self._late: list[tuple[int, bytes]] = []

    def release(self, own: str) -> str:
        """Return the release that the server claims to be."""
        return WRONG_RELEASE if any(fault.kind == WRONG for fault in self._faults) else own

    def strike(self, tick: int, cut_all: Callable[[], None]) -> None:
        """Do what goes wrong before a step."""
        for fault in self._at(tick):
            if fault.kind == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault.kind == HANG:
                time.sleep(fault.seconds)  # of the whole server: nothing else runs
            elif fault.kind == CLOSE:
                cut_all()

    def keeps(self, tick: int, sensor: str, stream: int, message: bytes) -> bool:
        """Return whether a message is not sent now; one that is late is given out with the next step."""
        kinds = {fault.kind for fault in self._at(tick) if fault.sensor == sensor}
        if LATE in kinds and DROP not in kinds:
            self._late.append((stream, message))
        return bool(kinds)

    def overdue(self) -> list[tuple[int, bytes]]:
        """Return the messages of the step before that are late, with their streams."""
        late, self._late = self._late, []
        return late

    def _at(self, tick: int) -> list[Fault]:
        return [fault for fault in self._faults if fault.tick == tick]
