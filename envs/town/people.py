"""Meshes of people, and of two-wheelers with their riders, in the frame of their body."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, blob, box, join, prism, quads, tube
from mtdrive.envs.town.tags import Tag

BRAKE, FRONT, RIGHT, LEFT, REVERSE, REAR = 4, 5, 6, 7, 8, 9
"""Lamps of vehicles; the first three belong to traffic lights."""

Extent = tuple[float, float, float]
BODY = Tag.UNLABELED
"""The tag of a part that has the tag of its body."""

DARK, RED, CLEAR = (0.14, 0.14, 0.15), (1.0, 0.08, 0.05), (1.0, 0.98, 0.9)


def wheel(at: tuple[float, float, float], radius: float, thick: float) -> Mesh:
    """Return a wheel that rolls along x."""
    x, y, z = at
    ends = ((x, y - thick / 2, z), (x, y + thick / 2, z))
    tyre = [(ends[0], 0.0), (ends[0], radius), (ends[1], radius), (ends[1], 0.0)]
    parts = [tube(tyre, Material.RUBBER, BODY, sides=12, axis=1)]
    for end, out in zip(ends, (-0.015, 0.015), strict=True):
        cap = [((x, end[1] + out, z), 0.62 * radius), ((x, end[1] + out, z), 0.0)]
        rim = cap if out > 0 else cap[::-1]
        parts.append(tube(rim, Material.METAL, BODY, sides=10, axis=1, colour=(1, 1, 1)))
    return join(parts)


def _ring(at: tuple[float, float, float], radius: float, thin: float) -> Mesh:
    """Return a wheel with spokes left out: a ring seen from both sides."""
    x, y, z = at
    parts = []
    for side in (-1, 1):
        edge = (x, y + side * thin, z)
        flat = [(edge, radius), (edge, 0.8 * radius)]
        parts.append(tube(flat if side > 0 else flat[::-1], Material.RUBBER, BODY, sides=12, axis=1))
    rim = [((x, y - thin, z), radius), ((x, y + thin, z), radius)]
    inside = [((x, y + thin, z), 0.8 * radius), ((x, y - thin, z), 0.8 * radius)]
    spokes = [
        box(
            (x, y, z), (0.8 * radius if k else 0.01, 0.006, 0.01 if k else 0.8 * radius), Material.METAL, BODY
        )
        for k in (0, 1)
    ]
    return join([*parts, *(tube(r, Material.RUBBER, BODY, sides=12, axis=1) for r in (rim, inside)), *spokes])


def _bar(
    a: tuple[float, float, float],
    b: tuple[float, float, float],
    r: float,
    material: Material,
    tag: Tag,
    colour: tuple[float, float, float] = (1, 1, 1),
) -> Mesh:
    """Return a bar between two points, square in section."""
    start, end = np.array(a), np.array(b)
    along = end - start
    side = np.cross(
        [0.0, 1.0, 0.0] if abs(along[1]) < 0.9 * np.linalg.norm(along) else [1.0, 0.0, 0.0], along
    )
    side *= r / np.linalg.norm(side)
    other = np.cross(along, side)
    other *= r / np.linalg.norm(other)
    ring = np.array([side + other, -side + other, -side - other, side - other])
    low, high = ring + start, ring + end
    walls = np.stack([low, np.roll(low, -1, 0), np.roll(high, -1, 0), high], axis=1)
    return quads(np.concatenate([walls, high[None], low[None, ::-1]]), material, tag, colour=colour)


def _rider(seat: tuple[float, float], hands: tuple[float, float], foot: float) -> Iterator[Mesh]:
    """Give a person who sits astride: x and z of seat and hands, and the height of the feet."""
    x, z = seat
    chest, head = (x + 0.2, z + 0.48), (x + 0.3, z + 0.78)
    yield _bar((x, 0, z), (chest[0], 0, chest[1]), 0.13, Material.CLOTH, Tag.RIDER)
    yield blob((head[0], 0, head[1]), (0.12, 0.11, 0.14), Material.SKIN, Tag.RIDER, sides=8, layers=5)
    yield blob(
        (head[0] - 0.02, 0, head[1] + 0.05), (0.135, 0.125, 0.12), Material.PLAIN, Tag.RIDER, colour=DARK
    )
    for side in (-1, 1):
        y = 0.13 * side
        knee = (x + 0.36, y, 0.5 * (z + foot) + 0.1)
        yield _bar((x, y, z), knee, 0.07, Material.PLAIN, Tag.RIDER, (0.18, 0.20, 0.30))
        yield _bar(knee, (x + 0.18, y, foot), 0.06, Material.PLAIN, Tag.RIDER, (0.18, 0.20, 0.30))
        yield _bar(
            (chest[0], 0.19 * side, chest[1]),
            (hands[0], 0.24 * side, hands[1]),
            0.05,
            Material.CLOTH,
            Tag.RIDER,
        )


def motorcycle(extent: Extent) -> Iterator[Mesh]:
    """Give a motorcycle with its rider."""
    x = extent[0]
    r = min(0.33, 0.3 * x)
    yield wheel((-x + r, 0, r), r, 0.14)
    yield wheel((x - r, 0, r), r, 0.12)
    yield prism(
        np.array(
            [
                (-0.75 * x, 0.55),
                (-0.2 * x, 0.32),
                (0.3 * x, 0.32),
                (0.45 * x, 0.6),
                (0.35 * x, 0.9),
                (0.0, 0.86),
                (-0.7 * x, 0.78),
            ]
        ),
        0.15,
        Material.COACHWORK,
        BODY,
    )
    yield _bar((x - r, 0, r), (0.42 * x, 0, 0.95), 0.05, Material.METAL, BODY)
    yield _bar((0.42 * x, -0.32, 0.98), (0.42 * x, 0.32, 0.98), 0.025, Material.METAL, BODY)
    yield box((0.52 * x, 0, 0.82), (0.05, 0.1, 0.09), Material.LAMP, BODY, colour=CLEAR, lamp=FRONT)
    yield box((-0.76 * x, 0, 0.68), (0.03, 0.1, 0.05), Material.LAMP, BODY, colour=RED, lamp=BRAKE)
    yield from _rider((-0.18 * x, 0.86), (0.4 * x, 1.0), 0.34)


def bicycle(extent: Extent) -> Iterator[Mesh]:
    """Give a bicycle with its rider."""
    x = extent[0]
    r = min(0.34, 0.42 * x)
    rear, front, seat, crank, head = (
        (-x + r, 0, r),
        (x - r, 0, r),
        (-0.28 * x, 0, 0.9),
        (-0.06 * x, 0, 0.3),
        (0.42 * x, 0, 0.85),
    )
    yield _ring(rear, r, 0.025)
    yield _ring(front, r, 0.025)
    for a, b in ((rear, seat), (rear, crank), (crank, seat), (crank, head), (seat, head), (front, head)):
        yield _bar(a, b, 0.028, Material.COACHWORK, BODY)
    yield _bar((head[0], -0.26, 1.0), (head[0], 0.26, 1.0), 0.02, Material.METAL, BODY)
    yield box((seat[0], 0, 0.93), (0.12, 0.06, 0.03), Material.RUBBER, BODY)
    yield box((seat[0] - 0.13, 0, 0.86), (0.02, 0.04, 0.03), Material.LAMP, BODY, colour=RED, lamp=REAR)
    yield from _rider((seat[0], 0.95), (head[0], 1.02), 0.3)


def walker(extent: Extent) -> Iterator[Mesh]:
    """Give a person whose middle is the origin."""
    h = 2 * extent[2]
    up = -extent[2]
    for side in (-1, 1):
        y = 0.055 * side * h
        hip, foot = (0.0, y, up + 0.48 * h), (0.05 * side * h, y, up + 0.03 * h)
        yield _bar(hip, foot, 0.042 * h, Material.PLAIN, BODY, (0.20, 0.22, 0.30))
        yield box(
            (foot[0] + 0.03 * h, y, up + 0.02 * h), (0.065 * h, 0.032 * h, 0.02 * h), Material.RUBBER, BODY
        )
        shoulder, hand = (
            (0, 0.125 * side * h, up + 0.79 * h),
            (-0.05 * side * h, 0.15 * side * h, up + 0.47 * h),
        )
        yield _bar(shoulder, hand, 0.027 * h, Material.CLOTH, BODY)
        yield blob(hand, (0.028 * h,) * 3, Material.SKIN, BODY, sides=5, layers=3)
    yield blob(
        (0, 0, up + 0.65 * h), (0.075 * h, 0.125 * h, 0.2 * h), Material.CLOTH, BODY, sides=8, layers=6
    )
    yield tube(
        [((0, 0, up + 0.8 * h), 0.035 * h), ((0, 0, up + 0.88 * h), 0.035 * h)], Material.SKIN, BODY, sides=6
    )
    yield blob(
        (0.01 * h, 0, up + 0.915 * h),
        (0.055 * h, 0.048 * h, 0.07 * h),
        Material.SKIN,
        BODY,
        sides=8,
        layers=6,
    )
    yield blob(
        (-0.008 * h, 0, up + 0.945 * h),
        (0.058 * h, 0.052 * h, 0.056 * h),
        Material.PLAIN,
        BODY,
        sides=8,
        layers=5,
        colour=(0.16, 0.11, 0.07),
    )
