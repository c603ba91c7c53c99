"""What the world shows the renderer, what the renderer gives back, and what a map must know.

Frames are CARLA's, as the package says. A stage is a plain value: the renderer keeps no link to the world.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from mtdrive.envs.town.weather import CLEAR_DAY, Weather

FAR = 1000.0
"""Metres; the depth of the sky and of whatever is farther, as CARLA encodes it."""


@dataclass(frozen=True)
class Pose:
    """A transform of CARLA: metres and degrees."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0

    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """Return `T_world,local`."""
        cp, sp = _turn(self.pitch)
        cy, sy = _turn(self.yaw)
        cr, sr = _turn(self.roll)
        return np.array(
            [
                [cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr, self.x],
                [cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr, self.y],
                [sp, -cp * sr, cp * cr, self.z],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )

    @classmethod
    def of(cls, matrix: Float[np.ndarray, "4 4"]) -> Pose:
        """Return the pose of a rigid `T_world,local`; a nose straight up or down gets roll 0."""
        m = matrix.tolist()
        flat = math.hypot(m[0][0], m[1][0])
        pitch = math.atan2(m[2][0], flat)
        if flat < 1e-9:
            yaw, roll = math.atan2(-m[0][1], m[1][1]), 0.0
        else:
            yaw, roll = math.atan2(m[1][0], m[0][0]), math.atan2(-m[2][1], m[2][2])
        return cls(m[0][3], m[1][3], m[2][3], math.degrees(pitch), math.degrees(yaw), math.degrees(roll))

    @property
    def forward(self) -> Float[np.ndarray, "xyz=3"]:
        """The direction of the local x axis."""
        return self.matrix()[:3, 0]

    @property
    def right(self) -> Float[np.ndarray, "xyz=3"]:
        """The direction of the local y axis."""
        return self.matrix()[:3, 1]

    @property
    def up(self) -> Float[np.ndarray, "xyz=3"]:
        """The direction of the local z axis."""
        return self.matrix()[:3, 2]


def matrices(poses: Sequence[Pose]) -> Float[np.ndarray, "n 4 4"]:
    """Return `T_world,local` of many poses at once."""
    values = np.array([(p.x, p.y, p.z, p.pitch, p.yaw, p.roll) for p in poses], float).reshape(-1, 6)
    (cp, cy, cr), (sp, sy, sr) = np.cos(np.radians(values[:, 3:].T)), np.sin(np.radians(values[:, 3:].T))
    out = np.zeros((len(poses), 4, 4))
    out[:, 0, :3] = np.stack([cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr], axis=1)
    out[:, 1, :3] = np.stack([cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr], axis=1)
    out[:, 2, :3] = np.stack([sp, -cp * sr, cp * cr], axis=1)
    out[:, :3, 3], out[:, 3, 3] = values[:, :3], 1.0
    return out


def _turn(degrees: float) -> tuple[float, float]:
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along its x axis.

    In CARLA's convention the focal length is `width / (2 tan(fov / 2))` and the centre
    `(width / 2, height / 2)`, where the first pixel reaches from 0 to 1.
    """

    width: int
    height: int
    fov: float
    """Horizontal, degrees."""
    pose: Pose

    @property
    def focal(self) -> float:
        """The focal length in pixels."""
        return self.width / (2 * math.tan(math.radians(self.fov) / 2))


@dataclass(frozen=True)
class Body:
    """A vehicle, walker or prop."""

    id: int
    model: str
    """The blueprint's id."""
    pose: Pose
    """At the origin of the actor: on the ground for vehicles, at mid height for walkers."""
    extent: tuple[float, float, float]
    """Half of the length, width and height."""
    colour: tuple[int, int, int]
    tag: int
    """The semantic tag of CARLA 0.9.16."""
    lights: int
    """The flags of `carla.VehicleLightState`."""


@dataclass(frozen=True)
class Stage:
    """What is to be seen at one frame."""

    frame: int
    bodies: tuple[Body, ...]
    signals: Mapping[str, int]
    """By OpenDRIVE signal id: 0 red, 1 yellow, 2 green, 3 off."""
    weather: Weather = CLEAR_DAY
    elapsed: float = 0.0
    """Seconds since the episode began: the clouds move with it."""


@dataclass(frozen=True)
class Box:
    """An oriented box: of a building, a pole, or the air in front of a stop line."""

    pose: Pose
    """At the middle of the box, in the world."""
    extent: tuple[float, float, float]
    """Half of the length, width and height."""
    tag: int = 0
    """The semantic tag of CARLA 0.9.16."""


@dataclass(frozen=True)
class Signal:
    """A traffic light or stop sign of a map."""

    id: str
    """The OpenDRIVE signal id."""
    pose: Pose
    """At the foot of its pole."""
    group: str = ""
    """The lights of a group, usually of a junction, share a cycle."""
    controller: str = ""
    """The lights of a controller show the same; a group's controllers have their turns in this order."""
    triggers: tuple[Box, ...] = ()
    """Where a vehicle must mind it: a box a lane, that ends at the stop line."""


@runtime_checkable
class Land(Protocol):
    """What the world has to know of a map."""

    @property
    def name(self) -> str:
        """Its name, as in Town01."""
        ...

    @property
    def xodr(self) -> str:
        """The OpenDRIVE text."""
        ...

    @property
    def spawn_points(self) -> Sequence[Pose]:
        """Places on the lanes, along the traffic."""
        ...

    @property
    def signals(self) -> Mapping[str, Signal]:
        """Traffic lights by their OpenDRIVE id."""
        ...

    @property
    def stop_signs(self) -> Mapping[str, Signal]:
        """Stop signs by their OpenDRIVE id."""
        ...

    @property
    def static(self) -> Sequence[Box]:
        """What can be hit."""
        ...

    def navigation(self) -> bytes:
        """Return the mesh on which clients let walkers walk; empty where people have no place."""
        ...

    def ground(self, x: float, y: float, z: float | None = None) -> float:
        """Return the height of the ground; of roads above each other, of the one that `z` is on."""
        ...

    def speed_limit(self, x: float, y: float) -> float:
        """Return the limit in km/h."""
        ...


class Layers(NamedTuple):
    """One look at the scene, in every modality."""

    rgb: UInt8[np.ndarray, "h w 3"]
    depth: Float32[np.ndarray, "h w"]
    """Metres along the camera's axis, `FAR` for the sky."""
    tags: UInt8[np.ndarray, "h w"]
    instances: UInt16[np.ndarray, "h w"]
    """The lowest 16 bits of a body's id; 0 for what is no body."""
    flow: Float32[np.ndarray, "h w 2"]
    """As `sensor.camera.optical_flow` sends it: where the point at this pixel is now minus where it was
    before, in halves of the image's size, y up: 2 (x - x_before) / w, 2 (y_before - y) / h."""


@runtime_checkable
class Painter(Protocol):
    """Draws stages."""

    def render(
        self,
        camera: Camera,
        previous_camera: Camera,
        stage: Stage,
        previous: Stage,
        *,
        colours: bool = True,
        labels: bool = True,
    ) -> Layers:
        """Return the look of `stage`; the flow is the motion since `previous`, seen by `previous_camera`.

        Without `colours` or `labels` these may be zeros.
        """
        ...

    def close(self) -> None:
        """Free what the renderer holds."""
        ...
