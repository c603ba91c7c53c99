"""Remote calls: msgpack in, msgpack out, and the table of what can be called.

A request is `[0, id, name, [metadata, *arguments]]`, its reply `[1, id, error, result]`. Where the error is
not nil, the client raises RuntimeError and names the call, but drops our text; errors that a call foresees
are therefore part of its result, in the wrapper that its kind of result has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgpack

from mtdrive.envs.town.streams import quicken
from mtdrive.envs.town.structs import CallError, Reader, array
from mtdrive.errors import MtdriveError

LOG = logging.getLogger(__name__)

LARGEST = 256 << 20
"""Bytes that a request may have; a map is sent as one text."""
VALUE, VOID, PLAIN = range(3)
"""How a result is wrapped."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Call:
    """A call that is served."""

    run: Callable[..., Any]
    readers: tuple[Reader[Any], ...]
    wrapper: int


class Table(dict[str, Call]):
    """Calls by name."""

    def serve(self, *readers: Reader[Any], wrapper: int = VALUE) -> Callable[[F], F]:
        """Return a decorator that puts a function of the session and the read arguments into the table."""

        def put(function: F) -> F:
            self[function.__name__] = Call(function, readers, wrapper)
            return function

        return put

    def void(self, *readers: Reader[Any]) -> Callable[[F], F]:
        """Return such a decorator for a call without a result."""
        return self.serve(*readers, wrapper=VOID)


class Answerer:
    """Answers requests from a table."""

    def __init__(self, table: Mapping[str, Call]) -> None:
        self._table = table
        self._told: set[str] = set()

    def answer(self, session: Any, name: str, arguments: list[Any]) -> tuple[Any, Any]:
        """Return the error, None if there is none, and the result of a call."""
        call = self._table.get(name)
        if call is None:
            self._tell(name, f"the client called {name}, which Town does not serve")
            return f"Town does not serve {name}", None
        try:
            if len(arguments) < len(call.readers):
                raise CallError(f"{name}: expected {len(call.readers)} arguments, found {len(arguments)}")
            read = [reader(value) for reader, value in zip(call.readers, arguments, strict=False)]
            return None, _wrap(call.wrapper, call.run(session, *read))
        except (CallError, MtdriveError) as error:
            return None, _refuse(call.wrapper, str(error))
        except Exception as error:
            LOG.exception("%s failed", name)
            return None, _refuse(call.wrapper, f"Town failed in {name}: {error!r}; its log says more")

    def _tell(self, name: str, text: str) -> None:
        if name not in self._told:
            self._told.add(name)
            LOG.warning(text)


def _wrap(wrapper: int, result: Any) -> Any:
    return result if wrapper == PLAIN else [[False]] if wrapper == VOID else [[1, result]]


def _refuse(wrapper: int, text: str) -> Any:
    return [[True, [text]]] if wrapper == VOID else [[0, [text]]]


class Connection(asyncio.Protocol):
    """A client's control connection."""

    def __init__(self, answerer: Answerer, make: Callable[[Connection], Any]) -> None:
        """Take what answers, and what makes the session of a new connection."""
        self._answerer, self._make = answerer, make
        self._unpacker = msgpack.Unpacker(
            raw=False, max_buffer_size=LARGEST, unicode_errors="surrogateescape", strict_map_key=False
        )
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        quicken(transport)
        self.session = self._make(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session."""
        for task in self._tasks:
            task.cancel()
        self.session.close()

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are complete."""
        try:
            self._unpacker.feed(data)
            for message in self._unpacker:
                self._take(message)
        except (CallError, ValueError, msgpack.UnpackException, msgpack.BufferFull) as error:
            LOG.warning("a client sent what is no request (%s): its connection is cut", error)
            self.transport.abort()

    def _take(self, message: Any) -> None:
        parts = array(message, 3)
        if parts[0] == 0 and len(parts) == 4 and isinstance(parts[2], str):
            id, name, arguments = parts[1], parts[2], list(array(parts[3], 1)[1:])
            wait = self.session.wait_before(name)
            if wait is None:
                self._reply(id, name, arguments)
            else:
                task = asyncio.get_running_loop().create_task(self._later(wait, id, name, arguments))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        else:
            raise CallError("expected [0, id, name, arguments]")

    async def _later(self, wait: Awaitable[Any], id: int, name: str, arguments: list[Any]) -> None:
        await wait
        self._reply(id, name, arguments)

    def _reply(self, id: int, name: str, arguments: list[Any]) -> None:
        error, result = self._answerer.answer(self.session, name, arguments)
        reply = msgpack.packb([1, id, error, result], use_bin_type=True, unicode_errors="surrogateescape")
        if not self.transport.is_closing():
            self.transport.write(reply)
