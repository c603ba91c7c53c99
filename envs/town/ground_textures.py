"""Textures of roads, pavements and land.

A texture of a lane is as wide as the lane and `CHUNK` metres long, about. All of them begin and end alike, so
that any may follow any.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from mtdrive.envs.town.noise import SIZE, Field, Image, grid, noise, plain, strokes, wander

GREY = np.array([1.0, 1.0, 1.03])

Place = tuple[float, float, float, float]
"""Of a rectangle in a texture from 0 to 1: first along, then across."""


def asphalt(rng: np.random.Generator) -> Image:
    """Return 4 x 4 metres of asphalt."""
    base = 0.335 + 0.030 * noise(rng, 0.15) + 0.022 * noise(rng, 1.6)
    for start in ((40.0, 60.0), (180.0, 200.0)):
        crack = strokes([wander(rng, start, rng.uniform(0, 6.3), 130, 0.35)], 1)
        base = np.where(crack, base * 0.72, base)
    return np.asarray(base[..., None] * GREY)


def _lane(seed: int = 7) -> Field:
    """Return a lane's surface: worn by wheels, darkened by oil between them, dusty at its edges."""
    rng = np.random.default_rng(seed)
    across = (np.arange(SIZE) + 0.5) / SIZE
    grain = noise(rng, 0.15)
    grain = 0.8 * (grain + np.roll(grain, 1, axis=1))
    streaks = noise(rng, 0.9).mean(axis=0) * 0.5
    wheels = sum(np.exp(-(((across - c) / 0.085) ** 2)) for c in (0.27, 0.73))
    oil = np.exp(-(((across - 0.5) / 0.07) ** 2))
    edge = np.clip((abs(across - 0.5) - 0.38) / 0.12, 0, 1)
    mean = 0.345 - 0.042 * wheels - 0.030 * oil * (1 + 0.6 * streaks) + 0.020 * edge + 0.010 * streaks
    rough = 0.030 - 0.011 * wheels
    base = mean + rough * grain + 0.020 * noise(rng, 1.6)
    joint = strokes([np.array([(0.0, 0.0), (0.0, SIZE)])], 2)
    return np.asarray(np.where(joint, base * 0.80, base))


def lane(rng: np.random.Generator) -> Image:
    """Return a lane in good order, with a hair crack."""
    crack = strokes([wander(rng, (30.0, 60.0), 1.4, 120, 0.25)], 1)
    return _grey(np.where(crack, 0.74, 1.0) * _lane())


def cracked(rng: np.random.Generator) -> Image:
    """Return a lane with cracks across and along it, some of them sealed, and a broken spot."""
    base = _lane()
    open_ = [wander(rng, (12.0, y), rng.normal(0, 0.15), 235, 0.22) for y in (70.0, 150.0)]
    open_ += [wander(rng, (x, 40.0), 1.57, 160, 0.18) for x in (64.0, 205.0)]
    base = np.where(strokes(open_, 1), base * 0.68, base)
    tar = [wander(rng, (120.0, 30.0), 1.45, 190, 0.10), wander(rng, (5.0, 110.0), 0.1, 150, 0.12)]
    base = np.where(strokes(tar, 3), 0.235 + 0.1 * (base - 0.33), base)
    return _grey(_broken(base, (0.36, 0.60, 0.10, 0.46), rng))


def worn(rng: np.random.Generator) -> Image:
    """Return a lane with a crack along a wheel's track, a filled pothole and a spill."""
    base = _lane()
    lines = [wander(rng, (70.0, 20.0), 1.57, 200, 0.10), wander(rng, (84.0, 90.0), 1.2, 60, 0.25)]
    base = np.where(strokes(lines, 1), base * 0.70, base)
    v, u = (np.arange(SIZE) + 0.5)[:, None] / SIZE, (np.arange(SIZE) + 0.5)[None] / SIZE
    shape = 0.14 * noise(rng, 1.3)
    hole = np.hypot((v - 0.66) * 10.0, (u - 0.72) * 3.5) + shape < 0.42
    base = np.where(hole, 0.265 + 0.028 * noise(rng, 0.2), base)
    spill = np.clip(1.2 - np.hypot((v - 0.30) * 7.0, (u - 0.50) * 3.5) - 2 * shape, 0, 1)
    return _grey(base * (1 - 0.11 * spill))


def patched(rng: np.random.Generator) -> Image:
    """Return a lane that was mended twice, with darker and with lighter asphalt."""
    base = _patch(_lane(), (0.14, 0.38, 0.04, 0.58), 0.255, rng)
    base = _patch(base, (0.30, 0.46, 0.42, 0.97), 0.285, rng)
    return _grey(_patch(base, (0.62, 0.84, 0.50, 0.99), 0.395, rng))


def cut(rng: np.random.Generator) -> Image:
    """Return a lane with a trench across, filled again, a manhole and a drain."""
    base = _patch(_lane(), (0.56, 0.64, 0.0, 1.0), 0.27, rng)
    v, u = (np.arange(SIZE) + 0.5)[:, None] / SIZE, (np.arange(SIZE) + 0.5)[None] / SIZE
    far = np.hypot((v - 0.30) * 10.0, (u - 0.5) * 3.5)
    base = np.where(far < 0.50, 0.30 + 0.02 * noise(rng, 0.2), base)
    base = np.where(far < 0.36, np.where(far < 0.30, 0.24, 0.40), base)
    ribs = (far < 0.28) & ((u * 40) % 2 < 1)
    base = np.where(ribs, 0.33, base)
    drain = (abs(v - 0.86) < 0.025) & (abs(u - 0.955) < 0.040)
    return _grey(np.where(drain, np.where((v * 100) % 1 < 0.5, 0.13, 0.30), base))


def _grey(field: Field) -> Image:
    return np.asarray(field[..., None] * GREY)


def _patch(base: Field, place: Place, tone: float, rng: np.random.Generator) -> Field:
    """Return a surface with a rectangle of other asphalt, sealed around its edge."""
    rows, columns = (slice(round(a * SIZE), round(b * SIZE)) for a, b in (place[:2], place[2:]))
    base = base.copy()
    base[rows, columns] = 0.195
    rows, columns = (slice(s.start + e, s.stop - e) for s, e in ((rows, 1), (columns, 3)))
    grain = (0.030 * noise(rng, 0.2) + 0.012 * noise(rng, 1.3))[rows, columns]
    base[rows, columns] = tone + grain
    return base


def _broken(base: Field, place: Place, rng: np.random.Generator) -> Field:
    """Return a surface with an oval of fine cracks, as of a crocodile's skin."""
    v, u = np.meshgrid((np.arange(SIZE) + 0.5) / SIZE, (np.arange(SIZE) + 0.5) / SIZE, indexing="ij")
    points = rng.uniform(0, 1, (420, 2)) * [10.0, 3.5]
    near = np.asarray(cKDTree(points).query(np.stack([v * 10.0, u * 3.5], axis=-1), k=2)[0])
    a, b, c, d = place
    out = ((v - (a + b) / 2) / (b - a) * 2) ** 2 + ((u - (c + d) / 2) / (d - c) * 2) ** 2
    split = np.diff(near, axis=-1)[..., 0] < 0.022
    dark = np.where(out + 0.25 * noise(rng, 1.2) < 1, np.where(split, 0.72, 0.95), 1.0)
    return np.asarray(base * dark)


def paving(rng: np.random.Generator) -> Image:
    """Return 3 x 3 metres of slabs: some newer, some cracked, moss and gum on them."""
    row, column, v, u = grid(6, 6)
    shade = rng.uniform(0.88, 1.06, (6, 6))
    shade[rng.integers(6, size=2), rng.integers(6, size=2)] *= 0.84
    base = 0.60 * shade[row, column] * (1 + 0.05 * noise(rng, 0.5) + 0.03 * noise(rng, 1.5))
    cracks = [wander(rng, (x, y), a, 46, 0.3) for x, y, a in ((50.0, 90.0, 0.6), (150.0, 200.0, 2.3))]
    base = np.where(strokes(cracks, 1), base * 0.70, base)
    spots = cKDTree(rng.uniform(0, SIZE, (26, 2)))
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    base = np.where(spots.query(np.stack([y, x], axis=-1))[0] < 1.8, base * 0.78, base)
    joint = (v < 0.06) | (u < 0.06)
    moss = joint & (noise(rng, 1.2) > 0.8)
    colour = base[..., None] * np.array([1.0, 0.97, 0.92])
    colour = np.where(joint[..., None], np.array([0.40, 0.385, 0.36]), colour)
    return np.asarray(np.where(moss[..., None], np.array([0.33, 0.37, 0.24]), colour))


def kerb(rng: np.random.Generator) -> Image:
    """Return 2 metres of kerb stones."""
    _, column, _, u = grid(1, 2)
    shade = np.array([0.97, 1.03])[column]
    base = plain((0.63, 0.62, 0.59), rng, 0.035, 0.9) * shade[..., None]
    return np.asarray(np.where((u < 0.02)[..., None], base * 0.62, base))


def soil(rng: np.random.Generator) -> Image:
    """Return 2 x 2 metres of earth with stones."""
    base = np.array([0.40, 0.335, 0.255]) * (1 + 0.10 * noise(rng, 1.0) + 0.10 * noise(rng, 0.3))[..., None]
    points = rng.uniform(0, SIZE, (420, 2))
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    far, which = cKDTree(points, boxsize=np.full(2, float(SIZE))).query(np.stack([y, x], axis=-1))
    stone = far < rng.uniform(1.0, 4.2, 420)[which]
    grey = rng.uniform(0.36, 0.58, 420)[which][..., None] * np.array([1.0, 0.97, 0.92])
    return np.asarray(np.where(stone[..., None], grey, base))


def grass(rng: np.random.Generator) -> Image:
    """Return 5 x 5 metres of grass: clumps, dry spots, a few flowers."""
    clumps, fine = noise(rng, 1.3), noise(rng, 0.45)
    blades = noise(rng, 0.1)
    blades = blades + np.roll(blades, 1, axis=0) + np.roll(blades, 2, axis=0)
    dry = np.clip(0.42 + 0.30 * clumps + 0.10 * noise(rng, 0.8), 0, 1)[..., None]
    base = (1 - dry) * np.array([0.215, 0.345, 0.125]) + dry * np.array([0.385, 0.415, 0.195])
    base = base * (1 + 0.11 * blades / 1.7 + 0.12 * fine)[..., None]
    bare = np.clip(1.4 * (noise(rng, 1.5) - 2.1), 0, 0.5)[..., None]
    base = (1 - bare) * base + bare * np.array([0.40, 0.34, 0.25])
    flowers = rng.integers(SIZE, size=(46, 2))
    flowers = flowers[clumps[flowers[:, 0], flowers[:, 1]] > 0.2]
    base[flowers[:, 0], flowers[:, 1]] = (0.80, 0.78, 0.62)
    return np.asarray(base)


def paint(rng: np.random.Generator) -> Image:
    """Return 4 x 4 metres of road paint, worn through here and there."""
    base = plain((0.84, 0.84, 0.81), rng, 0.035, 0.9)
    worn = 0.6 * noise(rng, 0.7) + 0.8 * noise(rng, 1.5)
    chipped = np.clip(3.0 * (worn - 1.8), 0, 0.8)[..., None]
    thin = np.clip(0.20 * (worn - 0.2), 0, 0.25)[..., None]
    base = base * (1 - thin) + 0.42 * thin
    return np.asarray(base * (1 - chipped) + 0.36 * chipped)
