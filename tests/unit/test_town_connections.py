"""Connections: what they may send, how many there are, and that none keeps the server from the others."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.envs.town import claims, rpc, streams
from mtdrive.envs.town.claims import Claims
from mtdrive.envs.town.doors import Door
from mtdrive.envs.town.limits import MAP, REQUEST, WAITING
from mtdrive.envs.town.quiet import BURST, Quiet
from mtdrive.envs.town.requests import LOAD, RequestError, Requests
from mtdrive.envs.town.rpc import Answerer, Connection, Table
from mtdrive.envs.town.streams import Streams
from mtdrive.envs.town.structs import CallError


def call(id: int, name: str, *arguments: Any) -> bytes:
    return bytes(msgpack.packb([0, id, name, [[False], *arguments]]))


def take(requests: Requests, raw: bytes, piece: int = 1 << 18) -> list[Any]:
    found = []
    for start in range(0, len(raw), piece):
        requests.feed(raw[start : start + piece])
        while request := requests.next():
            found.append(request)
    return found


@settings(max_examples=30)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=40))
def test_requests_are_the_same_however_their_bytes_come(cuts: list[int]) -> None:
    raw = b"".join(call(id, "spawn", "a" * (7 * id), [1.5, [None]]) for id in range(9))
    requests, found, place = Requests(), [], 0
    for cut in [*cuts, len(raw)]:
        found += take(requests, raw[place : place + cut])
        place = min(place + cut, len(raw))
    assert [request.id for request in found] == list(range(9))
    assert found[3].arguments == ("a" * 21, (1.5, (None,)))
    assert requests.waiting == 0


@pytest.mark.parametrize(
    ("raw", "words", "known"),
    [
        (call(7, "apply_batch", [0] * (REQUEST + 1)), f"more than {REQUEST} bytes", (7, "apply_batch")),
        (call(8, rpc.__name__, "a" * (REQUEST + 1)), f"more than {REQUEST} bytes", (8, rpc.__name__)),
        (call(9, LOAD, "<" * (MAP + 1)), f"the map has {MAP + 1} bytes", (9, LOAD)),
        (call(9, LOAD, [0] * (REQUEST + 1)), f"more than {REQUEST} bytes", (9, LOAD)),
        (b"\xdd\xff\xff\xff\xff" + b"\x01" * (REQUEST + 1), f"more than {REQUEST} bytes", (None, "")),
    ],
)  # fmt: skip
def test_a_request_that_is_too_large_is_refused_before_it_is_there(
    raw: bytes, words: str, known: tuple[int | None, str]
) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        take(Requests(), raw)
    assert (raised.value.id, raised.value.name) == known


def test_a_map_may_be_longer_than_other_requests() -> None:
    (request,) = take(Requests(), call(1, LOAD, "<" * (MAP - 1), []))
    assert len(request.arguments[0]) == MAP - 1


@pytest.mark.parametrize(
    "raw",
    [
        b"\x91" * 5000,
        b"\xc1",
        msgpack.packb({"a": 1}),
        call(1, "x", {"a": 1}),
        call(1, "x", msgpack.ExtType(3, b"a")),
        msgpack.packb([0, -1, "x", [[False]]]),
        msgpack.packb([0, 1 << 32, "x", [[False]]]),
        msgpack.packb([0, True, "x", [[False]]]),
        msgpack.packb([0, [[]], "x", [[False]]]),
        msgpack.packb([0, 1, b"x", [[False]]]),
        msgpack.packb([0, 1, "x", []]),
    ],
)
def test_what_is_no_request_is_told_apart(raw: bytes) -> None:
    with pytest.raises((CallError, ValueError, TypeError, msgpack.UnpackException)):
        take(Requests(), raw)


def test_lengths_that_are_claimed_take_no_memory() -> None:
    requests = Requests()
    assert take(requests, b"\x94\x00\x01\xa1x" + b"\xdd\x0f\xff\xff\xff" * 200) == []
    assert requests.waiting == 5 + 5 * 200


def test_tokens_of_a_stranger_cannot_stop_ticks_and_ones_own_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "PATIENCE", 0.4)
    monkeypatch.setattr(claims, "CREDIT", 0.5)

    async def check() -> None:
        loop, waiting = asyncio.get_running_loop(), Claims()
        begun = loop.time()
        for _ in range(30):
            waiting.expect(5, "stranger")
            await waiting.settled("me")
        assert 0.4 < loop.time() - begun < 1.0
        begun = loop.time()
        waiting.expect(6, "me")
        loop.call_later(0.2, waiting.use, 6)
        await waiting.settled("me")
        assert 0.15 < loop.time() - begun < 0.35

    asyncio.run(check())


DONE = [1, 1, None, [[1, "x"]]]
"""The reply to a short call."""


class Silent:
    """A session."""

    def wait_before(self, name: str) -> Awaitable[Any] | None:
        return asyncio.sleep(0.3) if name == "wait" else None

    def close(self) -> None:
        pass


def serve(check: Callable[[int, list[str]], Awaitable[None]], most: int = 2) -> None:
    """Run a server of a few calls and what looks at it; the names of the calls that were done are noted."""

    async def run() -> None:
        table = Table()
        done: list[str] = []

        def run_call(session: object, name: str) -> str:
            done.append(name)
            return "x" * 10**6 if name == "long" else "x"

        for name in ("short", "long", "wait"):
            table[name] = rpc.Call(partial(run_call, name=name), (), rpc.VALUE)
        door: Door[Connection] = Door(most)
        answerer, loop = Answerer(table), asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(answerer, lambda c: Silent(), door), "127.0.0.1", 0
        )
        await check(server.sockets[0].getsockname()[1], done)
        server.close()

    asyncio.run(run())


async def ask(port: int, *raw: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for message in raw:
        writer.write(message)
    return reader, writer


async def answer(reader: asyncio.StreamReader) -> Any:
    unpacker = msgpack.Unpacker()
    while data := await asyncio.wait_for(reader.read(1 << 16), 10):
        unpacker.feed(data)
        with suppress(msgpack.OutOfData):
            return unpacker.unpack()
    raise ConnectionResetError


def test_a_client_that_does_not_read_its_replies_is_not_served_further() -> None:
    async def check(port: int, done: list[str]) -> None:
        _, deaf = await ask(port, *(call(id, "long") for id in range(300)))
        reader, writer = await ask(port, call(1, "short"))
        assert await answer(reader) == DONE
        await asyncio.sleep(0.3)
        assert done.count("long") < 30
        for one in (deaf, writer):
            one.close()

    serve(check)


def test_calls_that_wait_are_few_and_end_with_their_client() -> None:
    async def check(port: int, done: list[str]) -> None:
        tasks = len(asyncio.all_tasks())
        _, patient = await ask(port, *(call(id, "wait") for id in range(500)))
        reader, writer = await ask(port, call(1, "short"))
        assert await answer(reader) == DONE
        assert len(asyncio.all_tasks()) - tasks <= WAITING
        patient.transport.abort()
        await asyncio.sleep(1.0)
        assert len(asyncio.all_tasks()) <= tasks
        assert done.count("wait") < 300
        writer.close()

    serve(check)


def test_one_client_too_many_is_told_and_a_silent_one_makes_room() -> None:
    async def check(port: int, done: list[str]) -> None:
        silent = await ask(port)
        first, second = await ask(port, call(1, "short")), await ask(port, call(1, "short"))
        assert [await answer(first[0]), await answer(second[0])] == [DONE] * 2
        with pytest.raises(ConnectionResetError):
            await answer(silent[0])
        third = await ask(port, call(5, "short"))
        kind, id, error, result = await answer(third[0])
        assert (kind, id, error) == (1, 5, None)
        assert "clients are connected, the most that Town takes" in result[0][1][0]
        for _, writer in (first, second, third, silent):
            writer.close()

    serve(check)


def test_a_slow_listener_loses_frames_and_the_others_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUEUE", 1 << 20)
    monkeypatch.setattr(streams, "BACKLOG", 6 << 20)

    async def check() -> None:
        there = Streams(lambda stream: None)
        server = await there.open()
        first, second = there.new(), there.new()
        ids = first, first + 7, first, first, second
        ears = [await ask(there.port, struct.pack("<I", stream)) for stream in ids]
        quick = ears[0][0]
        while not (there.heard(second) and len(there._listeners[first]) == 3):
            await asyncio.sleep(0.01)
        for frame in range(200):
            there.send(first, bytes([frame]) * 100_000)
            assert (await quick.readexactly(100_004))[-1] == frame
        assert sum(one.waiting for one in there.door.inside) < 3 << 20
        there.send(second, b"x" * (12 << 20))
        await asyncio.sleep(0.1)
        assert not there.heard(second)
        assert len(there._listeners[first]) == 3
        for _, writer in ears:
            writer.transport.abort()
        await asyncio.sleep(0.1)
        assert not there.door.inside
        server.close()

    asyncio.run(check())


def test_a_log_cannot_be_flooded_and_says_what_it_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("mtdrive.envs.town.quiet.time.monotonic", lambda: now)
    quiet = Quiet()

    def line(level: int = logging.WARNING) -> logging.LogRecord:
        return logging.LogRecord("x", level, "", 0, "%d sheep", (3,), None)

    assert sum(quiet.filter(line()) for _ in range(1000)) == BURST
    assert quiet.filter(line(logging.ERROR))
    now = 1.0
    record = line()
    assert quiet.filter(record)
    assert record.getMessage() == "(800 lines were left out) 3 sheep"


def test_of_unfinished_requests_that_take_too_much_the_longest_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rpc, "UNFINISHED", 6 << 20)

    async def check(port: int, done: list[str]) -> None:
        part = call(1, LOAD, "<" * (8 << 20))
        ends = [await ask(port, part[: size << 20]) for size in (2, 5)]
        with pytest.raises(ConnectionResetError):
            await answer(ends[1][0])
        reader, writer = await ask(port, call(1, "short"))
        assert await answer(reader) == DONE
        assert not ends[0][0].at_eof()
        for _, end in (*ends, (reader, writer)):
            end.transport.abort()

    serve(check, most=4)
