"""Meshes of people, and of two-wheelers with their riders, in the frame of their body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Colour, Mesh, quads
from mtdrive.envs.town.shapes import blob, box, grid, tube
from mtdrive.envs.town.tags import Tag

BRAKE, FRONT, RIGHT, LEFT, REVERSE, REAR = 4, 5, 6, 7, 8, 9
"""Lamps of vehicles; the first three belong to traffic lights."""

Extent = tuple[float, float, float]
BODY = Tag.UNLABELED
"""The tag of a part that has the tag of its body."""

DARK, RED, CLEAR = (0.14, 0.14, 0.15), (1.0, 0.08, 0.05), (1.0, 0.98, 0.9)
SHOES, HAIR = (0.12, 0.11, 0.11), (0.18, 0.12, 0.08)

Point = tuple[float, float, float]


def limb(
    points: Sequence[Point], radii: Sequence[float], material: Material, tag: Tag,
    colour: Colour = (1.0, 1.0, 1.0), sides: int = 5,
) -> Mesh:  # fmt: skip
    """Return a round tube along points that lie more or less above each other; its ends stay open."""
    rings = list(zip(points, radii, strict=True))
    return tube(
        rings if points[-1][2] > points[0][2] else rings[::-1], material, tag, sides=sides, colour=colour
    )


def torso(
    rings: Sequence[tuple[Point, float, float]],
    material: Material,
    tag: Tag,
    colour: Colour = (1.0, 1.0, 1.0),
) -> Mesh:
    """Return a body of flat rings from below to above: their middles, half depths and half widths."""
    turn = np.arange(8) * 2 * np.pi / 7
    circle = np.stack([np.cos(turn), np.sin(turn), np.zeros(8)], axis=1)
    points = np.array([np.array(at) + circle * (deep, wide, 1) for at, deep, wide in rings])
    normals = np.array([circle * (wide + 1e-6, deep + 1e-6, 1) for _, deep, wide in rings])
    normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    uv = np.stack(np.broadcast_arrays(turn[None] * 0.15, points[..., 2]), axis=-1)
    return quads(grid(points), material, tag, uv=grid(uv), normals=grid(normals), colour=colour)


def walker(extent: Extent) -> Iterator[Mesh]:
    """Give a person in mid-stride whose middle is the origin; lengths are shares of their height."""
    h, up = 2 * extent[2], -extent[2]

    def at(x: float, y: float, z: float) -> Point:
        return x * h, y * h, up + z * h

    for side in (-1, 1):
        y, ahead, swing = 0.052 * side, side > 0, float(side)
        ankle = at(0.062 if ahead else -0.070, y, 0.045 if ahead else 0.062)
        leg = (at(0.0, y, 0.49), at(0.045 if ahead else 0.012, y, 0.27), ankle)
        yield limb(leg, [0.046 * h, 0.036 * h, 0.026 * h], Material.DENIM, BODY)
        foot = (ankle[0] + 0.026 * h, y * h, ankle[2] - 0.024 * h)
        yield box(foot, (0.058 * h, 0.026 * h, 0.020 * h), Material.PLAIN, BODY, colour=SHOES)
        hand = at(-0.060 * swing, 0.142 * side, 0.475)
        arm = (at(0.0, 0.118 * side, 0.80), at(-0.028 * swing - 0.012, 0.140 * side, 0.63), hand)
        yield limb(arm, [0.034 * h, 0.027 * h, 0.021 * h], Material.CLOTH, BODY, sides=4)
        tip = (hand[0] + 0.010 * h, hand[1], hand[2] - 0.035 * h)
        yield box(tip, (0.018 * h, 0.012 * h, 0.038 * h), Material.SKIN, BODY, faces=(0, 1, 2, 3, 5))
    rings = [
        (at(0, 0, 0.44), 0.0, 0.0), (at(0, 0, 0.44), 0.070 * h, 0.096 * h),
        (at(0, 0, 0.56), 0.060 * h, 0.084 * h), (at(0.006, 0, 0.71), 0.072 * h, 0.110 * h),
        (at(0, 0, 0.79), 0.054 * h, 0.112 * h), (at(0, 0, 0.835), 0.028 * h, 0.036 * h),
    ]  # fmt: skip
    yield torso(rings, Material.CLOTH, BODY)
    yield limb((at(0, 0, 0.82), at(0.006, 0, 0.88)), [0.030 * h, 0.028 * h], Material.SKIN, BODY)
    head, hair = at(0.010, 0, 0.920), at(-0.004, 0, 0.942)
    yield blob(head, (0.052 * h, 0.043 * h, 0.068 * h), Material.SKIN, BODY, sides=6, layers=4)
    yield blob(hair, (0.054 * h, 0.048 * h, 0.056 * h), Material.PLAIN, BODY, sides=6, layers=4, colour=HAIR)
