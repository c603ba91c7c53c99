"""CARLA's calls over a socket of our own.

The client's calls end at their deadline only, even if the server died, some of them with Python's lock held.
A call over this line ends when the server hangs up, when its process is gone, or at Ctrl-C. It also asks for
the version before the client connects, which only warns of another release and crashes later.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import Any

import msgpack

from mtdrive.envs.town.versions import installed_client
from mtdrive.errors import SimulatorError

LARGEST = 64 << 20
"""Bytes that a reply may have."""
ANSWER = 20.0
"""Seconds in which a server answers that is not about to start."""
LOOK = 0.1
"""Seconds between two looks at the server's process."""


class WrongServer(SimulatorError):
    """What answers is not a server that the client can speak to; starting it again does not help."""


class Line:
    """A connection; calls are made one after the other."""

    def __init__(self, host: str, port: int, patience: float, runs: Callable[[], bool]) -> None:
        """Connect within `patience` seconds; `runs` says whether the server's process is there.

        Raises:
            SimulatorError: nothing listens there.
        """
        self.name, self._patience, self._runs = f"{host}:{port}", patience, runs
        try:
            self._socket = socket.create_connection((host, port), patience)
        except OSError as error:
            raise SimulatorError(
                f"no server answers at {self.name} ({error.strerror or error}); start it or check the port"
            ) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._unpacker = msgpack.Unpacker(max_buffer_size=LARGEST, unicode_errors="surrogateescape")
        self._id = 0

    @property
    def open(self) -> bool:
        """Whether the server has not hung up."""
        if self._socket.fileno() < 0:
            return False
        try:
            return not self._readable(0) or bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def call(self, name: str, *arguments: Any, patience: float | None = None) -> Any:
        """Return what a call gives.

        Raises:
            SimulatorError: the server refuses, dies, hangs or is none of CARLA's.
        """
        self._id += 1
        request = msgpack.packb([0, self._id, name, [[False], *arguments]])
        try:
            self._socket.sendall(request)
            return self._read(name, time.monotonic() + (patience or self._patience))
        except OSError as error:
            self.close()
            raise SimulatorError(
                f"the server at {self.name} hung up during {name} ({error.strerror})"
            ) from None

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _read(self, name: str, deadline: float) -> Any:
        while True:
            try:
                for reply in self._unpacker:
                    if self._is_answer(reply):
                        return _unwrap(name, reply[2], reply[3])
            except (ValueError, msgpack.UnpackException, msgpack.BufferFull):
                raise self._no_carla(name) from None
            self._receive(name, deadline)

    def _is_answer(self, reply: Any) -> bool:
        """Return whether a reply is that of the latest request; one that came too late is skipped."""
        if not isinstance(reply, list) or len(reply) != 4 or reply[0] != 1:
            raise self._no_carla("a call")
        return bool(reply[1] == self._id)

    def _receive(self, name: str, deadline: float) -> None:
        """Wait for bytes."""
        while not self._readable(LOOK):
            if not self._runs():
                raise SimulatorError(f"the server at {self.name} died during {name}")
            if time.monotonic() > deadline:
                raise SimulatorError(f"the server at {self.name} did not answer {name} in time; it hangs")
        data = self._socket.recv(1 << 16)
        if not data:
            self.close()
            raise SimulatorError(f"the server at {self.name} hung up during {name}")
        self._unpacker.feed(data)

    def _readable(self, seconds: float) -> bool:
        poll = select.poll()  # select() takes only the first 1024 files of a process
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _no_carla(self, name: str) -> WrongServer:
        self.close()
        return WrongServer(f"what answers {name} at {self.name} is no CARLA server; check host and port")


def _unwrap(name: str, error: Any, result: Any) -> Any:
    """Return the value of `[[1, value]]`; `[[0, [text]]]` failed, and so did `[[True, [text]]]`."""
    if error is not None:
        raise SimulatorError(f"the server refused {name}: {error}")
    match result:
        case [[False]]:
            return None
        case [[True | 0, [text]]]:
            raise SimulatorError(f"the server refused {name}: {text}")
        case [[1, value]]:
            return value
    raise SimulatorError(f"the server answered {name} with {result!r:.80}, which CARLA does not")


def connect(host: str, port: int, runs: Callable[[], bool], first: float = ANSWER) -> Line:
    """Return a line to a server that speaks the release of the client; its first answer may last longer.

    Raises:
        SimulatorError: it does not, or does not answer.
    """
    line = Line(host, port, ANSWER, runs)
    try:
        _check_version(line, first)
    except BaseException:
        line.close()
        raise
    return line


def _check_version(line: Line, patience: float) -> None:
    found, client = line.call("version", patience=patience), installed_client()
    if not isinstance(found, str) or found.split("-")[0] != client:
        raise WrongServer(
            f"the server at {line.name} is CARLA {found}, the client {client}; install carla=={found}, "
            f"or start a server of {client}"
        )
