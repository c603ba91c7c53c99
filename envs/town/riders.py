"""Meshes of two-wheelers with their riders, in the frame of their body."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, join
from mtdrive.envs.town.people import (
    BODY,
    BRAKE,
    CLEAR,
    FRONT,
    REAR,
    RED,
    SHOES,
    Extent,
    torso,
)
from mtdrive.envs.town.shapes import bar, blob, box, prism, tube, wheel
from mtdrive.envs.town.tags import Tag


def _tyre(at: tuple[float, float, float], radius: float, thin: float) -> Mesh:
    """Return a bicycle's wheel: a ring seen from both sides, and spokes."""
    x, y, z = at
    rings = [[((x, y - thin, z), radius), ((x, y + thin, z), radius)]]
    for side in (-1, 1):
        flat = [((x, y + side * thin, z), radius), ((x, y + side * thin, z), 0.84 * radius)]
        rings.append(flat if side > 0 else flat[::-1])
    spokes = np.array([(0.84 * radius, 0.004, 0.010), (0.010, 0.004, 0.84 * radius)])
    return join(
        [
            *(tube(r, Material.RUBBER, BODY, sides=12, axis=1) for r in rings),
            box(np.array([at, at]), spokes, Material.METAL, BODY, faces=(2, 3)),
        ]
    )


def _rider(
    seat: tuple[float, float],
    hands: tuple[float, float],
    foot: tuple[float, float],
    top: float,
    *,
    helmet: float,
) -> Iterator[Mesh]:
    """Give a person who sits astride: x and z of seat, hands and feet, and the height of the helmet."""
    x, z = seat
    tall = top - z - 0.14
    lean = 0.42 * (hands[0] - x)
    chest, neck = (x + 0.7 * lean, z + 0.66 * tall), (x + lean, z + 0.86 * tall)
    rings = [
        ((x, 0, z - 0.05), 0.13, 0.17), ((x + 0.4 * lean, 0, z + 0.35 * tall), 0.12, 0.15),
        ((chest[0], 0, chest[1]), 0.13, 0.20), ((neck[0], 0, neck[1]), 0.06, 0.08),
    ]  # fmt: skip
    yield torso(rings, Material.CLOTH, Tag.RIDER)
    head = (x + 1.12 * lean, 0, top - 0.14)
    yield blob(
        (head[0] + 0.02, 0, head[2] - 0.02), (0.10, 0.085, 0.11), Material.SKIN, Tag.RIDER, sides=6, layers=4
    )
    shell = (0.135, 0.12, 0.135) if helmet > 0.5 else (0.13, 0.105, 0.08)
    up = 0.0 if helmet > 0.5 else 0.055
    yield blob(
        (head[0] - 0.015, 0, head[2] + up),
        shell,
        Material.PLAIN,
        Tag.RIDER,
        sides=7,
        layers=4,
        colour=(helmet, 0.2, 0.16),
    )
    for side in (-1, 1):
        y = 0.14 * side
        knee = (x + 0.40, y, 0.5 * (z + foot[1]) + 0.08)
        ankle = (foot[0], y, foot[1] + 0.03)
        yield bar((x, 0.10 * side, z), knee, 0.075, Material.DENIM, Tag.RIDER)
        yield bar(knee, ankle, 0.055, Material.DENIM, Tag.RIDER)
        yield box((foot[0] + 0.05, y, foot[1]), (0.12, 0.045, 0.04), Material.PLAIN, Tag.RIDER, colour=SHOES)
        shoulder, elbow = (
            (chest[0], 0.20 * side, chest[1] + 0.04),
            (0.5 * (chest[0] + hands[0]), 0.27 * side, hands[1] + 0.04),
        )
        yield bar(shoulder, elbow, 0.05, Material.CLOTH, Tag.RIDER)
        yield bar(elbow, (hands[0], 0.25 * side, hands[1]), 0.04, Material.CLOTH, Tag.RIDER)


def motorcycle(extent: Extent) -> Iterator[Mesh]:
    """Give a motorcycle with its rider."""
    x, top = extent[0], 2 * extent[2]
    r = min(0.32, 0.3 * x)
    for at, thick in ((-x + r, 0.15), (x - r, 0.12)):
        yield wheel((at, 0.5 * thick, r), r, thick, 1, BODY)
        yield wheel((at, -0.5 * thick, r), r, thick, -1, BODY, tread=False)
    tank = [(-0.12 * x, 0.55), (0.40 * x, 0.55), (0.46 * x, 0.78), (0.22 * x, 0.92), (-0.05 * x, 0.80)]
    yield prism(np.array(tank), [0.13, 0.12, 0.10, 0.10, 0.14], Material.COACHWORK, BODY)
    tail = [(-0.80 * x, 0.70), (-0.10 * x, 0.56), (-0.05 * x, 0.80), (-0.50 * x, 0.78), (-0.85 * x, 0.80)]
    yield prism(np.array(tail), [0.06, 0.12, 0.13, 0.12, 0.05], Material.COACHWORK, BODY)
    seat = np.array([(-0.55 * x, 0.77), (-0.06 * x, 0.78), (-0.08 * x, 0.84), (-0.55 * x, 0.83)])
    yield prism(seat, 0.12, Material.RUBBER, BODY)
    yield box((0.08 * x, 0, 0.42), (0.24 * x, 0.13, 0.14), Material.METAL, BODY, colour=(0.7, 0.7, 0.72))
    yield bar((-0.1 * x, 0.16, 0.30), (-0.80 * x, 0.17, 0.42), 0.04, Material.METAL, BODY)
    for side in (-0.09, 0.09):
        yield bar((x - r, side, r), (0.44 * x, side, 0.92), 0.025, Material.METAL, BODY)
    yield bar((0.40 * x, -0.33, 0.98), (0.40 * x, 0.33, 0.98), 0.022, Material.RUBBER, BODY)
    yield prism(
        np.array([(0.52 * x, 0.72), (0.66 * x, 0.80), (0.50 * x, 1.05), (0.46 * x, 0.95)]),
        0.12,
        Material.COACHWORK,
        BODY,
    )
    yield box(
        (0.62 * x, 0, 0.83), (0.04, 0.08, 0.06), Material.LAMP, BODY, colour=CLEAR, faces=(0,), lamp=FRONT
    )
    yield box(
        (-0.83 * x, 0, 0.76), (0.03, 0.08, 0.035), Material.LAMP, BODY, colour=RED, faces=(1,), lamp=BRAKE
    )
    yield from _rider((-0.22 * x, 0.84), (0.38 * x, 0.98), (0.0, 0.34), top, helmet=0.62)


def bicycle(extent: Extent) -> Iterator[Mesh]:
    """Give a bicycle with its rider."""
    x, top = extent[0], 2 * extent[2]
    r = min(0.34, 0.42 * x)
    rear, front, seat, crank, head = (
        (-x + r, 0, r), (x - r, 0, r), (-0.28 * x, 0, 0.84), (-0.06 * x, 0, 0.3), (0.42 * x, 0, 0.85),
    )  # fmt: skip
    yield _tyre(rear, r, 0.022)
    yield _tyre(front, r, 0.022)
    for a, b in ((rear, seat), (rear, crank), (crank, seat), (crank, head), (seat, head), (front, head)):
        yield bar(a, b, 0.024, Material.COACHWORK, BODY)
    yield bar((head[0], -0.26, 0.98), (head[0], 0.26, 0.98), 0.02, Material.METAL, BODY)
    yield bar((head[0], 0, 0.84), (head[0], 0, 0.98), 0.02, Material.METAL, BODY)
    yield box((seat[0], 0, 0.87), (0.12, 0.06, 0.03), Material.RUBBER, BODY)
    yield box(
        (seat[0] - 0.13, 0, 0.80), (0.02, 0.04, 0.03), Material.LAMP, BODY, colour=RED, faces=(1,), lamp=REAR
    )
    yield from _rider((seat[0], 0.90), (head[0], 1.0), (crank[0], 0.20), top, helmet=0.45)
