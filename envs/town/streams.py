"""Streams: the server's side of the connections on which clients only listen.

A client asks for a token, connects and names the stream; from then on it reads. `listen()` returns before
that is done, so a tick sent at once would lose the first frame: ticks wait until every token that was handed
out is claimed, or for `PATIENCE` at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from mtdrive.envs.town.messages import token

LOG = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that ticks wait for a client to claim a token."""
BACKLOG = 256 << 20
"""Bytes that may wait for a client that does not read; then its stream is cut."""


@dataclass(frozen=True)
class Claim:
    """A token that was handed out."""

    stream: int
    owner: object
    deadline: float


class Streams:
    """Who listens to what."""

    def __init__(self, welcome: Callable[[int], bytes | None]) -> None:
        """Take what a new listener of a stream is sent first."""
        self._welcome = welcome
        self._listeners: dict[int, set[asyncio.WriteTransport]] = defaultdict(set)
        self._claims: list[Claim] = []
        self._changed = asyncio.Event()
        # Old clients try their old ids on a new server for ever: ids start where no earlier server's were.
        self._last = secrets.randbelow(1 << 31)
        self.port = 0

    async def open(self) -> asyncio.Server:
        """Listen on a port that the system chooses."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Listener(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def new(self) -> int:
        """Return the id of a new stream."""
        self._last += 1
        return self._last

    def token(self, stream: int) -> bytes:
        """Return the token of a stream."""
        return token(stream, self.port)

    def expect(self, stream: int, owner: object) -> None:
        """Remember that a client was given a token."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        self._claims.append(Claim(stream, owner, deadline))

    def forget(self, *, stream: int | None = None, owner: object = None) -> None:
        """Wait no longer for the claims of a stream or a client."""
        self._claims = [c for c in self._claims if c.stream != stream and (owner is None or c.owner != owner)]
        self._changed.set()

    async def settled(self) -> None:
        """Wait until all tokens are claimed or too old."""
        loop = asyncio.get_running_loop()
        while self._claims:
            now = loop.time()
            self._claims = [c for c in self._claims if c.deadline > now]
            if self._claims:
                self._changed.clear()
                rest = min(c.deadline for c in self._claims) - now
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), rest)

    @property
    def waiting(self) -> bool:
        """Whether a token is not claimed yet."""
        return bool(self._claims)

    def heard(self, stream: int) -> bool:
        """Return whether anyone listens."""
        return bool(self._listeners.get(stream))

    def close(self, stream: int) -> None:
        """End a stream. Its clients are left connected: cut off, they would try again without a pause."""
        self._listeners.pop(stream, None)
        self.forget(stream=stream)

    def shut(self) -> None:
        """Cut all connections."""
        for transports in list(self._listeners.values()):
            for transport in list(transports):
                transport.abort()

    def send(self, stream: int, message: bytes) -> None:
        """Send a message to all that listen."""
        for transport in list(self._listeners.get(stream, ())):
            if transport.get_write_buffer_size() > BACKLOG:
                LOG.warning("a client does not read stream %d: its connection is cut", stream)
                transport.abort()
            elif not transport.is_closing():
                transport.write(struct.pack("<I", len(message)))
                transport.write(message)

    def join(self, stream: int, transport: asyncio.WriteTransport) -> None:
        """Add a listener."""
        self._listeners[stream].add(transport)
        claim = next((c for c in self._claims if c.stream == stream), None)
        if claim:
            self._claims.remove(claim)
            self._changed.set()
        first = self._welcome(stream)
        if first is not None:
            transport.write(struct.pack("<I", len(first)) + first)

    def leave(self, stream: int, transport: asyncio.WriteTransport) -> None:
        """Remove a listener."""
        listeners = self._listeners.get(stream)
        if listeners is not None:
            listeners.discard(transport)
            if not listeners:
                del self._listeners[stream]


class _Listener(asyncio.Protocol):
    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._bytes = b""
        self._stream: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        quicken(transport)

    def data_received(self, data: bytes) -> None:
        """Read the id of the stream, the only thing that a client says."""
        if self._stream is not None:
            return
        self._bytes += data
        if len(self._bytes) >= 4:
            (self._stream,) = struct.unpack("<I", self._bytes[:4])
            self._streams.join(self._stream, self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._streams.leave(self._stream, self._transport)


def quicken(transport: asyncio.BaseTransport) -> None:
    """Send small messages at once."""
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
