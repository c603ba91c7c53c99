"""What the calls of a client act on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from mtdrive.envs.town.actors import Actor
from mtdrive.envs.town.blueprints import REMOTE
from mtdrive.envs.town.messages import write_actor
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.structs import Msg

if TYPE_CHECKING:
    from mtdrive.envs.town.rpc import Connection
    from mtdrive.envs.town.server import Server

TICKS = frozenset({"tick_cue", "apply_batch"})
"""Calls that may make a step."""
LOAD = "load_new_episode"
EPISODE = frozenset({LOAD, "version", "get_episode_info", "get_sensor_token"})
"""What a client calls between two episodes."""
MOMENT = 0.05
"""Seconds in which a traffic manager calls at least once."""
PATIENCE = 5.0
"""Seconds after which an episode starts although no client listens to it anew."""
FILES = frozenset({"get_required_files", "get_navigation_mesh"})
"""Calls that need the navigation mesh."""


class Session:
    """A client."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self.server, self.connection = server, connection
        self.world, self.streams = server.world, server.streams
        self.managers: set[int] = set()
        """Ports of the client's traffic managers."""
        self.loaded = asyncio.Event()
        self.loaded.set()

    def wait_before(self, name: str) -> Awaitable[Any] | None:
        """Return what a call has to wait for: None to do it at once.

        A step waits for the listeners that are about to connect. While an episode is loaded, the traffic
        manager of the client that loads it is kept waiting, and beforehand gets the time to call: between its
        old and its new episode the client has none, and the manager's thread would crash it.
        """
        if name in TICKS and self.streams.claims:
            return self.streams.claims.settled(self)
        if self.managers and name == LOAD:
            self.loaded.clear()
            return asyncio.sleep(MOMENT)
        if not self.loaded.is_set() and name not in EPISODE:
            return self._wait_for_load()
        return self.server.navigator.waiting() if name in FILES else None

    async def _wait_for_load(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.loaded.wait(), PATIENCE)

    def close(self) -> None:
        """End."""
        self.server.leave(self)

    def tick(self) -> int:
        """Make a step in synchronous mode; return the frame that the client shall wait for."""
        if not self.world.settings.synchronous:
            return self.world.frame + 1
        self.server.masters.add(self)
        return self.server.step()

    def write(self, actor: Actor) -> Msg:
        """Return CARLA's struct of an actor."""
        return write_actor(actor, self.streams.token)

    def spawn(self, type: str, attributes: dict[str, str], pose: Pose, parent: int = 0) -> Actor:
        """Add an actor; a sensor gets a stream, and the first camera shows whether anything can be drawn."""
        if type.startswith("sensor.camera.") and type in REMOTE:
            self.server.sensing.painter()
        if type == "controller.ai.walker" and parent in self.world.actors:
            self.server.navigator.admit(self.world.actors[parent])
        actor = self.world.spawn(type, attributes, pose, parent)
        if type in REMOTE:
            actor.stream = self.streams.new()
        return actor

    def destroy(self, id: int) -> None:
        """Remove an actor."""
        actor = self.world.destroy(id)
        self.server.sensing.drop(actor)
        if actor.stream:
            self.streams.close(actor.stream)
