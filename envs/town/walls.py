"""What buildings share: walls, roofs, colours.

A building stands on the origin and faces x, where the road is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtdrive.envs.town.materials import TILE, Material
from mtdrive.envs.town.mesh import Colour, Mesh, join, quads
from mtdrive.envs.town.shapes import box
from mtdrive.envs.town.tags import Tag

STOREY = 3.1
"""Metres from floor to floor, as the textures of walls have it."""

SHOP = 3.7
"""Metres of a ground floor with shops."""

COLUMNS = {
    Material.BRICK: 3, Material.STOCK: 3, Material.PLASTER: 2, Material.STUCCO: 3, Material.CONCRETE: 4,
    Material.PANELS: 4, Material.CURTAIN: 4, Material.BALCONIES: 2, Material.COTTAGE: 2, Material.SIDING: 2,
    Material.TIMBER: 2, Material.SHOPS: 2, Material.CAFES: 2, Material.LOBBY: 4,
}  # fmt: skip
"""Windows, or shops, side by side in a texture: a wall shows a whole number of them."""

BLANK = {
    Material.BRICK: Material.MASONRY, Material.STOCK: Material.MASONRY, Material.SIDING: Material.BOARDS,
}  # fmt: skip
"""Walls of the same kind without windows; of others, plaster."""

PASTELS = (
    (1.0, 0.97, 0.90), (1.0, 0.93, 0.74), (0.98, 0.82, 0.72), (0.84, 0.90, 0.94), (0.97, 0.97, 0.97),
    (0.88, 0.94, 0.84), (0.95, 0.86, 0.62), (0.90, 0.72, 0.60), (0.80, 0.80, 0.82),
)  # fmt: skip

FOOT = 0.55
"""Metres of a wall's foot, which is dirty."""

Extent = tuple[float, float, float]


def tint_of(material: Material, rng: np.random.Generator) -> Colour:
    """Return what a wall's texture is multiplied by: plaster and boards have many colours, stone few."""
    light = rng.uniform(0.86, 1.0)
    if material in (Material.PLASTER, Material.STUCCO, Material.COTTAGE, Material.SIDING, Material.BALCONIES):
        r, g, b = PASTELS[rng.integers(len(PASTELS))]
        return light * r, light * g, light * b
    warm = rng.uniform(-0.05, 0.05)
    return min(light + warm, 1.0), light, min(light - warm, 1.0)


def walls(
    middle: tuple[float, float],
    half: tuple[float, float],
    low: float,
    high: float,
    material: Material,
    colour: Colour,
) -> Mesh:
    """Return four walls around a rectangle, from one height to another, with whole windows."""
    mesh = box(
        (*middle, (low + high) / 2),
        (*half, (high - low) / 2),
        material,
        Tag.BUILDING,
        faces=(0, 1, 2, 3),
        colour=colour,
    )
    if material not in COLUMNS:
        return mesh
    pitch = TILE[material] / COLUMNS[material]
    wide = np.array([half[1], half[1], half[0], half[0]]) * 2
    shown = np.maximum(np.round(wide / pitch), 1) * pitch
    return replace(mesh, uv=mesh.uv * np.stack([shown / wide, np.ones(4)], axis=1)[:, None])


def foot(middle: tuple[float, float], half: tuple[float, float], material: Material, colour: Colour) -> Mesh:
    """Return the foot of walls, from below the ground: dark where rain splashes."""
    around = (half[0] + 0.03, half[1] + 0.03)
    mesh = walls(middle, around, -0.6, FOOT - 0.15, material, tuple(0.72 * c for c in colour))  # type: ignore[arg-type]
    return mesh.shaded(np.array([0.55, 0.55, 1.0, 1.0]))


def blank(material: Material) -> Material:
    """Return what a wall is made of where it has no windows."""
    return BLANK.get(material, Material.RENDER)


def blank_tint(material: Material, colour: Colour) -> Colour:
    """Return the colour of a wall without windows beside one with them."""
    if material is Material.STOCK:
        return colour[0], colour[1], 0.9 * colour[2]
    return colour


def saddle(
    middle: tuple[float, float], half: tuple[float, float], eaves: float, rise: float, material: Material,
    colour: Colour, over: float = 0.45,
) -> Mesh:  # fmt: skip
    """Return a roof with its ridge along y, with white boards at its edges."""
    x, y, thick = half[0] + over, half[1] + 0.6 * over, 0.16
    low = eaves - rise * over / half[0]
    ridge, edge = eaves + rise, np.array([0.0, 0.0, thick])
    corners = {
        (s, t): np.array([s * x, t * y, low]) for s in (1, -1) for t in (1, -1)
    }  # fmt: skip
    top = {t: np.array([0.0, t * y, ridge]) for t in (1, -1)}
    slope = float(np.hypot(x, ridge - low))
    tiled, bare = [], []
    for s in (1, -1):
        a, b, c, d = corners[s, -s], corners[s, s], top[s], top[-s]
        tiled.append([a + edge, b + edge, c + edge, d + edge])
        bare += [
            [a, b, b + edge, a + edge],
            [b, a, d, c],
            [b, c, c + edge, b + edge],
            [d, a, a + edge, d + edge],
        ]
    shift = np.array([*middle, 0.0])
    uv = np.array([(0, 0), (2 * y, 0), (2 * y, slope), (0, slope)])
    roof = quads(np.array(tiled) + shift, material, Tag.BUILDING, uv=uv, colour=colour)
    boards = quads(np.array(bare) + shift, Material.PLAIN, Tag.BUILDING, colour=(0.72, 0.70, 0.66))
    dark = np.ones((8, 4))
    dark[[1, 5]] = 0.45
    return join([roof, boards.shaded(dark)])


def gables(
    middle: tuple[float, float],
    half: tuple[float, float],
    eaves: float,
    rise: float,
    material: Material,
    colour: Colour,
) -> Mesh:
    """Return the triangles of wall below the ends of a saddle roof."""
    x, y = half
    faces = []
    for t in (1, -1):
        a, b, c = (np.array([s * x * t, t * y, z]) for s, z in ((1, eaves), (-1, eaves), (0, eaves + rise)))
        faces.append([a, b, c, c])
    uv = np.array([(0, eaves), (2 * x, eaves), (x, eaves + rise), (x, eaves + rise)])
    return quads(np.array(faces) + np.array([*middle, 0.0]), material, Tag.BUILDING, uv=uv, colour=colour)


def hip(
    middle: tuple[float, float], half: tuple[float, float], eaves: float, rise: float, material: Material,
    colour: Colour, over: float = 0.45, flat: float = 0.0,
) -> Mesh:  # fmt: skip
    """Return a roof that slopes to all sides; with `flat`, up to a level part, as of a mansard, that wide."""
    x, y = half[0] + over, half[1] + over
    u = half[0] * flat
    v = max(y - (x - u), 0.1) if not flat else half[1] - (half[0] - u)
    z, top = eaves - (0.12 if over else 0.0), eaves + rise
    low = [np.array([s * x, t * y, z]) for s, t in ((1, -1), (1, 1), (-1, 1), (-1, -1))]
    high = [np.array([s * u, t * v, top]) for s, t in ((1, -1), (1, 1), (-1, 1), (-1, -1))]
    sides = [[low[k], low[k - 3], high[k - 3], high[k]] for k in range(4)]
    wide = np.array([y, x, y, x]) * 2
    tall = np.hypot(top - z, np.array([x - u, y - v, x - u, y - v]))
    ends = np.array([v, u, v, u]) * 2
    zero = np.zeros(4)
    uv = np.stack(
        [
            np.stack([zero, wide, (wide + ends) / 2, (wide - ends) / 2], 1),
            np.stack([zero, zero, tall, tall], 1),
        ],
        axis=-1,
    )
    shift = np.array([*middle, 0.0])
    mesh = quads(np.array(sides) + shift, material, Tag.BUILDING, uv=uv, colour=colour)
    caps = [[low[1], low[0], low[3], low[2]]] if over else []
    if flat:
        caps.append(high)
    if not caps:
        return mesh
    return join([mesh, quads(np.array(caps) + shift, Material.ROOF, Tag.BUILDING, colour=(0.7, 0.7, 0.7))])


def between(middle: float, half: float, material: Material, share: float) -> float:
    """Return the place of a door along a wall, between two windows and near a share of the half width."""
    count = max(round(2 * half / (TILE[material] / COLUMNS[material])), 1)
    step = round((share + 1) / 2 * count)
    return middle + half * (2 * min(max(step, 1), max(count - 1, 1)) / count - 1)


def picture(
    at: tuple[float, float, float], half: tuple[float, float], material: Material,
    part: tuple[float, float, float, float], colour: Colour = (1.0, 1.0, 1.0),
) -> Mesh:  # fmt: skip
    """Return a rectangle that faces x with a part of a texture: left, bottom, right and top, in tiles."""
    x, y, z = at
    points = [(x, y + s * half[0], z + t * half[1]) for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    a, b, c, d = (p * TILE[material] for p in part)
    # Those who look at it have its y on their left.
    uv = np.array([(c, b), (a, b), (a, d), (c, d)])
    return quads(np.array([points]), material, Tag.BUILDING, uv=uv, colour=colour)
