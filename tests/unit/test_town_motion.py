"""The physics of vehicles against closed forms, and what no vehicle may do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.envs.town.chassis import EFFICIENCY, GRAVITY, GRIP, Chassis, physics_of, read_physics, wheelbase
from mtdrive.envs.town.models import VEHICLES
from mtdrive.envs.town.motion import ANTILOCK, ROLLING, STEERING_RATE, Controls, Motion, advance
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.structs import CallError

TESLA = "vehicle.tesla.model3"
DT = 0.01


def chassis(name: str = TESLA, **changes: object) -> Chassis:
    model = VEHICLES[name]
    return Chassis.of(replace(physics_of(model), **changes), model.size)  # type: ignore[arg-type]


def run(motion: Motion, controls: Controls, body: Chassis, seconds: float, pitch: float = 0.0) -> Motion:
    for _ in range(round(seconds / DT)):
        advance(motion, controls, body, pitch, DT)
    return motion


@pytest.mark.parametrize("name", VEHICLES)
def test_slow_vehicles_turn_on_the_circle_of_their_wheels(name: str) -> None:
    body = chassis(name)
    motion = run(Motion(vx=3.0), Controls(steer=0.3), body, 1.0)
    radius = wheelbase(VEHICLES[name].size, VEHICLES[name].wheels) / math.tan(motion.steer)
    assert math.hypot(motion.vx, motion.vy) / motion.spin == pytest.approx(
        math.hypot(radius, body.rear), rel=0.01
    )


@pytest.mark.parametrize("name", VEHICLES)
def test_full_brakes_stop_in_the_distance_that_friction_gives(name: str) -> None:
    motion = run(Motion(vx=20.0), Controls(brake=1.0), chassis(name), 5.0)
    air = chassis(name).drag * 20**2 / chassis(name).mass
    slow, fast = ANTILOCK * GRIP * GRAVITY, (ANTILOCK * GRIP + ROLLING) * GRAVITY + air + 0.02
    assert motion.vx == 0.0
    assert 20**2 / 2 / fast <= motion.x <= 20**2 / 2 / slow


@given(
    speed=st.floats(0, 40),
    slip=st.floats(-5, 5),
    spin=st.floats(-3, 3),
    steer=st.floats(-1, 1),
    throttle=st.floats(0, 1),
    brake=st.floats(0, 1),
    hand=st.booleans(),
    name=st.sampled_from(sorted(VEHICLES)),
)
@settings(max_examples=200, deadline=None)
def test_tyres_never_give_more_than_their_grip(
    speed: float, slip: float, spin: float, steer: float, throttle: float, brake: float, hand: bool, name: str
) -> None:
    body = chassis(name)
    motion = Motion(vx=speed, vy=slip, spin=spin, steer=steer * body.max_steer)
    advance(motion, Controls(throttle, steer, brake, hand), body, 0.0, DT)
    change = math.hypot(motion.vx - speed, motion.vy - slip) / DT
    other = body.drag * speed**2 / body.mass + 0.5 * GRAVITY
    assert change <= math.sqrt(2) * GRIP * GRAVITY + other


@given(speed=st.floats(-30, 30), slip=st.floats(-5, 5), spin=st.floats(-3, 3), steer=st.floats(-1, 1))
@settings(max_examples=200, deadline=None)
def test_nothing_moves_faster_by_itself(speed: float, slip: float, spin: float, steer: float) -> None:
    body = chassis()
    motion = Motion(vx=speed, vy=slip, spin=spin, steer=steer)

    def energy() -> float:
        return body.mass * (motion.vx**2 + motion.vy**2) / 2 + body.inertia * motion.spin**2 / 2

    before = energy()
    advance(motion, Controls(steer=steer), body, 0.0, DT)
    assert energy() <= before * (1 + 1e-12)


def test_top_speed_is_where_the_engine_balances_the_drag() -> None:
    body = chassis()
    motion = run(Motion(vx=55.0, gear=5), Controls(throttle=1.0), body, 60.0)
    v = motion.along()
    force = body.drag * v * v + ROLLING * body.mass * GRAVITY
    ratio = body.physics.gears[motion.gear - 1].ratio * body.physics.final_ratio
    torque = force * body.radius / ratio / EFFICIENCY
    peak = max(t for _, t in body.physics.torque_curve)
    assert 50 < v < 75
    assert 0.6 * peak < torque < 1.05 * peak or motion.rpm > 0.99 * body.physics.max_rpm


def test_cars_accelerate_like_their_models() -> None:
    times = {}
    for name in (TESLA, "vehicle.audi.a2", "vehicle.carlamotors.firetruck"):
        body, motion, ticks = chassis(name), Motion(), 0
        while motion.along() < 50 / 3.6:
            advance(motion, Controls(throttle=1.0), body, 0.0, DT)
            ticks += 1
        times[name] = ticks * DT
    assert 2.5 < times[TESLA] < 4 < times["vehicle.carlamotors.firetruck"] < 15
    assert times[TESLA] <= times["vehicle.audi.a2"] < 6


def test_the_hand_brake_makes_the_rear_slide() -> None:
    rolling = run(Motion(vx=12.0), Controls(steer=0.5), chassis(), 0.8)
    sliding = run(Motion(vx=12.0), Controls(steer=0.5, handbrake=True), chassis(), 0.8)

    def slip(m: Motion) -> float:
        across = m.vy * math.cos(m.yaw) - m.vx * math.sin(m.yaw)
        return abs(across - chassis().rear * m.spin)

    assert slip(rolling) < 0.5 < 1.0 < slip(sliding)


def test_reverse_goes_back_and_neutral_stays() -> None:
    assert run(Motion(), Controls(throttle=0.5, reverse=True), chassis(), 2.0).vx < -2
    assert run(Motion(), Controls(throttle=1.0, manual=True, gear=0), chassis(), 1.0).vx == 0


def test_the_wheel_takes_time_to_turn() -> None:
    motion = run(Motion(), Controls(steer=1.0), chassis(), 0.1)
    assert motion.steer == pytest.approx(0.1 * STEERING_RATE)


def test_a_parked_car_stays_on_a_hill_and_a_steep_one_moves_it() -> None:
    assert run(Motion(), Controls(), chassis(), 2.0, pitch=math.radians(10)).x == 0
    assert run(Motion(), Controls(), chassis(), 2.0, pitch=math.radians(35)).x < -1


def test_physics_control_changes_what_it_says() -> None:
    model = VEHICLES[TESLA]
    base = physics_of(model)
    icy = replace(base, wheels=tuple(replace(w, friction=w.friction / 4) for w in base.wheels))
    light = replace(base, mass=base.mass / 2)
    stop = {
        k: run(Motion(vx=10.0), Controls(brake=1.0), Chassis.of(p, model.size), 6.0).x
        for k, p in {"base": base, "icy": icy}.items()
    }
    start = {
        k: run(Motion(), Controls(throttle=0.2), Chassis.of(p, model.size), 1.0).vx
        for k, p in {"base": base, "light": light}.items()
    }
    assert 3 < stop["icy"] / stop["base"] < 4.5
    assert 1.9 < start["light"] / start["base"] < 2.3


@pytest.mark.parametrize("name", VEHICLES)
def test_physics_survive_the_wire(name: str) -> None:
    physics = physics_of(VEHICLES[name])
    assert read_physics(physics.write(Pose(1, 2, 3), VEHICLES[name].size), physics) == physics


@pytest.mark.parametrize(
    ("field", "value"), [(11, 0.0), (1, -1.0), (15, []), (0, []), (10, []), (11, math.nan)]
)
def test_physics_that_cannot_be_driven_are_refused(field: int, value: object) -> None:
    physics = physics_of(VEHICLES[TESLA])
    message = physics.write(Pose(), VEHICLES[TESLA].size)
    message[field] = value
    with pytest.raises(CallError):
        read_physics(message, physics)
