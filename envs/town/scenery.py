"""What stands beside the roads: houses, blocks, trees, lamps and more; the same for a map each time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from mtdrive.envs.town.furniture import SIZES
from mtdrive.envs.town.roadside import plot, roadside
from mtdrive.envs.town.signposts import LIGHT, Signpost
from mtdrive.envs.town.sites import Ground, Item, Side, put
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.strips import PAVEMENT, Strip
from mtdrive.envs.town.surface import CELL, NOTHING, Surface
from mtdrive.envs.town.tags import Tag

FAST = 85 / 3.6
"""m/s from which nothing is built beside a road, and trees keep away from it."""

ROADSIDE = 1.5
"""Metres between a road's outermost lane and the first wall, at least."""

FAR_OFF = 24.0
"""Metres from a road from which on trees have few details."""

LAMP_STEP = 28.0
TREE_STEP = 9.0


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
            for item, edge in _buildings(side, ground, rng):
                yield item
                if item.kind == "house":
                    yield from plot(item, edge, ground)
    for side in sides:
        yield from roadside(side, ground)
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


def _poles(side: Side, ground: Ground) -> Iterator[Item]:
    """Give the street lamps: at the outer edge of the pavement, or just beside the road."""
    step = LAMP_STEP * (1.6 if side.fast else 1.0)
    for k in range(int(len(side.points) / step)):
        i = int((k + 0.5) * step)
        xy = side.points[i, :2] + side.away[i] * (-0.35 if side.paved else 1.5)
        extent = SIZES["lamp"]
        z = float(side.points[i, 2])
        x, y = xy.tolist()
        if ground.surface.stretch[ground.surface.cell(x, y)] < 0:
            yield Item("lamp", Pose(x, y, z, 0.0, side.yaw(i), 0.0), extent, 0, Tag.POLE)
            ground.take(xy, side.yaw(i), extent, 1.0)


def _buildings(side: Side, ground: Ground, rng: np.random.Generator) -> Iterator[tuple[Item, float]]:
    """Give a row of buildings that face the road, and how far before its middle each one's plot ends."""
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
            item = put(ground, kind, xy, yaw, extent, int(rng.integers(1 << 16)), Tag.BUILDING)
            yield item, extent[0] + setback + ROADSIDE
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
    kind = int(rng.integers(1 << 16))
    for k in range(int(len(side.points) / TREE_STEP)):
        i = min(int((k + rng.uniform(0.2, 0.8)) * TREE_STEP), len(side.points) - 1)
        far = rng.uniform(1.8, 3.2) if not side.fast else rng.uniform(6, 14)
        xy = side.points[i, :2] + side.away[i] * far
        if rng.random() < 0.75:
            yield from _plant(xy, ground, rng, kind)


def _plant(
    xy: np.ndarray, ground: Ground, rng: np.random.Generator, usual: int | None = None, kind: str = "tree"
) -> Iterator[Item]:
    """Give a tree or a bush, if there is room for it; of trees, more are of the usual style than not."""
    bush = rng.random() < 0.22
    height = rng.uniform(0.4, 0.8) if bush else rng.uniform(2.2, 4.5)
    room = (0.5, 0.5, height)
    yaw, style = float(rng.uniform(-180, 180)), int(rng.integers(1 << 16))
    if usual is not None and style % 4:
        style = usual
    if ground.free(xy, 0.0, room, 0.3):
        ground.take(xy, 0.0, room, 0.8)
        wide = height * rng.uniform(0.9, 1.4) if bush else height * rng.uniform(0.42, 0.58)
        extent = (wide, wide, height)
        yield put(ground, "bush" if bush else kind, xy, yaw, extent, style, Tag.VEGETATION, solid=not bush)


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
        yield from _plant(at, ground, rng, kind="far tree" if far[i, j] > FAR_OFF else "tree")


def post(surface: Surface, signal: Signpost) -> Item:
    """Return the pole of a signal."""
    p = signal.pose
    z = surface.height(p.x, p.y, p.z)
    height = 2.9 if signal.kind == LIGHT else 1.3
    return Item("post", Pose(p.x, p.y, z, 0.0, p.yaw, 0.0), (0.08, 0.08, height), 0, Tag.POLE)
