"""Materials, and textures for them that are made by code."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
from jaxtyping import UInt8

from mtdrive.envs.town import ground_textures as ground
from mtdrive.envs.town import other_textures as other
from mtdrive.envs.town import wall_textures as walls
from mtdrive.envs.town.noise import Image, plain


class Material(IntEnum):
    """What a surface is made of; the number is the layer of its texture.

    The shaders rely on the order: up to `KERB` it is hard ground, which gets wet, and up to `GRASS` ground.
    """

    ASPHALT = 0
    LANE = 1
    CRACKED = 2
    WORN = 3
    PATCHED = 4
    CUT = 5
    PAVING = 6
    KERB = 7
    SOIL = 8
    GRASS = 9
    PAINT = 10
    LEAVES = 11
    NEEDLES = 12
    BARK = 13
    BRICK = 14
    STOCK = 15
    PLASTER = 16
    STUCCO = 17
    CONCRETE = 18
    PANELS = 19
    CURTAIN = 20
    BALCONIES = 21
    COTTAGE = 22
    SIDING = 23
    TIMBER = 24
    SHOPS = 25
    CAFES = 26
    LOBBY = 27
    RENDER = 28
    MASONRY = 29
    BOARDS = 30
    TILES = 31
    SLATES = 32
    ROOF = 33
    DOORS = 34
    FENCE = 35
    RAIL = 36
    POSTERS = 37
    COACHWORK = 38
    GLASS = 39
    WHEEL = 40
    GRILLE = 41
    RUBBER = 42
    METAL = 43
    CLOTH = 44
    DENIM = 45
    SKIN = 46
    LAMP = 47
    PLAIN = 48
    VARIATION = 49


LANES = (Material.LANE, Material.WORN, Material.CRACKED, Material.PATCHED, Material.CUT)
"""One lane wide; any may follow any."""

FACADES = (
    Material.BRICK, Material.STOCK, Material.PLASTER, Material.STUCCO, Material.CONCRETE, Material.PANELS,
    Material.CURTAIN, Material.BALCONIES, Material.COTTAGE, Material.SIDING, Material.TIMBER, Material.SHOPS,
    Material.CAFES, Material.LOBBY,
)  # fmt: skip
"""Walls with windows in their textures."""

TILE = (
    dict.fromkeys(Material, 4.0)
    | dict.fromkeys(FACADES, 6.2)
    | dict.fromkeys((Material.SHOPS, Material.CAFES, Material.LOBBY), 8.0)
    | dict.fromkeys((Material.RENDER, Material.MASONRY, Material.BOARDS), 6.2)
    | dict.fromkeys((*LANES, Material.WHEEL, Material.GRILLE, Material.POSTERS, Material.DOORS), 1.0)
    | {
        Material.PAVING: 3.0,
        Material.KERB: 2.0,
        Material.SOIL: 2.0,
        Material.GRASS: 5.0,
        Material.LEAVES: 2.5,
        Material.NEEDLES: 2.5,
        Material.BARK: 1.5,
        Material.FENCE: 2.0,
        Material.COACHWORK: 1.0,
        Material.CLOTH: 0.8,
        Material.DENIM: 0.8,
        Material.SKIN: 0.6,
        Material.RUBBER: 1.0,
    }
)
"""Metres along the side of a texture; 1 where a thing is as large as its texture."""

_MAKERS: dict[Material, Callable[[np.random.Generator], Image]] = {
    Material.ASPHALT: ground.asphalt,
    Material.LANE: ground.lane,
    Material.CRACKED: ground.cracked,
    Material.WORN: ground.worn,
    Material.PATCHED: ground.patched,
    Material.CUT: ground.cut,
    Material.PAVING: ground.paving,
    Material.KERB: ground.kerb,
    Material.SOIL: ground.soil,
    Material.GRASS: ground.grass,
    Material.PAINT: ground.paint,
    Material.LEAVES: other.leaves,
    Material.NEEDLES: other.needles,
    Material.BARK: other.bark,
    Material.BRICK: walls.brick,
    Material.STOCK: walls.stock,
    Material.PLASTER: walls.plaster,
    Material.STUCCO: walls.stucco,
    Material.CONCRETE: walls.concrete,
    Material.PANELS: walls.panels,
    Material.CURTAIN: walls.curtain,
    Material.BALCONIES: walls.balconies,
    Material.COTTAGE: walls.cottage,
    Material.SIDING: walls.siding,
    Material.TIMBER: walls.timber,
    Material.SHOPS: walls.shops,
    Material.CAFES: walls.cafes,
    Material.LOBBY: walls.lobby,
    Material.RENDER: lambda r: walls.render((0.84, 0.82, 0.76), r),
    Material.MASONRY: lambda r: walls.masonry((0.56, 0.30, 0.22), r),
    Material.BOARDS: lambda r: walls.boards((0.84, 0.84, 0.82), r),
    Material.TILES: other.tiles,
    Material.SLATES: other.slates,
    Material.ROOF: other.roof,
    Material.DOORS: other.doors,
    Material.FENCE: other.fence,
    Material.RAIL: other.rail,
    Material.POSTERS: other.posters,
    Material.COACHWORK: other.coachwork,
    Material.GLASS: other.glass,
    Material.WHEEL: other.wheels,
    Material.GRILLE: other.front,
    Material.RUBBER: lambda r: plain((0.09, 0.09, 0.095), r, 0.02, 0.5),
    Material.METAL: lambda r: plain((0.42, 0.43, 0.45), r, 0.03, 0.9),
    Material.CLOTH: other.cloth,
    Material.DENIM: other.cloth,
    Material.SKIN: lambda r: plain((0.78, 0.58, 0.47), r, 0.03, 1.0),
    Material.LAMP: lambda r: plain((1.0, 1.0, 1.0), r, 0.0, 1.0),
    Material.PLAIN: lambda r: plain((0.92, 0.92, 0.92), r, 0.0, 1.0),
    Material.VARIATION: other.variation,
}


def textures() -> UInt8[np.ndarray, "layers size size 3"]:
    """Return the textures of all materials, sRGB; the first row is the lowest."""
    layers = [_bytes(_MAKERS[m](np.random.default_rng(100 + m))) for m in Material]
    return np.stack(layers)


def _bytes(image: Image) -> UInt8[np.ndarray, "size size 3"]:
    return np.asarray(np.clip(image, 0, 1) * 255).round().astype(np.uint8)
