"""The surface of a map as a raster: height, material and road."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from mtdrive.envs.town.limits import CELLS, SAMPLES
from mtdrive.envs.town.strips import DRIVEN, KERB, PAVEMENT, ROAD, Strip
from mtdrive.errors import ConfigError

CELL = 0.5
"""Metres of a cell of the raster."""
COARSE = 8
"""Cells of the raster along the side of a square of the land."""
MARGIN = 120.0
"""Metres of land around the outermost road."""
STOREY = 2.0
"""Metres between two roads above each other, at least."""
SUNK = 0.07
"""Metres that the land lies below the roads that cover it."""

HOLE = 60
"""Cells of an enclosed gap in a junction that is road, at most; larger ones are islands."""

NOTHING, PAVED, DRIVABLE = 0, 1, 2

Samples = tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]


@dataclass(frozen=True)
class Surface:
    """Rasters of `CELL` metres; the first index is along y, the second along x."""

    x: float
    y: float
    """The corner of the first cell."""
    kind: np.ndarray
    """`NOTHING`, `PAVED` or `DRIVABLE`."""
    stretch: np.ndarray
    """The number of the road's stretch that owns the cell, -1 where there is none."""
    low: np.ndarray
    high: np.ndarray
    """Heights of the lowest and the highest surface."""
    land: np.ndarray
    """Heights of the land at the corners of squares of `COARSE` cells."""
    filled: np.ndarray
    """Cells in junctions between their lanes, which are road too."""

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Return the cell that holds a point, or the nearest."""
        h, w = self.kind.shape
        i, j = math.floor((y - self.y) / CELL), math.floor((x - self.x) / CELL)
        return min(max(i, 0), h - 1), min(max(j, 0), w - 1)

    def height(self, x: float, y: float, z: float | None = None) -> float:
        """Return the height of the ground; of two roads above each other the one that `z` stands on."""
        h, w = self.kind.shape
        v, u = (y - self.y) / CELL - 0.5, (x - self.x) / CELL - 0.5
        i = min(max(math.floor(v), 0), h - 2)
        j = min(max(math.floor(u), 0), w - 2)
        a, b = min(max(v - i, 0.0), 1.0), min(max(u - j, 0.0), 1.0)
        below = z is not None and z < float(self.high[i, j]) - STOREY / 2
        layer = self.low if below else self.high
        top = layer[i, j] * (1 - b) + layer[i, j + 1] * b
        bottom = layer[i + 1, j] * (1 - b) + layer[i + 1, j + 1] * b
        return float(top * (1 - a) + bottom * a)

    def cells(self, points: Float[np.ndarray, "... n"]) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells of many points."""
        h, w = self.kind.shape
        i = np.clip(np.floor((points[..., 1] - self.y) / CELL).astype(int), 0, h - 1)
        j = np.clip(np.floor((points[..., 0] - self.x) / CELL).astype(int), 0, w - 1)
        return i, j


def build(strips: Sequence[Strip], index: Mapping[tuple[str, float], int]) -> Surface:
    """Return the surface of a map; `index` numbers the stretches of its roads, by road and start.

    Raises:
        ConfigError: it is too large, or its roads are nowhere.
    """
    if not (count := sum(map(_count, strips))) <= SAMPLES:
        raise ConfigError(
            f"the map has too many or too wide lanes: {count:.3g} samples, at most {SAMPLES:.3g}"
        )
    parts = [_samples(strip, index[strip.road.id, strip.section.start]) for strip in strips]
    points, kinds, owners = (np.concatenate(x) for x in zip(*parts, strict=True))
    low = points[:, :2].min(axis=0) - MARGIN
    span = np.ptp(points[:, :2], axis=0) + 2 * MARGIN
    if not span[0] / CELL * span[1] / CELL <= CELLS:
        raise ConfigError(
            f"the map spans {span[0]:.3g} x {span[1]:.3g} m, with the land around it; "
            f"Town draws at most {CELLS * CELL**2 / 1e6:g} square kilometres"
        )
    size = np.ceil(span / (CELL * COARSE)).astype(int) * COARSE
    shape = (int(size[1]), int(size[0]))
    i, j = np.floor((points[:, 1::-1] - low[::-1]) / CELL).astype(int).T
    flat = i * shape[1] + j
    kind, stretch = _owners(flat, kinds, owners, shape)
    bottom, top = _heights(flat, points[:, 2], shape)
    filled = _gaps(kind, np.bincount(flat[kinds > DRIVABLE], minlength=kind.size).reshape(shape) > 0)
    bottom, top = _grow(bottom, 3), _grow(top, 3)
    kind[filled] = DRIVABLE
    land = _land(bottom, kind)
    fine = _refined(land, shape)
    empty = np.isnan(top)
    return Surface(
        x=float(low[0]), y=float(low[1]), kind=kind, stretch=stretch,
        low=np.where(empty, fine, bottom).astype(np.float32),
        high=np.where(empty, fine, top).astype(np.float32),
        land=land, filled=filled,
    )  # fmt: skip


def _pieces(strip: Strip) -> tuple[float, float]:
    """Return into how many pieces a quad of a strip is cut along and across."""
    long = max(float(np.linalg.norm(np.diff(e, axis=0), axis=1).max()) for e in (strip.outer, strip.inner))
    along, across = (max(1.0, float(np.ceil(x / (0.7 * CELL)))) for x in (long, strip.width))
    return along, across


def _count(strip: Strip) -> float:
    along, across = _pieces(strip)
    return (len(strip.s) - 1) * along * across


def _samples(strip: Strip, stretch: int) -> Samples:
    """Return points that hit every cell under a strip, their kinds (3: in a junction), and the stretch."""
    n, m = (int(x) for x in _pieces(strip))
    a = ((np.arange(n) + 0.5) / n)[None, :, None, None]
    b = ((np.arange(m) + 0.5) / m)[None, None, :, None]
    inner, outer = (e[:-1, None, None] * (1 - a) + e[1:, None, None] * a for e in (strip.inner, strip.outer))
    points = (inner * (1 - b) + outer * b).reshape(-1, 3)
    kind = NOTHING
    if strip.surface == ROAD:
        kind = DRIVABLE + bool(strip.road.junction)
    elif strip.surface == PAVEMENT:
        kind = PAVED
    number = stretch if strip.kind in DRIVEN else -1
    return points, np.full(len(points), kind), np.full(len(points), number)


def _owners(
    flat: np.ndarray, kinds: np.ndarray, owners: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    kind = np.zeros(shape[0] * shape[1], np.uint8)
    stretch = np.full(kind.size, -1, np.int32)
    for one in (PAVED, DRIVABLE, DRIVABLE + 1):
        kind[flat[kinds == one]] = min(one, DRIVABLE)
    owned = owners >= 0
    stretch[flat[owned]] = owners[owned]
    return kind.reshape(shape), stretch.reshape(shape)


def _heights(flat: np.ndarray, z: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean heights of the lowest and the highest surface of each cell, NaN where there is none."""
    size = shape[0] * shape[1]
    least, most = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(least, flat, z)
    np.maximum.at(most, flat, z)
    out = []
    for mine in (z < least[flat] + STOREY / 2, z > most[flat] - STOREY / 2):
        count = np.bincount(flat[mine], minlength=size)
        total = np.bincount(flat[mine], z[mine], minlength=size)
        with np.errstate(invalid="ignore"):
            out.append((total / count).reshape(shape))
    return out[0], out[1]


def _gaps(kind: np.ndarray, junction: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the free cells between the lanes of a junction: small, and enclosed or nearly so."""
    road = kind == DRIVABLE
    near = ndimage.binary_dilation(junction, iterations=6)
    closed = ndimage.binary_closing(road, iterations=4)
    holes, _ = ndimage.label(~closed)
    closed |= np.bincount(holes.ravel())[holes] < HOLE
    return np.asarray(closed & near & (kind == NOTHING))


def _grow(heights: np.ndarray, steps: int) -> np.ndarray:
    """Let known heights spread over their unknown neighbours: interpolation at an edge needs them."""
    for _ in range(steps):
        padded = np.pad(heights, 1, constant_values=np.nan)
        for shift in ((0, 1), (2, 1), (1, 0), (1, 2)):
            h, w = heights.shape
            other = padded[shift[0] : shift[0] + h, shift[1] : shift[1] + w]
            heights = np.where(np.isnan(heights), other, heights)
    return heights


def _land(bottom: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Return the land's height at the corners of its squares: level with near roads, below those above it."""
    h, w = (n // COARSE for n in bottom.shape)
    level = np.where(kind == PAVED, bottom - KERB, bottom)
    blocks = np.where(kind > NOTHING, level, np.nan).reshape(h, COARSE, w, COARSE)
    least = np.where(np.isnan(blocks), np.inf, blocks).min(axis=(1, 3))
    corners = np.full((h + 1, w + 1), np.inf)
    for i in (0, 1):
        for j in (0, 1):
            corners[i : i + h, j : j + w] = np.minimum(corners[i : i + h, j : j + w], least)
    known = np.isfinite(corners)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    wide = ndimage.gaussian_filter(corners[tuple(nearest)], 2.5, mode="nearest")
    return np.where(known, np.where(known, corners, 0) - SUNK, wide - SUNK).astype(np.float32)


def _refined(land: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    at = [(np.arange(n) + 0.5) / COARSE for n in shape]
    i, j = (np.minimum(a.astype(int), land.shape[k] - 2) for k, a in enumerate(at))
    a, b = (at[0] - i)[:, None], (at[1] - j)[None]
    near = land[i][:, j] * (1 - b) + land[i][:, j + 1] * b
    far = land[i + 1][:, j] * (1 - b) + land[i + 1][:, j + 1] * b
    return np.asarray(near * (1 - a) + far * a)
