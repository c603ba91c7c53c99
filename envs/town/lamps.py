"""Lamps: where they are, which is read from the meshes, and which of them shine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from mtdrive.envs.town.furniture import STREET
from mtdrive.envs.town.mesh import Mesh
from mtdrive.envs.town.people import BRAKE, FRONT, LEFT, REAR, REVERSE, RIGHT
from mtdrive.envs.town.stage import Box

FLAGS = {BRAKE: 0x8, FRONT: 0x6, RIGHT: 0x10, LEFT: 0x20, REVERSE: 0x40, REAR: 0x1}
"""Of `carla.VehicleLightState`: which make a lamp shine brightly."""
DIM, POSITION = 0.3, 0x7
"""How brightly front and brake lights shine as position lights, and what switches these."""

LOW, HIGH = 0x2, 0x4
REACH = (38.0, 70.0)
"""Metres that low and high beams light ahead."""

SODIUM = (1.0, 0.77, 0.47)
"""The colour of street lamps."""
HIDING = 110.0
"""Metres to the last building that is asked whether it hides a lamp."""
AMONG = 0.12
"""Metres from the middle of a vehicle within which a lamp is neither left nor right."""

Point = Float[np.ndarray, "xyz=3"]
Points = Float[np.ndarray, "n 3"]
Lengths = Float[np.ndarray, "n"]
Numbers = Int[np.ndarray, "n"]
Mask = Bool[np.ndarray, "n"]


class Lights(NamedTuple):
    """Lamps that shine."""

    lamp: Numbers
    at: Points
    facing: Points
    """Where a lamp shines; zero: all around."""
    ground: Lengths
    """The height of the ground below."""
    colour: Points
    """Times how brightly it shines."""
    reach: Lengths
    """Metres that it lights ahead, as headlights do."""

    def chosen(self, which: np.ndarray) -> Lights:
        """Return some of them."""
        return Lights(*(x[which] for x in self))

    def near(self, point: Point, distance: float) -> Lights:
        """Return those within a distance."""
        return self.chosen(np.linalg.norm(self.at - point, axis=1) < distance)


NONE = Lights(np.zeros(0, int), *(np.zeros((0, 3)),) * 2, np.zeros(0), np.zeros((0, 3)), np.zeros(0))


def gathered(parts: list[Lights]) -> Lights:
    """Return all of several."""
    return Lights(*(np.concatenate(x) for x in zip(NONE, *parts, strict=True)))


class Bulbs(NamedTuple):
    """The lamps of a mesh, whether they shine or not."""

    lamp: Numbers
    slot: Numbers
    at: Points
    facing: Points
    colour: Points


def bulbs_of(mesh: Mesh, *, sides: bool) -> Bulbs:
    """Return the lamps of a mesh: quads in a row of one lamp and slot.

    With `sides`, those on the left and on the right are two.
    """
    which = np.flatnonzero(mesh.look[:, 2])
    middles, normals = mesh.points[which].mean(axis=1), mesh.normals[which].mean(axis=1)
    y = middles[:, 1] * sides
    key = np.column_stack([mesh.look[which, 2:4], np.sign(y) * (abs(y) > AMONG)]).astype(int)
    fresh = np.any(np.diff(key, axis=0, prepend=-1) != 0, axis=1) | (np.diff(which, prepend=-2) != 1)
    starts = np.flatnonzero(fresh)
    facing = _means(normals, starts)
    length = np.linalg.norm(facing, axis=1, keepdims=True)
    # The faces of a box look all around: their mean says nothing.
    facing = np.where(length > 0.2, facing / np.maximum(length, 0.2), 0.0)
    colour = _means(mesh.colour[which] / 255, starts)
    return Bulbs(key[starts, 0], key[starts, 1], _means(middles, starts), facing, colour)


def _means(rows: np.ndarray, starts: np.ndarray) -> Points:
    """Return the means of runs of rows."""
    if not len(starts):
        return np.zeros((0, 3))
    return np.asarray(np.add.reduceat(rows, starts) / np.diff([*starts, len(rows)])[:, None])


class Walls:
    """The buildings of a map, which hide lamps."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.middles = np.array([[b.pose.x, b.pose.y, b.pose.z] for b in boxes]).reshape(-1, 3)
        self.halves = np.array([b.extent for b in boxes]).reshape(-1, 3)
        yaw = np.radians([b.pose.yaw for b in boxes])
        self.axes = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)

    def hide(self, eye: Point, lights: Lights) -> Mask:
        """Return which lamps are behind a building."""
        near = np.linalg.norm(self.middles[:, :2] - eye[:2], axis=1) < HIDING
        start, ends = self._turned(eye, near), self._turned(lights.at[:, None], near)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1 / (ends - start)
            a, b = (sign * self.halves[near] - start for sign in (-1, 1))
            low, high = np.minimum(a * inverse, b * inverse), np.maximum(a * inverse, b * inverse)
        enter, leave = np.nanmax(low, axis=-1), np.nanmin(high, axis=-1)
        return np.asarray(((enter < leave) & (leave > 0) & (enter < 1)).any(axis=1))

    def _turned(self, points: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return points in the frames of boxes, the last axis but one."""
        (c, s), (x, y, z) = self.axes[which].T, np.moveaxis(points - self.middles[which], -1, 0)
        return np.stack([c * x + s * y, c * y - s * x, z], axis=-1)


class Fixed:
    """The lamps of the map."""

    def __init__(self, mesh: Mesh, ground: Callable[[float, float, float], float]) -> None:
        self._bulbs = b = bulbs_of(mesh, sides=False)
        heights = np.array([ground(*p) for p in b.at.tolist()])
        colour = np.where((b.lamp == STREET)[:, None], SODIUM, b.colour)
        facing = np.where((b.lamp == STREET)[:, None], 0.0, b.facing)
        self._all = Lights(b.lamp, b.at, facing, heights, colour, np.zeros(len(heights)))
        self.street = self._all.chosen(b.lamp == STREET)

    def shining(self, states: Numbers, *, street: bool) -> Lights:
        """Return the lamps that shine; a signal's state is at its slot."""
        b = self._bulbs
        return self._all.chosen(np.where(b.lamp == STREET, street, states[b.slot] + 1 == b.lamp))


def carried(bulbs: Bulbs, places: Float[np.ndarray, "m 4 4"], flags: Numbers) -> Lights:
    """Return the shining lamps of bodies of a kind: their `T_world,body`, and what is switched on."""
    m, n = len(places), len(bulbs.lamp)
    lamp, on = np.tile(bulbs.lamp, m), np.repeat(flags, n)
    full = (on & np.array([FLAGS.get(i, 0) for i in range(STREET)])[lamp]) != 0
    dim = ((on & POSITION) != 0) & ((lamp == FRONT) | (lamp == BRAKE))
    bright = np.where(full, 1.0, np.where(dim, DIM, 0.0))
    at = np.einsum("mij,nj->mni", places[:, :3, :3], bulbs.at) + places[:, None, :3, 3]
    ahead = np.repeat(places[:, None, :3, 0], n, axis=1) * np.sign(bulbs.at[:, :1])
    colour = np.tile(bulbs.colour, (m, 1)) * bright[:, None]
    reach = (lamp == FRONT) * np.where(on & HIGH, REACH[1], np.where(on & LOW, REACH[0], 0.0))
    ground = np.repeat(places[:, 2, 3], n)
    lights = Lights(lamp, at.reshape(-1, 3), ahead.reshape(-1, 3), ground, colour, reach)
    return lights.chosen(bright > 0)
