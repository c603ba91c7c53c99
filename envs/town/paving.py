"""The roads as meshes: lanes, kerbs, pavements, banks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtdrive.envs.town.land import UNDER, filling, horizon, land, land_under
from mtdrive.envs.town.materials import LANES, Material
from mtdrive.envs.town.mesh import Mesh, quads
from mtdrive.envs.town.shapes import ribbon
from mtdrive.envs.town.strips import DRIVEN, KERB, PAVEMENT, ROAD, VERGE, Strip
from mtdrive.envs.town.surface import DRIVABLE, NOTHING, STOREY, Surface
from mtdrive.envs.town.tags import Tag

BANK = 1.4
"""Metres that a bank reaches out from the road's edge, and half of what it falls by."""

GRAVEL = (0.25, 0.75)
"""Metres of earth and stones between a road and the grass, from and to."""

CHUNK = 10.0
"""Metres of a lane that a texture shows, about."""

SHARES = (0.38, 0.24, 0.14, 0.14, 0.10)
"""How often a lane's chunk is in order, worn, cracked, patched, or was cut open for pipes."""

EMBANKED = 1.5
"""Metres above the land from which on a road has walls at its sides instead of banks."""

NARROW = 2.0
"""Metres of a lane below which wheels leave no tracks."""

OVERLAP = 0.3
"""Metres by which lanes in a junction are wider on each side, as they do not quite meet their neighbours."""

STONE = 0.16
"""Metres of the kerb's top."""


def pave(strips: Sequence[Strip], surface: Surface) -> Iterator[Mesh]:
    """Give the meshes of the lanes and their edges, and of the land."""
    for strip in strips:
        if strip.surface == PAVEMENT:
            yield from _pavement(strip, surface)
        elif strip.surface == VERGE:
            fine = _refined(strip)
            free = ~_on_road(fine, surface)
            yield quads(ribbon(fine.left, fine.right)[free], Material.GRASS, Tag.TERRAIN)
        else:
            yield _lane(strip)
            yield from _bridge(strip, surface)
        if strip.outermost:
            yield from _bank(strip, surface)
    yield from filling(surface)
    yield land(surface)
    yield horizon(surface)


def _lane(strip: Strip) -> Mesh:
    """Return a lane; in junctions, where lanes lie above each other, all must look the same."""
    if strip.road.junction:
        across = strip.left - strip.right
        across[:, 2] = 0
        across *= OVERLAP / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 0.1)
        return quads(ribbon(strip.left + across, strip.right - across), Material.ASPHALT, Tag.ROAD)
    age = 0.90 + 0.10 * _draw(strip.road.id)
    points = ribbon(strip.left, strip.right)
    if strip.kind not in DRIVEN or strip.width < NARROW:
        return quads(points, Material.ASPHALT, Tag.ROAD, colour=(age, age, age))
    n = len(points)
    chunks = n if strip.road.plain else max(1, round(n / max(1, round(n * CHUNK / _length(strip)))))
    along = np.arange(n + 1) * chunks / n
    draws = np.array(
        [[_draw(strip.road.id, strip.lane, strip.s[0], k, x) for x in "ab"] for k in range(chunks)]
    )
    which = np.minimum(((along[:-1] + along[1:]) / 2).astype(int), chunks - 1)
    u = np.where(draws[which, 0, None] < 0.5, [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0])
    v = np.stack([along[:-1], along[1:], along[1:], along[:-1]], axis=1)
    mesh = quads(points, Material.LANE, Tag.ROAD, uv=np.stack([u, v], axis=-1), colour=(age, age, age))
    look = mesh.look.copy()
    # Young roads, which are darker, are in order.
    kinds = np.searchsorted(np.cumsum(SHARES), draws[:, 1] * (0.75 if age < 0.93 else 1.0), side="right")
    look[:, 0] = np.array(LANES)[kinds[which]]
    return replace(mesh, look=look)


def _draw(*key: object) -> float:
    """Return a number from 0 to 1 that follows from a key."""
    return zlib.crc32(repr(key).encode()) / 2**32


def _length(strip: Strip) -> float:
    return max(float(strip.s[-1] - strip.s[0]), 1e-3)


def _pavement(strip: Strip, surface: Surface) -> Iterator[Mesh]:
    """Give a pavement with its kerbs; where a road crosses it, there is asphalt instead."""
    fine = _refined(strip)
    kept = ~_on_road(fine, surface)
    if strip.road.plain:
        fine, kept = _coarser(fine, kept)
    down = np.array([0.0, 0.0, KERB])
    if not kept.all():
        low = down + np.array([0.0, 0.0, UNDER])
        yield quads(ribbon(fine.left - low, fine.right - low)[~kept], Material.ASPHALT, Tag.ROAD)
    if not kept.any():
        return
    yield from _slabs(strip, fine, kept)
    if strip.kerbed:
        yield _kerb(fine.inner, fine.inner - down, kept, left=strip.lane > 0)
    ends = np.flatnonzero(np.diff(kept.astype(int), prepend=0, append=0))
    for i in ends:
        faces = _cap(fine.left[i], fine.right[i], down)
        yield quads(faces, Material.KERB, Tag.SIDEWALK, uv=_upright(faces))


def _slabs(strip: Strip, fine: _Fine, kept: np.ndarray) -> Iterator[Mesh]:
    """Give the top of a pavement: slabs, and the stones of the kerb."""
    inner = fine.inner
    if strip.kerbed:
        wide = np.linalg.norm(fine.outer - inner, axis=1, keepdims=True)
        inner = inner + (fine.outer - inner) * np.minimum(STONE / np.maximum(wide, 1e-6), 0.5)
        pair = (inner, fine.inner) if strip.lane > 0 else (fine.inner, inner)
        yield quads(ribbon(*pair)[kept], Material.KERB, Tag.SIDEWALK, uv=_along(fine, pair)[kept])
    pair = (fine.outer, inner) if strip.lane > 0 else (inner, fine.outer)
    # Pavements of a junction lie above each other: they must look the same.
    uv = None if strip.road.junction else _along(fine, pair)[kept]
    yield quads(ribbon(*pair)[kept], Material.PAVING, Tag.SIDEWALK, uv=uv)


def _along(fine: _Fine, pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return texture coordinates of a ribbon: the way along it, and the distance from its first line."""
    long = np.concatenate(
        [[0.0], np.linalg.norm(np.diff(fine.inner + fine.outer, axis=0), axis=1).cumsum() / 2]
    )
    wide = np.linalg.norm(pair[1] - pair[0], axis=1)
    left, right = np.stack([long, 0 * long], axis=1), np.stack([long, wide], axis=1)
    return np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)


def _kerb(top: np.ndarray, bottom: np.ndarray, kept: np.ndarray, *, left: bool) -> Mesh:
    """Return the upright face towards the road; `left` says on which side of the road the pavement is."""
    faces = np.stack([bottom[:-1], bottom[1:], top[1:], top[:-1]], axis=1)[kept]
    faces = faces[:, ::-1] if left else faces
    return quads(faces, Material.KERB, Tag.SIDEWALK, uv=_upright(faces), colour=(0.86, 0.86, 0.86))


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
    """Return a strip with short rows; where it has them they stay, as its neighbours must meet it."""
    inner, outer = strip.inner, strip.outer
    if strip.road.plain:
        at = np.linspace(0, len(outer) - 1, max(2, int(np.ceil(_length(strip) / 1.2)) + 1))
        inner, outer = (
            np.stack([np.interp(at, np.arange(len(e)), e[:, k]) for k in range(3)], axis=1)
            for e in (inner, outer)
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
    """Give the underside and the walls at the sides where a road is above another surface or the land.

    Beside a bridge the walls reach down to the land, as it is level with the lower road there.
    """
    middle = (strip.inner + strip.outer) / 2
    crossing = middle[:, 2] > surface.low[surface.cells(middle)] + STOREY
    floor = land_under(surface, middle)
    high = crossing | (middle[:, 2] > floor + EMBANKED)
    high, crossing = high[:-1] & high[1:], crossing[:-1] | crossing[1:]
    if not high.any():
        return
    down = np.array([0.0, 0.0, 0.7])
    yield quads(ribbon(strip.right - down, strip.left - down)[high], Material.ROOF, Tag.BRIDGE)
    if strip.outermost:
        foot = np.stack(
            [strip.outer[:, 0], strip.outer[:, 1], np.minimum(floor, strip.outer[:, 2]) - 0.5], axis=1
        )
        top, deck = strip.outer + np.array([0, 0, 0.8]), strip.outer - down
        low = np.where(
            crossing[:, None, None], np.stack([deck[:-1], deck[1:]], 1), np.stack([foot[:-1], foot[1:]], 1)
        )
        faces = np.stack([low[:, 0], low[:, 1], top[1:], top[:-1]], axis=1)[high]
        both = np.concatenate([faces, faces[:, ::-1]])
        yield quads(both, Material.RENDER, Tag.BRIDGE, uv=_upright(both), colour=(0.78, 0.78, 0.78))


def _bank(strip: Strip, surface: Surface) -> Iterator[Mesh]:
    """Give the slope from the outer edge into the land; beside asphalt it begins with gravel."""
    away = strip.outer - strip.inner
    away[:, 2] = 0
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    open_ = _open(strip, away, surface)
    start = strip.outer
    if strip.surface == ROAD and not strip.road.junction:
        ragged = [_draw(strip.road.id, strip.lane, round(x)) for x in strip.s.tolist()]
        wide = GRAVEL[0] + (GRAVEL[1] - GRAVEL[0]) * np.array(ragged)[:, None]
        start = strip.outer + away * wide - np.array([0.0, 0.0, 0.05])
        pair = (start, strip.outer) if strip.lane > 0 else (strip.outer, start)
        yield quads(ribbon(*pair)[open_], Material.SOIL, Tag.TERRAIN)
    foot = strip.outer + away * BANK - np.array([0.0, 0.0, BANK / 2])
    pair = (foot, start) if strip.lane > 0 else (start, foot)
    yield quads(ribbon(*pair)[open_], Material.GRASS, Tag.TERRAIN, colour=(0.9, 0.9, 0.9))


def _open(strip: Strip, away: np.ndarray, surface: Surface) -> np.ndarray:
    """Return beside which quads of a strip there is no other road or pavement."""
    beyond = (strip.outer + 0.9 * away)[:, :2]
    shares = np.linspace(0, 1, max(2, int(np.ceil(_length(strip) / len(beyond)))))[:, None, None]
    places = beyond[:-1] * (1 - shares) + beyond[1:] * shares
    return np.asarray((surface.kind[surface.cells(places)] == NOTHING).any(axis=0))
