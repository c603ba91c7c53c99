from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import carla
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.envs import traffic as traffic_module
from mtdrive.envs.coordinates import relative
from mtdrive.envs.demand import Choice, Density, density_of
from mtdrive.envs.polylines import ACROSS, bend_speeds
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.road_users import RoadUser
from mtdrive.envs.scene import Actor
from mtdrive.envs.streetlights import Plan
from mtdrive.envs.sumo import Placed, to_carla_yaw, to_sumo_angle
from mtdrive.envs.traffic import Traffic
from mtdrive.errors import ConfigError, SimulatorError
from tests.traffic_makers import (
    RedLights,
    crew,
    ego_at,
    front,
    lights_of,
    overlaps,
    route_along,
    streets_of,
)

ROOT = Path(__file__).parents[2]
AWAY = ego_at(np.array([5000.0, 5000.0, 0.0]), 0.0)


@pytest.fixture
def grid() -> Iterator[tuple[RoadMap, Traffic]]:
    roads = RoadMap.named("Grid")
    traffic = Traffic(roads, seed=1)
    yield roads, traffic
    traffic.close()


def client(scenario: str, seed: int) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.traffic_client", scenario],
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=True,
        timeout=300,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_everybody_keeps_apart_on_the_lanes_and_pavements_and_stops_at_red(
    grid: tuple[RoadMap, Traffic],
) -> None:
    roads, traffic = grid
    route, show, judge = route_along(roads), lights_of(roads), RedLights.of(roads)
    traffic.begin(route, crew(streets_of(roads), 20, 20, route.start.location))
    first, on_road, walked = traffic.users(), 0, 0
    for tick in range(700):
        traffic.step(AWAY, show(tick / 20))
        users = traffic.users()
        judge.see(users, show(tick / 20))
        if tick % 10:
            continue
        assert not list(overlaps(users))
        for user in users:
            place = front(user) if user.kind != "walker" else user.xyz[:2]
            near = roads.map.get_waypoint(carla.Location(*place, user.xyz[2]))
            gap = near.transform.location.distance_2d(carla.Location(*place, 0.0))
            assert gap < 0.3 or user.kind == "walker"
            walked += user.kind == "walker"
            on_road += user.kind == "walker" and gap < near.lane_width / 2
    moved = [math.dist(a.xyz, b.xyz) for a, b in zip(first, traffic.users(), strict=True)]
    assert np.median(moved) > 20  # and nobody is lost
    assert judge.red == 0
    assert judge.green > 5
    assert 0 < on_road < 0.15 * walked  # only where they cross


def test_the_same_seed_gives_the_same_traffic_in_another_process() -> None:
    hashes = [h for seed in (1, 2) for h in client("repeat", seed)["hashes"]]
    assert len(hashes) == 4
    assert len(set(hashes)) == 1


def test_traffic_on_a_server_is_where_it_says_and_obeys_the_servers_lights() -> None:
    found = client("live", 0)
    assert len(found["kinds"]) == 30
    assert found["kinds"].count("walker") == 10
    assert found["moved"] > 25
    assert found["overlaps"] == found["hit"] == found["red"] == 0
    assert found["far"] < 1e-3
    assert found["off"] < 0.3


def test_vehicles_stand_behind_the_ego_and_drive_on_when_it_is_gone(
    grid: tuple[RoadMap, Traffic],
) -> None:
    roads, traffic = grid
    route, show = route_along(roads), lights_of(roads)
    traffic.begin(route, crew(streets_of(roads), 30, 0, route.start.location))
    ego = ego_at(route.xyz[0], float(route.yaw[0]))
    for tick in range(600):
        traffic.step(ego, show(tick / 20))
        if tick % 10 == 0:
            assert not [pair for pair in overlaps((*traffic.users(), ego)) if ego.id in pair]
    (waiting,) = (u for u in traffic.users() if _gap_behind(u, ego) < 4)
    assert _gap_behind(waiting, ego) > 1
    assert waiting.speed < 0.1
    for tick in range(200):
        traffic.step(AWAY, show(30 + tick / 20))
    (gone,) = (u for u in traffic.users() if u.id == waiting.id)
    assert math.dist(gone.xyz, waiting.xyz) > 5


def _gap_behind(user: Actor, ego: Actor) -> float:
    """Return the metres from a vehicle to the ego on its lane; infinite for the others."""
    (right, forward) = relative(np.array(user.xyz[:2]), ego.xyz[:2], ego.yaw)
    gap = float(-forward - ego.extent[0] - user.extent[0])
    return gap if abs(right) < 1 and gap > 0 else math.inf


def test_a_vehicle_that_is_stuck_goes_elsewhere_unless_the_ego_sees_it(
    grid: tuple[RoadMap, Traffic], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic_module, "STUCK", 3.0)
    roads, traffic = grid
    route = route_along(roads)
    red = dict.fromkeys(lights_of(roads)(0), 0)
    traffic.begin(route, crew(streets_of(roads), 12, 0, route.start.location))
    ego = ego_at(route.xyz[0], float(route.yaw[0]))
    before, moved = traffic.users(), 0
    for _ in range(600):
        traffic.step(ego, red)
        for old, new in zip(before, traffic.users(), strict=True):
            if math.dist(old.xyz, new.xyz) > 5:
                moved += 1
                assert min(math.dist(a.xyz[:2], ego.xyz[:2]) for a in (old, new)) > 45
        before = traffic.users()
    assert moved > 3


def test_nobody_starts_without_a_street_twice_in_a_process_or_with_a_density_that_is_not_known() -> None:
    roads = RoadMap.named("Small")
    empty = Traffic(roads, "empty")
    assert empty.step(AWAY, {}) == []
    assert empty.users() == ()
    first = Traffic(roads, "regular")
    with pytest.raises(SimulatorError, match="runs a SUMO simulation already"):
        Traffic(roads, "regular")
    first.close()
    first.close()
    Traffic(roads, "regular").close()
    with pytest.raises(ConfigError, match="empty, regular, dense, found 'full'"):
        Traffic(roads, "full")
    with pytest.raises(ConfigError, match="each kilometre"):
        Traffic(roads, Density(-1, 0))


def test_town01_has_the_numbers_of_nocrash() -> None:
    assert [round(4.90 * n) for n in density_of("regular")] == [20, 49]
    assert [round(4.90 * n) for n in density_of("dense")] == [98, 245]


@settings(deadline=None)
@given(st.floats(-1e4, 1e4))
def test_headings_convert_both_ways(yaw: float) -> None:
    there = to_carla_yaw(to_sumo_angle(yaw))
    assert math.isclose(math.cos(math.radians(there - yaw)), 1, abs_tol=1e-9)
    # SUMO's heading is clockwise from the north, which is CARLA's -y.
    angle = math.radians(to_sumo_angle(yaw))
    assert math.isclose(math.sin(angle), math.cos(math.radians(yaw)), abs_tol=1e-9)
    assert math.isclose(-math.cos(angle), math.sin(math.radians(yaw)), abs_tol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(-180, 180), st.floats(-8, 8), st.floats(0.5, 5), st.floats(-0.4, 0.4))
def test_the_front_bumper_is_where_sumo_has_it(yaw: float, pitch: float, half: float, middle: float) -> None:
    now = Actor(1, "vehicle", (100.0, 0.0, 0.0), 0.0, (0.0, 0.0, 0.0), (half, 1.0, 0.7), pitch)
    user = RoadUser("v", Choice("vehicle", {}, "vehicle", "car", 1.0), now, middle, 0.0)
    user.follow(Placed(3.0, 4.0, 5.0, yaw, pitch, 7.0), 0.05)
    rotation = carla.Rotation(pitch=user.now.pitch, yaw=user.now.yaw)
    place = carla.Transform(carla.Location(*user.now.xyz), rotation)
    bumper = place.transform(carla.Location(x=half + middle))
    assert bumper.distance(carla.Location(3, 4, 5)) < 1e-3
    assert math.isclose(user.now.speed, 7.0, rel_tol=1e-6)
    velocity = carla.Vector3D(*user.now.velocity)
    assert (velocity - 7 * place.get_forward_vector()).length() < 1e-3


def test_the_server_is_told_only_what_changed() -> None:
    now = Actor(7, "vehicle", (0.0, 0.0, 0.0), 0.0, (0.0, 0.0, 0.0), (2.0, 1.0, 0.7))
    user = RoadUser("v", Choice("vehicle", {}, "vehicle", "car", 1.0), now, 0.0, 0.0, beams=3)
    told = []
    for signals, x in ((8, 2.0), (8, 2.0), (9, 2.0), (9, 2.5)):
        user.follow(Placed(x, 0.0, 0.0, 0.0, 0.0, 1.0, signals), 0.05)
        told.append([type(command).__name__ for command in user.commands()])
    assert told == [
        ["ApplyTransform", "SetVehicleLightState"], [], ["SetVehicleLightState"], ["ApplyTransform"]
    ]  # fmt: skip
    lamps = carla.VehicleLightState
    assert user.lamps == lamps.Position | lamps.LowBeam | lamps.Brake | lamps.RightBlinker


def test_bends_are_taken_at_a_bearable_speed_that_one_can_brake_to() -> None:
    turn = np.linspace(0, np.pi / 2, 40)
    arc = np.stack([100 + 12 * np.sin(turn), 12 - 12 * np.cos(turn), 0 * turn], axis=1)
    speeds = bend_speeds(np.concatenate([[[0.0, 0, 0]], arc, [[112.0, 100, 0]]]))
    assert math.isclose(speeds.min(), math.sqrt(ACROSS * 12), rel_tol=0.05)
    assert speeds[105] < 6
    assert speeds[20] > 15
    assert (np.diff(speeds**2) > -2 * 2.0 - 1e-6).all()


def test_walkers_wait_for_red_and_cars_for_those_who_are_late() -> None:
    """Links: 0 goes straight, 1 comes from the side and turns into the crossing 2, which 0 drives over."""
    plan = Plan("x", ("a", "b", ""), {":in": 1}, {0: (), 1: (0, 2), 2: ()}, {2: ((0,), (1,))})
    assert plan.show({"a": 2, "b": 0}, (), 0.0) == "Grr"
    assert plan.show({"a": 2, "b": 2}, (), 1.0) == "Ggr"
    assert plan.show({"a": 0, "b": 2}, (), 2.0) == "rgG"
    assert plan.show({"a": 0, "b": 2}, (), 9.0) == "rGr"  # too late to start walking
    assert plan.inside({":in", ":elsewhere"}) == {1}
    assert plan.show({"a": 2, "b": 0}, {1}, 10.0) == "yrr"  # somebody is still in the junction
    assert plan.show({"a": 2, "b": 0}, (), 11.0) == "Grr"
    assert plan.show({"a": 0}, (), 12.0) == "roG"  # who has no light gives way
