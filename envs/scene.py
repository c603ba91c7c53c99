"""All there is to know of the world at one tick: for experts, judges and recorders, never for a policy.

Places and velocities are CARLA's: x forward, y right, z up, metres, degrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

ActorKind = Literal["vehicle", "two_wheeler", "walker"]
RED, YELLOW, GREEN, OFF = range(4)


@dataclass(frozen=True)
class Actor:
    """A road user as it is now; `xyz` is the actor's origin, `extent` half its length, width and height."""

    id: int
    kind: ActorKind
    xyz: tuple[float, float, float]
    yaw: float
    velocity: tuple[float, float, float]
    extent: tuple[float, float, float]
    pitch: float = 0.0
    roll: float = 0.0

    @property
    def speed(self) -> float:
        """The forward speed in m/s; negative in reverse."""
        yaw, pitch = math.radians(self.yaw), math.radians(self.pitch)
        x, y, z = self.velocity
        return math.cos(pitch) * (x * math.cos(yaw) + y * math.sin(yaw)) + z * math.sin(pitch)


@dataclass(frozen=True)
class Collision:
    """A touch of the ego; `other_type` is a type id, `static.*` for things; `impulse` in N s."""

    other_id: int
    other_type: str
    impulse: float


@dataclass(frozen=True)
class Scene:
    """The world at one tick.

    `time` is in seconds since the episode began. `lights` goes by OpenDRIVE signal id, in the numbers of
    `carla.TrafficLightState`. `collisions` are those since the last tick.
    """

    frame: int
    time: float
    ego: Actor
    others: tuple[Actor, ...]
    lights: Mapping[str, int]
    collisions: tuple[Collision, ...]


@runtime_checkable
class Users(Protocol):
    """Who knows road users better than the server does."""

    def users(self) -> tuple[Actor, ...]:
        """Return them as they are."""
