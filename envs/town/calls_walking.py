"""The calls that move walkers: by their controls, or by the navigation in the client."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from mtdrive.envs.town.actors import Walker
from mtdrive.envs.town.calls_moving import put
from mtdrive.envs.town.rpc import Table
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.structs import Vector, array, flag, number, pose, vector, whole

CALLS = Table()

NEAR_GROUND = 0.5
"""Metres from the ground within which feet are put on it: a navigation mesh is coarse."""
REMAINS = 10.0
"""Seconds after which a walker that was run over is taken away, as in CARLA."""


def read_walk(value: Any) -> tuple[Vector, float, bool]:
    """Read `carla.WalkerControl`."""
    f = array(value, 3)
    return vector(f[0]), number(f[1]), flag(f[2])


@CALLS.void(whole, read_walk)
def apply_control_to_walker(session: Session, id: int, control: tuple[Vector, float, bool]) -> None:
    """Set where a walker goes, how fast, and whether it jumps."""
    walker = session.world.find(id, Walker)
    walker.direction, walker.speed, walker.jump = control


@CALLS.void(whole, pose, number)
def set_walker_state(session: Session, id: int, place: Pose, speed: float) -> None:
    """Put a walker's feet somewhere, as the client's navigation does in every step."""
    walker, world = session.world.find(id, Walker), session.world
    ground = world.land.ground(place.x, place.y, place.z)
    z = ground if abs(ground - place.z) < NEAR_GROUND else place.z
    before = walker.pose
    put(walker, replace(place, z=z + walker.extent[2], pitch=0.0, roll=0.0))
    x, y, z = (getattr(walker.pose, k) - getattr(before, k) for k in "xyz")
    pace = math.hypot(x, y, z) / world.settings.dt
    # A walker that has just got a controller is put on the mesh: that is no walk.
    share = min(1.0, max(speed, 0.0) / pace) / world.settings.dt if pace else 0.0
    walker.led = (x * share, y * share, z * share)
    ahead, aside, up = place.forward.tolist()
    walker.direction, walker.speed = (ahead, aside, up), speed


@CALLS.void(whole)
def set_actor_dead(session: Session, id: int) -> None:
    """Let go of a walker that a client's navigation says was run over: physics moves it until it is gone."""
    walker = session.world.find(id, Walker)
    walker.simulated, walker.speed = True, 0.0
    walker.end = session.world.elapsed + REMAINS
