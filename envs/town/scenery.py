"""What stands beside the roads: houses, blocks, trees, bushes, lamps; the same for a map each time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mtdrive.envs.town.opendrive import Road
from mtdrive.envs.town.signposts import LIGHT, Signpost
from mtdrive.envs.town.stage import Box, Pose
from mtdrive.envs.town.strips import PAVEMENT, Strip
from mtdrive.envs.town.surface import CELL, NOTHING, Surface
from mtdrive.envs.town.tags import Tag

FAST = 85 / 3.6
"""m/s from which nothing is built beside a road, and trees keep away from it."""

ROADSIDE = 1.5
"""Metres between a road's outermost lane and the first wall, at least."""

LAMP_STEP = 28.0
TREE_STEP = 9.0


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
        if self.kind == "tree":
            x = y = 0.25
        return Box(Pose(p.x, p.y, p.z + z, 0.0, p.yaw, 0.0), (x, y, z), int(self.tag))


class Ground:
    """Which cells are still free, on the raster of the surface."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.taken = ndimage.binary_dilation(surface.kind != NOTHING, iterations=2)

    def free(self, xy: np.ndarray, yaw: float, extent: tuple[float, float, float], gap: float) -> bool:
        """Return whether a footprint with a gap around it covers no taken cell."""
        return not self.taken[self._cells(xy, yaw, extent, gap)].any()

    def take(self, xy: np.ndarray, yaw: float, extent: tuple[float, float, float], gap: float) -> None:
        """Mark a footprint with a gap around it as taken."""
        self.taken[self._cells(xy, yaw, extent, gap)] = True

    def _cells(
        self, xy: np.ndarray, yaw: float, extent: tuple[float, float, float], gap: float
    ) -> tuple[np.ndarray, np.ndarray]:
        a, b = (np.arange(-(e + gap), e + gap + CELL, 0.9 * CELL) for e in extent[:2])
        c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        u, v = np.meshgrid(a, b)
        return self.surface.cells(np.stack([xy[0] + c * u - s * v, xy[1] + s * u + c * v], axis=-1))

    def height(self, xy: np.ndarray, yaw: float, extent: tuple[float, float, float]) -> float:
        """Return the lowest ground under a footprint."""
        return float(self.surface.low[self._cells(xy, yaw, extent, 0.0)].min())


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


def place(strips: Sequence[Strip], surface: Surface, name: str) -> Iterator[Item]:
    """Give what stands in a town; its name is the seed."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    ground = Ground(surface)
    sides = [_side(s) for s in strips if s.outermost and not s.road.junction]
    sides = [s for s in sides if len(s.points) > 3]
    for side in sides:
        yield from _poles(side, ground)
    for side in sides:
        if not side.fast:
            yield from _buildings(side, ground, rng)
    for side in sides:
        yield from _row_of_trees(side, ground, rng)
    yield from _woods(ground, rng)


def _side(strip: Strip) -> Side:
    """Return the side of a road along its outermost lane."""
    long = np.concatenate([[0.0], np.linalg.norm(np.diff(strip.outer, axis=0), axis=1).cumsum()])
    at = np.arange(0.5, long[-1], 1.0)
    outer, inner = (
        np.stack([np.interp(at, long, e[:, k]) for k in range(3)], 1) for e in (strip.outer, strip.inner)
    )
    away = (outer - inner)[:, :2]
    away = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    limit = max((x for _, x in strip.road.limits), default=0.0)
    return Side(strip.road, outer, away, strip.surface == PAVEMENT, limit > FAST)


def _put(
    ground: Ground, kind: str, xy: np.ndarray, yaw: float, extent: tuple[float, float, float], style: int,
    tag: Tag, solid: bool = True,
) -> Item:  # fmt: skip
    x, y = xy.tolist()
    z = ground.height(xy, yaw, extent)
    return Item(kind, Pose(x, y, z, 0.0, yaw, 0.0), extent, style, tag, solid)


def _poles(side: Side, ground: Ground) -> Iterator[Item]:
    """Give the street lamps: at the outer edge of the pavement, or just beside the road."""
    step = LAMP_STEP * (1.6 if side.fast else 1.0)
    for k in range(int(len(side.points) / step)):
        i = int((k + 0.5) * step)
        xy = side.points[i, :2] + side.away[i] * (-0.35 if side.paved else 0.9)
        extent = (0.09, 0.09, 3.2)
        z = float(side.points[i, 2])
        x, y = xy.tolist()
        if ground.surface.stretch[ground.surface.cell(x, y)] < 0:
            yield Item("lamp", Pose(x, y, z, 0.0, side.yaw(i), 0.0), extent, 0, Tag.POLE)
            ground.take(xy, side.yaw(i), extent, 1.0)


def _buildings(side: Side, ground: Ground, rng: np.random.Generator) -> Iterator[Item]:
    """Give a row of buildings that face the road."""
    i, district = 0, rng.integers(3)
    while i < len(side.points) - 6:
        if rng.random() < 0.12:
            district = rng.integers(3)
        kind, extent, setback = _building(int(district), rng)
        k = min(i + int(extent[1]), len(side.points) - 1)
        yaw = side.yaw(k)
        xy = side.points[k, :2] + side.away[k] * (ROADSIDE + setback + extent[0])
        if ground.free(xy, yaw, extent, 1.0):
            ground.take(xy, yaw, extent, 1.0)
            yield _put(ground, kind, xy, yaw, extent, int(rng.integers(1 << 16)), Tag.BUILDING)
            i += int(2 * extent[1] + (rng.uniform(5, 12) if kind == "house" else rng.uniform(2, 5)))
        else:
            i += 4


def _building(district: int, rng: np.random.Generator) -> tuple[str, tuple[float, float, float], float]:
    """Return kind, extent and setback of a building of a district: of houses, mixed, or of tall blocks."""
    if district == 0 or (district == 1 and rng.random() < 0.4):
        extent = (rng.uniform(4, 5.5), rng.uniform(4.5, 7.5), rng.uniform(2.6, 4.2))
        return "house", extent, rng.uniform(3, 7)
    floors = rng.integers(2, 5) if district == 1 else rng.integers(4, 9)
    extent = (rng.uniform(5, 8), rng.uniform(6, 13), 1.55 * float(floors) + 0.4)
    return "block", extent, rng.uniform(0.2, 2.5)


def _row_of_trees(side: Side, ground: Ground, rng: np.random.Generator) -> Iterator[Item]:
    for k in range(int(len(side.points) / TREE_STEP)):
        i = min(int((k + rng.uniform(0.2, 0.8)) * TREE_STEP), len(side.points) - 1)
        far = rng.uniform(1.8, 3.2) if not side.fast else rng.uniform(6, 14)
        xy = side.points[i, :2] + side.away[i] * far
        if rng.random() < 0.75:
            yield from _plant(xy, ground, rng)


def _plant(xy: np.ndarray, ground: Ground, rng: np.random.Generator) -> Iterator[Item]:
    """Give a tree or a bush, if there is room for it."""
    bush = rng.random() < 0.22
    height = rng.uniform(0.4, 0.8) if bush else rng.uniform(2.2, 4.5)
    room = (0.5, 0.5, height)
    yaw, style = float(rng.uniform(-180, 180)), int(rng.integers(1 << 16))
    if ground.free(xy, 0.0, room, 0.3):
        ground.take(xy, 0.0, room, 0.8)
        wide = height * rng.uniform(0.9, 1.4) if bush else height * rng.uniform(0.42, 0.58)
        kind = "bush" if bush else "tree"
        yield _put(ground, kind, xy, yaw, (wide, wide, height), style, Tag.VEGETATION, solid=not bush)


def _woods(ground: Ground, rng: np.random.Generator) -> Iterator[Item]:
    """Give trees on the open land, thick where a slow random field is high, and only near roads."""
    surface = ground.surface
    h, w = (n // 8 for n in surface.kind.shape)
    field = ndimage.gaussian_filter(rng.standard_normal((h, w)), 6, mode="wrap")
    road = surface.kind[::8, ::8][:h, :w] != NOTHING
    far = ndimage.distance_transform_edt(~road) * 8 * CELL
    chance = np.where(field > 0.5 * field.std(), 0.20, 0.012) * (far > 8) * (far < 90)
    for i, j in np.argwhere(rng.random((h, w)) < chance):
        at = np.array([surface.x, surface.y]) + (np.array([j, i]) + rng.uniform(0, 1, 2)) * 8 * CELL
        yield from _plant(at, ground, rng)


def post(surface: Surface, signal: Signpost) -> Item:
    """Return the pole of a signal."""
    p = signal.pose
    z = surface.height(p.x, p.y, p.z)
    height = 2.9 if signal.kind == LIGHT else 1.3
    return Item("post", Pose(p.x, p.y, z, 0.0, p.yaw, 0.0), (0.08, 0.08, height), 0, Tag.POLE)
