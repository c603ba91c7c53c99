"""What goes over the wire: poses as the client computes them, images as CARLA documents them, streams."""

from __future__ import annotations

import asyncio
import socket
import struct

import carla
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtdrive.envs.town.messages import image, token
from mtdrive.envs.town.rays import land_on, meet
from mtdrive.envs.town.rpc import Answerer, Connection, Table
from mtdrive.envs.town.stage import Box, Camera, Layers, Pose
from mtdrive.envs.town.streams import Streams
from mtdrive.envs.town.structs import CallError, number
from tests.town_land import Plain

POSES = st.builds(
    Pose, *[st.floats(-500, 500)] * 3, st.floats(-89, 89), st.floats(-180, 180), st.floats(-180, 180)
)


@given(POSES)
def test_a_pose_is_the_clients_transform(pose: Pose) -> None:
    place = carla.Location(pose.x, pose.y, pose.z)
    transform = carla.Transform(place, carla.Rotation(pose.pitch, pose.yaw, pose.roll))
    assert np.asarray(transform.get_matrix()) == pytest.approx(pose.matrix(), abs=2e-4)
    forward, right, up = (getattr(transform, f"get_{name}_vector")() for name in ("forward", "right", "up"))
    assert (forward.x, forward.y, forward.z) == pytest.approx(tuple(pose.forward), abs=1e-5)
    assert (right.x, right.y, right.z) == pytest.approx(tuple(pose.right), abs=1e-5)
    assert (up.x, up.y, up.z) == pytest.approx(tuple(pose.up), abs=1e-5)


@given(POSES)
def test_a_pose_comes_back_from_its_matrix(pose: Pose) -> None:
    assert Pose.of(pose.matrix()).matrix() == pytest.approx(pose.matrix(), abs=1e-9)


@given(
    st.floats(0, 1200, width=32),
    st.integers(0, 28),
    st.integers(0, 65535),
    st.tuples(*[st.integers(0, 255)] * 3),
)
def test_images_decode_as_carla_documents(
    depth: float, tag: int, id: int, colour: tuple[int, int, int]
) -> None:
    camera = Camera(1, 1, 90.0, Pose())
    flow = np.array([[[0.25, -0.5]]], np.float32)
    layers = Layers(
        np.array([[colour]], np.uint8), np.array([[depth]], np.float32), np.array([[tag]], np.uint8),
        np.array([[id]], np.uint16), flow,
    )  # fmt: skip

    def decode(kind: str) -> tuple[int, ...]:
        width, height, fov, *bgra = struct.unpack("<IIf4B", image(camera, kind, layers))
        assert (width, height, fov) == (1, 1, 90.0)
        return tuple(bgra)

    b, g, r, _ = decode("depth")
    assert (r + 256 * g + 65536 * b) / (2**24 - 1) * 1000 == pytest.approx(min(depth, 1000), abs=1e-4)
    assert decode("rgb")[2::-1] == colour
    assert decode("semantic_segmentation")[2] == tag
    b, g, r, _ = decode("instance_segmentation")
    assert (r, g + 256 * b) == (tag, id)
    assert struct.unpack_from("<ff", image(camera, "optical_flow", layers), 12) == (0.25, -0.5)


def test_a_token_is_24_bytes_with_the_port_and_this_machine() -> None:
    stream, port, protocol, kind, *address = struct.unpack("<IHBB4B12x", token(77, 40123))
    assert (stream, port, protocol, kind, address) == (77, 40123, 1, 1, [127, 0, 0, 1])


@given(POSES, st.floats(0.1, 5), st.floats(-2, 2), st.floats(-2, 2))
def test_a_ray_meets_a_box_where_its_face_is(pose: Pose, half: float, y: float, z: float) -> None:
    box = Box(pose, (half, 1.0, 0.5))
    start = tuple((pose.matrix() @ [-20.0, y, z, 1.0])[:3].tolist())
    found = meet(box, start, tuple(pose.forward.tolist()))
    if abs(y) < 0.999 and abs(z) < 0.499:
        assert found == pytest.approx(20 - half, abs=1e-6)
    elif abs(y) > 1.001 or abs(z) > 0.501:
        assert found is None


def test_a_ray_lands_on_the_slope() -> None:
    x, y, z = land_on(Plain(0.1), (0.0, 0.0, 5.0), (0.8, 0.0, -0.6), 40.0) or (0, 0, 0)
    assert y == 0.0
    assert z == pytest.approx(0.1 * x)
    assert 5 - 0.75 * x == pytest.approx(z)
    assert land_on(Plain(0.1), (0.0, 0.0, 5.0), (0.8, 0.0, -0.6), 3.0) is None


def test_a_stream_waits_for_its_listener_and_is_freed_when_it_vanishes() -> None:
    async def check() -> None:
        streams = Streams(lambda stream: b"hello")
        server = await streams.open()
        stream = streams.new()
        streams.claims.expect(stream, "client")
        loop = asyncio.get_running_loop()
        settled = loop.create_task(streams.claims.settled())
        await asyncio.sleep(0.05)
        assert not settled.done()
        reader, writer = await asyncio.open_connection("127.0.0.1", streams.port)
        writer.write(struct.pack("<I", stream))
        await asyncio.wait_for(settled, 1.0)
        streams.send(stream, b"frame")
        assert await reader.readexactly(18) == b"\5\0\0\0hello\5\0\0\0frame"
        writer.transport.abort()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not streams.heard(stream):
                break
        assert not streams.heard(stream)
        assert not streams._listeners
        server.close()

    asyncio.run(check())


def test_two_servers_never_start_with_the_same_streams() -> None:
    assert len({Streams(lambda stream: None).new() for _ in range(20)}) == 20


def test_calls_that_fail_say_why_in_their_own_wrapper(caplog: pytest.LogCaptureFixture) -> None:
    table = Table()

    @table.void(number)
    def quiet(session: object, value: float) -> None:
        if value > 1:
            raise CallError("too much")

    @table.serve()
    def broken(session: object) -> int:
        return 1 // 0

    answerer = Answerer(table)
    assert answerer.answer(None, "quiet", [0.5, "surplus"]) == (None, [[False]])
    assert answerer.answer(None, "quiet", [2]) == (None, [[True, ["too much"]]])
    assert answerer.answer(None, "quiet", ["2"])[1][0][0] is True
    assert "expected 1 arguments, found 0" in answerer.answer(None, "quiet", [])[1][0][1][0]
    assert "ZeroDivisionError" in answerer.answer(None, "broken", [])[1][0][1][0]
    caplog.clear()
    for _ in range(3):
        error, result = answerer.answer(None, "fly", [])
        assert (error, result) == ("Town does not serve fly", None)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "junk", [b"\xc1\xc1", msgpack.packb([1, 2]), msgpack.packb({"a": 1}), msgpack.packb([0, 1, 2, 3])]
)
def test_junk_ends_the_connection_and_nothing_else(junk: bytes) -> None:
    class Silent:
        def wait_before(self, name: str) -> None:
            return None

        def close(self) -> None:
            pass

    async def check() -> None:
        table = Table()
        table.serve()(ping)
        loop = asyncio.get_running_loop()
        answerer = Answerer(table)
        server = await loop.create_server(lambda: Connection(answerer, lambda c: Silent()), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(junk)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 2.0)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in msgpack.packb([0, 5, "ping", [[False]]]):
            writer.write(bytes([byte]))
            await writer.drain()
        assert msgpack.unpackb(await reader.readexactly(len(msgpack.packb([1, 5, None, [[1, "pong"]]])))) == [
            1, 5, None, [[1, "pong"]]
        ]  # fmt: skip
        writer.close()
        server.close()

    asyncio.run(check())


def ping(session: object) -> str:
    return "pong"
