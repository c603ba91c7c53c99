"""Between CARLA's frame and the library's: the one place that converts.

CARLA has x forward, y right, z up, left-handed; the library has x right, y down, z forward, right-handed. The
same change of axes serves the world, the car and its cameras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64

if TYPE_CHECKING:
    import carla

AXES = np.array([[0.0, 1, 0], [0, 0, -1], [1, 0, 0]])
"""Takes CARLA's coordinates to the library's."""


def points(xyz: Float[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
    """Return points or directions of CARLA's frame in the library's."""
    return np.asarray(np.asarray(xyz, dtype=np.float64) @ AXES.T)


def pose(matrix: Float[np.ndarray, "*n 4 4"]) -> Float64[np.ndarray, "*n 4 4"]:
    """Return a rigid motion between frames of CARLA as one between the library's."""
    moved = np.array(matrix, dtype=np.float64)
    moved[..., :3, :3] = AXES @ moved[..., :3, :3] @ AXES.T
    moved[..., :3, 3] = moved[..., :3, 3] @ AXES.T
    return moved


def pose_of(transform: carla.Transform) -> Float64[np.ndarray, "4 4"]:
    """Return `T_world,local` of a transform, both in the library's frame."""
    return pose(np.array(transform.get_matrix()))


def placed(mount: Float[np.ndarray, "4 4"]) -> tuple[float, float, float, float, float, float]:
    """Return x, y, z, pitch, yaw, roll of CARLA's transform whose `pose_of` is `mount`; metres, degrees."""
    turn = AXES.T @ np.asarray(mount, dtype=np.float64)[:3, :3] @ AXES
    x, y, z = AXES.T @ np.asarray(mount, dtype=np.float64)[:3, 3]
    pitch = np.degrees(np.arcsin(np.clip(turn[2, 0], -1, 1)))
    yaw = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
    roll = np.degrees(np.arctan2(-turn[2, 1], turn[2, 2]))
    return float(x), float(y), float(z), float(pitch), float(yaw), float(roll)


def relative(
    xy: Float[np.ndarray, "*n 2"], origin: tuple[float, float], yaw: float
) -> Float64[np.ndarray, "*n 2"]:
    """Return places of CARLA's ground plane as (right, forward) metres from `origin`; `yaw` in degrees."""
    away = np.asarray(xy, dtype=np.float64) - np.array(origin)
    cos, sin = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    return np.asarray(away @ np.array([[-sin, cos], [cos, sin]]).T)


def intrinsics(width: int, height: int, fov: float) -> Float64[np.ndarray, "3 3"]:
    """Return the matrix of a camera of CARLA, whose `fov` is horizontal, in degrees.

    The centre of the first pixel is (0, 0), as everywhere in the library; in CARLA it is (0.5, 0.5).
    """
    focal = width / (2 * np.tan(np.radians(fov) / 2))
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
