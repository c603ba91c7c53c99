"""A session with a server in synchronous mode.

It does without what goes wrong in the client: `tick`, which spins on a processor and sees a dead server only
at its deadline; remote calls such as `bounding_box` in every tick; a process that ends while a sensor listens
and aborts; and synchronous mode that outlives its client, which leaves the next one waiting.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import carla

from mtdrive.envs.health import Server
from mtdrive.envs.hearing import Hearing
from mtdrive.envs.line import LOOK
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.roster import Roster
from mtdrive.envs.scene import Scene, Users
from mtdrive.errors import ConfigError, SimulatorError


@dataclass(frozen=True)
class Tick:
    """What a step of the world brought."""

    frame: int
    time: float
    """Simulated seconds since the last warm-up."""
    data: Mapping[str, Any]
    """What the sensors sent of exactly this frame, as the client's classes, by their names."""
    events: tuple[tuple[str, Any], ...]
    """Collisions and the like of the frames before this one that were not told yet."""
    responses: tuple[Any, ...]
    """To the commands; `carla.command.Response`."""
    snapshot: Any
    """`carla.WorldSnapshot`."""


class Simulation:
    """One client of a server."""

    def __init__(
        self, server: Server, rate: float = 20.0, patience: float = 10.0, loading: float = 60.0
    ) -> None:
        """Connect; `rate` in ticks per simulated second.

        An answer of the server may last `patience` seconds; those that make it load something may last
        `loading`: maps, actors, and frames while it warms up.

        Raises:
            SimulatorError: the server does not answer.
        """
        self.server, self.rate, self.patience, self._loading = server, rate, patience, loading
        self._hearing = Hearing(lambda: server.alive)
        self.cue: Callable[[float], int] = lambda wait: int(server.line.call("tick_cue", patience=wait))
        """Makes a step, which may last so many seconds, and returns its frame."""
        self._spawned: list[int] = []
        self._first = 0
        """The frame from which time counts."""
        self._last: Tick
        self._roads: RoadMap | None = None
        self._failed, self._closed, self._owner = False, False, os.getpid()
        atexit.register(self.close)
        self._client = carla.Client(server.host, server.port)
        self._client.set_timeout(patience)
        try:
            self._enter(self._watched("connecting", self._client.get_world))
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can go on: nothing failed, and the server is healthy."""
        return not self._failed and not self._closed and self.server.alive

    @property
    def town(self) -> str:
        """The name of the map."""
        return str(self.map.name).rsplit("/", 1)[-1]

    @property
    def roads(self) -> RoadMap:
        """The map for planning."""
        if self._roads is None:
            self._roads = RoadMap.of(self.town, self.map.to_opendrive())
        return self._roads

    def load(self, town: str) -> None:
        """Start anew on a map.

        Raises:
            ConfigError: the server has no such map.
            SimulatorError: it died or hangs.
        """
        paths = self._watched("listing the maps", self._client.get_available_maps)
        maps = {str(path).rsplit("/", 1)[-1]: path for path in paths}
        if town not in maps:
            raise ConfigError(f"the server has no town {town}; it has {', '.join(sorted(maps))}")
        self.clear()
        self._enter(self._watched(f"loading {town}", self._client.load_world, maps[town], False))

    def spawn(self, type_id: str, transform: carla.Transform, parent: Any = None, **attributes: str) -> Any:
        """Return a new actor, placed relative to its parent if it has one.

        Raises:
            ConfigError: there is no such type, or it has no such attribute.
            SimulatorError: something is in the way.
        """
        try:
            blueprint = self._library.find(type_id)
            for name, value in attributes.items():
                blueprint.set_attribute(name, str(value))
        except IndexError as error:
            raise ConfigError(f"the server cannot make {type_id}: {error}") from None
        actor = self._watched(f"making {type_id}", self.world.spawn_actor, blueprint, transform, parent)
        self._spawned.append(actor.id)
        return actor

    def listen(
        self, name: str, type_id: str, transform: carla.Transform, parent: Any, **attributes: str
    ) -> None:
        """Add a sensor that speaks every tick, or of events.

        Call `warm_up` after the last one, since a new sensor may miss the first frames.
        """
        sensor = self.spawn(type_id, transform, parent, **attributes)
        with self.remote(f"listening to {type_id}"):
            self._hearing.listen(name, sensor)

    def warm_up(self, ticks: int = 1, age: float = 0.0) -> Tick:
        """Tick at least so often, and until every sensor sends the frame of a tick; time counts from here.

        The world will be at least `age` seconds old, as clouds and water move with its age.

        Raises:
            SimulatorError: a sensor sends nothing.
        """
        deadline = time.monotonic() + self._loading
        for _ in range(ticks):
            self._step((), self._loading)
        while self._hearing.cold or self._age < age:
            if time.monotonic() > deadline:
                raise SimulatorError(f"nothing comes of the sensors {', '.join(self._hearing.cold)}")
            self._step((), self._loading)
        self._first = self._last.frame
        self._last = replace(self._last, time=0.0)
        return self._last

    def tick(self, commands: Sequence[Any] = ()) -> Tick:
        """Apply commands, make a step, and return what came of it.

        Raises:
            SimulatorError: the server died or hangs, or a command other than a spawn failed.
        """
        return self._step(commands, self.patience)

    def _step(self, commands: Sequence[Any], patience: float) -> Tick:
        with self.remote("a tick"):
            # Its answer also says that what the client sent without waiting has arrived.
            responses = tuple(self._client.apply_batch_sync(list(commands)))
        self._note(commands, responses)
        try:
            frame = self.cue(patience)
            heard = self._hearing.collect(frame, patience)
        except SimulatorError:
            self._failed = True
            raise
        now = (frame - self._first) / self.rate
        self._last = Tick(frame, now, heard.data, heard.events, responses, heard.snapshot)
        return self._last

    def scene(self, ego: Any, traffic: Users | None = None) -> Scene:
        """Return all there is to know of the last tick; only actors never seen before need remote calls."""
        users = traffic.users() if traffic else ()
        return self._roster.scene(self._last, ego.id, users)

    def set_weather(self, name: str) -> None:
        """Set a weather by its name in `carla.WeatherParameters`.

        Raises:
            ConfigError: there is none.
        """
        weather = getattr(carla.WeatherParameters, name, None)
        if not isinstance(weather, carla.WeatherParameters):
            raise ConfigError(
                f"expected a weather of carla.WeatherParameters such as ClearNoon, found {name!r}"
            )
        with self.remote("setting the weather"):
            self.world.set_weather(weather)

    def reset_lights(self) -> None:
        """Begin the cycles of all traffic lights anew."""
        with self.remote("resetting lights"):
            self.world.reset_all_traffic_lights()

    def clear(self) -> None:
        """Take away all that was spawned here."""
        self._hearing.stop()
        spawned, self._spawned = self._spawned[::-1], []
        if spawned and self.alive:
            with self.remote("clearing"):
                self._client.apply_batch_sync([carla.command.DestroyActor(id) for id in spawned])
            self._roster.forget(spawned)

    def close(self) -> None:
        """End the session, also one whose server is gone; twice does no harm."""
        if self._closed or os.getpid() != self._owner:  # a fork inherits the exit handlers
            return
        atexit.unregister(self.close)
        with suppress(SimulatorError):
            self.clear()
        self._hearing.close()
        if self.alive:
            with suppress(RuntimeError):
                self._apply(self.world.get_settings(), None)
        self._closed = True

    @contextmanager
    def remote(self, what: str) -> Iterator[None]:
        """Make the client's errors SimulatorError; after a death or a time-out the session is over."""
        if self._failed or self._closed:
            raise SimulatorError(f"{what}: the session is over: the server died or hangs, or it was closed")
        try:
            # The client would wait for a dead server until its deadline; our line does not.
            self.server.line.call("get_episode_settings", patience=self.patience)
            yield
        except SimulatorError:
            self._failed = True
            raise
        except RuntimeError as error:
            self._failed = "time-out" in str(error) or not self.server.alive
            raise SimulatorError(f"{what} failed: {error}") from None

    @property
    def _age(self) -> float:
        """Seconds since the world began, and half a tick more, since it is a sum of rounded numbers."""
        return float(self._last.snapshot.timestamp.elapsed_seconds) + 0.5 / self.rate

    def _enter(self, world: Any) -> None:
        """Take a world that was loaded."""
        with self.remote("entering the world"):
            self.world, self.map, self._roads = world, world.get_map(), None
            self._library = world.get_blueprint_library()
            self._apply(world.get_settings(), 1 / self.rate)
            self._hearing.watch(world)
        self.tick()  # without it a client in synchronous mode sees no actors
        self._roster = Roster(world, self.remote)

    def _apply(self, settings: Any, step: float | None) -> None:
        """Set synchronous mode with a step in seconds, or end it."""
        settings.synchronous_mode, settings.fixed_delta_seconds = step is not None, step
        self.world.apply_settings(settings)

    def _note(self, commands: Sequence[Any], responses: Sequence[Any]) -> None:
        """Keep what was spawned, and look whether all went well."""
        for command, response in zip(commands, responses, strict=True):
            if isinstance(command, carla.command.SpawnActor):
                self._spawned += [] if response.error else [response.actor_id]
            elif response.error:
                raise SimulatorError(f"{type(command).__name__} failed: {response.error}")

    def _watched(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a call that may last long; meanwhile a dead server is noticed.

        A call cannot be ended: its thread goes on until the deadline, and the process waits for it.
        """
        with self.remote(what):
            result: queue.SimpleQueue[Any] = queue.SimpleQueue()
            self._client.set_timeout(self._loading)
            threading.Thread(target=_answer, args=(result, function, *arguments)).start()
            while True:
                with suppress(queue.Empty):
                    value, error = result.get(timeout=LOOK)
                    break
                if not self.server.alive:
                    raise SimulatorError(f"the server died while {what}")
            self._client.set_timeout(self.patience)
            if error is not None:
                raise error
            return value


def _answer(result: queue.SimpleQueue[Any], function: Callable[..., Any], *arguments: Any) -> None:
    try:
        result.put((function(*arguments), None))
    except RuntimeError as error:
        result.put((None, error))
