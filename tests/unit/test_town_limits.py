"""What a client may ask for at most: values, actors, sensors, maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import carla
import msgpack
import pytest

from mtdrive.envs.town import renderer, world
from mtdrive.envs.town.batch import apply_batch
from mtdrive.envs.town.faults import Faults
from mtdrive.envs.town.limits import ACTORS, BATCH, FARTHEST, NAME, SENSORS
from mtdrive.envs.town.motion import Controls
from mtdrive.envs.town.roads import load_map
from mtdrive.envs.town.sensors import Sensing
from mtdrive.envs.town.server import Maps, Server
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.stage import Camera, Land, Painter, Pose, Stage
from mtdrive.envs.town.streams import Streams
from mtdrive.envs.town.structs import CallError, array_of, few, number, pose, read_description, word
from mtdrive.envs.town.versions import wire
from mtdrive.envs.town.world import World, read_settings
from mtdrive.errors import ConfigError
from tests.town_land import XODR, Plain
from tests.town_painter import Flat

CAR, CAMERA = "vehicle.tesla.model3", "sensor.camera.rgb"


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


class Noted(Streams):
    """Streams that all are heard, and only note what they send."""

    def __init__(self) -> None:
        super().__init__(lambda stream: None)
        self.sent: list[tuple[int, bytes]] = []

    def heard(self, stream: int) -> bool:
        return True

    def send(self, stream: int, message: bytes) -> None:
        self.sent.append((stream, message))


def test_a_camera_that_cannot_be_drawn_costs_the_other_sensors_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(land: Land) -> Painter:
        raise RuntimeError("no context")

    here, noted = World(Plain()), Noted()
    sensing = Sensing(here, noted, wire("0.9.16"), broken, 0, Faults())
    for stream, kind in enumerate((CAMERA, "sensor.other.imu", "sensor.other.gnss"), start=1):
        here.spawn(kind, {}, Pose()).stream = stream
    sensing.send(here.step())
    assert [stream for stream, _ in noted.sent] == [2, 3]
    assert "(sensor.camera.rgb) sends nothing" in caplog.text


def test_a_place_on_earth_that_cannot_be_read_is_carlas_own(caplog: pytest.LogCaptureFixture) -> None:
    def position(old: str, new: str) -> tuple[float, ...]:
        here, noted = World(Plain(xodr=XODR.replace(old, new))), Noted()
        here.spawn("sensor.other.gnss", {}, Pose(x=50.0, y=-20.0)).stream = 1
        Sensing(here, noted, wire("0.9.16"), Flat, 0, Faults()).send(here.step())
        found: list[float] = msgpack.unpackb(noted.sent[0][1][48:])
        return tuple(found)

    truth = carla.Map("street", XODR).transform_to_geolocation(carla.Location(50.0, -20.0, 0.0))
    assert position("", "")[:2] == pytest.approx((truth.latitude, truth.longitude), abs=1e-12)
    assert not caplog.records
    assert position("+lat_0=42", "+lat_0=north")[:2] == pytest.approx((42.0, 2.0), abs=0.01)
    assert "its geoReference cannot be read" in caplog.text


def test_a_spawn_whose_further_commands_fail_is_undone() -> None:
    server = Server(Maps(lambda name: Plain(), list), "plain", Flat, wire("0.9.16"))
    session, before = Session(server, None), len(server.world.actors)  # type: ignore[arg-type]
    place = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]

    def spawn(*further: Any) -> Any:
        return [0, [[0, CAR, []], place, [False], 0, "", [[command] for command in further]]]

    good, bad, nested = spawn([16, [0, True]]), spawn([19, [0, "far"]]), spawn(spawn())
    assert [row[0][0] for row in apply_batch(session, [[bad], [nested], [good]], False)] == [0, 0, 1]
    assert len(server.world.actors) == before + 1


def test_images_of_many_sizes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "KEPT", 3000)
    town = load_map("Small")
    here, drawn = replace(town.spawn_points[0], z=2.0), renderer.Renderer(town)

    def look(number: int, width: int, height: int) -> bytes:
        camera, stage = Camera(width, height, 90.0, here), Stage(number, (), {})
        return drawn.render(camera, camera, stage, stage).rgb.tobytes()

    sizes = (40, 30), (50, 20), (30, 30), (60, 45)
    first, again = ([look(10 * turn + w, w, h) for w, h in sizes] for turn in range(2))
    assert first == again
    assert sum(w * h for w, h in drawn._frames) <= 3000
    drawn.close()
