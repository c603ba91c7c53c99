"""Places for what stands beside the roads: things, free ground, the sides of roads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mtdrive.envs.town.opendrive import Road
from mtdrive.envs.town.stage import Box, Pose
from mtdrive.envs.town.surface import CELL, NOTHING, Surface
from mtdrive.envs.town.tags import Tag


@dataclass(frozen=True)
class Item:
    """One thing that stands; its pose is the middle of its foot."""

    kind: str
    pose: Pose
    extent: tuple[float, float, float]
    """Half of its depth, width and height."""
    style: int
    """Chooses colours and details."""
    tag: Tag
    solid: bool = True

    @property
    def box(self) -> Box:
        """What a vehicle hits."""
        p, (x, y, z) = self.pose, self.extent
        if self.kind.endswith("tree"):
            x = y = 0.25
        return Box(Pose(p.x, p.y, p.z + z, 0.0, p.yaw, 0.0), (x, y, z), int(self.tag))


class Ground:
    """Which cells are still free, on the raster of the surface."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.taken = ndimage.binary_dilation(surface.kind != NOTHING, iterations=2)
        self.built = np.zeros(surface.kind.shape, bool)
        """Taken by a thing, not by a road."""

    def free(self, xy: np.ndarray, yaw: float, extent: tuple[float, float, float], gap: float) -> bool:
        """Return whether a footprint with a gap around it covers no taken cell."""
        return not self.taken[self.cells(xy, yaw, extent, gap)].any()

    def take(self, xy: np.ndarray, yaw: float, extent: tuple[float, float, float], gap: float) -> None:
        """Mark a footprint with a gap around it as taken."""
        cells = self.cells(xy, yaw, extent, gap)
        self.taken[cells] = self.built[cells] = True

    def cells(
        self, xy: np.ndarray, yaw: float, extent: tuple[float, float, float], gap: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells of a footprint with a gap around it."""
        a, b = (np.arange(-(e + gap), e + gap + CELL, 0.9 * CELL) for e in extent[:2])
        c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        u, v = np.meshgrid(a, b)
        return self.surface.cells(np.stack([xy[0] + c * u - s * v, xy[1] + s * u + c * v], axis=-1))

    def height(self, xy: np.ndarray, yaw: float, extent: tuple[float, float, float]) -> float:
        """Return the lowest ground under a footprint."""
        return float(self.surface.low[self.cells(xy, yaw, extent, 0.0)].min())


@dataclass(frozen=True)
class Side:
    """One side of a road: points each metre along its outermost edge, and the way away from the road."""

    road: Road
    points: np.ndarray
    away: np.ndarray
    paved: bool
    fast: bool

    def yaw(self, i: int) -> float:
        """Return the direction from the land to the road, degrees."""
        return math.degrees(math.atan2(-self.away[i, 1], -self.away[i, 0]))


def put(
    ground: Ground, kind: str, xy: np.ndarray, yaw: float, extent: tuple[float, float, float], style: int,
    tag: Tag, solid: bool = True,
) -> Item:  # fmt: skip
    """Return a thing on the lowest ground under it."""
    x, y = xy.tolist()
    z = ground.height(xy, yaw, extent)
    return Item(kind, Pose(x, y, z, 0.0, yaw, 0.0), extent, style, tag, solid)
