"""Where people can walk on a map: pavements, crossings, and the roads beside them, as rasters and outlines.

All of it keeps the width of a body away from walls, poles and kerbs, because who walks on it is a point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.special import ndtr

from mtdrive.envs.town.opendrive import Post, Road
from mtdrive.envs.town.stage import Box
from mtdrive.envs.town.strips import PAVEMENT, ROAD, Strip, across
from mtdrive.envs.town.surface import Surface
from mtdrive.errors import MtdriveError

BLOCKED, WALKWAY, CROSSING, STREET, MEADOW = range(5)
"""Areas, with the numbers that CARLA's navigation gives them."""

STEP = 0.25
"""Metres of a cell."""
BODY = 0.25
"""Metres of half a body."""
EDGE = float(ndtr(1.0))
"""The height, at `BODY` from it, of a step that is blurred by as much."""
COARSE = 32
"""Cells along the side of a block."""
REACH = 2
"""Blocks around a pavement, within which the road is kept."""
LARGEST = 40_000_000
"""Cells that a raster may have: they take 2 GB."""
GAP = 3
"""Cells of half the width of gaps that are closed: between lanes, and where roads jut into a pavement."""
LONGER = 1.5
"""Metres that a crossing is drawn longer at each end, so that it meets the pavement behind the kerb."""
FEET = ("sidewalk", "walking")
"""The kinds of lanes that are for people."""

Ring = Float[np.ndarray, "_ 2"]
Mask = Bool[np.ndarray, "h w"]
Marks = UInt8[np.ndarray, "_"]


@dataclass(frozen=True)
class Walkable:
    """Rasters of `STEP` metres; the first index is along y, the second along x."""

    x: float
    y: float
    """The corner of the first cell."""
    area: UInt8[np.ndarray, "h w"]
    outlines: tuple[Ring, ...]
    """Lines in the world, between which an area does not change."""

    def at(self, points: Ring) -> Marks:
        """Return the areas at points."""
        h, w = self.area.shape
        j, i = np.floor((points - [self.x, self.y]) / STEP).astype(int).T
        return np.asarray(self.area[np.clip(i, 0, h - 1), np.clip(j, 0, w - 1)])

    def without_streets(self, points: Ring) -> Marks:
        """Return the areas at points, with streets blocked."""
        areas = self.at(points)
        return np.where(areas == STREET, np.uint8(BLOCKED), areas)


def find(
    strips: Sequence[Strip], roads: Iterable[Road], surface: Surface, boxes: Iterable[Box]
) -> Walkable | None:
    """Return where people can walk; None where a map has no pavement.

    Raises:
        MtdriveError: the map is too large.
    """
    feet = [s for s in strips if s.kind in FEET]
    if not feet:
        return None
    sheet = _Sheet.around([s.outer for s in feet])
    crossings = [_crossing(r, t) for r in roads for t in r.objects if _is_crossing(t)]
    crossed, driven = sheet.fill(crossings), sheet.fill(_pieces(s for s in strips if s.surface == ROAD))
    pavement = _closed(sheet.fill(_pieces(feet)) & ~driven)
    raised = sheet.fill(_pieces(s for s in strips if s.surface == PAVEMENT))
    near = _near(pavement)
    street = (_closed(driven | raised | sheet.gaps(surface)) & near | crossed) & ~pavement
    inside, kerb = _blurred(street | pavement), _blurred(street)
    for box in boxes:
        sheet.keep_off(box, inside)
    area = np.where(crossed, CROSSING, STREET)
    area[kerb < 1 - EDGE] = WALKWAY
    area[inside < EDGE] = BLOCKED
    # Kerbs end a little outside, so that they cut the outer line.
    kerb_inside = np.ma.masked_where(inside < 0.5, kerb)
    lines = [*sheet.lines(inside, EDGE), *sheet.lines(kerb_inside, 1 - EDGE), *crossings]
    return Walkable(sheet.x, sheet.y, area.astype(np.uint8), tuple(lines))


@dataclass(frozen=True)
class _Sheet:
    """Where the rasters lie."""

    x: float
    y: float
    width: int
    height: int

    @classmethod
    def around(cls, lines: Sequence[Float[np.ndarray, "_ 3"]]) -> _Sheet:
        """Return a sheet with room for what `REACH` adds."""
        margin = (REACH + 2) * COARSE * STEP
        low = np.min([line[:, :2].min(axis=0) for line in lines], axis=0) - margin
        high = np.max([line[:, :2].max(axis=0) for line in lines], axis=0) + margin
        width, height = (np.ceil((high - low) / STEP / COARSE).astype(int) * COARSE).tolist()
        if width * height > LARGEST:
            raise MtdriveError(
                f"its pavements lie {width * STEP:.0f} m by {height * STEP:.0f} m apart, and a mesh covers "
                f"at most {LARGEST * STEP**2 / 1e6:g} km²"
            )
        return cls(float(low[0]), float(low[1]), width, height)

    def fill(self, rings: Iterable[Ring]) -> Mask:
        """Return the cells of which polygons cover more than half."""
        # The painter fills every pixel that a polygon touches: more than half of four is the middle.
        image = Image.new("L", (2 * self.width, 2 * self.height))
        draw = ImageDraw.Draw(image)
        for ring in rings:
            draw.polygon(((ring - [self.x, self.y]) / STEP * 2).ravel().tolist(), fill=255)
        return np.asarray(np.asarray(image.reduce(2)) > 128)

    def keep_off(self, box: Box, inside: Float[np.ndarray, "h w"]) -> None:
        """Lower the field around a thing, as if it were an edge of what is free."""
        middle = np.array([box.pose.x, box.pose.y])
        reach = math.hypot(*box.extent[:2]) + 4 * BODY
        low, high = ((middle + e - [self.x, self.y]) / STEP for e in (-reach, reach))
        (j0, i0), (j1, i1) = (np.clip(np.floor(e).astype(int), 0, None) for e in (low, high))
        part = inside[i0:i1, j0:j1]
        if not part.any():
            return
        y, x = np.mgrid[i0 : i0 + part.shape[0], j0 : j0 + part.shape[1]] * STEP + STEP / 2
        x, y, yaw = x + self.x - middle[0], y + self.y - middle[1], math.radians(box.pose.yaw)
        u = np.abs(math.cos(yaw) * x + math.sin(yaw) * y) - box.extent[0]
        v = np.abs(math.cos(yaw) * y - math.sin(yaw) * x) - box.extent[1]
        away = np.hypot(u.clip(0), v.clip(0)) + np.maximum(u, v).clip(None, 0)
        np.minimum(part, ndtr(away / BODY), out=part)

    def gaps(self, surface: Surface) -> Mask:
        """Return the cells in junctions between their lanes."""
        x, y = (
            np.arange(n) * STEP + STEP / 2 + low for n, low in ((self.width, self.x), (self.height, self.y))
        )
        _, columns = surface.cells(np.stack([x, np.full_like(x, self.y)], axis=1))
        rows, _ = surface.cells(np.stack([np.full_like(y, self.x), y], axis=1))
        return np.asarray(surface.filled[np.ix_(rows, columns)])

    def lines(self, field: Float[np.ndarray, "h w"], level: float) -> list[Ring]:
        """Return where a field passes a level, in the world."""
        found = contour_generator(z=field).lines(level)
        return [(np.asarray(line) + 0.5) * STEP + [self.x, self.y] for line in found]


def _pieces(strips: Iterable[Strip]) -> Iterator[Ring]:
    """Give strips in pieces so short that none meets itself."""
    for strip in strips:
        for k in range(0, len(strip.outer) - 1, 8):
            rows = slice(k, k + 9)
            yield np.concatenate([strip.inner[rows, :2], strip.outer[rows, :2][::-1]])


def _is_crossing(thing: Post) -> bool:
    return thing.kind == "crosswalk" and len(thing.outline) >= 4


def _crossing(road: Road, thing: Post) -> Ring:
    """Return the outline of a crossing, made longer across the road."""
    at = np.array([thing.s])
    along = -float(road.line(at).heading[0])
    turn = along - thing.heading
    middle = across(road, at, np.array([thing.t]))[0, :2]
    u, v = np.array(thing.outline).T
    x, y = math.cos(turn) * u + math.sin(turn) * v, math.sin(turn) * u - math.cos(turn) * v
    ring = np.stack([x, y], axis=1)
    normal = np.array([-math.sin(along), math.cos(along)])
    aside = (ring - ring.mean(axis=0)) @ normal
    ring += LONGER * np.sign(aside)[:, None] * normal
    return np.asarray(middle + np.concatenate([ring, ring[:1]]))


def _closed(mask: Mask) -> Mask:
    """Return a mask without its narrow gaps."""
    return np.asarray(mask | ndimage.binary_closing(mask, np.ones((3, 3), bool), GAP))


def _near(pavement: Mask) -> Mask:
    h, w = pavement.shape
    blocks = pavement.reshape(h // COARSE, COARSE, w // COARSE, COARSE)
    near = ndimage.binary_dilation(np.asarray(blocks.any(axis=(1, 3))), np.ones((3, 3), bool), REACH)
    return np.asarray(np.repeat(np.repeat(near, COARSE, axis=0), COARSE, axis=1))


def _blurred(mask: Mask) -> Float[np.ndarray, "h w"]:
    return np.asarray(ndimage.gaussian_filter(mask.astype(np.float32), BODY / STEP, truncate=2.5))
