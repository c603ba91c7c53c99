"""Materials, and textures for them that are made by code."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
from jaxtyping import Float, UInt8

SIZE = 256
"""Pixels of a texture along a side; it repeats without a seam."""


class Material(IntEnum):
    """What a surface is made of; the number is the layer of its texture."""

    ASPHALT = 0
    PAVING = 1
    KERB = 2
    GRASS = 3
    LEAVES = 4
    BARK = 5
    PAINT = 6
    BRICK = 7
    PLASTER = 8
    CONCRETE = 9
    PANELS = 10
    SHOPS = 11
    TILES = 12
    ROOF = 13
    COACHWORK = 14
    GLASS = 15
    RUBBER = 16
    METAL = 17
    CLOTH = 18
    SKIN = 19
    LAMP = 20
    PLAIN = 21
    COTTAGE = 22
    VARIATION = 23


TILE = dict.fromkeys(Material, 4.0) | {
    Material.PAVING: 3.0,
    Material.KERB: 2.0,
    Material.GRASS: 5.0,
    Material.LEAVES: 2.5,
    Material.BARK: 1.5,
    Material.BRICK: 6.2,
    Material.PLASTER: 6.2,
    Material.CONCRETE: 6.2,
    Material.PANELS: 6.2,
    Material.COTTAGE: 6.2,
    Material.SHOPS: 8.0,
    Material.COACHWORK: 3.0,
    Material.CLOTH: 0.8,
    Material.SKIN: 0.6,
    Material.RUBBER: 1.0,
}
"""Metres along the side of a texture."""

FACADES = (Material.BRICK, Material.PLASTER, Material.CONCRETE, Material.PANELS, Material.COTTAGE)
"""Two storeys high; the windows are in the texture."""

Image = Float[np.ndarray, "size size 3"]


def textures() -> UInt8[np.ndarray, "layers size size 3"]:
    """Return the textures of all materials, sRGB; the first row is the lowest."""
    makers: dict[Material, Callable[[np.random.Generator], Image]] = {
        Material.ASPHALT: _asphalt,
        Material.PAVING: _paving,
        Material.KERB: lambda r: _plain((0.62, 0.61, 0.58), r, 0.035, 0.9),
        Material.GRASS: _grass,
        Material.LEAVES: _leaves,
        Material.BARK: _bark,
        Material.PAINT: lambda r: _plain((0.88, 0.88, 0.85), r, 0.05, 0.7),
        Material.BRICK: lambda r: _windows(_bricks((0.56, 0.30, 0.22), r), 3, 2, r),
        Material.PLASTER: lambda r: _windows(_plain((0.80, 0.76, 0.66), r, 0.03, 1.2), 2, 2, r),
        Material.CONCRETE: lambda r: _windows(_plain((0.62, 0.62, 0.60), r, 0.04, 1.0), 4, 2, r, wide=0.7),
        Material.PANELS: lambda r: _windows(_panels(r), 4, 2, r, wide=0.84, high=0.62),
        Material.COTTAGE: lambda r: _windows(
            _plain((0.86, 0.84, 0.78), r, 0.035, 0.8), 2, 2, r, wide=0.36, high=0.42
        ),
        Material.SHOPS: _shops,
        Material.TILES: _tiles,
        Material.ROOF: lambda r: _plain((0.42, 0.42, 0.43), r, 0.05, 0.8),
        Material.COACHWORK: lambda r: _plain((0.93, 0.93, 0.93), r, 0.02, 1.5),
        Material.GLASS: _glass,
        Material.RUBBER: lambda r: _plain((0.09, 0.09, 0.095), r, 0.02, 0.5),
        Material.METAL: lambda r: _plain((0.42, 0.43, 0.45), r, 0.03, 0.9),
        Material.CLOTH: lambda r: _plain((0.80, 0.80, 0.80), r, 0.09, 0.8),
        Material.SKIN: lambda r: _plain((0.78, 0.58, 0.47), r, 0.03, 1.0),
        Material.LAMP: lambda r: _plain((1.0, 1.0, 1.0), r, 0.0, 1.0),
        Material.PLAIN: lambda r: _plain((0.92, 0.92, 0.92), r, 0.0, 1.0),
        Material.VARIATION: lambda r: np.repeat(0.5 + 0.16 * _noise(r, 1.3)[..., None], 3, axis=2),
    }
    layers = [makers[m](np.random.default_rng(100 + m)) for m in Material]
    return np.asarray(np.clip(np.stack(layers), 0, 1) * 255).round().astype(np.uint8)


def _noise(rng: np.random.Generator, slope: float) -> Float[np.ndarray, "size size"]:
    """Return a tileable random field of unit variance whose amplitudes fall as `frequency ** -slope`."""
    y, x = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    frequency = np.hypot(x, y)
    frequency[0, 0] = np.inf
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * frequency**-slope).real
    return np.asarray(field / field.std())


def _plain(
    colour: tuple[float, float, float], rng: np.random.Generator, amount: float, slope: float
) -> Image:
    return np.asarray(np.asarray(colour) * (1 + amount / 0.6 * _noise(rng, slope)[..., None]))


def _asphalt(rng: np.random.Generator) -> Image:
    grain, patches = _noise(rng, 0.15), _noise(rng, 1.6)
    base = 0.335 + 0.045 * grain + 0.022 * patches
    cracks = np.abs(_noise(rng, 1.5)) < 0.018
    base = np.where(cracks, base * 0.72, base)
    return np.asarray(base[..., None] * np.array([1.0, 1.0, 1.03]))


def _paving(rng: np.random.Generator) -> Image:
    rows = 6
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    slab = (y * rows // SIZE) * rows + (x * rows // SIZE)
    shade = rng.uniform(0.86, 1.08, rows * rows)[slab]
    edge = ((y * rows) % SIZE < 7) | ((x * rows) % SIZE < 7)
    base = 0.60 * shade * (1 + 0.07 * _noise(rng, 0.5))
    return np.asarray(np.where(edge, 0.40, base)[..., None] * np.array([1.0, 0.97, 0.92]))


def _grass(rng: np.random.Generator) -> Image:
    blades, clumps = _noise(rng, 0.4), _noise(rng, 1.3)
    dry = np.clip(0.5 + 0.35 * clumps, 0, 1)[..., None]
    base = (1 - dry) * np.array([0.20, 0.36, 0.12]) + dry * np.array([0.36, 0.42, 0.17])
    return np.asarray(base * (1 + 0.24 * blades[..., None]))


def _leaves(rng: np.random.Generator) -> Image:
    clumps = 0.6 * _noise(rng, 0.9) + 0.6 * _noise(rng, 0.5)
    light = np.clip(0.5 + 0.36 * clumps, 0.05, 1)[..., None]
    return np.asarray(light * np.array([0.36, 0.54, 0.20]) + (1 - light) * np.array([0.08, 0.17, 0.06]))


def _bark(rng: np.random.Generator) -> Image:
    grooves = np.repeat(_noise(rng, 0.6)[:1], SIZE, axis=0) + 0.5 * _noise(rng, 0.8)
    return np.asarray(np.array([0.36, 0.28, 0.20]) * (1 + 0.22 * grooves[..., None]))


def _bricks(colour: tuple[float, float, float], rng: np.random.Generator) -> Image:
    rows, columns = 48, 16
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    row = y * rows // SIZE
    shifted = (x * columns * 2 // SIZE + row) % (2 * columns)
    shade = rng.uniform(0.75, 1.2, (rows, columns))[row, shifted // 2]
    joint = (y * rows) % SIZE < rows
    base = np.asarray(colour) * (shade * (1 + 0.06 * _noise(rng, 0.5)))[..., None]
    return np.where(joint[..., None], np.array([0.62, 0.58, 0.52]), base)


def _panels(rng: np.random.Generator) -> Image:
    base = _plain((0.48, 0.53, 0.58), rng, 0.02, 1.2)
    base[:: SIZE // 4] *= 0.75
    base[:, :: SIZE // 8] *= 0.8
    return base


def _windows(
    wall: Image, columns: int, rows: int, rng: np.random.Generator, wide: float = 0.5, high: float = 0.52
) -> Image:
    """Put windows with frames, sills and blinds on a wall, each a little different."""
    wall = wall.copy()
    w, h = SIZE // columns, SIZE // rows
    for i in range(rows):
        for j in range(columns):
            a, b = int(w * wide), int(h * high)
            x, y = j * w + (w - a) // 2, i * h + (h - b) // 2
            wall[max(y - 6, 0) : y - 2, x - 5 : x + a + 5] = wall.mean(axis=(0, 1)) * 1.25
            wall[y - 3 : y + b + 3, x - 3 : x + a + 3] = wall.mean(axis=(0, 1)) * rng.choice([0.55, 1.35])
            wall[y : y + b, x : x + a] = _pane(b, a, rng)
    return wall


def _pane(h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """Return one window: darker below, a blind drawn to some height, and a bar across."""
    up = np.linspace(0, 1, h)[:, None, None]
    glass = (0.10 + rng.uniform(0.0, 0.12) + 0.22 * up) * np.array([0.85, 0.98, 1.12]) * np.ones((h, w, 1))
    if rng.random() < 0.5:
        glass[int(h * rng.uniform(0.5, 0.95)) :] = np.array([0.72, 0.69, 0.62]) * rng.uniform(0.6, 1.0)
    glass[:, w // 2 - 1 : w // 2 + 1] = 0.72
    glass[h * 2 // 3 - 1 : h * 2 // 3 + 1] = 0.72
    return np.asarray(glass)


def _shops(rng: np.random.Generator) -> Image:
    """Return a ground floor of 8 x 8 metres, of which the lower half is used: doors, windows, signs."""
    image = _plain((0.50, 0.47, 0.43), rng, 0.04, 0.9)
    for j in range(2):
        x = j * SIZE // 2
        colour = rng.uniform(0.15, 0.75, 3)
        image[int(SIZE * 0.36) : int(SIZE * 0.46), x + 6 : x + SIZE // 2 - 6] = colour
        image[int(SIZE * 0.39) : int(SIZE * 0.43), x + 24 : x + SIZE // 2 - 24 : 3] = 0.9
        image[int(SIZE * 0.06) : int(SIZE * 0.34), x + 8 : x + 78] = _pane(
            int(SIZE * 0.34) - int(SIZE * 0.06), 70, rng
        )
        image[: int(SIZE * 0.30), x + 88 : x + 116] = colour * 0.6 + 0.1
    return image


def _tiles(rng: np.random.Generator) -> Image:
    rows, columns = 16, 16
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    row = y * rows // SIZE
    shade = rng.uniform(0.75, 1.2, (rows, columns))[row, (x * columns // SIZE + row // 2) % columns]
    step = 1 - 0.35 * (((y * rows) % SIZE) / SIZE < 0.25)
    return np.asarray(
        np.array([0.56, 0.27, 0.20]) * (shade * step * (1 + 0.06 * _noise(rng, 0.5)))[..., None]
    )


def _glass(rng: np.random.Generator) -> Image:
    sky = np.linspace(0.10, 0.26, SIZE)[:, None, None] * np.array([0.9, 1.0, 1.1])
    return np.asarray(sky * (1 + 0.12 * _noise(rng, 1.4)[..., None]))
