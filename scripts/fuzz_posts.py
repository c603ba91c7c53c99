"""Control connections of scripts.fuzz_town, and what may not be said on them."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Any

from mtdrive.envs.town.calls import CALLS
from mtdrive.envs.town.requests import Request, Requests
from mtdrive.envs.town.structs import CallError
from scripts.fuzz_caller import HOST
from scripts.fuzz_messages import pack

MARK = 0xFEDCBA98
"""The id of a connection's last call."""
WORLD = frozenset({"load_new_episode", "set_episode_settings", "tick_cue"})
"""Calls that are for all clients."""


class Post:
    """A control connection of the fuzzer."""

    def __init__(self, port: int, manner: str) -> None:
        self.manner = manner
        self.socket = socket.create_connection((HOST, port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.seen = Requests()
        self.broken = False

    def would(self, message: bytes, guarded: frozenset[int] | None) -> bool:
        """Return whether the server would find a good call on another client in it; None: there is none."""
        try:
            self.seen.feed(message)
            while request := self.seen.next():
                if guarded is not None and touches(request, guarded):
                    return True
        except Exception:  # whatever the server's reader finds, it ends the connection
            self.broken = True
        return False

    def send(self, message: bytes) -> bool:
        """Return whether the whole message was taken."""
        pieces = [message[i : i + 1] for i in range(len(message))] if self.manner == "slow" else [message]
        with contextlib.suppress(OSError):
            return all(self._push(piece) for piece in pieces)
        return False

    def _push(self, data: bytes) -> bool:
        view, deadline = memoryview(data), time.monotonic() + (0.2 if self.manner == "deaf" else 60)
        while view:
            with contextlib.suppress(BlockingIOError):
                view = view[self.socket.send(view) :]
                continue
            self.drain()
            select.select([], [self.socket], [], 0.05)
            if time.monotonic() > deadline:
                return False
        return True

    def drain(self) -> None:
        """Read replies, if it is one that reads."""
        if self.manner != "deaf":
            with contextlib.suppress(OSError):
                while self.socket.recv(1 << 18):
                    pass

    def part(self) -> None:
        """Hang up; one that is in order waits until all was answered."""
        if not self.broken and not self.seen.waiting and self.manner == "reads":
            with contextlib.suppress(OSError):
                self.socket.settimeout(60)
                self.socket.sendall(pack([0, MARK, "version", [[False]]]))
                last = pack([1, MARK, None, [[1, "0.9.16"]]])
                tail = b""
                while last not in tail and (data := self.socket.recv(1 << 18)):
                    tail = tail[-len(last) :] + data
        self.socket.close()


def touches(request: Request, guarded: frozenset[int]) -> bool:
    """Return whether a call is good and acts on another client."""
    if request.name in WORLD:
        return reads(request)
    if request.name == "apply_batch" and len(request.arguments) > 1 and request.arguments[1]:
        return True
    return holds(request.arguments, guarded)


def reads(request: Request) -> bool:
    """Return whether the arguments of a call are good."""
    readers = CALLS[request.name].readers
    try:
        return len([r(v) for r, v in zip(readers, request.arguments, strict=False)]) == len(readers)
    except (CallError, TypeError, ValueError):
        return False


def holds(value: Any, guarded: frozenset[int]) -> bool:
    """Return whether one of some numbers is inside."""
    if isinstance(value, tuple):
        return any(holds(item, guarded) for item in value)
    return type(value) in (int, float) and value in guarded
