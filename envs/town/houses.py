"""Meshes of houses for one family."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Colour, Detail, Mesh
from mtdrive.envs.town.shapes import box
from mtdrive.envs.town.tags import Tag
from mtdrive.envs.town.walls import (
    STOREY,
    Extent,
    between,
    blank,
    blank_tint,
    foot,
    gables,
    hip,
    picture,
    saddle,
    tint_of,
    walls,
)

MATERIALS = (
    Material.COTTAGE, Material.COTTAGE, Material.SIDING, Material.BRICK, Material.STOCK, Material.PLASTER,
    Material.TIMBER,
)  # fmt: skip
ROOFS: tuple[tuple[Material, Colour], ...] = (
    (Material.TILES, (1.0, 1.0, 1.0)), (Material.TILES, (0.80, 0.74, 0.72)),
    (Material.TILES, (0.72, 0.80, 0.92)), (Material.SLATES, (1.0, 1.0, 1.0)),
    (Material.SLATES, (0.85, 0.80, 0.78)),
)  # fmt: skip

GARAGE = 1.6
"""Metres of half of a garage's width."""

WHITE: Colour = (0.9, 0.9, 0.88)


def house(half: Extent, rng: np.random.Generator) -> Iterator[Mesh]:
    """Give a house that fills a rectangle of a half depth and width."""
    x, y, z = half
    material = MATERIALS[rng.integers(len(MATERIALS))]
    tint, roof = tint_of(material, rng), ROOFS[rng.integers(len(ROOFS))]
    eaves = STOREY if z < 3.3 else 2 * STOREY
    rise = max(2 * z - eaves, 1.7)
    side = float(rng.choice([-1, 1]))
    at, body = (0.0, 0.0), (x, y)
    if y > 5.6 and rng.random() < 0.45:
        at, body = (0.0, -side * GARAGE), (x, y - GARAGE)
        yield from _garage((0.15 * x, side * (y - GARAGE)), 0.85 * x, material, tint, roof)
    yield foot(at, body, blank(material), (0.75, 0.73, 0.70))
    yield walls(at, body, 0.0, eaves, material, tint)
    if rng.random() < 0.35:
        yield hip(at, body, eaves, rise, *roof)
    else:
        yield gables(at, body, eaves, rise, blank(material), blank_tint(material, tint))
        yield saddle(at, body, eaves, rise, *roof)
        if rng.random() < 0.5:
            yield from _dormers(at, body, eaves, rise, roof, rng)
    yield from _entrance(between(at[1], body[1], material, rng.uniform(-0.4, 0.4)), x, rng)
    yield _chimney(at[1] + side * 0.5 * body[1], -0.35 * x, eaves + rise)


def _garage(
    at: tuple[float, float], deep: float, material: Material, tint: Colour, roof: tuple[Material, Colour]
) -> Iterator[Mesh]:
    """Give a low garage beside a house."""
    half = (deep, GARAGE)
    yield walls(at, half, -0.4, 2.5, blank(material), blank_tint(material, tint))
    yield hip(at, half, 2.5, 1.0, *roof, over=0.25)
    front = (at[0] + deep + 0.02, at[1], 1.1)
    yield box(front, (0.03, 1.25, 1.1), Material.BOARDS, Tag.BUILDING, faces=(0, 2, 3, 4), colour=WHITE)


def _dormers(
    at: tuple[float, float], half: tuple[float, float], eaves: float, rise: float,
    roof: tuple[Material, Colour], rng: np.random.Generator,
) -> Iterator[Mesh]:  # fmt: skip
    """Give one or two windows that stand out from the roof towards the road."""
    x, y = half
    deep, z = 0.30 * x, eaves + 0.30 * rise
    if rise * 0.5 < 0.8:
        return
    for where in (0.0,) if y < 5.5 else (-0.45, 0.45):
        middle = (at[0] + x * 0.42, at[1] + where * y)
        high = min(1.25, 0.55 * rise)
        yield walls(middle, (deep, 0.75), z - 0.6, z + high, Material.PLAIN, WHITE).at(Detail.NEAR)
        pane = (middle[0] + deep + 0.02, middle[1], z + 0.5 * high)
        yield picture(pane, (0.55, 0.42 * high), Material.COTTAGE, (0.14, 0.13, 0.36, 0.38)).at(Detail.NEAR)
        yield hip(middle, (deep, 0.75), z + high, 0.35, *roof, over=0.18).at(Detail.NEAR)


def _entrance(y: float, x: float, rng: np.random.Generator) -> Iterator[Mesh]:
    """Give a door with a step, and perhaps a porch."""
    which = int(rng.integers(4)) / 4
    yield picture((x + 0.05, y, 1.15), (0.56, 1.15), Material.DOORS, (which, 0.0, which + 0.25, 1.0))
    yield box((x + 0.45, y, 0.0), (0.5, 0.8, 0.12), Material.KERB, Tag.BUILDING, faces=(0, 2, 3, 4)).at(
        Detail.NEAR
    )
    if rng.random() < 0.6:
        slab = box((x + 0.55, y, 2.52), (0.6, 1.0, 0.08), Material.PLAIN, Tag.BUILDING, colour=WHITE)
        yield slab.at(Detail.NEAR)
        posts = [(x + 1.0, y + side * 0.85, 1.2) for side in (-1, 1)]
        post = box(
            np.array(posts), (0.06, 0.06, 1.3), Material.PLAIN, Tag.BUILDING, colour=WHITE, faces=(0, 1, 2, 3)
        )
        yield post.at(Detail.CLOSE)


def _chimney(y: float, x: float, top: float) -> Mesh:
    faces = (0, 1, 2, 3, 4)
    return box(
        (x, y, top - 0.3),
        (0.35, 0.45, 0.95),
        Material.MASONRY,
        Tag.BUILDING,
        faces=faces,
        colour=(0.9, 0.85, 0.8),
    )
