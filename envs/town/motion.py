"""How a vehicle moves: a rigid body in the plane on two axles, each with a limited grip.

The driver's pedals make a force along the body: the engine's torque through the gears, the brakes, rolling
resistance, air drag and the slope. Each axle then holds its wheels from sliding sideways, the front one
across the direction that it is steered to, with an impulse that is at most what the tyres can give after the
force along the body took its part (the circle of friction). So the vehicle follows its wheels as long as they
hold, and slides when they do not: too fast for the bend, or with the hand brake on. There is no suspension,
no shift of load between the axles and no slip below the limit of grip. Turning the front wheels takes time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtdrive.envs.town.chassis import EFFICIENCY, GRAVITY, Chassis, interpolate
from mtdrive.envs.town.structs import ZERO, Vector

STEERING_RATE = math.radians(150)
"""A second; of the front wheels."""
TRACTION, ANTILOCK = 0.4, 0.9
"""The parts of the grip that the engine and the foot brake may use, so that some is left for the bend."""
ROLLING = 0.012
"""Rolling resistance as a part of the weight."""
HOLDING = 0.4
"""With no throttle a vehicle at rest holds on a slope, with this part of its weight at most."""
STILL = 0.05
"""Metres a second; slower than this with no throttle is at rest."""


@dataclass(frozen=True)
class Controls:
    """The fields of `carla.VehicleControl`."""

    throttle: float = 0.0
    steer: float = 0.0
    brake: float = 0.0
    handbrake: bool = False
    reverse: bool = False
    manual: bool = False
    gear: int = 0


@dataclass
class Motion:
    """Where a vehicle is in the plane and how it moves; angles in radians."""

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    vx: float = 0.0
    """Of the centre of mass, in the world."""
    vy: float = 0.0
    spin: float = 0.0
    steer: float = 0.0
    """The angle of the front wheels."""
    gear: int = 1
    shifting: float = 0.0
    """Seconds until the clutch is in again."""
    rpm: float = 0.0
    push: Vector = ZERO
    """Forces (x, y) and torque that act during the next step only."""

    def along(self) -> float:
        """Return the forward speed."""
        return self.vx * math.cos(self.yaw) + self.vy * math.sin(self.yaw)

    def resting(self) -> bool:
        """Return whether nothing moves."""
        return self.vx == self.vy == self.spin == 0.0 and self.push == ZERO


def advance(motion: Motion, controls: Controls, chassis: Chassis, pitch: float, dt: float) -> None:
    """Move a vehicle by one substep; `pitch` is the slope that it stands on, radians, nose up positive."""
    _steer(motion, controls, chassis, dt)
    if motion.resting() and not controls.throttle and abs(math.sin(pitch)) < HOLDING:
        return
    _shove(motion, chassis, dt)
    cos, sin = math.cos(motion.yaw), math.sin(motion.yaw)
    u = motion.vx * cos + motion.vy * sin
    v = motion.vy * cos - motion.vx * sin
    u, used = _pedals(motion, controls, chassis, u, pitch, dt)
    u, v, spin = _hold(u, v, motion.spin, motion.steer, chassis, used, dt)
    if not controls.throttle and max(abs(u), abs(v), abs(spin)) < STILL and abs(math.sin(pitch)) < HOLDING:
        u = v = spin = 0.0
    motion.vx, motion.vy, motion.spin = u * cos - v * sin, u * sin + v * cos, spin
    carry(motion, chassis, dt)


def carry(motion: Motion, chassis: Chassis, dt: float) -> None:
    """Move the body by its velocities; the centre of mass keeps to its path, the origin turns about it."""
    x = motion.x + chassis.centre * math.cos(motion.yaw) + motion.vx * dt
    y = motion.y + chassis.centre * math.sin(motion.yaw) + motion.vy * dt
    motion.yaw += motion.spin * dt
    motion.x = x - chassis.centre * math.cos(motion.yaw)
    motion.y = y - chassis.centre * math.sin(motion.yaw)


def kick(motion: Motion, chassis: Chassis, impulse: Vector, arm: tuple[float, float] = (0.0, 0.0)) -> None:
    """Apply an impulse, N s in the world, at `arm` metres from the centre of mass."""
    motion.vx += impulse[0] / chassis.mass
    motion.vy += impulse[1] / chassis.mass
    motion.spin += (arm[0] * impulse[1] - arm[1] * impulse[0]) / chassis.inertia


def _shove(motion: Motion, chassis: Chassis, dt: float) -> None:
    fx, fy, torque = motion.push
    kick(motion, chassis, (fx * dt, fy * dt, 0.0))
    motion.spin += torque * dt / chassis.inertia


def _steer(motion: Motion, controls: Controls, chassis: Chassis, dt: float) -> None:
    kmh = 3.6 * abs(motion.along())
    part = interpolate(chassis.physics.steering_curve, kmh)
    target = min(max(controls.steer, -1.0), 1.0) * chassis.max_steer * part
    reach = STEERING_RATE * dt
    motion.steer += min(max(target - motion.steer, -reach), reach)


def _pedals(
    motion: Motion, controls: Controls, chassis: Chassis, u: float, pitch: float, dt: float
) -> tuple[float, tuple[float, float]]:
    """Return the new forward speed, and the force along the body that each axle uses."""
    pull = _engine(motion, controls, chassis, u, dt)
    grips = chassis.grips
    drag = abs(pull) / 2 if pull * u < 0 else 0.0  # an engine against the motion is one more brake
    drive = [0.0 if drag else min(max(pull / 2, -TRACTION * grip), TRACTION * grip) for grip in grips]
    press = min(max(controls.brake, 0.0), 1.0)
    hand = 1.0 if controls.handbrake else 0.0
    brakes = [
        min(min(press * foot + drag, ANTILOCK * grip) + hand * lever, grip)
        for foot, lever, grip in zip(chassis.brakes, chassis.handbrakes, grips, strict=True)
    ]
    weight = chassis.mass * GRAVITY
    u += dt * (sum(drive) - chassis.drag * u * abs(u) - weight * math.sin(pitch)) / chassis.mass
    resistance = sum(brakes) + ROLLING * weight
    if not controls.throttle and abs(u) < 2 * STILL:
        resistance += HOLDING * weight
    u = math.copysign(max(0.0, abs(u) - resistance * dt / chassis.mass), u)
    return u, (abs(drive[0]) + brakes[0], abs(drive[1]) + brakes[1])


def _engine(motion: Motion, controls: Controls, chassis: Chassis, u: float, dt: float) -> float:
    """Return the force of the engine at the wheels; it changes gear."""
    physics = chassis.physics
    throttle = min(max(controls.throttle, 0.0), 1.0)
    _choose_gear(motion, controls, chassis, dt)
    if motion.gear == 0 or motion.shifting > 0:
        return 0.0
    sign = -1.0 if motion.gear < 0 else 1.0
    ratio = physics.gears[max(motion.gear, 1) - 1].ratio * physics.final_ratio
    motion.rpm = _rpm(chassis, max(motion.gear, 1), u)
    torque = 0.0 if motion.rpm > physics.max_rpm else throttle * interpolate(physics.torque_curve, motion.rpm)
    full, none, _ = physics.damping
    damping = (none + (full - none) * throttle) * u / chassis.radius * ratio
    return ratio * (sign * torque * EFFICIENCY - damping) / chassis.radius


def _choose_gear(motion: Motion, controls: Controls, chassis: Chassis, dt: float) -> None:
    physics = chassis.physics
    gears = physics.gears
    motion.shifting = max(0.0, motion.shifting - dt)
    if controls.manual or not physics.automatic:
        motion.gear = min(max(controls.gear, -1), len(gears))
    elif controls.reverse:
        motion.gear = -1
    elif motion.gear < 1 or motion.gear > len(gears):
        motion.gear = 1
    elif motion.shifting == 0:
        part = _rpm(chassis, motion.gear, motion.along()) / physics.max_rpm
        step = (part > gears[motion.gear - 1].up) - (part < gears[motion.gear - 1].down)
        chosen = min(max(motion.gear + step, 1), len(gears))
        if chosen != motion.gear:
            motion.gear, motion.shifting = chosen, max(physics.gear_time, 0.0)


def _rpm(chassis: Chassis, gear: int, u: float) -> float:
    ratio = chassis.physics.gears[gear - 1].ratio * chassis.physics.final_ratio
    return abs(u) / chassis.radius * ratio * 30 / math.pi


def _hold(
    u: float, v: float, spin: float, steer: float, chassis: Chassis, used: tuple[float, float], dt: float
) -> tuple[float, float, float]:
    """Return the velocities after the axles' impulses against sliding sideways.

    Without a limit both are found at once, so that no axle slides; with one, an axle gives what it can and
    the other is asked again.
    """
    cos, sin = math.cos(steer), math.sin(steer)
    a, b, m, inertia = chassis.front, chassis.rear, chassis.mass, chassis.inertia
    ff, rr = 1 / m + (a * cos) ** 2 / inertia, 1 / m + b * b / inertia
    fr = cos / m - a * cos * b / inertia
    slide = (v + a * spin) * cos - u * sin, v - b * spin
    rolls = (v + a * spin) * sin + u * cos, u
    most = [dt * _sideways(chassis.grips[i], used[i], slide[i], rolls[i]) for i in (0, 1)]
    rest = ff * rr - fr * fr
    front = _clamp((fr * slide[1] - rr * slide[0]) / rest, most[0])
    rear = _clamp(-(slide[1] + fr * front) / rr, most[1])
    front = _clamp(-(slide[0] + fr * rear) / ff, most[0])
    push = front * cos + rear
    return u - front * sin / m, v + push / m, spin + (a * cos * front - b * rear) / inertia


def _sideways(grip: float, used: float, slide: float, roll: float) -> float:
    """Return the force that an axle has left across its wheels; locked wheels rub against where they go."""
    left = math.sqrt(max(0.0, grip * grip - used * used))
    speed = math.hypot(slide, roll)
    return max(left, grip * abs(slide) / speed) if speed > 0 else left


def _clamp(value: float, most: float) -> float:
    return min(max(value, -most), most)
