"""A street whose depth is known exactly, and a car that drives through it.

The street runs along z of the world, the rectified camera 0 at frame 0: x right, y down, z forward, metres.
Ground, two walls and an end wall close it, so that every ray hits something; boxes stand at the kerbs. The
texture is a sum of waves in space, band-limited for each pixel, so that views of it agree to sub-pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int
from PIL import Image

Size = tuple[int, int]

BASELINE = 0.54
INTERVAL = 0.1
"""Seconds between frames."""

CAMERA_HEIGHT, LEFT, RIGHT, BEYOND = 1.65, -5.5, 6.5, 60.0
OFFSETS = {
    0: (0.0, 0.0, 0.0),
    1: (-0.54, 0.0, 0.0),
    2: (0.06, 0.0, 0.0027),
    3: (0.06 - BASELINE, 0.003, 0.0027),
}
"""Translation of `T_camera,0` of the rectified cameras."""


@dataclass(frozen=True)
class Scene:
    """The street and the drive through it."""

    size: Size
    steps: Float64[np.ndarray, " n"]
    """Metres from each frame to the next; the last one counts for the speed alone."""
    seed: int = 0

    @property
    def frames(self) -> int:
        return len(self.steps)

    @property
    def intrinsics(self) -> Float64[np.ndarray, "3 3"]:
        """K in pixels of `size`, of all cameras."""
        h, w = self.size
        return np.array([[0.58 * w, 0, 0.49 * w], [0, 0.58 * w, 0.46 * h], [0, 0, 1]])

    def speed(self, frame: int) -> float:
        """Metres a second."""
        return float(self.steps[frame] / INTERVAL)

    def projection(self, camera: int) -> Float64[np.ndarray, "3 4"]:
        """K [I | t], as calibration files have it."""
        displaced = np.column_stack([np.eye(3), OFFSETS[camera]])
        return np.asarray(self.intrinsics @ displaced)

    @cached_property
    def poses(self) -> Float64[np.ndarray, "n 4 4"]:
        """`T_world,0`: forward with a gentle weave."""
        yaw = 0.04 * np.sin(np.arange(self.frames) * 2 * np.pi / 18)
        poses = np.tile(np.eye(4), (self.frames, 1, 1))
        poses[:, 0, 0], poses[:, 0, 2] = np.cos(yaw), np.sin(yaw)
        poses[:, 2, 0], poses[:, 2, 2] = -np.sin(yaw), np.cos(yaw)
        moved = self.steps[:, None] * np.stack([np.sin(yaw), 0 * yaw, np.cos(yaw)], axis=1)
        poses[1:, :3, 3] = np.cumsum(moved, axis=0)[:-1]
        return poses

    def pose(self, frame: int, camera: int = 2) -> Float64[np.ndarray, "4 4"]:
        """`T_world,camera`."""
        shift = np.eye(4)
        shift[:3, 3] = -np.array(OFFSETS[camera])
        return np.asarray(self.poses[frame] @ shift)

    def depth(self, frame: int, camera: int = 2, size: Size | None = None) -> Float64[np.ndarray, "h w"]:
        """Metres along the optical axis, exact at the centres of the pixels."""
        origin, rays = self._rays(frame, camera, size or self.size)
        return self._cast(origin, rays)[0].reshape(size or self.size)

    def image(self, frame: int, camera: int = 2, size: Size | None = None) -> Image.Image:
        """Colour, at any size, as if the sensor had it."""
        shape = size or self.size
        origin, rays = self._rays(frame, camera, shape)
        depth, axis, surface = self._cast(origin, rays)
        focal = 0.58 * shape[1]
        right, down = self.pose(frame, camera)[:3, 0] / focal, self.pose(frame, camera)[:3, 1] / focal
        # How far the point on the surface moves for one pixel to the right, and one down.
        normal = np.take_along_axis(rays, axis[:, None], 1)
        spread = [depth[:, None] * (step - rays * (step[axis][:, None] / normal)) for step in (right, down)]
        colour = self._texture(origin + depth[:, None] * rays, spread, surface)
        return Image.fromarray(np.rint(colour * 255).astype(np.uint8).reshape(*shape, 3))

    def _rays(
        self, frame: int, camera: int, size: Size
    ) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, "n 3"]]:
        """Return the camera's centre and a ray of unit depth for each pixel, in the world."""
        sy, sx = size[0] / self.size[0], size[1] / self.size[1]
        resize = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
        rows, columns = np.mgrid[: size[0], : size[1]].reshape(2, -1).astype(np.float64)
        pixels = np.stack([columns, rows, np.ones_like(rows)])
        pose = self.pose(frame, camera)
        return pose[:3, 3], (pose[:3, :3] @ np.linalg.solve(resize @ self.intrinsics, pixels)).T

    @cached_property
    def boxes(self) -> Float64[np.ndarray, "m 2 3"]:
        """Lowest and highest corner of each parked box."""
        random = np.random.default_rng(self.seed)
        near = np.arange(6.0, self._end, 7.0)
        sides = np.where(np.arange(len(near)) % 2, 3.4, -4.9)
        low = np.stack([sides, CAMERA_HEIGHT - random.uniform(1.2, 2.6, len(near)), near], axis=1)
        high = np.stack([sides + 1.5, np.full(len(near), CAMERA_HEIGHT), near + 3.5], axis=1)
        return np.stack([low, high], axis=1)

    @property
    def _end(self) -> float:
        return float(self.steps.sum()) + BEYOND

    def _cast(
        self, origin: Float64[np.ndarray, " 3"], rays: Float64[np.ndarray, "n 3"]
    ) -> tuple[Float64[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return the depth of the first hit, the axis of its normal and the number of its surface."""
        with np.errstate(divide="ignore"):
            inverse = 1 / rays
        depth, axis = self._street(origin, inverse)
        surface = axis + 3 * (np.take_along_axis(rays, axis[:, None], 1)[:, 0] > 0)
        for number, (low, high) in enumerate(self.boxes, start=6):
            a, b = (low - origin) * inverse, (high - origin) * inverse
            entry = np.minimum(a, b)
            near, far = entry.max(axis=1), np.maximum(a, b).min(axis=1)
            hit = (near < far) & (near > 0) & (near < depth)
            depth, axis = np.where(hit, near, depth), np.where(hit, entry.argmax(axis=1), axis)
            surface = np.where(hit, number, surface)
        return depth, axis, surface

    def _street(
        self, origin: Float64[np.ndarray, " 3"], inverse: Float64[np.ndarray, "n 3"]
    ) -> tuple[Float64[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return where each ray leaves the street, which has no roof, and through which axis."""
        low, high = np.array([LEFT, -np.inf, -np.inf]), np.array([RIGHT, CAMERA_HEIGHT, self._end])
        exits = np.where(inverse > 0, (high - origin) * inverse, (low - origin) * inverse)
        return exits.min(axis=1), exits.argmin(axis=1)

    @cached_property
    def _waves(
        self,
    ) -> tuple[Float64[np.ndarray, "k 3"], Float64[np.ndarray, " k"], Float64[np.ndarray, "k 3"]]:
        """Wave vectors in 1/m, phases and colours, from coarse to fine."""
        random = np.random.default_rng([self.seed, 1])
        lengths = np.geomspace(7.0, 0.3, 22)
        directions = random.normal(size=(len(lengths), 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        colours = (0.6 + 0.4 * random.normal(size=(len(lengths), 3))) * np.sqrt(lengths / 7.0)[:, None] ** 0.5
        return (
            directions * (2 * np.pi / lengths)[:, None],
            random.uniform(0, 2 * np.pi, len(lengths)),
            colours,
        )

    def _texture(
        self,
        points: Float64[np.ndarray, "n 3"],
        spread: Sequence[Float64[np.ndarray, "n 3"]],
        surface: Int[np.ndarray, " n"],
    ) -> Float64[np.ndarray, "n 3"]:
        """Return colours in [0, 1]; waves that a pixel cannot resolve fade, as a Gaussian blur would do."""
        vectors, phases, colours = self._waves
        phase = (points @ vectors.T + phases).astype(np.float32)  # half the time of float64, and exact enough
        blur = sum((step @ vectors.T).astype(np.float32) ** 2 for step in spread)
        value = (np.sin(phase) * np.exp(-0.5 * blur)) @ colours
        albedo = np.random.default_rng([self.seed, 2]).uniform(-0.6, 0.6, (6 + len(self.boxes), 3))
        return np.asarray(0.5 + 0.5 * np.tanh(0.25 * value + albedo[surface]))


def make_scene(frames: int = 12, size: Size = (96, 320), seed: int = 0) -> Scene:
    """Return a drive of 0.7 to 0.9 m a frame."""
    return Scene(size, 0.8 + 0.1 * np.sin(np.arange(frames) * 0.7), seed)
