"""Random fields that textures are made of; they repeat without a seam."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool, Float

SIZE = 256
"""Pixels of a texture along a side; it repeats without a seam."""

Field = Float[np.ndarray, "size size"]
Image = Float[np.ndarray, "size size 3"]
Line = Float[np.ndarray, "_ 2"]
Colour = tuple[float, float, float]


@cache
def _field(slope: float) -> Field:
    y, x = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.rfftfreq(SIZE), indexing="ij")
    frequency = np.hypot(x, y)
    frequency[0, 0] = np.inf
    white = np.random.default_rng(round(slope * 100)).standard_normal((SIZE, SIZE))
    field = np.fft.irfft2(np.fft.rfft2(white) * frequency**-slope, s=(SIZE, SIZE))
    return np.asarray(field / field.std())


def noise(rng: np.random.Generator, slope: float) -> Field:
    """Return a field of unit variance whose amplitudes fall as `frequency ** -slope`."""
    # One field a slope, shifted and turned, looks different enough and is made at once.
    field = np.roll(_field(slope), rng.integers(SIZE, size=2), axis=(0, 1))
    return np.asarray(field.T if rng.random() < 0.5 else field[::-1])


def plain(colour: Colour, rng: np.random.Generator, amount: float, slope: float) -> Image:
    """Return a colour with noise."""
    return np.asarray(np.asarray(colour) * (1 + amount / 0.6 * noise(rng, slope)[..., None]))


def grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return for each pixel its row and column of a grid, and how far it is in it, from 0 to 1."""
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    v, u = y * rows / SIZE, x * columns / SIZE
    return v.astype(int), u.astype(int), v % 1, u % 1


def bricks(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the same as `grid` for rows of which every second is shifted by half."""
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    v, u = y * rows / SIZE, x * columns / SIZE
    u = (u + 0.5 * (v.astype(int) % 2)) % columns
    return v.astype(int), u.astype(int), v % 1, u % 1


def strokes(lines: Sequence[Line], width: float) -> Bool[np.ndarray, "size size"]:
    """Return which pixels lie on lines of points x and y in pixels; what leaves on a side enters opposite."""
    out = np.zeros((SIZE, SIZE), bool)
    reach = np.arange(-(width - 1) / 2, width / 2)
    for line in lines:
        long = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
        at = np.arange(0.0, long[-1], 0.5)
        x, y = (np.interp(at, long, line[:, k])[:, None, None] for k in (0, 1))
        i, j = (np.floor(y + reach[:, None]).astype(int), np.floor(x + reach).astype(int))
        out[np.broadcast_arrays(i, j)[0] % SIZE, np.broadcast_arrays(i, j)[1] % SIZE] = True
    return out


def wander(
    rng: np.random.Generator, start: tuple[float, float], heading: float, length: float, turn: float
) -> Line:
    """Return a line that starts somewhere and changes its heading as it goes, in pixels."""
    headings = heading + np.cumsum(rng.normal(0, turn, max(2, int(length / 4))))
    steps = 4 * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.asarray(np.asarray(start) + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]))
