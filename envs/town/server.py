"""The server: it owns the world, steps it, and lets clients call and listen.

In synchronous mode a step is made when a client asks for it. Otherwise the world runs at its own pace, as
fast as the clock at most; while no client is connected it stands still. When the last client that asked for
synchronous mode is gone, the world runs on its own again, so that the next client is not left waiting.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace

from mtdrive.envs.town.calls import CALLS
from mtdrive.envs.town.doors import Door
from mtdrive.envs.town.faults import Fault, Faults
from mtdrive.envs.town.limits import CLIENTS, FARTHEST, SIGNALS
from mtdrive.envs.town.messages import world_state
from mtdrive.envs.town.navigation import Navigator
from mtdrive.envs.town.rpc import Answerer, Connection
from mtdrive.envs.town.sensors import MakePainter, Sensing
from mtdrive.envs.town.session import PATIENCE, Session
from mtdrive.envs.town.stage import Land, Pose
from mtdrive.envs.town.streams import Streams
from mtdrive.envs.town.structs import brief
from mtdrive.envs.town.versions import Wire
from mtdrive.envs.town.world import Settings, World
from mtdrive.errors import ConfigError, MtdriveError

LOG = logging.getLogger(__name__)

HOST = "127.0.0.1"
CUSTOM = "OpenDriveMap"
"""The name of the map that a client sent last."""


class Server:
    """A world with its connections."""

    def __init__(
        self,
        maps: Maps,
        name: str,
        paint: MakePainter,
        wire: Wire,
        seed: int = 0,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.faults = Faults(faults)
        self.maps, self.wire = maps, replace(wire, release=self.faults.release(wire.release))
        self.world = World(maps.load(name))
        self.streams = Streams(self._welcome)
        self.sensing = Sensing(self.world, self.streams, wire, paint, seed, self.faults)
        self.world_stream = self.streams.new()
        self.managers: dict[int, str] = {}
        """Addresses of the traffic managers that clients run, by port."""
        self.navigator = Navigator()
        self.door: Door[Connection] = Door(CLIENTS)
        self.sessions: set[Session] = set()
        self.masters: set[Session] = set()
        """Those that asked for synchronous mode or a step in it."""
        self._next: Land | None = None
        self._listened = False
        self._latest = 0.0
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self, port: int, ready: Callable[[int], None]) -> None:
        """Serve until `stop`; `ready` is told the port.

        Raises:
            ConfigError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        self.navigator.prepare(self.world.land)
        listeners = await self.streams.open()
        answerer = Answerer(CALLS)
        try:
            calls = await loop.create_server(lambda: Connection(answerer, self._meet, self.door), HOST, port)
        except OSError as error:
            raise ConfigError(
                f"port {port} of {HOST} cannot be had ({error.strerror}); choose another"
            ) from error
        ready(calls.sockets[0].getsockname()[1])
        free = loop.create_task(self._run_free())
        await self._stopping.wait()
        free.cancel()
        for listener in (calls, listeners):
            listener.close()
        self.cut_all()
        self.sensing.close()

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()

    def cut_all(self) -> None:
        """Cut all connections."""
        for connection in list(self.door.inside):
            connection.cut()
        self.streams.cut_all()

    def _meet(self, connection: Connection) -> Session:
        session = Session(self, connection)
        self.sessions.add(session)
        self._wake.set()
        return session

    def leave(self, session: Session) -> None:
        """Take leave of a client."""
        self.sessions.discard(session)
        self.streams.claims.forget(owner=session)
        for port in session.managers:
            self.managers.pop(port, None)
        self.masters.discard(session)
        if self.world.settings.synchronous and not self.masters:
            LOG.warning("the client that held synchronous mode is gone: the world runs on its own")
            self.set_settings(Settings())

    def set_settings(self, settings: Settings) -> None:
        """Change how the world runs."""
        self.world.settings = settings
        self._wake.set()

    async def _run_free(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self.world.settings.synchronous or not self.sessions:
                self._wake.clear()
                await self._wake.wait()
                continue
            begun = loop.time()
            await self.streams.claims.settled()
            if not self.world.settings.synchronous:
                self._try_step()
            await asyncio.sleep(max(0.0, self.world.settings.dt - (loop.time() - begun)))

    def _try_step(self) -> None:
        try:
            self.step()
        except Exception:
            LOG.exception("a step failed")

    def step(self) -> int:
        """Make a step, tell all, and return its frame."""
        self.faults.strike(self.world.frame + 1, self.cut_all)
        late = asyncio.get_running_loop().time() > self._latest
        if self._next is not None and (self._listened or late):
            self._begin()
        hits = self.world.step()
        changed, self.world.map_changed = self.world.map_changed, False
        self.streams.send(self.world_stream, world_state(self.wire.world, self.world, changed))
        self.sensing.send(hits)
        return self.world.frame

    def reload(self, land: Land) -> None:
        """Start an episode on a map with the first step after the client listens to the world anew.

        A client with a traffic manager crashes if it learns of the episode before: while it has the reply but
        not yet its own new episode, a change of the episode's id finds none.
        """
        self._next = land
        self.navigator.prepare(land)
        self._listened = False
        self._latest = asyncio.get_running_loop().time() + PATIENCE

    def _begin(self) -> None:
        land, self._next = self._next, None
        assert land is not None
        for actor in self.world.actors.values():
            if actor.stream:
                self.streams.close(actor.stream)
        self.sensing.forget()
        self.world.begin(land)

    def _welcome(self, stream: int) -> bytes | None:
        """Return the state of the world for its new listeners, who may wait long for the next."""
        if stream != self.world_stream:
            return None
        self._listened = True
        for session in self.sessions:
            session.loaded.set()
        return world_state(self.wire.world, self.world, False)


class Maps:
    """The maps that a server can load."""

    def __init__(self, load: Callable[[str], Land], names: Callable[[], list[str]]) -> None:
        self._load, self.names = load, names
        self._custom: str | None = None
        self._known: dict[str, Land] = {}
        self._first: tuple[str, str] | None = None
        """What the server was started with, and the name of that map."""

    def load(self, name: str) -> Land:
        """Return a map by its name, path or text; `CUSTOM` is the one that a client sent last.

        Raises:
            ConfigError: there is none.
        """
        if name.rsplit("/", 1)[-1] == CUSTOM and self._custom is not None:
            return _built(self._load(self._custom))
        if name not in self._known:
            self._known = {name: _built(self._load(name))}
            self._first = self._first or (name, self._known[name].name)
        return self._known[name]

    def choose(self, name: str) -> Land:
        """Return a map that a client names: one of those that it is told of, no file of this machine.

        Raises:
            ConfigError: there is none.
        """
        last = name.rsplit("/", 1)[-1]
        if self._first and last == self._first[1]:
            return self.load(self._first[0])
        if last not in self.names() and (last != CUSTOM or self._custom is None):
            raise ConfigError(f"map {brief(last)}: expected one of {', '.join(self.names())}")
        return self.load(last)

    def keep(self, text: str) -> None:
        """Keep a map that a client sent."""
        self._custom = text


def _built(land: Land) -> Land:
    """Return a map on which a world was tried.

    Raises:
        ConfigError: that cannot be done.
    """
    try:
        count = len(land.signals) + len(land.stop_signs)
        if count <= SIGNALS:
            world = World(land)
            world.spawn("vehicle.audi.tt", {}, Pose(z=FARTHEST))
            world.step()
        _ = land.spawn_points
    except MtdriveError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{land.name}: no town can be built of it ({brief(error)}); give another map"
        ) from error
    if count > SIGNALS:
        raise ConfigError(f"{land.name}: expected at most {SIGNALS} lights and signs, found {count}")
    return land
