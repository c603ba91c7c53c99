"""Meshes of blocks of flats, offices and shops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Colour, Detail, Mesh, join, quads
from mtdrive.envs.town.shapes import box
from mtdrive.envs.town.tags import Tag
from mtdrive.envs.town.walls import (
    COLUMNS,
    SHOP,
    STOREY,
    Extent,
    between,
    foot,
    hip,
    picture,
    tint_of,
    walls,
)

OLD = (Material.BRICK, Material.STOCK, Material.STUCCO, Material.PLASTER)
FLATS = (Material.BALCONIES, Material.CONCRETE, Material.BRICK)
OFFICES = (Material.PANELS, Material.CURTAIN, Material.CONCRETE)
GROUNDS = {
    OLD: (Material.SHOPS, Material.CAFES),
    FLATS: (Material.SHOPS, Material.LOBBY),
    OFFICES: (Material.LOBBY,),
}
"""What may be on the ground floor."""

AWNINGS: tuple[Colour, ...] = ((0.62, 0.20, 0.16), (0.20, 0.34, 0.25), (0.80, 0.74, 0.60), (0.22, 0.27, 0.42))


def block(half: Extent, rng: np.random.Generator) -> Iterator[Mesh]:
    """Give a building that fills a rectangle of a half depth and width, of one or two parts."""
    x, y, z = half
    style = (OLD, FLATS, OFFICES)[int(rng.choice(3, p=(0.55, 0.25, 0.20) if z < 8.5 else (0.30, 0.38, 0.32)))]
    if y > 9.5 and rng.random() < 0.7:
        cut = rng.uniform(-0.25, 0.25) * y
        for a, b, less in ((-y, cut, 0), (cut, y, int(rng.integers(0, 3)))):
            deep = x - rng.choice([0.0, 0.4])
            yield from _part(
                (x - deep, (a + b) / 2), (deep, (b - a) / 2), z - 0.5 * less * STOREY, style, rng
            )
        return
    yield from _part((0.0, 0.0), (x, y), z, style, rng)


def _part(
    at: tuple[float, float],
    half: tuple[float, float],
    z: float,
    style: tuple[Material, ...],
    rng: np.random.Generator,
) -> Iterator[Mesh]:
    material = style[rng.integers(len(style))]
    tint = tint_of(material, rng)
    shops = rng.random() < 0.7 or style is OFFICES
    ground = GROUNDS[style][rng.integers(len(GROUNDS[style]))]
    first = SHOP if shops else 0.0
    floors = max(1, round((2 * z - 0.8 - first) / STOREY))
    top = first + floors * STOREY
    yield foot(at, half, Material.RENDER, (0.62, 0.60, 0.57))
    if shops:
        yield walls(at, half, 0.0, SHOP, ground, tint_of(Material.CONCRETE, rng))
        if ground is not Material.LOBBY:
            yield from _awnings(at, half, rng)
    else:
        which = int(rng.integers(4)) / 4
        door = (at[0] + half[0] + 0.04, between(at[1], half[1], material, rng.uniform(-0.5, 0.5)), 1.25)
        yield picture(door, (0.62, 1.25), Material.DOORS, (which, 0.0, which + 0.25, 1.0))
    yield walls(at, half, first, top, material, tint)
    if material is Material.BALCONIES:
        yield _balconies(at, half, first, floors, tint)
    if style is OLD and rng.random() < 0.6:
        yield from _mansard(at, half, top, rng)
    else:
        yield from _flat(at, half, top, tint, rng)


def _awnings(at: tuple[float, float], half: tuple[float, float], rng: np.random.Generator) -> Iterator[Mesh]:
    """Give sloping awnings above some shops."""
    count = max(1, round(half[1] / 2.0))
    width = half[1] / count
    for k in np.flatnonzero(rng.random(count) < 0.35):
        x, y = at[0] + half[0], at[1] - half[1] + (2 * k + 1) * width
        a, b = (y - 0.85 * width, y + 0.85 * width)
        face = np.array([(x + 1.1, a, 2.35), (x + 1.1, b, 2.35), (x, b, 2.95), (x, a, 2.95)])
        rim = np.array([(x + 1.1, a, 2.12), (x + 1.1, b, 2.12), (x + 1.1, b, 2.35), (x + 1.1, a, 2.35)])
        colour = AWNINGS[rng.integers(len(AWNINGS))]
        mesh = quads(np.stack([face, rim, face[::-1]]), Material.PLAIN, Tag.BUILDING, colour=colour)
        yield mesh.shaded(np.array([[1.0] * 4, [0.85] * 4, [0.45] * 4])).at(Detail.NEAR)


def _balconies(
    at: tuple[float, float], half: tuple[float, float], first: float, floors: int, tint: Colour
) -> Mesh:
    """Return the slabs of balconies before the glass doors of the front."""
    pitch = 6.2 / COLUMNS[Material.BALCONIES]
    count = max(1, round(2 * half[1] / pitch))
    y = at[1] - half[1] + (np.arange(count) + 0.5) * 2 * half[1] / count
    z = first + 0.08 + np.arange(floors) * STOREY
    where = np.stack(np.meshgrid([at[0] + half[0] + 0.5], y, z[1:] if not first else z), axis=-1).reshape(
        -1, 3
    )
    where = where if len(where) else np.array([(at[0], at[1], -1.0)])
    slabs = box(where, (0.55, 1.15, 0.09), Material.KERB, Tag.BUILDING, faces=(0, 2, 3, 4, 5), colour=tint)
    fronts = box(
        where + np.array([0.50, 0, 0.60]),
        (0.03, 1.12, 0.48),
        Material.PLAIN,
        Tag.BUILDING,
        faces=(0,),
        colour=(0.35, 0.37, 0.39),
    )
    shade = np.tile(np.array([1.0, 0.9, 0.9, 1.0, 0.5])[:, None], (len(where), 1))
    return join([slabs.shaded(shade), fronts]).at(Detail.NEAR)


def _mansard(
    at: tuple[float, float], half: tuple[float, float], top: float, rng: np.random.Generator
) -> Iterator[Mesh]:
    """Give a steep roof up to a level one, with windows in it, above a cornice."""
    colour = (0.95, 0.95, 1.0)
    material = Material.SLATES if rng.random() < 0.7 else Material.TILES
    yield box(
        (*at, top),
        (half[0] + 0.22, half[1] + 0.22, 0.16),
        Material.KERB,
        Tag.BUILDING,
        colour=(1.0, 0.98, 0.93),
    )
    yield hip(at, half, top + 0.16, 2.3, material, colour, over=0.0, flat=1 - 1.3 / half[0])
    count = max(1, round(half[1] / 2.2))
    y = at[1] - half[1] + (np.arange(count) + 0.5) * 2 * half[1] / count
    where = np.stack([np.full(count, at[0] + half[0] - 0.75), y, np.full(count, top + 1.05)], axis=1)
    sides = box(
        where, (0.62, 0.62, 0.75), Material.PLAIN, Tag.BUILDING, faces=(0, 2, 3, 4), colour=(0.82, 0.81, 0.78)
    )
    yield sides.at(Detail.NEAR)
    for p in where:
        pane = picture(
            (p[0] + 0.64, p[1], p[2] + 0.05), (0.45, 0.58), Material.STUCCO, (0.10, 0.12, 0.235, 0.39)
        )
        yield pane.at(Detail.NEAR)
    stack = (at[0] - 0.4 * half[0], at[1] + rng.uniform(-0.7, 0.7) * half[1], top + 2.9)
    yield box(stack, (0.4, 0.9, 0.9), Material.MASONRY, Tag.BUILDING, faces=(0, 1, 2, 3, 4))


def _flat(
    at: tuple[float, float], half: tuple[float, float], top: float, tint: Colour, rng: np.random.Generator
) -> Iterator[Mesh]:
    """Give a flat roof behind a parapet, with what is on it; a high building may have a smaller top floor."""
    x, y = half
    yield box(
        (*at, top + 0.2),
        (x + 0.12, y + 0.12, 0.30),
        Material.KERB,
        Tag.BUILDING,
        faces=(0, 1, 2, 3, 5),
        colour=tint,
    )
    yield box((*at, top), (x + 0.12, y + 0.12, 0.35), Material.ROOF, Tag.BUILDING, faces=(4,))
    if top > 12 and rng.random() < 0.45:
        inner = (x - 1.5, y - 1.5)
        yield walls(at, inner, top + 0.2, top + 0.2 + STOREY, Material.PANELS, (0.95, 0.95, 0.95))
        top += STOREY + 0.2
        yield box((*at, top), (x - 1.1, y - 1.1, 0.15), Material.ROOF, Tag.BUILDING, colour=(0.9, 0.9, 0.9))
    count = int(rng.integers(2, 5))
    where = np.stack(
        [rng.uniform(-0.6, 0.6, count) * (x - 1.6), rng.uniform(-0.7, 0.7, count) * (y - 1.6)], axis=1
    )
    size = np.stack(
        [rng.uniform(0.5, 1.5, count), rng.uniform(0.5, 1.5, count), rng.uniform(0.4, 1.3, count)], axis=1
    )
    middles = np.concatenate([where + at, top + size[:, 2:]], axis=1)
    yield box(middles, size, Material.RENDER, Tag.BUILDING, faces=(0, 1, 2, 3, 4), colour=(0.72, 0.72, 0.72))
