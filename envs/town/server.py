"""The server: it owns the world, steps it, and lets clients call and listen.

In synchronous mode a step is made when a client asks for it. Otherwise the world runs at its own pace, as
fast as the clock at most; while no client is connected it stands still. When the last client that asked for
synchronous mode is gone, the world runs on its own again, so that the next client is not left waiting.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

from mtdrive.envs.town.calls import CALLS
from mtdrive.envs.town.messages import world_state
from mtdrive.envs.town.rpc import Answerer, Connection
from mtdrive.envs.town.sensors import MakePainter, Sensing
from mtdrive.envs.town.session import PATIENCE, Session
from mtdrive.envs.town.stage import Land
from mtdrive.envs.town.streams import Streams
from mtdrive.envs.town.versions import Wire
from mtdrive.envs.town.world import Settings, World
from mtdrive.errors import ConfigError

LOG = logging.getLogger(__name__)

HOST = "127.0.0.1"


class Server:
    """A world with its connections."""

    def __init__(self, maps: Maps, name: str, paint: MakePainter, wire: Wire, seed: int = 0) -> None:
        self.maps, self.wire = maps, wire
        self.world = World(maps.load(name))
        self.streams = Streams(self._welcome)
        self.sensing = Sensing(self.world, self.streams, wire, paint, seed)
        self.world_stream = self.streams.new()
        self.managers: dict[int, str] = {}
        """Addresses of the traffic managers that clients run, by port."""
        self.warned = False
        """Whether the log says that walkers have no navigation."""
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
        listeners = await self.streams.open()
        answerer = Answerer(CALLS)
        try:
            calls = await loop.create_server(lambda: Connection(answerer, self._meet), HOST, port)
        except OSError as error:
            raise ConfigError(
                f"port {port} of {HOST} cannot be had ({error.strerror}); choose another"
            ) from error
        ready(calls.sockets[0].getsockname()[1])
        free = loop.create_task(self._run_free())
        stopping = loop.create_task(self._stopping.wait())
        await asyncio.wait([free, stopping], return_when=asyncio.FIRST_COMPLETED)
        free.cancel()
        for listener in (calls, listeners):
            listener.close()
        for session in list(self.sessions):
            session.connection.transport.abort()
        self.streams.shut()
        self.sensing.close()
        if free.done() and not free.cancelled() and free.exception():
            raise free.exception()  # type: ignore[misc]

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()

    def _meet(self, connection: Connection) -> Session:
        session = Session(self, connection)
        self.sessions.add(session)
        self._wake.set()
        return session

    def leave(self, session: Session) -> None:
        """Take leave of a client."""
        self.sessions.discard(session)
        self.streams.forget(owner=session)
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
            await self.streams.settled()
            if not self.world.settings.synchronous:
                self.step()
            await asyncio.sleep(max(0.0, self.world.settings.dt - (loop.time() - begun)))

    def step(self) -> int:
        """Make a step, tell all, and return its frame."""
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

    def load(self, name: str) -> Land:
        """Return a map by its name, path or text; `OpenDriveMap` is the one that a client sent last.

        Raises:
            ConfigError: there is none.
        """
        if name.rsplit("/", 1)[-1] == "OpenDriveMap" and self._custom is not None:
            return self._load(self._custom)
        if name not in self._known:
            self._known = {name: self._load(name)}
        return self._known[name]

    def keep(self, text: str) -> None:
        """Keep a map that a client sent."""
        self._custom = text
