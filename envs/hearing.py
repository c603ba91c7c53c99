"""What a server sends, matched by frame: the states of the world and the data of sensors.

The client's threads only put into a queue; the session's thread takes out. A new sensor may miss the first
frames, because `listen` returns before it is connected: it is cold until it sent anything. From then on it
is waited for, be it ever so late: pictures may take longer than `COLD` every time.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mtdrive.envs.line import LOOK
from mtdrive.errors import SimulatorError

EVENTS = ("sensor.other.collision", "sensor.other.lane_invasion", "sensor.other.obstacle")
"""Sensors that speak only when something happens."""
COLD = 0.5
"""Seconds that a cold sensor is waited for after a tick."""
STATE = 0
"""Stands for the world, as no actor has this id."""


@dataclass(frozen=True)
class Heard:
    """What came of a frame."""

    snapshot: Any
    data: Mapping[str, Any]
    """By the names of the sensors; those that speak every tick."""
    events: tuple[tuple[str, Any], ...]
    """By name, of the frames before that were not told yet. Nothing says when the last event of a frame has
    come: told one tick later, the same drive has the same events at the same ticks."""


@dataclass
class _Sensor:
    name: str
    actor: Any
    steady: bool
    cold: bool = field(default=True)


class Hearing:
    """The sensors of a session and the states of its world."""

    def __init__(self, alive: Callable[[], bool]) -> None:
        """Take whether the server is healthy."""
        self._alive = alive
        self._inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._sensors: dict[int, _Sensor] = {}
        self._events: list[tuple[str, Any]] = []
        self._world: tuple[Any, int] | None = None

    @property
    def cold(self) -> tuple[str, ...]:
        """The sensors that have not yet sent anything."""
        return tuple(sensor.name for sensor in self._sensors.values() if sensor.steady and sensor.cold)

    def watch(self, world: Any) -> None:
        """Hear the states of a world, and nothing more of the one before."""
        self._unwatch()
        inbox = self._inbox = queue.SimpleQueue()
        self._world = world, world.on_tick(lambda state: inbox.put((STATE, state)))

    def listen(self, name: str, actor: Any) -> None:
        """Hear a sensor."""
        id, inbox = actor.id, self._inbox
        self._sensors[id] = _Sensor(name, actor, actor.type_id not in EVENTS)
        actor.listen(lambda data: inbox.put((id, data)))

    def collect(self, frame: int, patience: float) -> Heard:
        """Return what came of a frame, which the server was told to make; it may last `patience` seconds.

        Raises:
            SimulatorError: something is missing, or another client makes frames as well.
        """
        begun = time.monotonic()
        missing = {id for id, sensor in self._sensors.items() if sensor.steady}
        snapshot, data = None, {}
        while snapshot is None or missing:
            waited = time.monotonic() - begun
            if snapshot is not None and waited > COLD and all(self._sensors[id].cold for id in missing):
                break
            if waited > patience:
                raise SimulatorError(f"no {self._names(missing)} of frame {frame} came: the server hangs")
            source, message = self._take()
            if source == STATE and message.frame > frame:
                raise SimulatorError(
                    f"frame {message.frame} came instead of {frame}: another client ticks too"
                )
            if source in self._sensors:
                self._sensors[source].cold = False
            if source in self._sensors and not self._sensors[source].steady:
                self._events.append((self._sensors[source].name, message))
            elif message is not None and message.frame == frame:
                missing.discard(source)
                if source == STATE:
                    snapshot = message
                elif source in self._sensors:
                    data[self._sensors[source].name] = message
        return Heard(snapshot, data, self._events_before(frame))

    def stop(self) -> None:
        """Stop all sensors; nothing is asked of the server, which may be dead."""
        for sensor in self._sensors.values():
            with suppress(RuntimeError):  # its socket may just have been closed by a dying server
                sensor.actor.stop()
        self._sensors.clear()
        self._events.clear()

    def close(self) -> None:
        """Stop all."""
        self.stop()
        self._unwatch()

    def _unwatch(self) -> None:
        if self._world is not None:
            world, callback = self._world
            world.remove_on_tick(callback)
        self._world = None

    def _take(self) -> tuple[int, Any]:
        """Return what came next; after a while without anything, nothing of an unknown sender."""
        try:
            return self._inbox.get(timeout=LOOK)
        except queue.Empty:
            if not self._alive():
                raise SimulatorError("the server died in a tick") from None
            return -1, None

    def _events_before(self, frame: int) -> tuple[tuple[str, Any], ...]:
        told = [event for event in self._events if event[1].frame < frame]
        self._events = [event for event in self._events if event[1].frame >= frame]
        return tuple(sorted(told, key=lambda event: event[1].frame))

    def _names(self, missing: set[int]) -> str:
        return ", ".join(sorted(self._sensors[id].name for id in missing)) or "state"
