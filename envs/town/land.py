"""The land around the roads, and what fills junctions between their lanes, as meshes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, join, quads
from mtdrive.envs.town.surface import CELL, COARSE, NOTHING, PAVED, Surface
from mtdrive.envs.town.tags import Tag

BEYOND = 1500.0
"""Metres of land around the map: the horizon is made of it."""

LARGEST = 8
"""Squares of the land that are drawn as one quad, along a side, at most."""

BUMP = 0.04
"""Metres by which the drawn land may lie beside the true one where no road is near."""

STEEP = 0.9
"""The slope from which on the land is held by a wall."""

UNDER = 0.006
"""Metres that the filling of a junction lies below its lanes."""

Heights = Float[np.ndarray, "n"]
Faces = Int[np.ndarray, "4 n"]
"""First row, first column, last row and last column of rectangles of squares."""


def land(surface: Surface) -> Mesh:
    """Return the land: large quads where it is level or even, small ones elsewhere and beside roads."""
    heights, (i, j, m, k) = _rectangles(surface)
    y = surface.y + np.arange(heights.shape[0]) * CELL * COARSE
    x = surface.x + np.arange(heights.shape[1]) * CELL * COARSE
    points = np.stack([*np.meshgrid(x, y), heights], axis=-1)
    corners = ((i, j), (i, k), (m, k), (m, j))
    faces = np.stack([points[c] for c in corners], axis=1)
    tone = np.stack([_tones(heights.shape)[c] for c in corners], axis=1)
    steep = np.ptp(faces[..., 2], axis=1) > STEEP * (faces[:, 2, 0] - faces[:, 0, 0])
    grass = quads(faces[~steep], Material.GRASS, Tag.TERRAIN).shaded(tone[~steep])
    if not steep.any():
        return grass
    wall = faces[steep]
    uv = np.stack([wall[..., 0] + wall[..., 1], wall[..., 2]], axis=-1)
    return join([grass, quads(wall, Material.RENDER, Tag.WALL, uv=uv, colour=(0.72, 0.72, 0.70))])


def land_under(surface: Surface, points: Float[np.ndarray, "n 3"]) -> Heights:
    """Return the height of the drawn land under points."""
    v, u = ((points[:, k] - o) / (CELL * COARSE) for k, o in ((1, surface.y), (0, surface.x)))
    return np.asarray(ndimage.map_coordinates(surface.land, [v, u], order=1, mode="nearest"))


def _tones(shape: tuple[int, ...]) -> Float[np.ndarray, "h w"]:
    """Return how bright the corners of the land are: meadows differ over some dozen metres."""
    field = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(shape), 3.0, mode="wrap")
    return np.asarray(np.clip(0.86 + 0.10 * field / max(float(field.std()), 1e-9), 0.6, 1.0))


def _rectangles(surface: Surface) -> tuple[np.ndarray, Faces]:
    """Return heights, and rectangles of squares that show them without a gap between any two.

    From large to small, a square of squares is drawn as one quad if the land hardly leaves it. The heights
    inside and along its edges become those of the quad, so that its smaller neighbours meet it.
    """
    heights = surface.land.astype(np.float64)
    h, w = heights.shape[0] - 1, heights.shape[1] - 1
    taken = surface.kind.reshape(h, COARSE, w, COARSE).max(axis=(1, 3)) > NOTHING
    exact = ndimage.binary_dilation(taken, iterations=2)
    done, faces, size = np.zeros((h, w), bool), [], LARGEST
    while size:
        n, m = h // size, w // size
        parts = sliding_window_view(heights, (size + 1, size + 1))[: n * size : size, : m * size : size]
        flat = _sheets(parts, size)
        free, near = (_blocks(x, n, m, size) for x in (~done, exact))
        even = abs(flat - parts).max(axis=(2, 3)) < np.where(near.any(axis=(2, 3)), 1e-4, BUMP)
        even = free.all(axis=(2, 3)) & (even | (size == 1))
        for i, j in np.argwhere(even) * size:
            heights[i : i + size + 1, j : j + size + 1] = flat[i // size, j // size]
            done[i : i + size, j : j + size] = True
        i, j = np.argwhere(even).T * size
        faces.append(np.stack([i, j, i + size, j + size]))
        size //= 2
    return heights, np.concatenate(faces, axis=1)


def _blocks(cells: np.ndarray, n: int, m: int, size: int) -> np.ndarray:
    return cells[: n * size, : m * size].reshape(n, size, m, size).swapaxes(1, 2)


def _sheets(parts: np.ndarray, size: int) -> np.ndarray:
    """Return the heights of the two triangles that each quad is drawn as."""
    v, u = np.meshgrid(*(np.arange(size + 1) / size,) * 2, indexing="ij")
    a, b, c, d = (parts[..., p, q, None, None] for p, q in ((0, 0), (0, -1), (-1, -1), (-1, 0)))
    return np.asarray(np.where(u >= v, a + (b - a) * u + (c - b) * v, a + (c - d) * u + (d - a) * v))


def horizon(surface: Surface) -> Mesh:
    """Return the land around the map as large quads; they begin level with the map's own edge."""
    h, w = surface.land.shape
    x0, x1 = surface.x, surface.x + (w - 1) * CELL * COARSE
    y0, y1 = surface.y, surface.y + (h - 1) * CELL * COARSE
    edge = np.concatenate([surface.land[0], surface.land[-1], surface.land[:, 0], surface.land[:, -1]])
    z = float(edge.min()) - 0.01
    xs, ys = (np.array([a - BEYOND, a, b, b + BEYOND]) for a, b in ((x0, x1), (y0, y1)))
    faces = [
        [(xs[i], ys[j], z), (xs[i + 1], ys[j], z), (xs[i + 1], ys[j + 1], z), (xs[i], ys[j + 1], z)]
        for i in range(3)
        for j in range(3)
        if (i, j) != (1, 1)
    ]
    return quads(np.array(faces), Material.GRASS, Tag.TERRAIN, colour=(0.86, 0.86, 0.86))


def filling(surface: Surface) -> Iterator[Mesh]:
    """Give what fills junctions between their lanes: cells, and those around them, just below the road."""
    wide = ndimage.binary_dilation(surface.filled, iterations=2) & (surface.kind != PAVED)
    if not wide.any():
        return
    i, j = np.nonzero(wide)
    shift = _smoothed(wide)
    h, w = surface.kind.shape
    corners = []
    for a, b in ((0, 0), (0, 1), (1, 1), (1, 0)):
        # A corner lies as high as the mean of the four cells around it, so that neighbours meet.
        around = [
            surface.low[np.clip(i + a + p, 0, h - 1), np.clip(j + b + q, 0, w - 1)]
            for p in (-1, 0)
            for q in (-1, 0)
        ]
        y, x = ((n + c + shift[i + a, j + b, k]) * CELL for k, (n, c) in enumerate(((i, a), (j, b))))
        corners.append(np.stack([surface.x + x, surface.y + y, np.mean(around, axis=0) - UNDER], axis=1))
    yield quads(np.stack(corners, axis=1), Material.ASPHALT, Tag.ROAD)


def _smoothed(mask: np.ndarray) -> np.ndarray:
    """Return by how many cells the corners of cells are moved, so that the outline has no stairs."""
    full = np.pad(mask, 1)
    around = np.stack(
        [full[a : a + mask.shape[0] + 1, b : b + mask.shape[1] + 1] for a in (0, 1) for b in (0, 1)]
    )
    rim = around.any(axis=0) & ~around.all(axis=0)
    shift = np.zeros((*rim.shape, 2))
    i, j = np.nonzero(rim)
    number = np.full(rim.shape, -1)
    number[i, j] = np.arange(len(i))
    # Along the outline, a corner's neighbours are those at the other end of an edge with only one cell.
    down = (number[:-1] >= 0) & (number[1:] >= 0) & (full[1:-1, :-1] != full[1:-1, 1:])
    right = (number[:, :-1] >= 0) & (number[:, 1:] >= 0) & (full[:-1, 1:-1] != full[1:, 1:-1])
    a = np.concatenate([number[:-1][down], number[:, :-1][right]])
    b = np.concatenate([number[1:][down], number[:, 1:][right]])
    mine, other = np.concatenate([a, b]), np.concatenate([b, a])
    count = np.bincount(mine, minlength=len(i))[:, None]
    at = start = np.stack([i, j], axis=1).astype(float)
    for _ in range(4):
        total = np.stack([np.bincount(mine, at[other, k], len(i)) for k in (0, 1)], axis=1)
        at = 0.5 * at + 0.5 * total / np.maximum(count, 1)
    shift[i, j] = at - start
    return shift
