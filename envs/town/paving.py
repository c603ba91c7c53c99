"""The ground as meshes: lanes, kerbs, pavements, banks, the land, and the paint on the road."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, quads, ribbon
from mtdrive.envs.town.strips import KERB, PAVEMENT, ROAD, Strip
from mtdrive.envs.town.surface import CELL, COARSE, DRIVABLE, PAVED, STOREY, Surface
from mtdrive.envs.town.tags import Tag

BANK = 1.4
"""Metres that a bank reaches out from the road's edge, and half of what it falls by."""

MATERIALS = {ROAD: (Material.ASPHALT, Tag.ROAD), PAVEMENT: (Material.PAVING, Tag.SIDEWALK)}

BEYOND = 1500.0
"""Metres of land around the map: the horizon is made of it."""


def pave(strips: Sequence[Strip], surface: Surface) -> Iterator[Mesh]:
    """Give the meshes of the lanes and their edges, and of the land."""
    for strip in strips:
        if strip.surface == PAVEMENT:
            yield from _pavement(strip, surface)
        else:
            material, tag = MATERIALS.get(strip.surface, (Material.GRASS, Tag.TERRAIN))
            yield quads(ribbon(strip.left, strip.right), material, tag)
            yield from _bridge(strip, surface)
        if strip.outermost:
            yield _bank(strip)
    yield _gaps(surface)
    yield _land(surface)
    yield _horizon(surface)


def _pavement(strip: Strip, surface: Surface) -> Iterator[Mesh]:
    """Give a pavement with its kerbs, without what would lie on a road that crosses it."""
    fine = _refined(strip)
    kept = ~_on_road(fine, surface)
    if not kept.any():
        return
    if strip.road.plain:
        fine, kept = _coarser(fine, kept)
    yield quads(ribbon(fine.left, fine.right)[kept], Material.PAVING, Tag.SIDEWALK)
    down = np.array([0.0, 0.0, KERB])
    if strip.kerbed:
        yield _kerb(fine.inner, fine.inner - down, kept, left=strip.lane > 0)
    ends = np.flatnonzero(np.diff(kept.astype(int), prepend=0, append=0))
    for i in ends:
        faces = _cap(fine.left[i], fine.right[i], down)
        yield quads(faces, Material.KERB, Tag.SIDEWALK, uv=_upright(faces))


def _kerb(top: np.ndarray, bottom: np.ndarray, kept: np.ndarray, *, left: bool) -> Mesh:
    """Return the upright face towards the road; `left` says on which side of the road the pavement is."""
    faces = np.stack([bottom[:-1], bottom[1:], top[1:], top[:-1]], axis=1)[kept]
    faces = faces[:, ::-1] if left else faces
    return quads(faces, Material.KERB, Tag.SIDEWALK, uv=_upright(faces))


def _cap(left: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return both sides of the upright face that ends a pavement."""
    face = np.stack([left - down, right - down, right, left])
    return np.stack([face, face[::-1]])


def _upright(faces: np.ndarray) -> np.ndarray:
    """Return texture coordinates of upright quads: along the ground, and up."""
    along = np.linalg.norm(faces[..., :2] - faces[:, :1, :2], axis=-1)
    return np.stack([along + faces[:, :1, 0] + faces[:, :1, 1], faces[..., 2]], axis=-1)


@dataclass(frozen=True)
class _Fine:
    """A strip cut into rows of about a metre."""

    inner: np.ndarray
    outer: np.ndarray
    left: np.ndarray
    right: np.ndarray


def _refined(strip: Strip) -> _Fine:
    long = np.concatenate([[0.0], np.linalg.norm(np.diff(strip.outer, axis=0), axis=1).cumsum()])
    at = np.linspace(0, long[-1], max(2, int(np.ceil(long[-1] / 1.2)) + 1))
    share = np.interp(at, long, np.arange(len(long)))
    inner, outer = (
        np.stack([np.interp(share, np.arange(len(e)), e[:, k]) for k in range(3)], axis=1)
        for e in (strip.inner, strip.outer)
    )
    left, right = (outer, inner) if strip.lane > 0 else (inner, outer)
    return _Fine(inner, outer, left, right)


def _coarser(fine: _Fine, kept: np.ndarray) -> tuple[_Fine, np.ndarray]:
    """Return the same with long rows: a straight strip needs more only where a stretch of kept quads ends."""
    ends = np.flatnonzero(np.diff(kept.astype(int), prepend=0, append=0))
    cuts = np.unique(np.concatenate([np.arange(0, len(kept), 10), ends, [len(kept)]]))
    return _Fine(*(e[cuts] for e in (fine.inner, fine.outer, fine.left, fine.right))), kept[cuts[:-1]]


def _on_road(fine: _Fine, surface: Surface) -> np.ndarray:
    """Return which quads lie on a road at their height."""
    votes = []
    for along in (0.25, 0.75):
        for across in (0.25, 0.5, 0.75):
            inner = fine.inner[:-1] * (1 - along) + fine.inner[1:] * along
            outer = fine.outer[:-1] * (1 - along) + fine.outer[1:] * along
            p = inner * (1 - across) + outer * across
            cell = surface.cells(p)
            level = (
                np.minimum(abs(surface.low[cell] - p[:, 2]), abs(surface.high[cell] - p[:, 2])) < STOREY / 2
            )
            votes.append((surface.kind[cell] == DRIVABLE) & level)
    return np.asarray(np.mean(votes, axis=0) > 0.4)


def _bridge(strip: Strip, surface: Surface) -> Iterator[Mesh]:
    """Give the underside and the parapet where a road is above another surface."""
    middle = (strip.inner + strip.outer) / 2
    high = middle[:, 2] > surface.low[surface.cells(middle)] + STOREY
    high = high[:-1] & high[1:]
    if not high.any():
        return
    down = np.array([0.0, 0.0, 0.7])
    yield quads(ribbon(strip.right - down, strip.left - down)[high], Material.CONCRETE, Tag.BRIDGE)
    if strip.outermost:
        wall = np.stack([strip.outer + np.array([0, 0, 0.8]), strip.outer - down], axis=1)
        faces = np.stack([wall[:-1, 1], wall[1:, 1], wall[1:, 0], wall[:-1, 0]], axis=1)[high]
        both = np.concatenate([faces, faces[:, ::-1]])
        yield quads(both, Material.KERB, Tag.BRIDGE, uv=_upright(both))


def _bank(strip: Strip) -> Mesh:
    """Return the slope from the outer edge into the land."""
    away = strip.outer - strip.inner
    away[:, 2] = 0
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    foot = strip.outer + away * BANK - np.array([0.0, 0.0, BANK / 2])
    pair = (foot, strip.outer) if strip.lane > 0 else (strip.outer, foot)
    return quads(ribbon(*pair), Material.GRASS, Tag.TERRAIN)


def _gaps(surface: Surface) -> Mesh:
    """Return what fills a junction between its lanes: cells, and those around them, just below the road."""
    wide = ndimage.binary_dilation(surface.filled, iterations=2) & (surface.kind != PAVED)
    i, j = np.nonzero(wide)
    x, y = surface.x + j * CELL, surface.y + i * CELL
    h, w = surface.kind.shape
    corners = []
    for a, b in ((0, 0), (0, 1), (1, 1), (1, 0)):
        # A corner lies as high as the mean of the four cells around it, so that neighbours meet.
        around = [
            surface.low[np.clip(i + a + p, 0, h - 1), np.clip(j + b + q, 0, w - 1)]
            for p in (-1, 0)
            for q in (-1, 0)
        ]
        corners.append(np.stack([x + b * CELL, y + a * CELL, np.mean(around, axis=0) - 0.006], axis=1))
    return quads(np.stack(corners, axis=1), Material.ASPHALT, Tag.ROAD)


def _land(surface: Surface) -> Mesh:
    """Return the squares of the land, one mesh a square."""
    h, w = surface.land.shape
    y = surface.y + np.arange(h) * CELL * COARSE
    x = surface.x + np.arange(w) * CELL * COARSE
    points = np.stack([*np.meshgrid(x, y), surface.land], axis=-1)
    merged = _level_squares(surface.land)
    faces = [np.stack([points[i, j], points[i, k], points[m, k], points[m, j]]) for i, j, m, k in merged]
    return quads(np.stack(faces), Material.GRASS, Tag.TERRAIN)


def _level_squares(land: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Give rectangles of squares, by their first and last corners: large where the land is level."""
    h, w = land.shape[0] - 1, land.shape[1] - 1
    waiting = [(i, j, 8) for i in range(0, h, 8) for j in range(0, w, 8)]
    while waiting:
        i, j, size = waiting.pop()
        m, k = min(i + size, h), min(j + size, w)
        if size == 1 or np.ptp(land[i : m + 1, j : k + 1]) < 1e-4:
            yield i, j, m, k
        else:
            half = size // 2
            waiting += [(a, b, half) for a in (i, i + half) for b in (j, j + half) if a < h and b < w]


def _horizon(surface: Surface) -> Mesh:
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
    return quads(np.array(faces), Material.GRASS, Tag.TERRAIN)
