"""Streams: the server's side of the connections on which clients only listen.

A client asks for a token, connects and names the stream; from then on it reads. For one that reads slower
than it is sent to, frames are dropped, as CARLA does while it runs freely. In synchronous mode CARLA waits
for it: here it cannot hold up the others.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import struct
from collections import defaultdict
from collections.abc import Callable

from mtdrive.envs.town.claims import Claims
from mtdrive.envs.town.doors import Door
from mtdrive.envs.town.limits import BACKLOG, LISTENERS, QUEUE
from mtdrive.envs.town.messages import token

LOG = logging.getLogger(__name__)


class Streams:
    """Who listens to what."""

    def __init__(self, welcome: Callable[[int], bytes | None]) -> None:
        """Take what a new listener of a stream is sent first."""
        self._welcome = welcome
        self.claims = Claims()
        self.door: Door[Listener] = Door(LISTENERS)
        self._live: set[int] = set()
        self._listeners: dict[int, set[Listener]] = defaultdict(set)
        # Old clients try their old ids on a new server for ever: ids start where no earlier server's were.
        self._last = secrets.randbelow(1 << 31)
        self.port = 0

    async def open(self) -> asyncio.Server:
        """Listen on a port that the system chooses."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Listener(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def new(self) -> int:
        """Return the id of a new stream."""
        self._last += 1
        self._live.add(self._last)
        return self._last

    def token(self, stream: int) -> bytes:
        """Return the token of a stream."""
        return token(stream, self.port)

    def live(self, stream: int) -> bool:
        """Return whether there is such a stream."""
        return stream in self._live

    def heard(self, stream: int) -> bool:
        """Return whether anyone listens."""
        return bool(self._listeners.get(stream))

    def close(self, stream: int) -> None:
        """End a stream. Its clients are left connected: cut off, they would try again without a pause."""
        self._live.discard(stream)
        self._listeners.pop(stream, None)
        self.claims.forget(stream)

    def cut_all(self) -> None:
        """Cut all connections."""
        for listener in list(self.door.inside):
            listener.cut()

    def send(self, stream: int, message: bytes) -> None:
        """Send a message to all that listen."""
        behind = False
        for listener in list(self._listeners.get(stream, ())):
            listener.send(message)
            behind = behind or listener.waiting > 0
        if behind and sum(listener.waiting for listener in self.door.inside) > BACKLOG:
            LOG.warning("more than %d bytes wait for listeners: the one most behind is cut off", BACKLOG)
            max(self.door.inside, key=lambda listener: listener.waiting).cut()

    def join(self, stream: int, listener: Listener) -> None:
        """Add a listener; one to a stream that is not there hears nothing."""
        self.claims.use(stream)
        if stream not in self._live:
            return
        self._listeners[stream].add(listener)
        first = self._welcome(stream)
        if first is not None:
            listener.send(first)

    def leave(self, stream: int, listener: Listener) -> None:
        """Remove a listener."""
        listeners = self._listeners.get(stream)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self._listeners[stream]


class Listener(asyncio.Protocol):
    """A connection of one who listens."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._bytes = b""
        self._stream: int | None = None
        self._slow = False

    @property
    def stranger(self) -> bool:
        """Whether it listens to nothing."""
        return self._stream is None or not self._streams.live(self._stream)

    @property
    def waiting(self) -> int:
        """Bytes that it did not read yet."""
        return self._transport.get_write_buffer_size()

    def cut(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the id of the stream, if there is room."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        quicken(transport)
        if not self._streams.door.enter(self):
            LOG.warning("%d listeners are connected, the most that Town takes: one is cut", LISTENERS)
            self.cut()

    def data_received(self, data: bytes) -> None:
        """Read the id of the stream, the only thing that a client says."""
        if self._stream is not None:
            return
        self._bytes += data
        if len(self._bytes) >= 4:
            (self._stream,), self._bytes = struct.unpack("<I", self._bytes[:4]), b""
            self._streams.join(self._stream, self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Listen no longer."""
        self._streams.door.leave(self)
        if self._stream is not None:
            self._streams.leave(self._stream, self)

    def send(self, message: bytes) -> None:
        """Send a message, unless too much waits already."""
        waiting = self.waiting
        if waiting and waiting + len(message) > QUEUE:
            if not self._slow:
                self._slow = True
                LOG.warning("a client reads stream %s too slowly: frames are dropped", self._stream)
        elif not self._transport.is_closing():
            self._transport.write(struct.pack("<I", len(message)))
            self._transport.write(message)


def quicken(transport: asyncio.BaseTransport) -> None:
    """Send small messages at once."""
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
