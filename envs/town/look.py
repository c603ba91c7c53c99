"""What all shaders read, as the block `Look`: the matrices of a camera, and numbers of the air."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.atmosphere import HAZY, Air
from mtdrive.envs.town.stage import Camera, Stage

Matrix = Float[np.ndarray, "4 4"]

NEAR, BEHIND = 0.1, 3000.0
"""Metres to the planes between which things are drawn."""

SEE_RIGHT_UP_BACK = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
"""From CARLA's camera to OpenGL's: x right, y up, z back."""

LIFT, LIFT_STEEPEST = 0.06, 4.0
"""Metres by which surfaces are lifted before their shadows are looked up, and how many times as much at most
under a low sun."""

FRAMES = 4096
"""After so many frames the rain repeats itself."""

CLOUD_SIZES = (0.11, 0.37)
"""Of the two textures of the clouds, as the sky's shader has them."""


def look_of(
    camera: Camera, before: Camera, stage: Stage, air: Air, shade: Matrix, spot: tuple[float, float, float],
    ground: float,
) -> bytes:  # fmt: skip
    """Return the content of the block.

    Args:
        camera: what looks.
        before: what looked at the frame before.
        stage: gives frame and time.
        air: the air of the stage's weather.
        shade: takes points of the world to the map of shadows.
        spot: the corner of the map of lamps' light, and one over its size.
        ground: the height that the fog lies on.
    """
    views, projection = [view_of(camera), view_of(before)], projection_of(camera)
    matrices = [*views, *(projection @ view for view in views), shade]
    pose, slope = camera.pose, 1 / math.tan(math.radians(camera.fov) / 2)
    aspect = camera.width / camera.height
    lift = LIFT * min(
        max(math.hypot(air.sun[0], air.sun[1]) / max(float(air.sun[2]), 1e-3), 1.0), LIFT_STEEPEST
    )
    drift = np.outer(CLOUD_SIZES, air.drift * stage.elapsed).reshape(-1) % 1.0
    above = math.exp(-air.fog_thinning * max(pose.z - ground, 0.0))
    vectors = [
        (slope, slope * aspect, air.contrast, aspect),
        (*air.sun, lift),
        (*air.sunlight, air.lamps),
        (*air.skylight, 0),
        (*air.haze, air.extinction),
        (pose.x, pose.y, pose.z, 1),
        (*air.zenith, air.clear),
        (*air.cloud, air.opacity),
        (*air.halo, air.halo_sharpness),
        drift,
        (air.fog_start, air.fog_thinning, air.extinction * above, max(air.extinction - HAZY, 0.0) * above),
        (air.film, air.puddles, 2 / camera.width, 2 / camera.height),
        (*spot, 0),
        (air.rain, air.slant, stage.frame % FRAMES, 0.12 + 0.10 * air.lamps + 0.85 * air.haze.mean()),
    ]
    content = np.concatenate([*(m.T.reshape(-1) for m in matrices), *map(np.array, vectors)])
    return content.astype("<f4").tobytes()


def view_of(camera: Camera) -> Matrix:
    """Return what takes points of the world into OpenGL's camera."""
    matrix = camera.pose.matrix()
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return np.asarray(SEE_RIGHT_UP_BACK @ inverse)


def projection_of(camera: Camera) -> Matrix:
    """Return OpenGL's projection of a camera; its pixels are square."""
    slope = 1 / math.tan(math.radians(camera.fov) / 2)
    span = BEHIND - NEAR
    return np.array(
        [
            [slope, 0, 0, 0],
            [0, slope * camera.width / camera.height, 0, 0],
            [0, 0, -(BEHIND + NEAR) / span, -2 * BEHIND * NEAR / span],
            [0, 0, -1, 0],
        ]
    )
