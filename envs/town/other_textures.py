"""Textures of roofs, plants, vehicles and clothes."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from mtdrive.envs.town.noise import SIZE, Colour, Image, bricks, grid, noise, plain


def tiles(rng: np.random.Generator, colour: Colour = (0.58, 0.29, 0.21)) -> Image:
    """Return 4 x 4 metres of roof tiles, each row above the next."""
    row, column, v, u = bricks(14, 14)
    shade = rng.uniform(0.80, 1.16, (14, 15))[row, column.astype(int)]
    round_ = 1 - 0.28 * (2 * u - 1) ** 2
    step = np.where(v < 0.16, 0.55, 1.0)
    weather = 1 + 0.07 * noise(rng, 0.5) + 0.09 * noise(rng, 1.5)
    return np.asarray(np.asarray(colour) * (shade * step * round_ * weather)[..., None])


def slates(rng: np.random.Generator) -> Image:
    """Return 4 x 4 metres of slates."""
    row, column, v, u = bricks(20, 12)
    shade = rng.uniform(0.82, 1.14, (20, 13))[row, column.astype(int)]
    edge = np.where((v < 0.12) | (u < 0.04), 0.62, 1.0)
    return np.asarray(np.array([0.36, 0.37, 0.40]) * (shade * edge * (1 + 0.06 * noise(rng, 0.8)))[..., None])


def roof(rng: np.random.Generator) -> Image:
    """Return a flat roof of felt and gravel."""
    _, _, v, _ = grid(4, 1)
    base = plain((0.43, 0.42, 0.41), rng, 0.05, 0.6)
    return np.asarray(np.where((v < 0.02)[..., None], base * 0.72, base))


def leaves(rng: np.random.Generator) -> Image:
    """Return 2.5 x 2.5 metres of leaves: light ones before dark gaps."""
    points = rng.uniform(0, SIZE, (2400, 2))
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    at = np.stack([y, x], axis=-1) + 1.2 * np.stack([noise(rng, 0.8), noise(rng, 0.8)], axis=-1)
    far, which = cKDTree(points, boxsize=np.full(2, float(SIZE))).query(at % SIZE)
    own = rng.uniform(0.45, 1.0, 2400)[which]
    light = own * np.clip(1.25 - far / 5.5, 0.25, 1) + 0.16 * noise(rng, 1.2) * own
    light = np.clip(light - 0.34 * (noise(rng, 1.0) > 1.0), 0.06, 1)[..., None]
    return np.asarray(light * np.array([0.43, 0.58, 0.23]) + (1 - light) * np.array([0.08, 0.15, 0.06]))


def needles(rng: np.random.Generator) -> Image:
    """Return 2.5 x 2.5 metres of a conifer: fine needles that hang."""
    drops = noise(rng, 0.25)
    fine = np.sum([np.roll(drops, k, axis=0) for k in range(7)], axis=0) / 2.6
    light = np.clip(0.42 + 0.20 * fine + 0.22 * noise(rng, 0.9), 0.05, 1)[..., None]
    return np.asarray(light * np.array([0.30, 0.46, 0.25]) + (1 - light) * np.array([0.06, 0.12, 0.07]))


def bark(rng: np.random.Generator) -> Image:
    """Return 1.5 x 1.5 metres of bark."""
    grooves = np.repeat(noise(rng, 0.6)[:1], SIZE, axis=0) + 0.5 * noise(rng, 0.8)
    return np.asarray(np.array([0.40, 0.33, 0.26]) * (1 + 0.22 * grooves[..., None]))


def coachwork(rng: np.random.Generator) -> Image:
    """Return the paint of vehicles: the upper half is plain, the lower has the gaps and handles of doors."""
    base = np.full((SIZE, SIZE), 0.95) + 0.008 * noise(rng, 1.4)
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    for gap in DOORS:
        base[(y < 120) & (y > 8) & (abs(x - gap * SIZE) < 1.6)] = 0.30
    base[(abs(y - 9) < 1.6) & (x > DOORS[0] * SIZE) & (x < DOORS[-1] * SIZE)] = 0.35
    for handle in DOORS[:-1]:
        base[(abs(y - 100) < 3) & (abs(x - handle * SIZE - 14) < 8)] = 0.45
        base[(abs(y - 103) < 1) & (abs(x - handle * SIZE - 14) < 8)] = 1.0
    base[(abs(y - 62) < 1.5)] *= 0.90
    return np.repeat(base[..., None], 3, axis=2)


DOORS = (0.30, 0.50, 0.68)
"""Where the gaps of doors are along the lower half of the coachwork's texture."""


def wheels(rng: np.random.Generator) -> Image:
    """Return a wheel seen from the side, as a disc around the middle: tyre, rim, spokes, hub."""
    y, x = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5, indexing="ij")
    r, turn = np.hypot(x / SIZE - 0.5, y / SIZE - 0.5) * 2, np.arctan2(y - SIZE / 2, x - SIZE / 2)
    spokes = np.cos(5 * turn) > 0.10 + 0.5 * (r - 0.3)
    shade = np.where(spokes, 0.66, 0.13) * (1 + 0.05 * np.sin(turn))
    shade = np.where(abs(r - 0.62) < 0.045, 0.72, shade)
    shade = np.where(r < 0.16, 0.50, np.where(r < 0.05, 0.25, shade))
    shade = np.where(r > 0.66, 0.10 + 0.03 * (abs(r - 0.83) < 0.02), shade)
    return np.repeat((shade * (1 + 0.03 * noise(rng, 0.6)))[..., None], 3, axis=2)


def front(rng: np.random.Generator) -> Image:
    """Return the grille of a vehicle: dark bars in a frame."""
    _, _, v, u = grid(6, 1)
    base = np.where(v < 0.35, 0.42, 0.07) * np.where(abs(u - 0.5) > 0.48, 1.5, 1.0)
    return np.repeat(base[..., None], 3, axis=2) + 0.01 * noise(rng, 0.5)[..., None]


def glass(rng: np.random.Generator) -> Image:
    """Return the windows of vehicles."""
    sky = np.linspace(0.10, 0.24, SIZE)[:, None, None] * np.array([0.92, 1.0, 1.06])
    return np.asarray(sky * (1 + 0.08 * noise(rng, 1.4)[..., None]))


def cloth(rng: np.random.Generator) -> Image:
    """Return clothes, with folds."""
    folds = noise(rng, 1.4)
    return np.asarray(np.array([0.82, 0.82, 0.82]) * (1 + 0.06 * folds + 0.04 * noise(rng, 0.4))[..., None])


def fence(rng: np.random.Generator) -> Image:
    """Return 2 x 2 metres of wooden pales."""
    _, column, v, u = grid(1, 14)
    shade = rng.uniform(0.82, 1.1, 14)[column] * np.where(u < 0.14, 0.30, 1.0)
    grain = np.repeat(noise(rng, 0.5)[:1], SIZE, axis=0)
    rails = np.where((abs(v - 0.15) < 0.02) | (abs(v - 0.40) < 0.02), 0.85, 1.0)
    return np.asarray(np.array([0.66, 0.60, 0.52]) * (shade * rails * (1 + 0.07 * grain))[..., None])


def rail(rng: np.random.Generator) -> Image:
    """Return a guard rail seen from the side, a third of the texture high: two waves of steel."""
    v = (np.arange(SIZE) + 0.5)[:, None] / SIZE * 3 % 1
    wave = 0.50 + 0.16 * np.sin(4 * np.pi * v + 0.6) - 0.10 * (abs(v - 0.5) < 0.07)
    _, _, _, u = grid(1, 1)
    rust = np.clip(0.5 * (noise(rng, 1.2) - 1.4), 0, 0.4)[..., None]
    base = (wave * (1 + 0.03 * noise(rng, 0.7)) * np.where(u < 0.01, 0.7, 1.0))[..., None]
    return np.asarray((1 - rust) * base * np.array([1.0, 1.01, 1.03]) + rust * np.array([0.42, 0.28, 0.18]))


def posters(rng: np.random.Generator) -> Image:
    """Return four posters side by side, with a picture and lines of text."""
    image = np.full((SIZE, SIZE, 3), 0.9)
    for j in range(4):
        x, colours = j * 64, rng.uniform(0.15, 0.9, (4, 3))
        image[:, x : x + 64] = colours[0]
        y, u = np.meshgrid(np.arange(SIZE), np.arange(64), indexing="ij")
        at = rng.uniform((90, 18), (200, 46))
        image[:, x : x + 64][np.hypot(y - at[0], 2.0 * (u - at[1])) < rng.uniform(36, 60)] = colours[1]
        image[: int(rng.integers(60, 90)), x : x + 64] = colours[2]
        for k in range(3):
            image[14 + 16 * k : 22 + 16 * k, x + 8 : x + 8 + int(rng.integers(24, 48))] = colours[3]
        image[:, x : x + 2] = image[:, x + 62 : x + 64] = 0.25
    return image


def doors(rng: np.random.Generator) -> Image:
    """Return four front doors side by side, each a quarter of the texture wide and as high as it."""
    image = np.full((SIZE, SIZE, 3), 0.84)
    for j, colour in enumerate(
        ((0.16, 0.28, 0.20), (0.45, 0.13, 0.11), (0.36, 0.24, 0.15), (0.22, 0.24, 0.27))
    ):
        x = j * 64
        image[:246, x + 7 : x + 57] = colour
        for y, h in ((14, 70), (98, 60)):
            for u in (x + 13, x + 35):
                image[y : y + h, u : u + 16] = np.asarray(colour) * 0.68
        image[178:232, x + 13 : x + 51] = (0.16, 0.17, 0.175)
        image[120:126, x + 50 : x + 54] = (0.75, 0.70, 0.50)
        image[:3, x + 7 : x + 57] = 0.3
    return image + 0.01 * noise(rng, 0.6)[..., None]


def variation(rng: np.random.Generator) -> Image:
    """Return a slow field by which the ground and the sky vary; the colours hardly differ."""
    y, x = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    frequency = np.hypot(x, y)
    frequency[0, 0] = np.inf
    field = np.fft.ifft2(
        np.fft.fft2(np.random.default_rng(123).standard_normal((SIZE, SIZE))) * frequency**-1.3
    ).real
    field /= field.std()
    parts = [field, 0.97 * field + 0.10 * noise(rng, 1.5), 0.95 * field + 0.22 * noise(rng, 1.5)]
    return np.asarray(0.5 + 0.16 * np.stack(parts, axis=-1))
