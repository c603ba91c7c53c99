"""The world without a network: determinism, ground, collisions, lights, what may be spawned."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import pytest

from mtdrive.envs.town.actors import GREEN, RED, YELLOW, Actor, Light, Vehicle, Walker
from mtdrive.envs.town.calls_moving import put
from mtdrive.envs.town.chassis import GRAVITY
from mtdrive.envs.town.contacts import RESTITUTION
from mtdrive.envs.town.motion import Controls
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.structs import CallError
from mtdrive.envs.town.world import STEP, World, read_settings
from tests.town_land import Plain, light, near, wall

CAR, WALKER = "vehicle.tesla.model3", "walker.pedestrian.0001"
DEFAULT = World(Plain()).settings.write()


def car(world: World, x: float = 0.0, y: float = 0.0, **options: object) -> Vehicle:
    actor = world.spawn(CAR, {}, Pose(x, y, world.land.ground(x, y), **options))  # type: ignore[arg-type]
    assert isinstance(actor, Vehicle)
    return actor


def steps(world: World, count: int) -> None:
    for _ in range(count):
        world.step()


def history(count: int) -> bytes:
    """Return all bytes of the states of a drive with collisions."""
    lights = {"a": light("a", "1"), "b": light("b", "2")}
    world = World(Plain(0.01, [wall(60.0)], lights))
    cars = [car(world, 12.0 * (i % 4), 6.0 * (i // 4), yaw=20.0 * i) for i in range(8)]
    people = [world.spawn(WALKER, {}, Pose(8 + 9 * i, -8, 1 + 0.08 + 0.09 * i)) for i in range(3)]
    states: list[bytes] = []
    for tick in range(count):
        for i, vehicle in enumerate(cars):
            throttle, steer = 0.5 + 0.5 * math.sin(i + tick / 50), math.sin(i * tick / 90)
            vehicle.controls = Controls(throttle, steer, handbrake=(tick + i) % 70 > 60)
        for i, person in enumerate(people):
            assert isinstance(person, Walker)
            person.direction, person.speed = (math.cos(i + tick / 40), math.sin(i + tick / 40), 0.0), 1.5
        world.step()
        states.extend(actor.record() for actor in world.actors.values())
    return b"".join(states)


def test_the_same_controls_give_the_same_bits() -> None:
    first = history(80)
    assert first == history(80)
    assert len({first[i : i + 119] for i in range(0, len(first), 119)}) > 80 * 9


def test_every_record_has_the_length_that_the_client_expects() -> None:
    world = World(Plain(signals={"a": light("a")}, stop_signs={"s": light("s")}))
    car(world)
    world.spawn(WALKER, {}, Pose(10, 10, 1))
    world.spawn("sensor.camera.rgb", {}, Pose())
    assert {len(actor.record()) for actor in world.actors.values()} == {119}


def test_a_vehicle_stands_as_the_road_is_inclined() -> None:
    world = World(Plain(slope=0.1))
    up, across = car(world), car(world, 20.0, yaw=90.0)
    world.step()
    assert up.pose.pitch == pytest.approx(math.degrees(math.atan(0.1)))
    assert (up.pose.roll, across.pose.pitch) == (0.0, 0.0)
    assert across.pose.roll == pytest.approx(math.degrees(math.atan(0.1)))
    # CARLA's roll: the left side, which looks up the slope, is the higher one.
    assert across.pose.right[2] < 0 < up.pose.forward[2]


def test_what_is_dropped_falls_as_bodies_do() -> None:
    world = World(Plain())
    actor = car(world)
    put(actor, Pose(0, 0, 5))
    heights = []
    for _ in range(30):
        world.step()
        heights.append(actor.pose.z)
    ticks = next(i for i, z in enumerate(heights, start=1) if z == 0)
    assert ticks * STEP == pytest.approx(math.sqrt(2 * 5 / GRAVITY), abs=2 * STEP)
    assert heights[-1] == 0


def test_gravity_and_physics_can_be_switched_off() -> None:
    world = World(Plain())
    floating, still = car(world), car(world, 20.0)
    floating.heavy, still.simulated = False, False
    put(floating, Pose(0, 0, 5))
    put(still, Pose(20, 0, 3, yaw=30, pitch=10))
    still.controls = Controls(throttle=1.0)
    steps(world, 10)
    assert floating.pose.z == 5
    assert still.pose == Pose(20, 0, 3, yaw=30, pitch=10)


def test_a_teleported_vehicle_keeps_its_velocity() -> None:
    world = World(Plain())
    actor = car(world)
    actor.motion.vx = 10.0
    put(actor, Pose(50, 5, 0))
    world.step()
    assert near(actor.pose.x, 50 + 10 * STEP, 0.05)
    assert near(actor.velocity[0], 10, 0.2)


def test_a_wall_stops_a_car_and_takes_its_momentum() -> None:
    world = World(Plain(static=[wall(10.0)]))
    actor = car(world)
    actor.motion.vx = 12.0
    hits, speed = world.step(), 12.0
    while not hits:
        speed = actor.motion.vx
        hits = world.step()
    assert hits[0].actor is actor
    assert hits[0].other is None
    assert -hits[0].impulse[0] == pytest.approx((1 + RESTITUTION) * actor.chassis.mass * speed, rel=0.02)
    assert actor.pose.x + actor.extent[0] <= 9.5 + 1e-6
    assert actor.motion.vx <= 0


def test_two_cars_share_their_momentum_and_part() -> None:
    world = World(Plain())
    fast, parked = car(world), car(world, 7.0, 0.6)
    fast.motion.vx = 10.0
    hits = [hit for _ in range(15) for hit in world.step()]
    assert {hits[0].actor, hits[0].other} == {fast, parked}
    assert parked.pose.x > 7.2
    assert parked.motion.spin != 0.0 or parked.pose.yaw != 0.0


def test_a_walker_is_knocked_away_and_a_car_hardly_slower() -> None:
    world = World(Plain())
    actor = car(world)
    walker = world.spawn(WALKER, {}, Pose(6, 0, 0.93))
    actor.motion.vx = 8.0
    hits = [hit for _ in range(20) for hit in world.step()]
    assert {hits[0].actor, hits[0].other} == {actor, walker}
    assert walker.pose.x > 7
    assert actor.motion.vx > 6


def test_walkers_walk_jump_and_stop_at_walls() -> None:
    world = World(Plain(static=[wall(5.0)]))
    walker = world.spawn(WALKER, {}, Pose(0, 0, 0.93))
    assert isinstance(walker, Walker)
    walker.direction, walker.speed, walker.jump = (1.0, 0.0, 0.0), 2.0, True
    world.step()
    assert near(walker.pose.x, 0.1, 1e-9)
    assert walker.velocity[2] > 3
    steps(world, 100)
    assert near(walker.pose.z, 0.93, 1e-9)
    assert 4.0 < walker.pose.x < 4.5


def test_lights_take_turns_and_are_never_green_together() -> None:
    world = World(Plain(signals={n: light(n, c) for n, c in (("a", "2"), ("b", "2"), ("c", "10"))}))
    a, b, c = world.of(Light)
    seen = []
    for _ in range(round(2 * 15 / STEP)):
        seen.append((a.state, b.state, c.state))
        assert a.state == b.state
        assert RED in (a.state, c.state)
        world.step()
    lengths = {s: seen.count(s) * STEP for s in set(seen)}
    assert lengths == pytest.approx(
        {(GREEN, GREEN, RED): 10, (YELLOW, YELLOW, RED): 3, (RED, RED, GREEN): 10, (RED, RED, YELLOW): 3,
         (RED, RED, RED): 4}, abs=0.11,
    )  # fmt: skip


def test_a_frozen_light_waits_and_a_set_state_lasts_until_its_group_moves() -> None:
    world = World(Plain(signals={"a": light("a")}))
    (lamp,) = world.of(Light)
    group = world.group_of(lamp)
    group.freeze(True)
    steps(world, 400)
    assert (lamp.state, lamp.elapsed) == (GREEN, 0.0)
    group.freeze(False)
    lamp.state, lamp.elapsed = RED, 0.0
    steps(world, round(9 / STEP))
    assert lamp.state == RED
    steps(world, round(2 / STEP))
    assert lamp.state == YELLOW


@pytest.mark.parametrize(("x", "yaw", "found"), [(20.0, 0.0, True), (20.0, 180.0, False), (40.0, 0.0, False)])
def test_a_vehicle_minds_a_light_before_its_line_only(x: float, yaw: float, found: bool) -> None:
    world = World(Plain(signals={"a": light("a", x=20.0)}))
    actor = car(world, x, yaw=yaw)
    world.step()
    assert (actor.light is not None) == found
    seen, id = struct.unpack_from("<BI", actor.record(), 65 + 24)
    assert (seen, id) == ((1, world.of(Light)[0].id) if found else (0, 0))


def test_the_speed_limit_is_that_of_the_place() -> None:
    world = World(Plain())
    actor = car(world, 99.0)
    world.step()
    assert actor.limit == 30.0
    put(actor, Pose(101.0))
    world.step()
    assert actor.limit == 50.0


def test_what_is_attached_follows_in_every_turn() -> None:
    world = World(Plain(slope=0.2))
    actor = car(world, yaw=33.0)
    relative = Pose(1.5, -0.4, 2.4, 5.0, 10.0, 15.0)
    camera = world.spawn("sensor.camera.rgb", {}, relative, actor.id)
    actor.controls = Controls(throttle=0.7, steer=0.3)
    steps(world, 30)
    expected = actor.pose.matrix() @ relative.matrix()
    assert camera.pose.matrix() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("type", "attributes", "words"),
    [
        ("vehicle.nobody.knows", {}, "no blueprint"),
        ("sensor.lidar.ray_cast", {}, "lidar"),
        ("sensor.other.radar", {}, "radar"),
        ("sensor.camera.rgb", {"image_size_x": "0"}, "1 to 4096"),
        ("sensor.camera.rgb", {"fov": "nan"}, "fov"),
        ("sensor.camera.rgb", {"image_size_y": "ten"}, "integer"),
        (CAR, {"color": "1,2"}, "r,g,b"),
        (CAR, {}, "collision at spawn"),
    ],
)
def test_what_cannot_be_spawned_is_refused_with_the_reason(
    type: str, attributes: dict[str, str], words: str
) -> None:
    world = World(Plain())
    car(world)
    with pytest.raises(CallError, match=words):
        world.spawn(type, attributes, Pose(2.0))


def test_the_map_cannot_be_destroyed_and_children_outlive_their_parent() -> None:
    world = World(Plain(signals={"a": light("a")}))
    actor = car(world)
    camera = world.spawn("sensor.camera.rgb", {}, Pose(), actor.id)
    world.destroy(actor.id)
    world.step()
    assert camera.id in world.actors
    assert camera.parent == 0
    with pytest.raises(CallError, match="belongs to the map"):
        world.destroy(world.of(Light)[0].id)
    with pytest.raises(CallError, match="not found"):
        world.find(actor.id, Actor)


@pytest.mark.parametrize("change", [{2: [True, -0.05]}, {2: [True, 3.0]}, {4: 0.0}, {5: 0}, {0: "yes"}])
def test_settings_that_cannot_run_are_refused(change: dict[int, object]) -> None:
    message = [change.get(i, value) for i, value in enumerate(DEFAULT)]
    with pytest.raises(CallError):
        read_settings(message)


def test_settings_survive_the_wire() -> None:
    settings = replace(read_settings(DEFAULT), synchronous=True, fixed_delta=0.1, substeps=3)
    assert read_settings(settings.write()) == settings
    assert settings.parts == 3
