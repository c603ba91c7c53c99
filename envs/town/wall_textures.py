"""Textures of walls: two storeys with their windows, or ground floors with shops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtdrive.envs.town.noise import SIZE, Colour, Image, bricks, grid, noise, plain

METRE = SIZE / 6.2
"""Pixels of a metre of two storeys."""

WHITE, DARK, BROWN, STONE = (0.86, 0.86, 0.84), (0.20, 0.20, 0.21), (0.34, 0.23, 0.16), (0.70, 0.67, 0.60)

Window = Callable[[Image, int, int, int, int, np.random.Generator], None]
"""Draws a window into its place of a wall: first row and column, and its height and width, in pixels."""


def masonry(colour: Colour, rng: np.random.Generator, joints: Colour = (0.60, 0.56, 0.50)) -> Image:
    """Return a wall of bricks."""
    row, column, v, u = bricks(48, 16)
    shade = rng.uniform(0.78, 1.18, (48, 17))[row, column.astype(int)]
    base = np.asarray(colour) * (shade * (1 + 0.05 * noise(rng, 0.5) + 0.05 * noise(rng, 1.5)))[..., None]
    return np.where(((v < 0.2) | (u < 0.04))[..., None], np.asarray(joints), base)


def boards(colour: Colour, rng: np.random.Generator) -> Image:
    """Return a wall of level boards."""
    row, _, v, _ = grid(32, 1)
    shade = rng.uniform(0.94, 1.04, 32)[row] * np.where(v < 0.14, 0.66, 0.96 + 0.05 * v)
    return np.asarray(np.asarray(colour) * (shade * (1 + 0.03 * noise(rng, 0.7)))[..., None])


def render(colour: Colour, rng: np.random.Generator) -> Image:
    """Return a plastered wall, with stains that run down."""
    runs = np.repeat(noise(rng, 0.8).mean(axis=0, keepdims=True), SIZE, axis=0)
    stains = 0.022 * noise(rng, 1.5) + 0.022 * noise(rng, 0.3) + 0.03 * runs
    return np.asarray(np.asarray(colour) * (1 + stains)[..., None])


def brick(rng: np.random.Generator) -> Image:
    """Return red bricks with white windows under stone lintels."""
    return _walled(masonry((0.56, 0.30, 0.22), rng), 3, rng, _framed(WHITE, STONE), wide=0.48, high=0.50)


def stock(rng: np.random.Generator) -> Image:
    """Return yellow bricks with high sash windows, and a band of stone at each floor."""
    wall = masonry((0.64, 0.55, 0.40), rng, (0.52, 0.48, 0.42))
    return _banded(_walled(wall, 3, rng, _framed(WHITE, STONE, bars=1), wide=0.46, high=0.60))


def plaster(rng: np.random.Generator) -> Image:
    """Return a plastered wall with shutters beside its windows."""
    return _walled(render((0.82, 0.78, 0.68), rng), 2, rng, _shuttered, wide=0.32, high=0.52)


def stucco(rng: np.random.Generator) -> Image:
    """Return a pale front with mouldings around windows and at the floors."""
    return _banded(_walled(render((0.80, 0.77, 0.70), rng), 3, rng, _moulded, wide=0.40, high=0.58))


def concrete(rng: np.random.Generator) -> Image:
    """Return a wall of concrete slabs with wide windows."""
    wall = render((0.62, 0.62, 0.60), rng)
    _, _, v, u = grid(2, 4)
    wall = np.where(((v < 0.012) | (u < 0.02))[..., None], 0.40, wall)
    return _walled(wall, 4, rng, _framed(DARK, (0.52, 0.52, 0.51)), wide=0.72, high=0.50)


def panels(rng: np.random.Generator) -> Image:
    """Return an office's front: bands of windows over panels."""
    wall = plain((0.48, 0.49, 0.50), rng, 0.015, 1.2)
    _, _, v, u = grid(2, 8)
    wall = np.where((u < 0.03)[..., None] | (abs(v - 0.1) < 0.01)[..., None], 0.36, wall)
    return _walled(wall, 4, rng, _framed(DARK, (0.60, 0.61, 0.62), bars=1), wide=0.97, high=0.56)


def curtain(rng: np.random.Generator) -> Image:
    """Return a front of glass between thin frames."""
    wall = plain((0.30, 0.31, 0.32), rng, 0.02, 1.0)
    up, across = SIZE // 4, SIZE // 4
    for i in range(4):
        for j in range(4):
            y, x = i * up + 2, j * across + 2
            if i % 2:
                wall[y : y + up - 3, x : x + across - 3] = _glass(up - 3, across - 3, rng, 0.20)
            else:
                wall[y : y + up - 3, x : x + across - 3] = np.array([0.25, 0.265, 0.28]) * rng.uniform(
                    0.9, 1.1
                )
                wall[y + 26 : y + up - 1, x : x + across - 3] = _glass(up - 27, across - 3, rng, 0.20)
    return wall


def balconies(rng: np.random.Generator) -> Image:
    """Return flats with glass doors behind railings."""
    wall = render((0.76, 0.74, 0.70), rng)
    return _walled(wall, 2, rng, _french, wide=0.62, high=0.80, sill=0.03)


def cottage(rng: np.random.Generator) -> Image:
    """Return a plastered house with small windows."""
    frame = _framed(WHITE, (0.55, 0.50, 0.44), bars=1)
    return _walled(render((0.86, 0.84, 0.78), rng), 2, rng, frame, wide=0.36, high=0.42)


def siding(rng: np.random.Generator) -> Image:
    """Return a wooden house with broad white frames."""
    return _walled(
        boards((0.84, 0.84, 0.82), rng), 2, rng, _framed(WHITE, WHITE, bars=1, broad=5), wide=0.36, high=0.46
    )


def timber(rng: np.random.Generator) -> Image:
    """Return a house of dark beams with plaster between them."""
    wall = render((0.85, 0.81, 0.71), rng)
    beam = np.array(BROWN) * 0.85
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    half = SIZE // 2
    level = (y % half < 9) | (abs(y % half - 34) < 4)
    upright = (x % (SIZE // 4) < 7) | (x % half < 9)
    low = (y % half > 9) & (y % half < 34)
    slope = low & (abs((x % 64) - (y % half - 9) * 64 / 25) < 4)
    wall = np.where(
        (level | upright | slope)[..., None], beam * (1 + 0.10 * noise(rng, 0.5)[..., None]), wall
    )
    return _walled(wall, 2, rng, _framed(BROWN, BROWN, bars=2), wide=0.30, high=0.42)


def shops(rng: np.random.Generator) -> Image:
    """Return 8 x 8 metres whose lower half is a ground floor with two shops: doors, displays, names."""
    image = masonry((0.47, 0.40, 0.35), rng) * 0.9
    for j, colour in enumerate(((0.16, 0.30, 0.24), (0.55, 0.16, 0.13))):
        _shop(image[:, j * SIZE // 2 : (j + 1) * SIZE // 2], colour, rng)
    return image


def cafes(rng: np.random.Generator) -> Image:
    """Return the same under striped awnings."""
    image = render((0.60, 0.57, 0.52), rng)
    for j, colour in enumerate(((0.62, 0.42, 0.12), (0.20, 0.22, 0.25))):
        part = image[:, j * SIZE // 2 : (j + 1) * SIZE // 2]
        _shop(part, colour, rng)
        stripes = (np.arange(108) // 9 % 2)[None, :, None]
        part[76:94, 10:118] = (
            np.where(stripes, 0.84, np.asarray(colour)) * np.linspace(0.72, 1.0, 18)[:, None, None]
        )
    return image


def lobby(rng: np.random.Generator) -> Image:
    """Return a ground floor of glass with entrances between pillars of stone."""
    image = plain((0.55, 0.53, 0.50), rng, 0.03, 0.9)
    for j in range(4):
        x = j * SIZE // 4 + 7
        image[6:100, x : x + 50] = 0.16
        image[8:98, x + 2 : x + 24] = _glass(90, 22, rng, 0.16)
        image[8:98, x + 26 : x + 48] = _glass(90, 22, rng, 0.16)
        image[70:72, x : x + 50] = 0.16
    image[104:112] *= 0.7
    return image


def _shop(image: np.ndarray, colour: Colour, rng: np.random.Generator) -> None:
    """Draw one shop of 4 metres, a metre being 32 pixels."""
    dark = np.asarray(colour) * 0.7
    image[2:92, 6:122] = dark
    image[94:114, 6:122] = colour
    image[92:94, 4:124] = 0.30
    image[114:117, 4:124] = 0.62
    x = 18
    while x < 106:
        wide = int(rng.integers(3, 9))
        image[100 : int(rng.integers(106, 110)), x : x + wide] = (0.90, 0.88, 0.80)
        x += wide + int(rng.choice([2, 2, 7]))
    image[18:86, 10:86] = _glass(68, 76, rng, 0.10)
    for k in range(7):
        y, x, goods = 20, 13 + 10 * k, rng.uniform(0.2, 0.75, 3)
        goods[2] = min(goods[2], 1.1 * goods[0])
        image[y : y + int(rng.integers(6, 26)), x : x + 8] = goods
    image[18:86, 47:49] = dark
    image[4:84, 92:116] = dark * 1.5
    image[26:80, 95:113] = _glass(54, 18, rng, 0.12)


def _walled(
    wall: Image, columns: int, rng: np.random.Generator, window: Window, *, wide: float, high: float,
    sill: float | None = None,
) -> Image:  # fmt: skip
    """Return a wall with windows in two rows; `wide` and `high` are shares of their room."""
    wall = wall.copy()
    w, h = SIZE / columns, SIZE // 2
    for i in range(2):
        for j in range(columns):
            a, b = int(w * wide), int(h * high)
            x, y = int(j * w + (w - a) / 2), i * h + int((h - b) / 2 if sill is None else h * sill)
            wall[max(y - 26, i * h) : y, x : x + a] *= rng.uniform(0.90, 1.0)  # where rain runs from the sill
            window(wall, y, x, b, a, rng)
    return wall


def _banded(wall: Image) -> Image:
    """Return a wall with a moulding between its floors."""
    for y in (0, SIZE // 2):
        wall[y : y + 6] = STONE
        wall[y : y + 1] = np.asarray(STONE) * 0.6
        wall[y + 5 : y + 6] = np.asarray(STONE) * 1.15
    return wall


def _framed(frame: Colour, stone: Colour, *, bars: int = 0, broad: int = 3) -> Window:
    """Return windows with a frame, a lintel and a sill; with bars as in sash windows."""

    def draw(wall: Image, y: int, x: int, h: int, w: int, rng: np.random.Generator) -> None:
        wall[y + h + broad : y + h + broad + 5, x - 5 : x + w + 5] = stone
        wall[y - broad - 4 : y - broad, x - 5 : x + w + 5] = np.asarray(stone) * 1.08
        wall[y - broad - 6 : y - broad - 4, x - 4 : x + w + 4] *= 0.6
        wall[y - broad : y + h + broad, x - broad : x + w + broad] = frame
        wall[y : y + h, x : x + w] = _glass(h, w, rng)
        wall[y + h - 3 : y + h, x : x + w] *= 0.55  # the shadow of the reveal
        middle = y + (h // 2 if bars else h * 2 // 3)
        wall[middle - 1 : middle + 1, x : x + w] = frame
        for k in range(1, bars + 2):
            at = x + w * k // (bars + 2)
            wall[y : y + h, at : at + 1 + (bars == 0)] = frame

    return draw


def _shuttered(wall: Image, y: int, x: int, h: int, w: int, rng: np.random.Generator) -> None:
    _framed(WHITE, STONE)(wall, y, x, h, w, rng)
    slats = np.where(np.arange(h + 2) % 4 < 1, 0.72, 1.0)[:, None, None]
    for side in (x - w // 2 - 5, x + w + 4):
        wall[y - 1 : y + h + 1, side : side + w // 2] = np.array([0.30, 0.33, 0.27]) * slats


def _moulded(wall: Image, y: int, x: int, h: int, w: int, rng: np.random.Generator) -> None:
    wall[y - 5 : y + h + 6, x - 7 : x + w + 7] = np.asarray(STONE) * 1.12
    wall[y + h + 6 : y + h + 12, x - 10 : x + w + 10] = np.asarray(STONE) * 1.2
    wall[y + h + 5 : y + h + 6, x - 9 : x + w + 9] *= 0.62
    _framed(WHITE, STONE, bars=0)(wall, y, x, h, w, rng)


def _french(wall: Image, y: int, x: int, h: int, w: int, rng: np.random.Generator) -> None:
    """Draw a glass door in a recess, behind a railing."""
    wall[y : y + h, x - 4 : x + w + 4] = 0.34
    wall[y + h - 8 : y + h, x - 4 : x + w + 4] = 0.22
    for k in range(3):
        a = x + 2 + k * (w // 3)
        wall[y + 2 : y + h - 10, a : a + w // 3 - 3] = _glass(h - 12, w // 3 - 3, rng, 0.08)
    rail = y + int(1.05 * METRE)
    wall[y : y + 5, x - 8 : x + w + 8] = 0.68
    wall[y + 6 : rail, x - 7 : x + w + 7 : 4] = 0.28
    wall[rail : rail + 2, x - 8 : x + w + 8] = 0.26


def _glass(h: int, w: int, rng: np.random.Generator, bright: float = 0.10) -> np.ndarray:
    """Return a pane: it mirrors the sky higher up; behind it there may be a blind or curtains."""
    up = np.linspace(0, 1, h)[:, None, None]
    pane = (bright + rng.uniform(0.0, 0.14) + rng.uniform(0.12, 0.34) * up) * np.array([0.82, 0.98, 1.14])
    pane = pane * np.ones((h, w, 1))
    slant = (np.arange(w)[None] + np.arange(h)[:, None] * 0.6 + rng.integers(40)) % 46 < 9
    pane[slant] *= 1.18
    cover = rng.random()
    if cover < 0.30:
        cloth = np.array([0.74, 0.70, 0.62]) * rng.uniform(0.55, 1.0)
        low = int(h * rng.uniform(0.45, 0.9))
        pane[low:] = cloth * np.where(np.arange(h - low) % 4 < 1, 0.86, 1.0)[:, None, None]
    elif cover < 0.55:
        cloth = np.array([0.76, 0.71, 0.63]) * rng.uniform(0.5, 0.95)
        side = max(1, int(w * rng.uniform(0.12, 0.28)))
        pane[:, :side] = pane[:, w - side :] = cloth
    return np.asarray(pane)
