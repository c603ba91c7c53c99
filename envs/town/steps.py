"""One step of the actors: vehicles and walkers move, what is attached follows."""

from __future__ import annotations

import math

from mtdrive.envs.town.actors import Actor, Vehicle, Walker
from mtdrive.envs.town.chassis import GRAVITY, wheelbase
from mtdrive.envs.town.motion import Controls, advance, carry
from mtdrive.envs.town.stage import Land, Pose
from mtdrive.envs.town.structs import ZERO, Vector

SHOVED = 0.6
"""Seconds in which the speed that a walker was knocked to fades by a factor of e."""
CLIMB = 0.3
"""Metres that a body may be under the ground or above it and still be put on it."""
BURIED = 30.0
"""Metres under the ground from which on a body falls, as in CARLA: scripts hide there what comes later.

More than the height of bridges, whose deck may be the ground of those beside them.
"""
HOP = 4.2
"""Metres a second upwards, of a walker that jumps; as fast as CARLA's."""
STANDING = 0.05
"""Metres a second; a walker that was knocked slower than this stands."""


def drive(vehicle: Vehicle, land: Land, dt: float, substeps: int) -> None:
    """Move a vehicle by a step."""
    if not vehicle.simulated:
        return
    motion, before = vehicle.motion, vehicle.velocity
    rest = motion.resting()
    controls = _pilot(vehicle, dt)
    pitch = math.radians(vehicle.pose.pitch)
    for _ in range(substeps):
        if vehicle.constant is None:
            advance(motion, controls, vehicle.chassis, pitch, dt / substeps)
        else:
            _cruise(vehicle, vehicle.constant, dt / substeps)
    motion.push = ZERO
    if not (rest and motion.resting()) or vehicle.falling or vehicle.unsettled:
        settle(vehicle, land, dt)
    vehicle.velocity = (motion.vx, motion.vy, vehicle.falling or _rise(vehicle))
    vehicle.spin = (0.0, 0.0, math.degrees(motion.spin))
    vehicle.acceleration = _rate(before, vehicle.velocity, dt)


def _rise(vehicle: Vehicle) -> float:
    return vehicle.motion.along() * math.sin(math.radians(vehicle.pose.pitch))


def _rate(before: Vector, after: Vector, dt: float) -> Vector:
    return (after[0] - before[0]) / dt, (after[1] - before[1]) / dt, (after[2] - before[2]) / dt


def _cruise(vehicle: Vehicle, constant: Vector, dt: float) -> None:
    motion = vehicle.motion
    cos, sin = math.cos(motion.yaw), math.sin(motion.yaw)
    motion.vx, motion.vy = constant[0] * cos - constant[1] * sin, constant[0] * sin + constant[1] * cos
    carry(motion, vehicle.chassis, dt)


def _pilot(vehicle: Vehicle, dt: float) -> Controls:
    """Return the driver's controls, or those that make for the aims of Ackermann control."""
    if vehicle.ackermann is None:
        return vehicle.controls
    steer, speed, acceleration = vehicle.ackermann
    now = vehicle.motion.along()
    wanted = (abs(speed) - abs(now)) / max(dt, 0.2)
    if acceleration > 0:
        wanted = min(max(wanted, -acceleration), acceleration)
    reverse = speed < 0
    full = vehicle.chassis
    forward = wanted + full.drag * now * now / full.mass + 0.12
    throttle = min(max(forward / (_most(vehicle) or 1.0), 0.0), 1.0)
    brake = min(max(-forward * full.mass / (sum(full.brakes) or 1.0), 0.0), 1.0)
    vehicle.controls = Controls(throttle, steer / (full.max_steer or 1.0), brake, False, reverse)
    return vehicle.controls


def _most(vehicle: Vehicle) -> float:
    """Return about the acceleration that the engine gives in the gear that it has."""
    physics, gear = vehicle.physics, max(vehicle.motion.gear, 1)
    torque = max(t for _, t in physics.torque_curve)
    force = torque * physics.gears[min(gear, len(physics.gears)) - 1].ratio * physics.final_ratio
    return force / vehicle.chassis.radius / vehicle.chassis.mass


def settle(vehicle: Vehicle, land: Land, dt: float) -> None:
    """Put a vehicle on the ground under its wheels, or let it fall."""
    motion, z = vehicle.motion, vehicle.pose.z
    half, side = wheelbase(vehicle.size, len(vehicle.physics.wheels)) / 2, 0.4 * vehicle.size.width
    cos, sin = math.cos(motion.yaw), math.sin(motion.yaw)
    x, y = motion.x, motion.y
    front = land.ground(x + half * cos, y + half * sin, z)
    rear = land.ground(x - half * cos, y - half * sin, z)
    right = land.ground(x - side * sin, y + side * cos, z)
    left = land.ground(x + side * sin, y - side * cos, z)
    height = (front + rear) / 2
    z, vehicle.falling = fall(z, height, vehicle.falling, vehicle.heavy, dt)
    vehicle.unsettled = z > height
    pitch, roll = vehicle.pose.pitch, vehicle.pose.roll
    if not vehicle.unsettled:
        pitch = math.degrees(math.atan2(front - rear, 2 * half))
        roll = math.degrees(math.atan2(left - right, 2 * side))
    yaw = math.degrees(math.remainder(motion.yaw, 2 * math.pi))
    vehicle.pose = Pose(x, y, z, pitch, yaw, roll)


def fall(z: float, ground: float, speed: float, heavy: bool, dt: float) -> tuple[float, float]:
    """Return the new height and upward speed of a body over the ground at that height."""
    if z < ground - BURIED:
        ground = -math.inf
    if speed == 0 and abs(z - ground) < CLIMB:
        return ground, 0.0
    if not heavy:
        return max(z, ground), 0.0
    speed -= GRAVITY * dt
    z += speed * dt
    return (z, speed) if z > ground else (ground, 0.0)


def walk(walker: Walker, land: Land, dt: float) -> None:
    """Move a walker by a step: it turns to where it goes."""
    before, pose = walker.velocity, walker.pose
    if not walker.simulated and walker.led is not None:
        walker.velocity, walker.led = walker.led, ZERO if walker.led != ZERO else None
        walker.acceleration = _rate(before, walker.velocity, dt)
    if not walker.simulated:
        return
    dx, dy, dz = walker.direction
    length = math.sqrt(dx * dx + dy * dy + dz * dz) or 1.0
    speed = max(walker.speed, 0.0) / length
    vx, vy = dx * speed + walker.shoved[0], dy * speed + walker.shoved[1]
    fade = math.exp(-dt / SHOVED)
    walker.shoved = (walker.shoved[0] * fade, walker.shoved[1] * fade, 0.0)
    if math.hypot(walker.shoved[0], walker.shoved[1]) < STANDING:
        walker.shoved = ZERO
    yaw = math.degrees(math.atan2(dy, dx)) if speed and (dx or dy) else pose.yaw
    x, y, half = pose.x + vx * dt, pose.y + vy * dt, walker.extent[2]
    ground = land.ground(x, y, pose.z - half)
    if walker.jump and not walker.falling and pose.z - half - ground < CLIMB:
        walker.falling, walker.jump = HOP, False
    z, walker.falling = fall(pose.z - half, ground, walker.falling, walker.heavy, dt)
    walker.pose = Pose(x, y, z + half, 0.0, yaw, 0.0)
    walker.velocity = (vx, vy, walker.falling)
    walker.acceleration = _rate(before, walker.velocity, dt)


def attach(actor: Actor, parent: Actor) -> None:
    """Move what is fixed to a parent with it."""
    if actor.relative is None:
        return
    actor.pose = Pose.of(parent.pose.matrix() @ actor.relative.matrix())
    actor.spin, actor.acceleration = parent.spin, parent.acceleration
    rate = math.radians(parent.spin[2])
    rx, ry = actor.pose.x - parent.pose.x, actor.pose.y - parent.pose.y
    v = parent.velocity
    actor.velocity = (v[0] - rate * ry, v[1] + rate * rx, v[2])
