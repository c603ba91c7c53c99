"""The real client, in processes of its own, against a server with a plain painter."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mtdrive.envs.town import Town
from tests.town_land import XODR

ROOT = Path(__file__).parents[2]
SERVER = (sys.executable, "-m", "tests.town_painter")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "street.xodr"
    path.write_text(XODR)
    return path


@pytest.fixture(scope="module")
def server(street: Path) -> Iterator[Town]:
    with Town(xodr=street, seed=3, command=SERVER) as town:
        yield town
        assert town.alive


@pytest.fixture(scope="module")
def other(street: Path) -> Iterator[Town]:
    """Another server with the same map and seed."""
    with Town(xodr=street, seed=3, command=SERVER) as town:
        yield town
        assert town.alive


def start(name: str, port: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.town_client", name, str(port), *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def finish(client: subprocess.Popen[str], seconds: float = 120.0) -> dict[str, Any]:
    try:
        out, _ = client.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        client.kill()
        client.communicate()
        raise
    assert client.returncode == 0, f"the client ended with {client.returncode}"
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def run(name: str, port: int, *more: str) -> dict[str, Any]:
    return finish(start(name, port, *more))


def test_a_tick_right_after_listen_loses_no_first_frame(server: Town) -> None:
    assert run("first_frames", server.port) == {"missed": 0}


def test_every_sensor_sends_what_the_client_can_read(server: Town) -> None:
    found = run("all_sensors", server.port)
    assert found["classes"] == {
        "camera.rgb": "Image", "camera.depth": "Image", "camera.semantic_segmentation": "Image",
        "camera.instance_segmentation": "Image", "camera.optical_flow": "OpticalFlowImage",
        "other.collision": "CollisionEvent", "other.obstacle": "ObstacleDetectionEvent",
        "other.gnss": "GnssMeasurement", "other.imu": "IMUMeasurement",
        "other.lane_invasion": "LaneInvasionEvent",
    }  # fmt: skip
    assert {found["counts"][f"camera.{k}"] for k in ("rgb", "depth", "optical_flow")} == {100}
    assert found["counts"]["other.imu"] == 100
    assert found["metres"] == pytest.approx(2.4 / (7.5 / 16), rel=1e-4)
    assert found["flow"] == [0.0, 1.0]
    assert found["saw_parked"]
    assert found["hit"]
    assert found["impulse"] > 1000
    assert found["obstacle"][0]
    assert 5 < found["obstacle"][1] < 14
    times = found["gnss"]
    assert [b - a for a, b in pairwise(times)] == pytest.approx([0.5, 0.5], abs=1e-6)
    assert found["gnss_error"] < 1e-7
    assert found["imu"] == pytest.approx(9.81, abs=0.2)
    assert found["fov"] == 90


def test_the_same_drive_gives_the_same_states_to_the_last_bit(server: Town, other: Town) -> None:
    hashes = {h for town in (server, other) for h in run("repeat", town.port)["hashes"]}
    assert len(hashes) == 1


def test_calls_of_the_api_give_what_they_promise(server: Town) -> None:
    found = run("sweep", server.port)
    good = {name: value for name, value in found.items() if not str(value).startswith("error: ")}
    errors = {name: value for name, value in found.items() if name not in good}
    assert set(errors) == {
        "lidar", "bad town", "recorder", "bones", "unknown", "unknown again", "step"
    }  # fmt: skip
    assert len(good) >= 50
    expected = {
        "physics mass": 1720.0, "telemetry": 4, "lights": 2, "box": pytest.approx(2.4462, abs=1e-4),
        "vertices": 8, "teleport": True, "at constant velocity": 3.0, "ackermann settings": True,
        "at ackermann speed": pytest.approx(6.0, abs=0.3), "speed limit": 48.28, "tags": [14],
        "attributes": "4",
        "group": 1, "opendrive id": "7", "trigger": True, "by opendrive id": True, "by landmark": True,
        "shows": "Yellow True 4.0", "versions": True, "weather": 33.0, "ground": 0.0, "ray": "Roads",
        "spectator": 4.0, "walk": 2.0, "walker height": 0.55, "signs": 1, "batch": [False, True, False],
        "still there": "0.9.16",
    }  # fmt: skip
    assert {name: good[name] for name in expected} == expected
    assert "lidar" in errors["lidar"]
    assert "get_actor_socket_names" in errors["unknown"]
    assert server.log().count("get_actor_socket_names") == 1


@pytest.fixture(scope="module")
def arrival(server: Town) -> dict[str, Any]:
    """What a client finds after one that vanished."""
    return {"car": run("vanish", server.port)["id"], **run("arrive", server.port)}


def test_a_client_that_vanishes_leaves_the_world_running_for_the_next(arrival: dict[str, Any]) -> None:
    assert arrival["actors"] > 0
    assert arrival["synchronous"] is False
    assert arrival["frame"] > 0
    assert arrival["car"] in arrival["cars"]


def test_the_box_of_a_vehicle_that_is_gone_is_an_error(arrival: dict[str, Any]) -> None:
    assert arrival["extent"] > 2
    assert "destroyed actor" in arrival["gone"]


def test_a_client_that_stops_its_sensors_ends_well_and_one_that_does_not_harms_no_one(server: Town) -> None:
    clients = [(name, start(name, server.port)) for name in ("polite", "rude") * 2]
    for name, client in clients:
        client.communicate(timeout=120)
        # The client aborts at its exit about every other time: that is the library.
        assert client.returncode in ((0,) if name == "polite" else (0, -signal.SIGABRT))
    assert server.alive
    assert run("first_frames", server.port) == {"missed": 0}


def test_a_waiting_client_does_not_burn_the_processor(server: Town) -> None:
    found = run("spin", server.port)
    assert found["frames"] == 11
    assert found["wall"] > 10 * 0.1
    assert found["busy"] < 0.5 * found["wall"]


def test_a_clients_own_map_is_loaded_in_both_modes(other: Town) -> None:
    found = run("maps", other.port)
    (first, spots, one), (second, _, two) = found["names"]
    assert first.endswith("OpenDriveMap")
    assert second.endswith("OpenDriveMap")
    assert spots > 4
    assert two > one
    assert found["same"]


def test_a_new_episode_does_not_crash_a_client_with_a_traffic_manager(server: Town) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    found = run("manage", server.port, port)
    assert found["errors"] == ["", ""]
    assert min(found["speeds"]) > 1
    assert found["left"] == 0


@pytest.fixture(scope="module")
def survival(street: Path) -> dict[str, Any]:
    """What a client sees whose server is killed, and another one started at its port."""
    with Town(xodr=street, command=SERVER) as town:
        port = town.port
        client = start("survive", port)
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            assert client.stdout.readline() == "kill\n"
            town.process.kill()
            town.process.wait()
            assert not town.alive
            print(file=client.stdin, flush=True)
            assert client.stdout.readline() == "restarted\n"
            with Town(xodr=street, port=port, command=SERVER):
                found = finish(client)
        finally:
            client.kill()
    return found


def test_an_old_listener_hears_nothing_of_a_new_server(survival: dict[str, Any]) -> None:
    assert survival["late"] == 0
    assert survival["new"] == 5


def test_a_killed_server_is_found_out_by_its_process_not_by_the_client(survival: dict[str, Any]) -> None:
    assert "time-out" in survival["error"]
    assert survival["seconds"] > 0.9
    assert (survival["control"], survival["stale"], survival["alive"]) == ("", True, True)
    assert "time-out" in survival["again"]
