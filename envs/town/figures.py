"""Meshes of bodies in their own frame: here cars, vans, trucks, buses and props.

The size is that of the body. `COACHWORK` and `CLOTH` take the body's colour; the tag 0 stands for the body's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, box, join, prism
from mtdrive.envs.town.people import (
    BODY,
    BRAKE,
    CLEAR,
    DARK,
    FRONT,
    LEFT,
    RED,
    REVERSE,
    RIGHT,
    Extent,
    bicycle,
    motorcycle,
    walker,
    wheel,
)  # fmt: skip
from mtdrive.envs.town.tags import Tag

AMBER = (1.0, 0.55, 0.05)


def figure(tag: int, extent: Extent) -> Mesh:
    """Return the mesh of a body of a semantic tag and size; of what has no model, a crate."""
    makers: dict[int, Callable[[Extent], Iterator[Mesh]]] = {
        Tag.CAR: _van if extent[2] > 1.05 or extent[2] / extent[0] > 0.47 else _car,
        Tag.TRUCK: _truck,
        Tag.BUS: _bus,
        Tag.MOTORCYCLE: motorcycle,
        Tag.BICYCLE: bicycle,
        Tag.PEDESTRIAN: walker,
    }
    return join(list(makers.get(tag, _crate)(extent)))


def _scaled(outline: Sequence[tuple[float, float]], extent: Extent) -> np.ndarray:
    """Return an outline in metres: x from -1 to 1 along the length, z from 0 to 1 along the height."""
    return np.array(outline) * [extent[0], 2 * extent[2]]


def _shell(
    outline: Sequence[tuple[float, float]], extent: Extent, wide: float | Sequence[float], material: Material,
    colour: tuple[float, float, float] = (1, 1, 1),
) -> Mesh:  # fmt: skip
    return prism(_scaled(outline, extent), np.asarray(wide) * extent[1], material, BODY, colour=colour)


def _wheels(extent: Extent, radius: float, places: Sequence[float], thick: float = 0.22) -> Iterator[Mesh]:
    for x in places:
        for side in (-1, 1):
            y = side * (extent[1] - thick / 2 - 0.01)
            yield wheel((x * extent[0], y, radius), radius, thick)


def _lamps(extent: Extent, height: float, inset: float = 0.8, nose: float = 1.0) -> Iterator[Mesh]:
    """Give the lamps of a vehicle: front, brake, blinkers, reverse."""
    x, y, z = extent[0], extent[1], 2 * extent[2] * height
    for side, blinker in ((1, RIGHT), (-1, LEFT)):
        at = side * inset * y
        outer = side * (inset + 0.13) * y
        for where, face in ((nose * x, 0), (-x, 1)):
            yield box(
                (where, outer, z),
                (0.02, 0.045 * y + 0.02, 0.05),
                Material.LAMP,
                BODY,
                colour=AMBER,
                faces=(face,),
                lamp=blinker,
            )
        yield box(
            (nose * x, at, z),
            (0.025, 0.12 * y + 0.03, 0.07),
            Material.LAMP,
            BODY,
            colour=CLEAR,
            faces=(0,),
            lamp=FRONT,
        )
        yield box(
            (-x, at, z),
            (0.025, 0.12 * y + 0.03, 0.07),
            Material.LAMP,
            BODY,
            colour=RED,
            faces=(1,),
            lamp=BRAKE,
        )
        yield box(
            (-x, 0.6 * at, z - 0.12),
            (0.025, 0.05, 0.04),
            Material.LAMP,
            BODY,
            colour=CLEAR,
            faces=(1,),
            lamp=REVERSE,
        )


def _plates(extent: Extent, height: float) -> Iterator[Mesh]:
    for x, face in ((extent[0] + 0.005, 0), (-extent[0] - 0.005, 1)):
        yield box((x, 0, 2 * extent[2] * height), (0.005, 0.26, 0.06), Material.PAINT, BODY, faces=(face,))


def _car(extent: Extent) -> Iterator[Mesh]:
    hull = [
        (-1, 0.22),
        (-0.92, 0.15),
        (0.9, 0.15),
        (1, 0.2),
        (0.99, 0.46),
        (0.9, 0.53),
        (0.48, 0.62),
        (-0.86, 0.65),
        (-0.98, 0.58),
    ]
    yield _shell(hull, extent, [1, 0.96, 0.96, 0.86, 0.86, 0.9, 0.96, 0.94, 0.9], Material.COACHWORK)
    glass = [(-0.84, 0.64), (0.46, 0.61), (0.14, 0.95), (-0.5, 0.96)]
    yield _shell(glass, extent, [0.9, 0.92, 0.72, 0.72], Material.GLASS)
    roof = [(-0.55, 0.93), (0.16, 0.92), (0.1, 1.0), (-0.46, 1.0)]
    yield _shell(roof, extent, [0.76, 0.76, 0.66, 0.66], Material.COACHWORK)
    post = [(-0.2, 0.62), (-0.12, 0.62), (-0.14, 0.95), (-0.2, 0.95)]
    yield _shell(post, extent, [0.935, 0.935, 0.74, 0.74], Material.COACHWORK)
    yield from _finish(extent, min(0.23 * 2 * extent[2], 0.36), (-0.6, 0.62), 0.5)


def _van(extent: Extent) -> Iterator[Mesh]:
    hull = [(-1, 0.2), (-0.94, 0.13), (0.94, 0.13), (1, 0.18), (1, 0.42), (0.74, 0.54), (-1, 0.56)]
    yield _shell(hull, extent, [1, 0.97, 0.97, 0.9, 0.9, 0.97, 1], Material.COACHWORK)
    glass = [(-0.97, 0.54), (0.74, 0.53), (0.5, 0.84), (-0.96, 0.84)]
    yield _shell(glass, extent, [0.97, 0.95, 0.86, 0.9], Material.GLASS)
    roof = [(-0.985, 0.8), (0.52, 0.8), (0.42, 0.97), (0.3, 1.0), (-0.95, 1.0)]
    yield _shell(roof, extent, [0.92, 0.88, 0.82, 0.8, 0.82], Material.COACHWORK)
    for x in (-0.55, 0.05):
        post = [(x, 0.5), (x + 0.09, 0.5), (x + 0.09, 0.84), (x, 0.84)]
        yield _shell(post, extent, [0.985, 0.985, 0.9, 0.9], Material.COACHWORK)
    yield from _finish(extent, min(0.19 * 2 * extent[2], 0.4), (-0.62, 0.66), 0.4)


def _truck(extent: Extent) -> Iterator[Mesh]:
    x, y, z = extent
    cab = 1 - min(1.9 / x, 0.7)
    yield box(
        ((cab - 1) / 2 * x - 0.05, 0, 1.12 * z),
        (0.5 * (1 + cab) * x - 0.05, 0.98 * y, 0.86 * z),
        Material.COACHWORK,
        BODY,
        colour=(0.95, 0.95, 0.95),
    )
    yield _shell(
        [(cab, 0.12), (0.97, 0.12), (1, 0.2), (1, 0.45), (0.96, 0.8), (cab, 0.84)],
        extent,
        0.96,
        Material.COACHWORK,
    )
    yield _shell([(0.99, 0.46), (1.005, 0.46), (0.97, 0.76), (0.955, 0.76)], extent, 0.88, Material.GLASS)
    side = [
        (cab + 0.25 * (1 - cab), 0.48),
        (cab + 0.8 * (1 - cab), 0.48),
        (cab + 0.74 * (1 - cab), 0.72),
        (cab + 0.25 * (1 - cab), 0.72),
    ]
    yield _shell(side, extent, 0.975, Material.GLASS)
    yield box((0, 0, 0.2 * z), (0.96 * x, 0.7 * y, 0.1 * z), Material.METAL, BODY, colour=DARK)
    yield from _finish(extent, 0.5, (-0.7, -0.45, 0.72), 0.2)


def _bus(extent: Extent) -> Iterator[Mesh]:
    x, y, z = extent
    yield _shell(
        [(-1, 0.1), (0.99, 0.1), (1, 0.4), (0.98, 0.97), (0.96, 1), (-0.98, 1), (-1, 0.97)],
        extent,
        0.98,
        Material.COACHWORK,
    )
    yield box((-0.04 * x, 0, 1.24 * z), (0.9 * x, 0.99 * y, 0.32 * z), Material.GLASS, BODY, faces=(2, 3))
    yield box((0.975 * x, 0, 1.15 * z), (0.03 * x, 0.9 * y, 0.45 * z), Material.GLASS, BODY, faces=(0,))
    for k in range(-3, 4):
        yield box(
            (0.26 * k * x, 0, 1.24 * z),
            (0.014 * x, 0.996 * y, 0.32 * z),
            Material.COACHWORK,
            BODY,
            faces=(2, 3),
        )
    yield box((0.0, 0, 0.62 * z), (0.99 * x, 0.985 * y, 0.05 * z), Material.PAINT, BODY, faces=(2, 3))
    yield from _finish(extent, 0.48, (-0.58, 0.6), 0.22)


def _finish(extent: Extent, radius: float, axles: Sequence[float], lamps: float) -> Iterator[Mesh]:
    """Give what all vehicles on four wheels have."""
    yield from _wheels(extent, radius, axles)
    for x in axles:
        for side in (2, 3):
            y = (extent[1] + 0.004) * (1 if side == 2 else -1)
            yield box(
                (x * extent[0], y, 1.12 * radius),
                (1.2 * radius, 0.0, 1.12 * radius),
                Material.RUBBER,
                BODY,
                faces=(side,),
                taper=(0.7, 1.0),
            )
    yield box((0, 0, 0.55 * radius), (0.9 * extent[0], 0.8 * extent[1], 0.3 * radius), Material.RUBBER, BODY)
    yield from _lamps(extent, lamps)
    yield from _plates(extent, lamps - 0.12)


def _crate(extent: Extent) -> Iterator[Mesh]:
    yield box((0, 0, extent[2]), extent, Material.CLOTH, BODY)
