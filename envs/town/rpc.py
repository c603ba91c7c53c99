"""Remote calls: msgpack in, msgpack out, and the table of what can be called.

A request is `[0, id, name, [metadata, *arguments]]`, its reply `[1, id, error, result]`. Where the error is
not nil, the client raises RuntimeError and names the call, but drops our text; errors that a call foresees
are therefore part of its result, in the wrapper that its kind of result has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgpack

from mtdrive.envs.town.doors import Door
from mtdrive.envs.town.limits import CLIENTS, REQUEST, UNFINISHED, WAITING
from mtdrive.envs.town.requests import RequestError, Requests
from mtdrive.envs.town.streams import quicken
from mtdrive.envs.town.structs import CallError, Reader, brief
from mtdrive.errors import MtdriveError

LOG = logging.getLogger(__name__)

SLICE = 0.002
"""Seconds after which other clients have their turn."""
LINGER = 5.0
"""Seconds that a client has to read why it is refused."""
TOLD = 100
"""Names of calls that are not served and of which the log tells."""
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

    def answer(self, session: Any, name: str, arguments: Sequence[Any]) -> tuple[Any, Any]:
        """Return the error, None if there is none, and the result of a call."""
        call = self._table.get(name)
        if call is None:
            shown = name if name.isidentifier() and name.isascii() and len(name) < 60 else brief(name)
            self._tell(shown)
            return f"Town does not serve {shown}", None
        try:
            if len(arguments) < len(call.readers):
                raise CallError(f"{name}: expected {len(call.readers)} arguments, found {len(arguments)}")
            read = [reader(value) for reader, value in zip(call.readers, arguments, strict=False)]
            return None, _wrap(call.wrapper, call.run(session, *read))
        except (CallError, MtdriveError) as error:
            return None, _refuse(call.wrapper, str(error))
        except Exception as error:
            LOG.exception("%s failed", name)
            return None, _refuse(call.wrapper, f"Town failed in {name}: {brief(error)}; its log says more")

    def refuse(self, name: str, text: str) -> Any:
        """Return the result of a call that is not done."""
        call = self._table.get(name)
        return _refuse(VALUE if call is None else call.wrapper, text)

    def _tell(self, name: str) -> None:
        if name not in self._told and len(self._told) < TOLD:
            self._told.add(name)
            LOG.warning("the client called %s, which Town does not serve", name)


def _wrap(wrapper: int, result: Any) -> Any:
    return result if wrapper == PLAIN else [[False]] if wrapper == VOID else [[1, result]]


def _refuse(wrapper: int, text: str) -> Any:
    if wrapper == PLAIN:
        return [[[0, [text]]]]
    return [[True, [text]]] if wrapper == VOID else [[0, [text]]]


class Connection(asyncio.Protocol):
    """A client's control connection.

    Its requests are answered for `SLICE` seconds, then those of others. Nothing more is read while it does
    not read its replies, or while many of its calls wait. Where there is no room it has no session.
    """

    def __init__(
        self,
        answerer: Answerer,
        make: Callable[[Connection], Any],
        door: Door[Connection] | None = None,
    ) -> None:
        """Take what answers, what makes the session of a new connection, and who else is there."""
        self._answerer, self._make = answerer, make
        self._door: Door[Connection] = Door(CLIENTS) if door is None else door
        self._requests = Requests()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next: asyncio.Handle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._full = self._refused = False
        self.session: Any = None
        self.stranger = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session, if there is room."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        quicken(transport)
        if self._door.enter(self):
            self.session = self._make(self)
        else:
            self._see_off()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session."""
        for handle in (*self._tasks, self._next, self._end):
            if handle is not None:
                handle.cancel()
        self._door.leave(self)
        if self.session is not None:
            self.session.close()

    def cut(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    @property
    def waiting(self) -> int:
        """Bytes of a request that is not complete."""
        return self._requests.waiting

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are complete."""
        if not self._refused:
            self._requests.feed(data)
            if self._next is None:
                self._work()

    def pause_writing(self) -> None:
        """Stop: the client does not read its replies."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._full = False
        self._go_on()

    def _held(self) -> bool:
        return self._full or len(self._tasks) >= WAITING or self.transport.is_closing()

    def _go_on(self) -> None:
        if self._next is None and not self._held():
            self._next = asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._next = None
        try:
            self._answer_some(time.monotonic() + SLICE)
        except RequestError as error:
            self._refuse(error)
        except (CallError, ValueError, TypeError, msgpack.UnpackException, msgpack.BufferFull) as error:
            LOG.warning("a client sent what is no request (%s): its connection is cut", brief(error))
            self.cut()
        if self._held() or self._next is not None:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _answer_some(self, until: float) -> None:
        while not self._held() and not self._refused:
            request = self._requests.next()
            if request is None:
                self._watch()
                return
            if self.session is None:
                raise RequestError(f"{CLIENTS} clients are connected, the most that Town takes", *request[:2])
            self.stranger = False
            self._take(*request)
            if time.monotonic() > until:
                self._go_on()
                return

    def _watch(self) -> None:
        """Cut off the client whose unfinished request is the longest, where all take too much."""
        if self.waiting > REQUEST and sum(c.waiting for c in self._door.inside) > UNFINISHED:
            LOG.warning("unfinished requests have more than %d bytes: the longest is cut", UNFINISHED)
            max(self._door.inside, key=lambda c: c.waiting).cut()

    def _take(self, id: int, name: str, arguments: Sequence[Any]) -> None:
        wait = self.session.wait_before(name)
        if wait is None:
            self._reply(id, name, arguments)
        else:
            task = asyncio.get_running_loop().create_task(self._later(wait, id, name, arguments))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def _later(self, wait: Awaitable[Any], id: int, name: str, arguments: Sequence[Any]) -> None:
        await wait
        self._reply(id, name, arguments)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._go_on()

    def _reply(self, id: int, name: str, arguments: Sequence[Any]) -> None:
        self._write(id, *self._answerer.answer(self.session, name, arguments))

    def _refuse(self, error: RequestError) -> None:
        """Say why, and end the connection when the client had the time to read it."""
        LOG.warning("%s: the connection of a client is cut", error)
        self._refused = True
        if error.id is not None:
            self._write(error.id, None, self._answerer.refuse(error.name, str(error)))
        self._see_off()

    def _see_off(self) -> None:
        if not self._door.see_off(self):
            self.cut()
        elif self._end is None:
            self._end = asyncio.get_running_loop().call_later(LINGER, self.cut)

    def _write(self, id: int, error: Any, result: Any) -> None:
        reply = msgpack.packb([1, id, error, result], use_bin_type=True, unicode_errors="surrogateescape")
        if not self.transport.is_closing():
            self.transport.write(reply)
