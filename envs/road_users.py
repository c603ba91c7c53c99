"""Road users as the server shows them: bodies that follow SUMO's points smoothly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import carla

from mtdrive.envs.demand import Choice
from mtdrive.envs.scene import Actor
from mtdrive.envs.sumo import Placed

TILT, SWING = 15.0, 80.0
"""Degrees of pitch and yaw that change in a second at most; the lines of the network have corners."""
TURN, HURRY = 240.0, 1.6
"""Degrees that a walker turns in a second at most, and the part of its pace that it may reach: SUMO lets
walkers jump sideways where pavements meet."""
PAVEMENT, CLIMB = 0.12, 0.6
"""Metres that pavements lie above the road, and metres a second up and down the kerb."""
FAR = 3.0
"""Metres at which one has been put elsewhere."""

LAMPS = carla.VehicleLightState
SIGNALS = {1: int(LAMPS.RightBlinker), 2: int(LAMPS.LeftBlinker), 8: int(LAMPS.Brake)}
"""The lamps of SUMO's flags."""


@dataclass
class RoadUser:
    """A vehicle or walker of the traffic."""

    name: str
    """SUMO's id."""
    choice: Choice
    now: Actor
    middle: float
    """Metres from the actor's origin forward to the middle of its box."""
    lift: float
    """Metres from the ground up to its origin."""
    beams: int = 0
    """Flags of the lamps that are always on."""
    lamps: int = 0
    _sent: Actor | None = None
    _lit: int = 0
    _kerb: float = PAVEMENT

    @property
    def walks(self) -> bool:
        """Whether it is a walker."""
        return self.now.kind == "walker"

    def follow(self, placed: Placed, dt: float) -> None:
        """Take over what SUMO says."""
        self.now = self._walker(placed, dt) if self.walks else self._vehicle(placed, dt)
        if not self.walks:
            self.lamps = self.beams | sum(lamp for flag, lamp in SIGNALS.items() if placed.signals & flag)

    def _vehicle(self, placed: Placed, dt: float) -> Actor:
        old = self.now
        pitch = _towards(old.pitch, placed.pitch, TILT * dt)
        turn = (placed.yaw - old.yaw + 180) % 360 - 180
        if math.hypot(placed.x - old.xyz[0], placed.y - old.xyz[1]) < FAR + old.extent[0]:
            turn = min(max(turn, -SWING * dt), SWING * dt)
        yaw = (old.yaw + turn + 180) % 360 - 180
        cx, cy, cz = _direction(yaw, pitch)
        reach, speed = old.extent[0] + self.middle, placed.speed
        xyz = (placed.x - reach * cx, placed.y - reach * cy, placed.z - reach * cz + self.lift)
        velocity = (speed * cx, speed * cy, speed * cz)
        return Actor(old.id, old.kind, xyz, yaw, velocity, old.extent, pitch)

    def _walker(self, placed: Placed, dt: float) -> Actor:
        old, reach = self.now, self.now.extent[0]
        cx, cy, _ = _direction(placed.yaw, 0.0)
        self._kerb = _towards(self._kerb, 0.0 if "_c" in placed.on else PAVEMENT, CLIMB * dt)
        dx, dy = placed.x - reach * cx - old.xyz[0], placed.y - reach * cy - old.xyz[1]
        gone, most = math.hypot(dx, dy), HURRY * self.choice.pace * dt
        if most < gone < FAR:
            dx, dy = dx * most / gone, dy * most / gone
        velocity = (dx / dt, dy / dt, 0.0) if gone < FAR else (0.0, 0.0, 0.0)
        yaw = old.yaw + _towards(0.0, (placed.yaw - old.yaw + 180) % 360 - 180, TURN * dt)
        xyz = (old.xyz[0] + dx, old.xyz[1] + dy, placed.z + self._kerb + self.lift)
        return Actor(old.id, old.kind, xyz, (yaw + 180) % 360 - 180, velocity, old.extent)

    def commands(self) -> Iterator[Any]:
        """Give what the server must be told since the last time."""
        if self._sent is None or self._sent.xyz != self.now.xyz or self._sent.yaw != self.now.yaw:
            place = carla.Location(*self.now.xyz)
            rotation = carla.Rotation(pitch=self.now.pitch, yaw=self.now.yaw)
            yield carla.command.ApplyTransform(self.now.id, carla.Transform(place, rotation))
        if self.lamps != self._lit:
            yield carla.command.SetVehicleLightState(self.now.id, carla.VehicleLightState(self.lamps))
        self._sent, self._lit = self.now, self.lamps


def _towards(value: float, aim: float, most: float) -> float:
    return value + min(max(aim - value, -most), most)


def _direction(yaw: float, pitch: float) -> tuple[float, float, float]:
    a, b = math.radians(yaw), math.radians(pitch)
    return math.cos(a) * math.cos(b), math.sin(a) * math.cos(b), math.sin(b)
