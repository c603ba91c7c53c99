"""A session with Town, and what becomes of it when the server dies, hangs or is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import carla
import numpy as np
import pytest

from mtdrive.envs.health import Server, ServerSettings
from mtdrive.envs.hearing import STATE, Hearing
from mtdrive.envs.scene import Collision
from mtdrive.envs.servers import open_server
from mtdrive.envs.simulation import Simulation
from mtdrive.errors import ConfigError, SimulatorError

CAR = "vehicle.tesla.model3"
GO = carla.VehicleControl(throttle=0.6)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with open_server(ServerSettings(pause=0.1), "Small") as town:
        yield town


@pytest.fixture
def simulation(server: Server) -> Iterator[Simulation]:
    if not server.alive:
        server.restart()
    session = Simulation(server, patience=30.0)
    yield session
    session.close()


def place(simulation: Simulation, spot: int = 0) -> carla.Transform:
    return simulation.map.get_spawn_points()[spot]


def car_with_camera(simulation: Simulation, *kinds: str) -> Any:
    car = simulation.spawn(CAR, place(simulation))
    for kind in kinds or ("rgb",):
        listen(simulation, kind, car)
    return car


def listen(simulation: Simulation, kind: str, car: Any) -> None:
    size = {"image_size_x": "16", "image_size_y": "8"}
    simulation.listen(kind, f"sensor.camera.{kind}", carla.Transform(carla.Location(z=2.0)), car, **size)


def pid_of(server: Server) -> int:
    return int(server._town.process.pid)  # type: ignore[attr-defined]


def test_every_tick_has_the_data_of_exactly_its_frame(simulation: Simulation) -> None:
    car = car_with_camera(simulation, "rgb", "depth", "semantic_segmentation")
    first = simulation.warm_up(3)
    for number in range(1, 21):
        tick = simulation.tick([carla.command.ApplyVehicleControl(car.id, GO)])
        assert tick.frame == first.frame + number
        assert tick.time == pytest.approx(number / 20)
        assert {name: data.frame for name, data in tick.data.items()} == dict.fromkeys(
            ("rgb", "depth", "semantic_segmentation"), tick.frame
        )
        assert tick.snapshot.frame == tick.frame


def test_cameras_that_are_fixed_to_nothing_send_every_frame_of_an_empty_town(simulation: Simulation) -> None:
    kinds = ("rgb", "depth", "semantic_segmentation", "instance_segmentation", "optical_flow")
    for kind in kinds:
        listen(simulation, kind, None)
    for tick in (simulation.warm_up(), simulation.tick()):
        assert {name: data.frame for name, data in tick.data.items()} == dict.fromkeys(kinds, tick.frame)


def test_a_scene_has_everyone_with_size_speed_and_the_lights_without_a_remote_call_a_tick(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ego = simulation.spawn(CAR, place(simulation))
    rider = simulation.spawn("vehicle.yamaha.yzf", place(simulation, 1))
    walker = simulation.spawn("walker.pedestrian.0002", place(simulation, 2))
    simulation.warm_up()
    simulation.scene(ego)
    monkeypatch.setattr(simulation._roster, "_world", None)
    for _ in range(20):
        simulation.tick([carla.command.ApplyVehicleControl(ego.id, GO)])
    scene = simulation.scene(ego)
    assert scene.time == pytest.approx(1.0)
    assert scene.ego.extent == pytest.approx((2.3959, 1.08175, 0.74385), abs=1e-3)
    assert 1 < scene.ego.speed == pytest.approx(np.hypot(*scene.ego.velocity[:2]), abs=1e-3)
    assert {actor.id: actor.kind for actor in scene.others} == {rider.id: "two_wheeler", walker.id: "walker"}
    lights = simulation.world.get_actors().filter("traffic.traffic_light")
    assert dict(scene.lights) == {light.get_opendrive_id(): int(light.state) for light in lights}
    assert len(scene.lights) > 1


def test_a_collision_is_told_once_with_whom_and_how_hard(simulation: Simulation) -> None:
    start = place(simulation)
    ego = simulation.spawn(CAR, start)
    simulation.listen("bumper", "sensor.other.collision", carla.Transform(), ego)
    ahead = carla.Transform(start.location + 12 * start.get_forward_vector(), start.rotation)
    parked = simulation.spawn("vehicle.audi.tt", ahead)
    simulation.warm_up()
    told: list[Collision] = []
    for _ in range(60):
        tick = simulation.tick([carla.command.ApplyVehicleControl(ego.id, GO)])
        assert all(event.frame < tick.frame for _, event in tick.events)
        told += simulation.scene(ego).collisions
    assert {(hit.other_id, hit.other_type) for hit in told} == {(parked.id, "vehicle.audi.tt")}
    assert max(hit.impulse for hit in told) > 1000


def test_clearing_takes_away_what_was_spawned_alone_and_in_batches(simulation: Simulation) -> None:
    before = len(simulation.world.get_actors())
    car_with_camera(simulation)
    blueprint = simulation.world.get_blueprint_library().find(CAR)
    command = carla.command.SpawnActor(blueprint, place(simulation, 1))
    taken = simulation.tick([command, command]).responses
    assert [bool(response.error) for response in taken] == [False, True]
    assert len(simulation.world.get_actors()) == before + 3
    simulation.clear()
    simulation.tick()
    assert len(simulation.world.get_actors()) == before


def test_a_car_that_another_client_destroys_is_one_error(simulation: Simulation) -> None:
    car = car_with_camera(simulation)
    simulation.warm_up()
    simulation.scene(car)
    car.destroy()
    simulation._hearing.stop()
    simulation.tick()
    with pytest.raises(SimulatorError, match=rf"actor {car.id} is gone"):
        simulation.scene(car)


def test_wrong_names_and_failing_commands_are_one_clear_line_and_the_session_goes_on(
    simulation: Simulation,
) -> None:
    spot, destroy = place(simulation), carla.command.DestroyActor
    wrong: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (ConfigError, "no town Town99; it has Grid, Large, New, Small", lambda: simulation.load("Town99")),
        (ConfigError, "cannot make vehicle.none", lambda: simulation.spawn("vehicle.none", spot)),
        (ConfigError, "attribute 'hue' not found", lambda: simulation.spawn(CAR, spot, hue="1")),
        (ConfigError, "such as ClearNoon, found 'Sunny'", lambda: simulation.set_weather("Sunny")),
        (SimulatorError, "DestroyActor failed: .*9999", lambda: simulation.tick([destroy(9999)])),
    ]
    for kind, words, call in wrong:
        with pytest.raises(kind, match=words) as raised:
            call()
        assert "\n" not in str(raised.value)
    simulation.tick()
    assert simulation.alive


def test_another_map_is_loaded_in_synchronous_mode_and_its_lights_are_known(simulation: Simulation) -> None:
    car_with_camera(simulation)
    simulation.load("Grid")
    assert simulation.town == simulation.roads.name == "Grid"
    frame = simulation.tick().frame
    assert simulation.tick().frame == frame + 1
    ego = simulation.spawn(CAR, place(simulation))
    simulation.tick()
    assert len(simulation.scene(ego).lights) == 8
    simulation.load("Small")


def test_a_session_takes_over_a_world_that_another_left_in_synchronous_mode(server: Server) -> None:
    left = Simulation(server)
    car_with_camera(left)
    left.tick()
    with open_server(f"127.0.0.1:{server.port}") as same:
        late = Simulation(same)
        late.load("Small")
        frame = late.tick().frame
        assert late.tick().frame == frame + 1
        assert not late.world.get_actors().filter("vehicle.*")
        late.close()
        assert same.line.call("get_episode_settings")[0] is False
    left.close()


def test_a_server_that_dies_in_a_tick_is_one_error_at_once_and_the_next_session_works(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    car_with_camera(simulation)
    simulation.warm_up()
    pid = pid_of(simulation.server)
    tick = simulation.server.line.call

    def die(name: str, **more: Any) -> Any:
        if name == "tick_cue":
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        return tick(name, **more)

    monkeypatch.setattr(simulation.server.line, "call", die)
    begun = time.monotonic()
    with pytest.raises(SimulatorError, match=r"hung up during tick_cue|died during tick_cue"):
        simulation.tick()
    assert time.monotonic() - begun < 5
    with pytest.raises(SimulatorError, match="the session is over: the server died or hangs"):
        simulation.spawn(CAR, carla.Transform())
    simulation.close()
    simulation.server.restart()
    again = Simulation(simulation.server, patience=30.0)
    car_with_camera(again, "depth")
    again.warm_up()
    assert again.tick().data["depth"].frame == again._last.frame
    again.close()


@pytest.mark.parametrize(
    ("call", "when", "words"),
    [
        ("tick", "before get_episode_settings", "did not answer get_episode_settings in time; it hangs"),
        ("tick", "after get_episode_settings", "a tick failed: time-out of 700ms"),
        ("tick", "before tick_cue", "did not answer tick_cue in time; it hangs"),
        ("load", "after get_episode_settings", "failed: time-out of 1000ms"),
    ],
)
def test_a_server_that_hangs_is_one_error_after_the_patience(
    server: Server, monkeypatch: pytest.MonkeyPatch, call: str, when: str, words: str
) -> None:
    session = Simulation(server, patience=0.7, loading=1.0)
    pid, line = pid_of(server), server.line.call

    def hang(name: str, **more: Any) -> Any:
        if when == f"before {name}":
            os.kill(pid, signal.SIGSTOP)
        answer = line(name, **more)
        if when == f"after {name}":
            os.kill(pid, signal.SIGSTOP)
        return answer

    monkeypatch.setattr(server.line, "call", hang)
    begun = time.monotonic()
    with pytest.raises(SimulatorError, match=words) as raised:
        session.load("Grid") if call == "load" else session.tick()
    assert time.monotonic() - begun < 10
    assert "\n" not in str(raised.value)
    assert not session.alive
    session.close()
    os.kill(pid, signal.SIGCONT)


def test_a_process_that_ends_without_closing_ends_well() -> None:
    code = """
        import faulthandler
        faulthandler.dump_traceback_later(100, exit=True)  # says where it hangs, if it does
        from mtdrive.envs.servers import open_server
        from mtdrive.envs.simulation import Simulation
        from tests.unit.test_simulation import car_with_camera
        session = Simulation(open_server("town", "Small").__enter__())
        car_with_camera(session, "rgb", "depth", "semantic_segmentation", "optical_flow")
        session.warm_up()
        print("ends")
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


@dataclass
class FakeSensor:
    id: int
    heard: Callable[[Any], None] = print
    type_id: str = "sensor.camera.rgb"

    def listen(self, callback: Callable[[Any], None]) -> None:
        self.heard = callback


def test_a_sensor_is_waited_for_strictly_as_soon_as_it_has_sent_anything() -> None:
    hearing = Hearing(lambda: True)
    sensor = FakeSensor(7)
    hearing.listen("front", sensor)

    def collect(frame: int, *frames: int) -> Any:
        hearing._inbox.put((STATE, SimpleNamespace(frame=frame)))
        for each in frames:
            sensor.heard(SimpleNamespace(frame=each))
        return hearing.collect(frame, 0.8)

    assert collect(1).data == {}
    assert list(hearing.cold) == ["front"]
    sensor.heard(SimpleNamespace(frame=1))  # it came too late for its frame
    threading.Timer(0.65, sensor.heard, [SimpleNamespace(frame=2)]).start()  # so does this if nobody waits
    assert collect(2).data["front"].frame == 2
    assert not hearing.cold
    assert collect(3, 3).data["front"].frame == 3
    with pytest.raises(SimulatorError, match="no front of frame 4 came: the server hangs"):
        collect(4, 3)
    hearing._inbox.put((STATE, SimpleNamespace(frame=6)))
    with pytest.raises(SimulatorError, match="frame 6 came instead of 5: another client ticks too"):
        hearing.collect(5, 0.8)
