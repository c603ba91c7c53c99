"""What a client may ask for at most, and that one client cannot keep the server from the others."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.envs.town import claims, rpc, streams, world
from mtdrive.envs.town.claims import Claims
from mtdrive.envs.town.doors import Door
from mtdrive.envs.town.limits import ACTORS, BATCH, FARTHEST, MAP, NAME, REQUEST, SENSORS
from mtdrive.envs.town.motion import Controls
from mtdrive.envs.town.quiet import BURST, Quiet
from mtdrive.envs.town.requests import RequestError, Requests
from mtdrive.envs.town.roads import load_map
from mtdrive.envs.town.rpc import Answerer, Connection, Table
from mtdrive.envs.town.server import Maps
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.streams import Streams
from mtdrive.envs.town.structs import CallError, array_of, few, number, pose, read_description, word
from mtdrive.envs.town.world import World, read_settings
from mtdrive.errors import ConfigError
from tests.town_land import XODR, Plain

CAR, CAMERA = "vehicle.tesla.model3", "sensor.camera.rgb"


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
        (call(9, "copy_opendrive_to_file", "<" * (MAP + 1)), f"the map has {MAP + 1} bytes", (9, "copy_opendrive_to_file")),
        (call(9, "copy_opendrive_to_file", [0] * (REQUEST + 1)), f"more than {REQUEST} bytes", (9, "copy_opendrive_to_file")),
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
    (request,) = take(Requests(), call(1, "copy_opendrive_to_file", "<" * (MAP - 1), []))
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


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda: number(1.1e12), "at most 1e.12"),
        (lambda: number(float("nan")), "finite"),
        (lambda: number(True), "finite number, found True"),
        (lambda: pose([[1.01 * FARTHEST, 0, 0], [0, 0, 0]]), "within 1e.06 m"),
        (lambda: word("x" * (NAME + 1)), f"at most {NAME} characters"),
        (lambda: word("\udc80"), "UTF-8"),
        (lambda: array_of(number, 3)([1, 2, 3, 4]), "at most 3, found 4"),
        (lambda: read_description([0, "x", [["a", 4, "x" * 9999]]]), "characters"),
        (lambda: read_settings([True, False, [True, 0.00001], True, 0.01, 10]), "0.0001 to 1.0"),
        (lambda: read_settings([True, False, [False], True, 1e-12, 1 << 60]), "max_substeps 1 to 100"),
        (lambda: read_settings([True, False, [False], True, 0.01, 10, "far"]), "finite number, found 'far'"),
        (lambda: few([0] * (BATCH + 1), BATCH), f"at most {BATCH}"),
    ],
)
def test_each_limit_says_what_it_is(read: Callable[[], Any], words: str) -> None:
    with pytest.raises(CallError, match=words) as raised:
        read()
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("kind", "attributes", "words"),
    [
        (CAMERA, {"image_size_x": "5000"}, "image_size_x: expected 1 to 4096, found 5000"),
        (CAMERA, {"image_size_x": "4096", "image_size_y": "4096"}, "at most 8294400 pixels, found 16777216"),
        (CAMERA, {"image_size_x": "\uff18"}, "expected an integer"),
        (CAMERA, {"image_size_x": "9" * 200}, "expected an integer"),
        (CAMERA, {"fov": "nan"}, "expected a number"),
        (CAMERA, {"fov": "1e999"}, "expected a number"),
        (CAMERA, {"fov": "9_0"}, "expected a number"),
        ("sensor.other.obstacle", {"only_dynamics": "perhaps"}, "expected true or false, found 'perhaps'"),
        (CAR, {"color": "1,2,256"}, "expected r,g,b"),
        (CAR, {"color": "1,2"}, "expected r,g,b"),
    ],
)
def test_attributes_that_others_could_not_read_are_refused(
    kind: str, attributes: dict[str, str], words: str
) -> None:
    with pytest.raises(CallError, match=words):
        World(Plain()).spawn(kind, attributes, Pose())


def test_attributes_that_a_blueprint_does_not_let_choose_stay_as_they_are() -> None:
    assert World(Plain()).spawn(CAR, {"number_of_wheels": "99"}, Pose()).value("number_of_wheels") == "4"


def test_actors_sensors_and_pixels_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "ACTORS", 300)
    here = World(Plain())
    large = {"image_size_x": "3840", "image_size_y": "2160"}
    for _ in range(8):
        last = here.spawn(CAMERA, large, Pose())
    with pytest.raises(
        CallError, match="of all cameras would have 74649600 pixels, Town takes at most 67108864"
    ):
        here.spawn(CAMERA, large, Pose())
    here.destroy(last.id)
    here.spawn(CAMERA, large, Pose())
    for _ in range(SENSORS - 8):
        here.spawn("sensor.other.imu", {}, Pose())
    with pytest.raises(CallError, match=f"{SENSORS} sensors, the most that Town takes"):
        here.spawn("sensor.other.gnss", {}, Pose())
    for place in range(300 - SENSORS):
        here.spawn(CAR, {}, Pose(x=10.0 * place))
    with pytest.raises(CallError, match="300 actors, the most that Town takes"):
        here.spawn(CAR, {}, Pose(x=-50.0))
    assert ACTORS > 300


@pytest.mark.parametrize("speed", [1e9, 1e300, math.inf, math.nan])
def test_what_leaves_the_world_is_taken_away_and_the_others_go_on(speed: float) -> None:
    here = World(Plain())
    lost, other = here.spawn(CAR, {}, Pose()), here.spawn(CAR, {}, Pose(x=20.0))
    camera = here.spawn(CAMERA, {}, Pose(), lost.id)
    lost.motion.vx = speed  # type: ignore[attr-defined]
    other.controls = Controls(throttle=1.0)  # type: ignore[attr-defined]
    for _ in range(20):
        here.step()
        assert {len(actor.record()) for actor in here.actors.values()} == {119}
    assert lost.id not in here.actors
    assert here.actors[camera.id].parent == 0
    assert other.pose.x > 20.2


def test_a_sensor_with_the_shortest_rhythm_does_not_stop_the_server() -> None:
    assert World(Plain()).spawn("sensor.other.imu", {"sensor_tick": "1e-99"}, Pose()).tick == 0.0  # type: ignore[attr-defined]


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


class Silent:
    """A session."""

    def wait_before(self, name: str) -> Awaitable[Any] | None:
        return asyncio.sleep(60) if name == "wait" else None

    def close(self) -> None:
        pass


def serve(check: Callable[[int, list[str]], Awaitable[None]], most: int = 2) -> None:
    """Run a server of a few calls and what looks at it; the names of the calls that were done are noted."""

    async def run() -> None:
        table, done = Table(), []
        for name in ("short", "long", "wait"):
            table[name] = rpc.Call(
                lambda session, name=name: done.append(name) or "x" * 10 ** (6 * (name == "long")), (), 0
            )
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
        assert await answer(reader) == [1, 1, None, "x"]
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
        assert await answer(reader) == [1, 1, None, "x"]
        assert len(asyncio.all_tasks()) - tasks <= rpc.WAITING
        patient.transport.abort()
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) <= tasks
        assert "wait" not in done
        writer.close()

    serve(check)


def test_one_client_too_many_is_told_and_a_silent_one_makes_room() -> None:
    async def check(port: int, done: list[str]) -> None:
        silent = await ask(port)
        first, second = await ask(port, call(1, "short")), await ask(port, call(1, "short"))
        assert [await answer(first[0]), await answer(second[0])] == [[1, 1, None, "x"]] * 2
        with pytest.raises(ConnectionResetError):
            await answer(silent[0])
        third = await ask(port, call(5, "short"))
        kind, id, error, result = await answer(third[0])
        assert (kind, id, error) == (1, 5, None)
        assert "clients are connected, the most that Town takes" in result[0][0][1][0]
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
        quick, _ = await ask(there.port, struct.pack("<I", first))
        await ask(there.port, struct.pack("<I", first + 7))
        slow = [await ask(there.port, struct.pack("<I", first)) for _ in range(2)]
        far_behind = await ask(there.port, struct.pack("<I", second))
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
        for _, writer in (*slow, far_behind):
            writer.transport.abort()
        there.cut_all()
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


def test_a_client_chooses_among_maps_and_reads_no_file_of_the_machine(tmp_path: Any) -> None:
    path = tmp_path / "street.xodr"
    path.write_text(XODR)
    maps = Maps(load_map, lambda: ["Small"])
    first = maps.load(str(path))
    assert maps.choose("/Game/Carla/Maps/street") is first
    for name in (str(path), "/etc/passwd", XODR, "\0", "Grid", "OpenDriveMap"):
        with pytest.raises(ConfigError, match="expected one of Small") as raised:
            maps.choose(name)
        assert len(str(raised.value)) < 300
    maps.keep(XODR)
    assert maps.choose("OpenDriveMap").name == "OpenDriveMap"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<OpenDRIVE>", "<!DOCTYPE OpenDRIVE><OpenDRIVE>", "a DOCTYPE"),
        ('length="400"', 'length="4e9"', "lanes are 12000000 km long, more than 400"),
        ('length="400" id', 'length="1e308" id', "<road length='1e308'>"),
        ('a="3.5"', 'a="4e5"', "too many or too wide lanes"),
        ('<geometry s="0" x="0"', '<geometry s="0" x="1e13"', "lacks one of s, x, y"),
        ('type="driving"', 'type="driving "', "no lane is for driving"),
    ],
)
def test_maps_that_would_take_the_machine_are_refused(old: str, new: str, words: str) -> None:
    text = XODR.replace(old, new)
    assert text != XODR
    with pytest.raises(ConfigError, match=words):
        load_map(text).static  # noqa: B018  it is worked out there
