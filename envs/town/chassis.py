"""The parameters of a vehicle's physics, as `carla.VehiclePhysicsControl` holds them.

What the model of `mtdrive.envs.town.motion` uses: the torque curve, the three engine dampings' first two, the
gears and their times, mass, drag, the centre of mass along x, the steering curve, and of the wheels friction,
steering angle, radius and brake torques. The rest is kept and given back, and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mtdrive.envs.town.limits import POINTS
from mtdrive.envs.town.models import Size, VehicleModel
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.structs import (
    ZERO,
    CallError,
    Msg,
    Vector,
    array,
    array_of,
    few,
    flag,
    number,
    pair,
    vector,
)

GRAVITY = 9.81
NOMINAL = 3.5
"""The tyre friction that CARLA gives its wheels, which is no coefficient of friction."""
GRIP = 1.1
"""The coefficient of friction that `NOMINAL` stands for: a sports tyre on dry asphalt, because drivers made
for CARLA, whose tyres hold more than any real one, take bends that fast."""
AIR = 1.2
"""Kilograms a cubic metre."""
IDLE = 0.15
"""The part of its greatest torque that an engine without throttle brakes with at its highest speed."""
EFFICIENCY = 0.9
"""Of the drivetrain."""


@dataclass(frozen=True)
class Wheel:
    """A wheel; the fields of `carla.WheelPhysicsControl` but for the position."""

    friction: float
    damping: float
    max_steer: float
    """Degrees."""
    radius: float
    """Centimetres."""
    brake: float
    """Newton metres, like the next."""
    handbrake: float
    stiffness: tuple[float, float, float] = (3.0, 20.0, 3000.0)


@dataclass(frozen=True)
class Gear:
    """A forward gear: its ratio, and where the automatic changes, as parts of the highest speed."""

    ratio: float
    down: float
    up: float


@dataclass(frozen=True)
class Physics:
    """The fields of `carla.VehiclePhysicsControl` in its order and units."""

    torque_curve: tuple[tuple[float, float], ...]
    """Revolutions a minute and newton metres."""
    max_rpm: float
    inertia: float
    damping: tuple[float, float, float]
    """Of the engine in newton metres a radian a second: full throttle, none, none with the clutch out."""
    automatic: bool
    gear_time: float
    clutch: float
    final_ratio: float
    gears: tuple[Gear, ...]
    mass: float
    drag: float
    centre: Vector
    """Metres from the actor's origin, which is halfway between the axles."""
    steering_curve: tuple[tuple[float, float], ...]
    """Speed in km/h and the part of the steering angle that is left."""
    wheels: tuple[Wheel, ...]
    sweep: bool = False

    def write(self, pose: Pose, size: Size) -> Msg:
        """Return CARLA's struct of a vehicle that stands at `pose`."""
        matrix = pose.matrix()
        places = [
            100 * (matrix @ [*local, 1.0])[:3] for local in wheel_places(size, len(self.wheels), self.wheels)
        ]
        wheels = [
            [w.friction, w.damping, w.max_steer, w.radius, w.brake, w.handbrake, *w.stiffness, place.tolist()]
            for w, place in zip(self.wheels, places, strict=True)
        ]
        engine = [[list(p) for p in self.torque_curve], self.max_rpm, self.inertia, *self.damping]
        gears = [[gear.ratio, gear.down, gear.up] for gear in self.gears]
        box = [self.automatic, self.gear_time, self.clutch, self.final_ratio, gears]
        body = [self.mass, self.drag, list(self.centre), [list(p) for p in self.steering_curve]]
        return [*engine, *box, *body, wheels, self.sweep]


def wheelbase(size: Size, wheels: int) -> float:
    """Return the distance of the axles in metres."""
    return size.length * (0.6 if wheels == 4 else 0.65)


def wheel_places(size: Size, count: int, wheels: Sequence[Wheel]) -> list[Vector]:
    """Return where the wheels' centres are from the origin, in metres: front first, left before right."""
    half = wheelbase(size, count) / 2
    side = 0.4 * size.width if count == 4 else 0.0
    sides = (-side, side) if count == 4 else (0.0,)
    places = [(x, y) for x in (half, -half) for y in sides]
    return [(x, y, wheel.radius / 100) for (x, y), wheel in zip(places, wheels, strict=True)]


def physics_of(model: VehicleModel) -> Physics:
    """Return the physics that a vehicle starts with."""
    pedals = model.base == "bicycle"
    top = 120.0 if pedals else 6000.0
    peak = 1000 * model.power / (0.7 * top * math.pi / 30)
    idle = IDLE * peak / (top * math.pi / 30)
    ratios = (0.44,) if pedals else (3.6, 2.1, 1.45, 1.1, 0.85)
    radius = 0.62 * min(0.36 * model.size.height, 1.0) if model.wheels == 4 else 0.31
    heavy = 1.6 if model.base in ("truck", "bus") and model.special != "electric" else 1.0
    return Physics(
        torque_curve=((0.0, 0.7 * peak), (0.25 * top, peak), (0.7 * top, peak), (top, 0.7 * peak)),
        max_rpm=top,
        inertia=1.0,
        damping=(0.1 * idle, idle, idle),
        automatic=True,
        gear_time=0.0 if pedals else 0.2,
        clutch=10.0,
        final_ratio=1.0 if pedals else 3.9 * heavy * radius / 0.33,
        gears=tuple(Gear(ratio, 0.35, 0.85) for ratio in ratios),
        mass=model.mass,
        drag=0.9 if model.wheels == 2 else 0.6 if heavy > 1 else 0.3,
        centre=ZERO,
        steering_curve=((0.0, 1.0), (20.0, 0.9), (60.0, 0.8), (120.0, 0.7)),
        wheels=_wheels(model, radius),
    )


def _wheels(model: VehicleModel, radius: float) -> tuple[Wheel, ...]:
    """Brakes that just lock all wheels, and a hand brake that locks the rear ones."""
    grip = GRIP * model.mass * GRAVITY * radius / model.wheels
    steer = 70.0 if model.wheels == 4 else 45.0
    front = Wheel(NOMINAL, 0.25, steer, 100 * radius, round(1.05 * grip), 0.0)
    rear = Wheel(NOMINAL, 0.25, 0.0, 100 * radius, round(1.05 * grip), round(1.2 * grip))
    axle = model.wheels // 2
    return (front,) * axle + (rear,) * axle


def read_physics(value: Any, old: Physics) -> Physics:
    """Read `carla.VehiclePhysicsControl` for a vehicle that has `old` until now.

    Raises:
        CallError: it cannot be driven with these.
    """
    f = array(value, 16)
    physics = Physics(
        torque_curve=tuple(array_of(pair, POINTS)(f[0])),
        max_rpm=number(f[1]),
        inertia=number(f[2]),
        damping=(number(f[3]), number(f[4]), number(f[5])),
        automatic=flag(f[6]),
        gear_time=number(f[7]),
        clutch=number(f[8]),
        final_ratio=number(f[9]),
        gears=tuple(Gear(*vector(gear)) for gear in few(f[10], POINTS)),
        mass=number(f[11]),
        drag=number(f[12]),
        centre=vector(f[13]),
        steering_curve=tuple(array_of(pair, POINTS)(f[14])),
        wheels=tuple(_read_wheel(wheel) for wheel in few(f[15], POINTS)),
        sweep=bool(len(f) > 16 and flag(f[16])),
    )
    _check(physics, old)
    return physics


def _read_wheel(value: Any) -> Wheel:
    n = [number(item) for item in array(value, 9)[:9]]
    return Wheel(n[0], n[1], n[2], n[3], n[4], n[5], (n[6], n[7], n[8]))


def _check(physics: Physics, old: Physics) -> None:
    positive = {
        "mass": physics.mass,
        "max_rpm": physics.max_rpm,
        "final_ratio": physics.final_ratio,
        **{f"wheels[{i}].radius": wheel.radius for i, wheel in enumerate(physics.wheels)},
        **{f"forward_gears[{i}].ratio": gear.ratio for i, gear in enumerate(physics.gears)},
    }
    for name, found in positive.items():
        if found <= 0:
            raise CallError(f"apply_physics_control: {name} must be above 0, found {found}")
    if len(physics.wheels) != len(old.wheels):
        raise CallError(
            f"apply_physics_control: expected {len(old.wheels)} wheels, found {len(physics.wheels)}"
        )
    for name, curve in (("torque_curve", physics.torque_curve), ("steering_curve", physics.steering_curve)):
        if not curve or any(a[0] > b[0] for a, b in pairwise(curve)):
            raise CallError(f"apply_physics_control: {name} must have points whose x does not fall")
    if not physics.gears:
        raise CallError("apply_physics_control: expected at least one forward gear, found none")


@dataclass(frozen=True)
class Chassis:
    """What a step needs, worked out from the physics once."""

    physics: Physics
    mass: float
    inertia: float
    """About the vertical axis, kg m²."""
    centre: float
    """Metres that the centre of mass is before the origin."""
    front: float
    """Metres from the centre of mass to the front axle."""
    rear: float
    radius: float
    """Of the wheels, metres."""
    max_steer: float
    """Radians."""
    grips: tuple[float, float]
    """The most force of the front and of the rear axle, newton."""
    brakes: tuple[float, float]
    """The force of the brakes at the axles when fully on, newton."""
    handbrakes: tuple[float, float]
    drag: float
    """Newton a (m/s)²."""

    @classmethod
    def of(cls, physics: Physics, size: Size) -> Chassis:
        """Work out the chassis of a vehicle of that size."""
        axle = len(physics.wheels) // 2
        ends = physics.wheels[:axle], physics.wheels[axle:]
        base = wheelbase(size, len(physics.wheels))
        shift = min(max(physics.centre[0], -0.4 * base), 0.4 * base)
        front, rear = base / 2 - shift, base / 2 + shift
        loads = rear / base * physics.mass * GRAVITY, front / base * physics.mass * GRAVITY
        friction = [GRIP / NOMINAL * sum(max(w.friction, 0.0) for w in end) / axle for end in ends]
        return cls(
            physics=physics,
            mass=physics.mass,
            inertia=physics.mass * (size.length**2 + size.width**2) / 12,
            centre=shift,
            front=front,
            rear=rear,
            radius=ends[1][0].radius / 100,
            max_steer=math.radians(max(abs(w.max_steer) for w in ends[0])),
            grips=(friction[0] * loads[0], friction[1] * loads[1]),
            brakes=(_force(ends[0], "brake"), _force(ends[1], "brake")),
            handbrakes=(_force(ends[0], "handbrake"), _force(ends[1], "handbrake")),
            drag=0.5 * AIR * physics.drag * 0.85 * size.width * size.height,
        )


def _force(wheels: Sequence[Wheel], kind: str) -> float:
    return float(sum(max(getattr(w, kind), 0.0) / (w.radius / 100) for w in wheels))


def interpolate(curve: Sequence[tuple[float, float]], x: float) -> float:
    """Return a curve's value at x; beyond its ends it is level."""
    if x <= curve[0][0]:
        return curve[0][1]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x < x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return curve[-1][1]
