"""A plain client for scripts.fuzz_town: calls over a socket, and listening to the world."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterable
from typing import Any

import msgpack

from scripts.fuzz_messages import pack

HOST = "127.0.0.1"
PATIENCE = 300.0


class Refused(Exception):
    """The server said no."""


class Caller:
    """A control connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unpacker = msgpack.Unpacker(max_buffer_size=1 << 28, unicode_errors="surrogateescape")
        self._id = 0

    def send(self, name: str, *arguments: Any) -> None:
        """Make a call; `result` gives what comes of it."""
        self._id += 1
        self._socket.sendall(pack([0, self._id, name, [[False], *arguments]]))

    def raw(self, name: str, *arguments: Any) -> Any:
        """Make a call and return its whole result, as `result` does."""
        self.send(name, *arguments)
        return self.result()

    def result(self) -> Any:
        """Return the whole result of the last call.

        Raises:
            Refused: the server has no such call.
            ConnectionError: it hung up.
        """
        while True:
            for kind, id, error, result in self._unpacker:
                if (kind, id) == (1, self._id):
                    if error is not None:
                        raise Refused(error)
                    return result
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionError("the server hung up")
            self._unpacker.feed(data)

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what a call gives.

        Raises:
            Refused: with the reason.
        """
        match self.raw(name, *arguments):
            case [[False]]:
                return None
            case [[True | 0, [text]]]:
                raise Refused(text)
            case [[1, value]]:
                return value
            case result:
                raise Refused(f"{name} gave {result!r:.200}")

    def destroy(self, ids: Iterable[int]) -> None:
        """Destroy those that are there."""
        self.raw("apply_batch", [[[1, [id]]] for id in ids], False)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Ear:
    """A connection to a stream."""

    def __init__(self, caller: Caller, stream: int, patience: float = PATIENCE) -> None:
        token = caller.call("get_sensor_token", stream)[0]
        _, port = struct.unpack_from("<IH", token)
        self._socket = socket.create_connection((HOST, port), patience)
        self._socket.sendall(struct.pack("<I", stream))

    def message(self) -> bytes:
        """Wait for a message."""
        (size,) = struct.unpack("<I", self._exactly(4))
        return self._exactly(size)

    def frame(self) -> int:
        """Wait for a message and return its frame."""
        return int(struct.unpack_from("<Q", self.message(), 8)[0])

    def hears(self, seconds: float) -> bool:
        """Return whether a message comes in time."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the server closed a stream")
            data += more
        return data

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def world_stream(caller: Caller) -> int:
    """Return the stream of the world's states."""
    return int(struct.unpack_from("<I", caller.call("get_episode_info")[1][0])[0])
