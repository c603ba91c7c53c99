"""What CARLA's Leaderboard and its scenarios rely on; docs/town.md says how to run them."""

from __future__ import annotations

import math

import carla
import numpy as np
import pytest

from mtdrive.envs.town.actors import Light, Sign, Vehicle
from mtdrive.envs.town.batch import apply_batch
from mtdrive.envs.town.blueprints import library
from mtdrive.envs.town.calls import CALLS
from mtdrive.envs.town.roads import load_map
from mtdrive.envs.town.rpc import Answerer
from mtdrive.envs.town.server import Maps, Server
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.signposts import Signpost
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.structs import CallError
from mtdrive.envs.town.versions import wire
from mtdrive.envs.town.world import World
from tests.town_land import Plain
from tests.town_painter import Flat

CAR = "vehicle.lincoln.mkz_2020"


def client() -> Session:
    """Return a client of a server on a plain, without a network."""
    return Session(Server(Maps(lambda name: Plain(), list), "plain", Flat, wire("0.9.16")), None)  # type: ignore[arg-type]


def hits(world: World, thing: str) -> int:
    """Return how often a car touches a thing that lies 10 m ahead."""
    car = world.spawn(CAR, {}, Pose())
    assert isinstance(car, Vehicle)
    world.spawn(thing, {}, Pose(10.0))
    car.motion.vx = 10.0
    return sum(len(world.step()) for _ in range(40))


def test_the_brake_that_the_traffic_manager_divides_by_zero_is_a_whole_one() -> None:
    session = client()
    world = session.world
    car, like = world.spawn(CAR, {}, Pose()), world.spawn(CAR, {}, Pose(0.0, 9.0))
    for actor, brake in ((car, math.nan), (like, 1.0)):
        assert isinstance(actor, Vehicle)
        actor.motion.vx = 10.0
        controls = [0.0, 0.0, brake, False, False, False, 0]
        assert apply_batch(session, [[[2, [actor.id, controls]]]], False) == [[[1, actor.id]]]
    for _ in range(20):
        world.step()
    assert car.pose.x == like.pose.x < 10
    refused = apply_batch(session, [[[2, [car.id, [math.nan, *controls[1:]]]]]], False)
    assert "finite" in refused[0][0][1][0]


def test_asking_for_the_box_of_what_is_gone_does_not_end_a_client_with_a_traffic_manager() -> None:
    session = client()
    car, ask = session.world.spawn(CAR, {}, Pose()), Answerer(CALLS).answer
    assert ask(session, "get_actor_bounding_box", [car.id])[1][0][1][1][0] == pytest.approx(2.4462)
    session.destroy(car.id)
    empty = [[0.0] * 3, [0.0] * 3, [0.0] * 3, 0]
    assert ask(session, "get_actor_bounding_box", [car.id]) == (None, [[1, empty]])


def test_opening_a_door_does_not_end_a_scenario() -> None:
    session, ask = client(), Answerer(CALLS).answer
    car = session.world.spawn(CAR, {}, Pose())
    assert car.value("has_dynamic_doors") == "false"
    for call in ("open_vehicle_door", "close_vehicle_door"):
        assert ask(session, call, [car.id, 0]) == (None, [[False]])
        assert ask(session, call, [99, 0])[1][0][0] is True


def test_agents_with_a_lidar_learn_that_there_is_none() -> None:
    kind = "sensor.lidar.ray_cast"
    set_before = {"range", "rotation_frequency", "channels", "upper_fov", "lower_fov", "points_per_second"}
    set_before |= {"atmosphere_attenuation_rate"} | {
        f"dropoff_{x}" for x in ("general_rate", "intensity_limit", "zero_intensity")
    }
    assert set_before <= library()[kind].attributes.keys()
    with pytest.raises(CallError, match=r"Town has no sensor\.lidar"):
        World(Plain()).spawn(kind, dict.fromkeys(set_before, "1"), Pose())


@pytest.mark.parametrize("name", ["dirtdebris01", "dirtdebris02", "dirtdebris03"])
def test_debris_is_driven_over(name: str) -> None:
    assert hits(World(Plain()), f"static.prop.{name}") == 0


@pytest.mark.parametrize(
    "name", ["vendingmachine", "trafficwarning", "foodcart", "busstoplb", "haybalelb", "trafficcone01"]
)
def test_the_obstacles_of_its_scenarios_are_hit(name: str) -> None:
    assert hits(World(Plain()), f"static.prop.{name}") > 0


@pytest.mark.parametrize("name", [CAR, "walker.pedestrian.0004"])
def test_what_its_scenarios_hide_under_a_car_does_not_come_up(name: str) -> None:
    world = World(Plain())
    car = world.spawn(CAR, {}, Pose())
    hidden = world.spawn(name, {}, Pose(z=-50.0))
    assert not any(world.step() for _ in range(10))
    assert (car.pose.x, car.pose.y, car.pose.z) == (0, 0, 0)
    fallen = 0.5 * 9.81 * (10 * world.settings.dt) ** 2
    assert hidden.pose.z == pytest.approx(-50 - fallen, abs=0.3)


def test_clients_find_all_lanes_of_a_light_along_its_box() -> None:
    land = load_map("Large")
    town, world = carla.Map("Large", land.xodr), World(land)
    for light in world.of(Light):
        assert isinstance(light.signal, Signpost)
        centre, extent, rotation, _ = light.box()
        ahead, middle = light.pose.forward, light.pose.matrix() @ [*centre, 1.0]
        places = [middle[:3] + x * ahead for x in np.arange(-0.9 * extent[0], 0.9 * extent[0], 1.0)]
        found = [town.get_waypoint(carla.Location(*place.tolist())) for place in places]
        lanes = {(str(stop.road), stop.lane) for stop in light.signal.stops}
        assert {(str(way.road_id), way.lane_id) for way in found} == lanes
        assert light.pose.yaw + rotation[1] == pytest.approx(0)
        right = light.signal.stops[0].pose.right
        assert ahead @ right == pytest.approx(1, abs=1e-6)


def test_the_box_of_a_sign_holds_its_triggers_and_no_more() -> None:
    for sign in World(load_map("Grid")).of(Sign):
        centre, extent, _, _ = sign.box()
        middle = (sign.pose.matrix() @ [*centre, 1.0])[:3]
        corners = np.array(
            [
                trigger.pose.matrix() @ [*(np.array(trigger.extent) * side), 1.0]
                for trigger in sign.signal.triggers
                for side in np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(-1, 3)
            ]
        )[:, :3]
        assert corners.min(0) == pytest.approx(middle - extent, abs=1e-6)
        assert corners.max(0) == pytest.approx(middle + extent, abs=1e-6)
