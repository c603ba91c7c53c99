"""What stands at the edge of roads: benches, shelters and bins, fences before houses, guard rails."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import numpy as np

from mtdrive.envs.town.furniture import RUNS, SIZES, TAGS
from mtdrive.envs.town.sites import Ground, Item, Side, put
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.surface import NOTHING
from mtdrive.envs.town.tags import Tag

RAILED = 65 / 3.6
"""m/s from which on there are guard rails beside a road without a pavement."""

RAIL_STEP, RAIL_AT = 4, 1.0
"""Metres of a piece of guard rail, and from the road to it."""

FURNITURE = {
    "bench": 0.24, "bin": 0.24, "cabinet": 0.13, "advert": 0.09, "planter": 0.12, "hydrant": 0.08,
    "mailbox": 0.06, "shelter": 0.04,
}  # fmt: skip
"""What stands beside pavements, and how often."""

STEP = (9.0, 24.0)
"""Metres from one to the next."""

PLOTS = {"": 0.30, "fence": 0.28, "hedge": 0.27, "wall": 0.15}
"""What is before the gardens of houses, and how often."""

BORDER = 0.75
"""Metres from the road to it."""


def roadside(side: Side, ground: Ground) -> Iterator[Item]:
    """Give what stands right beside a road."""
    limit = max((x for _, x in side.road.limits), default=0.0)
    if side.paved:
        yield from _furniture(side, ground)
    elif limit > RAILED:
        yield from _rails(side, ground)


def _furniture(side: Side, ground: Ground) -> Iterator[Item]:
    rng = np.random.default_rng(zlib.crc32(np.round(side.points[0], 1).tobytes()))
    at = rng.uniform(4, 16)
    while at < len(side.points) - 4:
        i, kind = int(at), str(rng.choice(list(FURNITURE), p=list(FURNITURE.values())))
        extent = SIZES[kind]
        xy = side.points[i, :2] + side.away[i] * (extent[0] + 0.22)
        # The ground beside a pavement counts as taken: what must be free lies farther from the road.
        behind = xy + side.away[i] * (extent[0] + 1.2)
        if ground.free(behind, side.yaw(i), extent, 0.1):
            ground.take(xy, side.yaw(i), extent, 0.5)
            x, y = xy.tolist()
            pose = Pose(x, y, float(side.points[i, 2]), 0.0, side.yaw(i), 0.0)
            yield Item(kind, pose, extent, 0, TAGS.get(kind, Tag.STATIC))
        at += rng.uniform(*STEP)


def plot(house: Item, border: float, ground: Ground) -> Iterator[Item]:
    """Give what is between a house's garden and the road, with a gap for the door; `border` is the road's."""
    rng = np.random.default_rng(house.style)
    kind = str(rng.choice(list(PLOTS), p=list(PLOTS.values())))
    if not kind:
        return
    wide, gap = house.extent[1] + rng.uniform(0.5, 1.5), rng.uniform(0.8, 1.6)
    for a, b in ((-wide, -gap), (gap, wide)):
        extent = (RUNS[kind][0], (b - a) / 2, RUNS[kind][1])
        local = (border - BORDER, (a + b) / 2, 0.0)
        xy = (house.pose.matrix() @ np.array([*local, 1.0]))[:2]
        cells = ground.cells(xy, house.pose.yaw, (0.0, extent[1], 0.0), 0.0)
        if (ground.surface.kind[cells] == NOTHING).all() and not ground.built[cells].any():
            ground.take(xy, house.pose.yaw, extent, 0.1)
            yield put(ground, kind, xy, house.pose.yaw, extent, 0, TAGS[kind])


def _rails(side: Side, ground: Ground) -> Iterator[Item]:
    """Give the pieces of a guard rail where no other road is near and the land is not far below."""
    surface = ground.surface
    beside = side.points[:, :2] + side.away * RAIL_AT
    cells = surface.cells(beside)
    clear = (surface.kind[cells] == NOTHING) & (surface.kind[surface.cells(beside + side.away)] == NOTHING)
    clear &= abs(surface.high[cells] - side.points[:, 2]) < 1.0
    for i in range(1, len(beside) - RAIL_STEP - 1, RAIL_STEP):
        if not clear[i : i + RAIL_STEP + 1].all():
            continue
        ends = np.concatenate([beside[[i, i + RAIL_STEP]], side.points[[i, i + RAIL_STEP], 2:]], axis=1)
        x, y, z = ends.mean(axis=0).tolist()
        yaw = side.yaw(i + RAIL_STEP // 2)
        along = ends[1] - ends[0]
        length = float(np.linalg.norm(along))
        right = -math.sin(math.radians(yaw)) * along[0] + math.cos(math.radians(yaw)) * along[1]
        roll = -math.degrees(math.asin(along[2] / length)) * math.copysign(1.0, right)
        half, high = RUNS["rail"]
        yield Item("rail", Pose(x, y, z, 0.0, yaw, roll), (half, length / 2 + 0.02, high), 0, TAGS["rail"])
