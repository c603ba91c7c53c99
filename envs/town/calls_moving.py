"""The calls that move actors: controls, physics, teleport, forces."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from mtdrive.envs.town.actors import Actor, Vehicle, Walker
from mtdrive.envs.town.chassis import GRAVITY, read_physics
from mtdrive.envs.town.motion import Controls, kick
from mtdrive.envs.town.rpc import Table
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.structs import (
    CallError,
    Msg,
    Vector,
    anything,
    array,
    flag,
    number,
    point,
    pose,
    vector,
    whole,
)
from mtdrive.envs.town.world import World

CALLS = Table()

ACKERMANN_SETTINGS = [0.15, 0.0, 0.25, 0.01, 0.0, 0.01]
"""What `carla.AckermannControllerSettings` holds; Town's controller has no gains."""


def read_controls(value: Any) -> Controls:
    """Read `carla.VehicleControl`.

    CARLA's traffic manager brakes with NaN (0 / 0) where a vehicle stands and has to: for CARLA's server that
    is the whole brake.
    """
    f = array(value, 7)
    brake = 1.0 if isinstance(f[2], float) and math.isnan(f[2]) else number(f[2])
    return Controls(number(f[0]), number(f[1]), brake, flag(f[3]), flag(f[4]), flag(f[5]), whole(f[6]))


def read_ackermann(value: Any) -> tuple[float, float, float]:
    """Read the angle, speed and acceleration of `carla.VehicleAckermannControl`."""
    f = [number(item) for item in array(value, 5)]
    return f[0], f[2], f[3]


@CALLS.void(whole, read_controls)
def apply_control_to_vehicle(session: Session, id: int, controls: Controls) -> None:
    """Set the pedals and the wheel."""
    vehicle = session.world.find(id, Vehicle)
    vehicle.controls, vehicle.ackermann = controls, None


@CALLS.void(whole, read_ackermann)
def apply_ackermann_control_to_vehicle(session: Session, id: int, aim: tuple[float, float, float]) -> None:
    """Set what the server's driver makes for."""
    session.world.find(id, Vehicle).ackermann = aim


@CALLS.serve(whole)
def get_ackermann_controller_settings(session: Session, id: int) -> Msg:
    """Return gains, which mean nothing here."""
    session.world.find(id, Vehicle)
    return list(ACKERMANN_SETTINGS)


@CALLS.void(whole, anything)
def apply_ackermann_controller_settings(session: Session, id: int, settings: Any) -> None:
    """Take gains, which change nothing."""
    session.world.find(id, Vehicle)


def put(actor: Actor, place: Pose) -> None:
    """Put an actor somewhere; of what is attached, this is the place relative to its parent."""
    if actor.relative is not None:
        actor.relative = place
    elif isinstance(actor, Vehicle):
        actor.place(place)
    else:
        actor.pose = place


@CALLS.void(whole, pose)
def set_actor_transform(session: Session, id: int, place: Pose) -> None:
    """Put an actor somewhere; it keeps its velocity."""
    put(session.world.find(id, Actor), place)


@CALLS.void(whole, point)
def set_actor_location(session: Session, id: int, location: Vector) -> None:
    """Put an actor somewhere as it is turned."""
    actor = session.world.find(id, Actor)
    x, y, z = location
    put(actor, replace(actor.relative or actor.pose, x=x, y=y, z=z))


@CALLS.void(whole, vector)
def set_actor_target_velocity(session: Session, id: int, velocity: Vector) -> None:
    """Give an actor a velocity in the world, m/s; one that is not simulated only shows it."""
    actor = session.world.find(id, Actor)
    actor.velocity = velocity
    if isinstance(actor, Vehicle) and actor.simulated:
        actor.motion.vx, actor.motion.vy, actor.falling = velocity
        actor.unsettled = True


@CALLS.void(whole, vector)
def set_actor_target_angular_velocity(session: Session, id: int, spin: Vector) -> None:
    """Turn an actor so fast, degrees a second; vehicles turn about the vertical only."""
    actor = session.world.find(id, Actor)
    actor.spin = spin
    if isinstance(actor, Vehicle) and actor.simulated:
        actor.motion.spin = math.radians(spin[2])


@CALLS.void(whole, vector)
def enable_actor_constant_velocity(session: Session, id: int, velocity: Vector) -> None:
    """Make a vehicle keep a velocity in its own frame, m/s."""
    session.world.find(id, Vehicle).constant = velocity


@CALLS.void(whole)
def disable_actor_constant_velocity(session: Session, id: int) -> None:
    """Let its driver drive again."""
    session.world.find(id, Vehicle).constant = None


@CALLS.void(whole, vector)
def add_actor_impulse(session: Session, id: int, impulse: Vector) -> None:
    """Push a vehicle at its centre of mass, N s."""
    vehicle = session.world.find(id, Vehicle)
    kick(vehicle.motion, vehicle.chassis, impulse)


@CALLS.void(whole, vector, vector)
def add_actor_impulse_at_location(session: Session, id: int, impulse: Vector, at: Vector) -> None:
    """Push a vehicle at a point of the world, N s."""
    vehicle = session.world.find(id, Vehicle)
    kick(vehicle.motion, vehicle.chassis, impulse, (at[0] - vehicle.pose.x, at[1] - vehicle.pose.y))


@CALLS.void(whole, vector)
def add_actor_force(session: Session, id: int, force: Vector) -> None:
    """Push a vehicle during the next step, N."""
    vehicle = session.world.find(id, Vehicle)
    x, y, turn = vehicle.motion.push
    vehicle.motion.push = (x + force[0], y + force[1], turn)


@CALLS.void(whole, vector, vector)
def add_actor_force_at_location(session: Session, id: int, force: Vector, at: Vector) -> None:
    """Push a vehicle at a point of the world during the next step, N."""
    vehicle = session.world.find(id, Vehicle)
    arm = at[0] - vehicle.pose.x, at[1] - vehicle.pose.y
    x, y, turn = vehicle.motion.push
    vehicle.motion.push = (x + force[0], y + force[1], turn + arm[0] * force[1] - arm[1] * force[0])


@CALLS.void(whole, vector)
def add_actor_angular_impulse(session: Session, id: int, impulse: Vector) -> None:
    """Turn a vehicle, N m s about the vertical."""
    vehicle = session.world.find(id, Vehicle)
    vehicle.motion.spin += impulse[2] / vehicle.chassis.inertia


@CALLS.void(whole, vector)
def add_actor_torque(session: Session, id: int, torque: Vector) -> None:
    """Turn a vehicle during the next step, N m about the vertical."""
    vehicle = session.world.find(id, Vehicle)
    x, y, turn = vehicle.motion.push
    vehicle.motion.push = (x, y, turn + torque[2])


@CALLS.void(whole, flag)
def set_actor_simulate_physics(session: Session, id: int, on: bool) -> None:
    """Let physics move an actor, or leave it where it is put."""
    actor = session.world.find(id, Actor)
    if isinstance(actor, (Vehicle, Walker)):
        actor.simulated = on
    if isinstance(actor, Vehicle) and not on:
        actor.motion.vx = actor.motion.vy = actor.motion.spin = actor.falling = 0.0
        actor.velocity = actor.spin = actor.acceleration = (0.0, 0.0, 0.0)


@CALLS.void(whole, flag)
def set_actor_enable_gravity(session: Session, id: int, on: bool) -> None:
    """Let an actor fall or float."""
    actor = session.world.find(id, Actor)
    if isinstance(actor, (Vehicle, Walker)):
        actor.heavy = on


@CALLS.void(whole, flag)
def set_actor_collisions(session: Session, id: int, on: bool) -> None:
    """Let an actor touch others or pass through them."""
    session.world.find(id, Actor).collides = on


@CALLS.void(whole, flag)
def set_actor_autopilot(session: Session, id: int, on: bool) -> None:
    """Take notice: the client's traffic manager drives."""
    session.world.find(id, Vehicle)


@CALLS.serve(whole)
def get_physics_control(session: Session, id: int) -> Msg:
    """Return the parameters of a vehicle's physics."""
    vehicle = session.world.find(id, Vehicle)
    return vehicle.physics.write(vehicle.pose, vehicle.size)


@CALLS.void(whole, anything)
def apply_physics_control(session: Session, id: int, value: Any) -> None:
    """Set the parameters of a vehicle's physics."""
    vehicle = session.world.find(id, Vehicle)
    vehicle.set_physics(read_physics(value, vehicle.physics))


@CALLS.serve(whole)
def get_telemetry_data(session: Session, id: int) -> Msg:
    """Return what the dashboard shows."""
    v = session.world.find(id, Vehicle)
    speed, load = v.motion.along(), v.chassis.mass * GRAVITY / len(v.physics.wheels)
    omega = speed / v.chassis.radius
    wheels = [[w.friction, 0.0, 0.0, omega, load, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0] for w in v.physics.wheels]
    c = v.controls
    drag = v.chassis.drag * speed * speed
    return [speed, c.steer, c.throttle, c.brake, v.motion.rpm, v.motion.gear, drag, wheels]


@CALLS.serve(whole, whole)
def get_wheel_steer_angle(session: Session, id: int, wheel: int) -> float:
    """Return the angle of a wheel in degrees; the first two are in front."""
    vehicle = session.world.find(id, Vehicle)
    front = wheel < len(vehicle.physics.wheels) // 2
    return math.degrees(vehicle.motion.steer) if front else 0.0


@CALLS.serve(whole)
def get_vehicle_light_state(session: Session, id: int) -> Msg:
    """Return the lights that are on."""
    return [session.world.find(id, Vehicle).flags]


@CALLS.void(whole, array)
def set_vehicle_light_state(session: Session, id: int, flags: list[Any]) -> None:
    """Switch lights."""
    switch(session.world, id, whole(array(flags, 1)[0]))


@CALLS.void(whole, whole)
def open_vehicle_door(session: Session, id: int, door: int) -> None:
    """Accept: as their blueprints say, the vehicles have no doors to open: no error in CARLA either."""
    session.world.find(id, Vehicle)


@CALLS.void(whole, whole)
def close_vehicle_door(session: Session, id: int, door: int) -> None:
    """Accept, likewise."""
    session.world.find(id, Vehicle)


def switch(world: World, id: int, flags: int) -> None:
    """Switch a vehicle's lights."""
    if not 0 <= flags < 1 << 32:
        raise CallError(f"expected the flags of carla.VehicleLightState, found {flags}")
    world.find(id, Vehicle).flags = flags


@CALLS.serve()
def get_vehicle_light_states(session: Session) -> list[Msg]:
    """Return the lights of all vehicles."""
    return [[vehicle.id, vehicle.flags] for vehicle in session.world.of(Vehicle)]
