"""Meshes of trucks and buses, and what emergency vehicles and taxis carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mtdrive.envs.town.cars import WIDE, lamps, painted, plate, running_gear
from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Colour, Mesh, join
from mtdrive.envs.town.people import BODY, DARK, Extent
from mtdrive.envs.town.shapes import box, prism

PALE: Colour = (0.95, 0.95, 0.95)
SIDES = (2, 3)

SIGN = 0.13
"""Metres that a sign or lights on a roof are high."""


def _shell(
    outline: Sequence[tuple[float, float]], extent: Extent, wide: float | Sequence[float], material: Material,
    colour: Colour = (1.0, 1.0, 1.0),
) -> Mesh:  # fmt: skip
    """Return a side view made thick: x from -1 to 1 along the length, z from 0 to 1 along the height."""
    scaled = np.array(outline) * [extent[0], 2 * extent[2]]
    mesh = prism(scaled, np.asarray(wide) * WIDE * extent[1], material, BODY, colour=colour)
    return painted(mesh) if material is Material.COACHWORK else mesh


def truck(extent: Extent) -> Iterator[Mesh]:
    """Give a lorry with a box."""
    x, y, z = extent[0], WIDE * extent[1], extent[2]
    cab = 1 - min(2.0 / x, 0.75)
    yield from _cab(extent, cab)
    length, low = 0.5 * (1 + cab) * x - 0.06, 0.30
    middle = ((cab - 1) / 2 * x - 0.06, 0, (1 + low) * z)
    yield box(middle, (length, y, (1 - low) * z), Material.PLAIN, BODY, faces=(0, 1, 2, 3, 4), colour=PALE)
    frame = (length + 0.008, y + 0.008, 0.035)
    for height in (2 * low * z + 0.06, 2 * z - 0.06):
        yield box((middle[0], 0, height), frame, Material.METAL, BODY, faces=(1, 2, 3))
    band = (middle[0], 0, 1.35 * z)
    yield painted(box(band, (0.82 * length, y + 0.006, 0.24 * z), Material.COACHWORK, BODY, faces=SIDES))
    yield box(
        (middle[0] - length - 0.004, 0, 1.3 * z), (0.0, 0.01, 0.66 * z), Material.RUBBER, BODY, faces=(1,)
    )
    yield box((0, 0, 0.24 * z), (0.95 * x, 0.55 * y, 0.10 * z), Material.METAL, BODY, colour=DARK)
    skirt = ((-0.05 - 0.3 * (1 - cab)) * x, 0, 0.34 * z)
    yield box(
        skirt,
        (0.26 * x, 0.97 * y, 0.14 * z),
        Material.METAL,
        BODY,
        faces=(0, 1, 2, 3),
        colour=(0.6, 0.6, 0.62),
    )
    yield from _under(extent, 0.50, (-0.72, -0.48, 0.70), 0.20)


def _cab(extent: Extent, back: float) -> Iterator[Mesh]:
    """Give the driver's cab from a place to the front."""
    x, y, z = extent[0], WIDE * extent[1], 2 * extent[2]
    outline = [
        (back, 0.12),
        (0.97, 0.12),
        (0.997, 0.20),
        (0.997, 0.44),
        (0.95, 0.80),
        (0.90, 0.84),
        (back, 0.85),
    ]
    yield _shell(outline, extent, [0.97, 0.96, 0.94, 0.96, 0.92, 0.88, 0.90], Material.COACHWORK)
    deep = 1 - back
    side = [(back + 0.24 * deep, 0.49), (0.985, 0.49), (0.955, 0.75), (back + 0.24 * deep, 0.77)]
    yield _shell(side, extent, [0.985, 0.985, 0.955, 0.945], Material.GLASS)
    yield _shell(
        [(0.985, 0.47), (1.0, 0.46), (0.962, 0.76), (0.94, 0.76)],
        extent,
        [0.9, 0.9, 0.86, 0.86],
        Material.GLASS,
    )
    yield box((0.9975 * x, 0, 0.30 * z), (0.01, 0.62 * y, 0.07 * z), Material.GRILLE, BODY, faces=(0,))
    yield box((0.9975 * x, 0, 0.15 * z), (0.012, 0.93 * y, 0.03 * z), Material.RUBBER, BODY, faces=(0,))
    mirrors = np.array([(0.965 * x, s * 1.02 * y, 0.62 * z) for s in (1, -1)])
    yield box(mirrors, (0.05, 0.03 * y, 0.10 * z), Material.RUBBER, BODY)


def bus(extent: Extent) -> Iterator[Mesh]:
    """Give a bus."""
    x, y, z = extent[0], WIDE * extent[1], extent[2]
    outline = [(-1, 0.1), (0.985, 0.1), (0.998, 0.30), (0.985, 0.92), (0.95, 1), (-0.97, 1), (-1, 0.95)]
    yield _shell(outline, extent, [1.0, 1.0, 1.0, 0.97, 0.9, 0.9, 0.97], Material.COACHWORK)
    yield box((-0.03 * x, 0, 1.24 * z), (0.93 * x, y + 0.012, 0.33 * z), Material.GLASS, BODY, faces=SIDES)
    posts = np.array([(k * x, 0, 1.24 * z) for k in (-0.72, -0.50, -0.28, -0.06, 0.16, 0.38, 0.60)])
    yield painted(box(posts, (0.014 * x, y + 0.018, 0.33 * z), Material.COACHWORK, BODY, faces=SIDES))
    yield box((0.0, 0, 0.66 * z), (0.99 * x, y + 0.012, 0.05 * z), Material.PLAIN, BODY, faces=SIDES)
    yield box((0.996 * x, 0, 1.18 * z), (0.012, 0.90 * y, 0.42 * z), Material.GLASS, BODY, faces=(0,))
    yield box((-0.998 * x, 0, 1.36 * z), (0.012, 0.80 * y, 0.26 * z), Material.GLASS, BODY, faces=(1,))
    yield box(
        (0.985 * x, 0, 1.80 * z),
        (0.03, 0.66 * y, 0.09 * z),
        Material.PLAIN,
        BODY,
        faces=(0,),
        colour=(0.9, 0.6, 0.1),
    )
    doors = np.array([(0.80 * x, y + 0.016, 0.85 * z), (-0.08 * x, y + 0.016, 0.85 * z)])
    yield box(doors, (0.085 * x, 0.0, 0.70 * z), Material.GLASS, BODY, faces=(2,))
    yield box(doors, (0.006 * x, 0.004, 0.70 * z), Material.RUBBER, BODY, faces=(2,))
    yield from _under(extent, 0.48, (-0.58, 0.60), 0.20)


def _under(extent: Extent, radius: float, axles: Sequence[float], height: float) -> Iterator[Mesh]:
    yield from running_gear(extent, axles, radius)
    yield from lamps(extent, (height, height), (0.96, 0.94), 1.2)
    for way in (1, -1):
        yield plate((way * 1.002 * extent[0], 0, 2 * extent[2] * (height - 0.07)), way)


def fire_engine(extent: Extent) -> Iterator[Mesh]:
    """Give a fire engine."""
    x, y, z = extent[0], WIDE * extent[1], extent[2]
    cab = 1 - min(2.6 / x, 0.75)
    yield from _cab(extent, cab)
    length = 0.5 * (1 + cab) * x - 0.03
    middle = ((cab - 1) / 2 * x - 0.03, 0, 1.11 * z)
    yield painted(box(middle, (length, y, 0.79 * z), Material.COACHWORK, BODY, faces=(0, 1, 2, 3, 4)))
    doors = np.array([(middle[0] + k * length, 0, 1.20 * z) for k in (-0.68, -0.22, 0.24, 0.70)])
    yield box(doors, (0.20 * length, y + 0.012, 0.50 * z), Material.GRILLE, BODY, faces=SIDES, colour=PALE)
    yield box(
        (middle[0], 0, 0.56 * z),
        (length + 0.012, y + 0.012, 0.05 * z),
        Material.PLAIN,
        BODY,
        faces=(1, 2, 3),
        colour=(0.9, 0.85, 0.2),
    )
    rungs = np.array([(middle[0] + k * length, 0.3 * y, 2 * z - 0.06) for k in np.linspace(-0.9, 0.9, 7)])
    yield box(rungs, (0.03, 0.22 * y, 0.02), Material.METAL, BODY, faces=(0, 1, 4))
    rails = np.array([(middle[0], 0.3 * y + s * 0.22 * y, 2 * z - 0.06) for s in (1, -1)])
    yield box(rails, (0.95 * length, 0.03, 0.06), Material.METAL, BODY, faces=(0, 1, 2, 3, 4))
    yield _beacons((0.5 * (1 + cab) * x, 0.5 * y), 1.83 * z)
    yield box((0, 0, 0.24 * z), (0.95 * x, 0.55 * y, 0.10 * z), Material.METAL, BODY, colour=DARK)
    yield from _under(extent, 0.52, (-0.62, 0.66), 0.18)


def wedge(extent: Extent) -> Iterator[Mesh]:
    """Give a pick-up of flat steel sheets."""
    outline = [
        (-1, 0.30),
        (-0.95, 0.18),
        (0.94, 0.18),
        (1, 0.28),
        (0.995, 0.50),
        (0.10, 0.97),
        (0.02, 0.985),
        (-0.995, 0.60),
    ]
    wide = [0.96, 0.97, 0.97, 0.93, 0.97, 0.80, 0.80, 0.97]
    yield _shell(outline, extent, wide, Material.PLAIN, (0.66, 0.68, 0.70))
    glass = [(-0.42, 0.66), (0.52, 0.66), (0.09, 0.925), (0.0, 0.935)]
    yield _shell(glass, extent, [0.985, 0.975, 0.84, 0.84], Material.GLASS)
    yield _shell(
        [(0.60, 0.70), (0.63, 0.70), (0.13, 0.962), (0.12, 0.955)],
        extent,
        [0.82, 0.82, 0.7, 0.7],
        Material.GLASS,
    )
    yield from _under(extent, 0.44, (-0.60, 0.62), 0.46)


def roof_sign(kind: str, extent: Extent) -> Iterator[Mesh]:
    """Give what a special vehicle carries on its roof, up to the top of its box."""
    top = 2 * extent[2]
    if kind == "emergency":
        yield _beacons((-0.10 * extent[0], 0.45 * extent[1]), top)
    elif kind == "taxi":
        middle = (-0.10 * extent[0], 0, top - SIGN / 2)
        yield box(middle, (0.10, 0.28, SIGN / 2), Material.PLAIN, BODY, colour=(0.95, 0.80, 0.25))


def _beacons(at: tuple[float, float], top: float) -> Mesh:
    """Return a bar of red and blue lights across the roof: its place along it and half its width."""
    x, wide = at
    parts = [
        box(
            (x, s * 0.5 * wide, top - SIGN / 2),
            (0.12, 0.5 * wide, SIGN / 2),
            Material.PLAIN,
            BODY,
            faces=(0, 1, 2, 3, 4),
            colour=c,
        )
        for s, c in ((1, (0.75, 0.06, 0.06)), (-1, (0.08, 0.15, 0.75)))
    ]
    return join(parts)
