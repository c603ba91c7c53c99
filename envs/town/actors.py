"""What lives in the world: vehicles, walkers, lights, signs, props, sensors."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mtdrive.envs.town.blueprints import COLOURS, REMOTE
from mtdrive.envs.town.chassis import Chassis, Physics, physics_of
from mtdrive.envs.town.contacts import Rectangle, around
from mtdrive.envs.town.limits import RHYTHM
from mtdrive.envs.town.models import FLAT, PEDESTRIAN, PROPS, STATIC, VEHICLES, WALKERS
from mtdrive.envs.town.motion import Controls, Motion
from mtdrive.envs.town.stage import Body, Box, Pose, Signal
from mtdrive.envs.town.structs import ZERO, Msg, Vector, write_box

RED, YELLOW, GREEN, OFF, UNKNOWN = range(5)
"""States of `carla.TrafficLightState`."""
_RECORD = struct.Struct("<IB15f")
TAIL = 54
"""Bytes of an actor's record that depend on its kind."""


@dataclass(eq=False)
class Actor:
    """Anything with an id; velocities are metres and degrees a second in the world."""

    id: int
    type: str
    uid: int
    attributes: Mapping[str, tuple[int, str]]
    """Type and value by name."""
    pose: Pose
    parent: int = 0
    relative: Pose | None = None
    """To the parent, of what is fixed to one."""
    velocity: Vector = ZERO
    spin: Vector = ZERO
    acceleration: Vector = ZERO
    centre: Vector = ZERO
    """Of the bounding box, from the actor's origin."""
    extent: Vector = ZERO
    tag: int = 0
    collides: bool = True
    stream: int = 0
    """Of a sensor that sends; 0 for none."""

    def describe(self) -> Msg:
        """Return CARLA's description: blueprint and attributes."""
        values = [[name, kind, value] for name, (kind, value) in self.attributes.items()]
        return [self.uid, self.type, values]

    def box(self) -> Msg:
        """Return CARLA's bounding box."""
        return write_box(self.centre, self.extent, actor=self.id)

    def value(self, name: str) -> str:
        """Return the text of an attribute."""
        return self.attributes[name][1]

    def solid(self) -> Box:
        """Return the bounding box in the world."""
        x, y, z = (self.pose.matrix() @ [*self.centre, 1.0]).tolist()[:3]
        return Box(replace(self.pose, x=x, y=y, z=z), self.extent, self.tag)

    def within(self, far: float, fast: float) -> bool:
        """Return whether it is in the world; what is not a number is nowhere."""
        p, v = self.pose, self.velocity
        return (
            -far <= p.x <= far
            and -far <= p.y <= far
            and -far <= p.z <= far
            and -fast <= v[0] <= fast
            and -fast <= v[1] <= fast
            and -fast <= v[2] <= fast
            and -fast <= self.spin[2] <= fast
        )

    def outline(self) -> Rectangle:
        """Return the box seen from above, upright."""
        yaw, p, (length, width, height) = math.radians(self.pose.yaw), self.pose, self.extent
        middle = p.z + self.centre[2]
        return Rectangle(
            p.x, p.y, math.cos(yaw), math.sin(yaw), length, width, middle - height, middle + height
        )

    def record(self) -> bytes:
        """Return what the stream of world states says of the actor."""
        p = self.pose
        head = _RECORD.pack(
            self.id, 1, p.x, p.y, p.z, p.pitch, p.yaw, p.roll, *self.velocity, *self.spin, *self.acceleration
        )
        return head + self.tail().ljust(TAIL, b"\0")

    def tail(self) -> bytes:
        """Return the part of the record that depends on the kind."""
        return b""

    def body(self) -> Body | None:
        """Return what is to be drawn."""
        return None


class _Visible(Actor):
    def colour(self) -> tuple[int, int, int]:
        """Return the paint."""
        return read_colour(self.attributes["color"][1] if "color" in self.attributes else "110,110,110")

    def lights(self) -> int:
        """Return the flags of `carla.VehicleLightState`."""
        return 0

    def body(self) -> Body:
        """Return what is to be drawn."""
        return Body(self.id, self.type, self.pose, self.extent, self.colour(), self.tag, self.lights())


@dataclass(eq=False)
class Prop(_Visible):
    """A thing that stands where it was put."""


@dataclass(eq=False)
class Vehicle(_Visible):
    """A vehicle with a driver's controls."""

    controls: Controls = field(default_factory=Controls)
    motion: Motion = field(default_factory=Motion)
    simulated: bool = True
    heavy: bool = True
    """Whether gravity acts."""
    falling: float = 0.0
    """Metres a second upwards."""
    unsettled: bool = True
    """Whether it may not stand on the ground."""
    constant: Vector | None = None
    """A velocity that it keeps, in its own frame."""
    ackermann: tuple[float, float, float] | None = None
    """Steering angle in radians, speed and acceleration that a controller of the server aims at."""
    flags: int = 0
    """Of `carla.VehicleLightState`."""
    limit: float = 0.0
    """Speed limit, km/h."""
    asked: Pose | None = None
    """Where the limit was looked up."""
    light: Light | None = None
    """That it stands before."""

    def __post_init__(self) -> None:
        model = VEHICLES[self.type]
        self.size = model.size
        self.centre, self.extent = (0.0, 0.0, model.size.height / 2), model.size.half
        self.tag = model.tag
        self.set_physics(physics_of(model))
        self.place(self.pose)

    def set_physics(self, physics: Physics) -> None:
        """Drive on with other parameters."""
        self.physics = physics
        self.chassis = Chassis.of(physics, self.size)

    def place(self, pose: Pose) -> None:
        """Put it somewhere; it keeps its velocities."""
        self.pose, self.unsettled = pose, True
        self.motion.x, self.motion.y, self.motion.yaw = pose.x, pose.y, math.radians(pose.yaw)

    def lights(self) -> int:
        """Return its lights; pedals and gear switch the brake and reversing lights."""
        flags = self.flags
        if self.controls.brake > 0:
            flags |= 0x8
        if self.controls.reverse:
            flags |= 0x40
        return flags

    def tail(self) -> bytes:
        """Return the part of the record that a vehicle has."""
        c, light = self.controls, self.light
        return struct.pack(
            "<3f3BifBBIB",
            c.throttle,
            c.steer,
            c.brake,
            c.handbrake,
            c.reverse,
            c.manual,
            self.motion.gear,
            self.limit,
            light.state if light else GREEN,
            light is not None,
            light.id if light else 0,
            0,
        )


@dataclass(eq=False)
class Walker(_Visible):
    """A pedestrian that goes where it is told."""

    direction: Vector = (1.0, 0.0, 0.0)
    speed: float = 0.0
    jump: bool = False
    simulated: bool = True
    heavy: bool = True
    falling: float = 0.0
    shoved: Vector = ZERO
    """Velocity that a collision gave it, until it stands again."""
    led: Vector | None = None
    """Velocity with which a client's navigation moved it since the last step."""
    end: float = math.inf
    """Seconds of the episode at which it is taken away, because a client said that it was run over."""

    def colour(self) -> tuple[int, int, int]:
        """Return the colour of its clothes: CARLA has none to choose, so the id decides."""
        return read_colour(COLOURS[self.id % len(COLOURS)])

    def tail(self) -> bytes:
        """Return the part of the record that a walker has."""
        return struct.pack("<4fB", *self.direction, self.speed, self.jump)


@dataclass(eq=False)
class Sign(Actor):
    """A stop sign of the map."""

    signal: Signal = field(default_factory=lambda: Signal("", Pose()))

    def tail(self) -> bytes:
        """Return the part of the record that a sign has."""
        return self.signal.id.encode()[:31].ljust(32, b"\0")

    def box(self) -> Msg:
        """Return the box around its triggers, relative to it: as CARLA's, it lies along the world's axes."""
        if not self.signal.triggers:
            return write_box(ZERO, ZERO, actor=self.id)
        middle, extent = around(self.signal.triggers)
        x, y, z = (np.linalg.inv(self.pose.matrix()) @ [*middle, 1.0]).tolist()[:3]
        return write_box((x, y, z), extent, (0.0, -self.pose.yaw, 0.0), self.id)


@dataclass(eq=False)
class Light(Sign):
    """A traffic light; its group moves it on."""

    state: int = RED
    green: float = 10.0
    """Seconds, like the next."""
    yellow: float = 3.0
    red: float = 2.0
    """For which all are red after its turn."""
    elapsed: float = 0.0
    """Since the state changed."""
    frozen: bool = False
    pole: int = 0

    def tail(self) -> bytes:
        """Return the part of the record that a light has."""
        times = struct.pack("<4f", self.green, self.yellow, self.red, self.elapsed)
        return super().tail() + times + struct.pack("<IBB", self.pole, self.frozen, self.state)


@dataclass(eq=False)
class Sensor(Actor):
    """A sensor with a stream."""

    due: float = 0.0
    """Seconds of the episode at which it sends next."""

    def __post_init__(self) -> None:
        tick = float(self.value("sensor_tick"))
        self.tick = tick if tick >= RHYTHM else 0.0


def read_colour(text: str) -> tuple[int, int, int]:
    """Return the red, green and blue of "r,g,b"."""
    red, green, blue = (int(part) for part in text.split(","))
    return red, green, blue


Attributes = Mapping[str, tuple[int, str]]


def create(id: int, type: str, uid: int, attributes: Attributes, pose: Pose) -> Actor:
    """Return a new actor of a blueprint."""
    if type in WALKERS:
        return Walker(id, type, uid, attributes, pose, extent=WALKERS[type].half, tag=PEDESTRIAN)
    if type in PROPS:
        half, tall = PROPS[type].half, PROPS[type].height > FLAT
        centre = (0.0, 0.0, half[2])
        return Prop(id, type, uid, attributes, pose, centre=centre, extent=half, tag=STATIC, collides=tall)
    kind = Vehicle if type in VEHICLES else Sensor if type in REMOTE else Actor
    return kind(id, type, uid, attributes, pose)
