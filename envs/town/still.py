"""What does not move: the whole town as one mesh, cut into cells that are drawn where a camera sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from mtdrive.envs.town import things
from mtdrive.envs.town.markings import paint
from mtdrive.envs.town.mesh import Mesh, join
from mtdrive.envs.town.paving import pave
from mtdrive.envs.town.roads import TownMap
from mtdrive.envs.town.stage import Camera

Point = Float[np.ndarray, "3"]
Numbers = Int[np.ndarray, "n"]
Lengths = Float[np.ndarray, "n"]
Mask = Bool[np.ndarray, "n"]

CELL = 40.0
"""Metres of a cell."""

SIGHT = 450.0
"""Metres beyond which cells are not drawn, unless they reach nearer."""


def mesh_of(town: TownMap) -> Mesh:
    """Return the mesh of a town; the lamps of its n-th signal, counted from 1, have the slot n."""
    return join(list(_parts(town)))


def _parts(town: TownMap) -> Iterator[Mesh]:
    yield from pave(town.strips, town.surface)
    yield from paint(town.network, town.signposts, town.surface)
    yield from things.build(town.scenery)
    for slot, signpost in enumerate(town.signposts.values(), start=1):
        p = signpost.pose
        yield things.build_signpost(signpost, slot, town.ground(p.x, p.y, p.z))


class Cells:
    """The quads of a mesh sorted by cells, with a sphere around each cell."""

    def __init__(self, mesh: Mesh) -> None:
        middle = mesh.points.mean(axis=1)
        keys = np.floor(middle[:, :2] / CELL).astype(int)
        order = np.lexsort(keys.T)
        cuts = np.flatnonzero(np.any(np.diff(keys[order], axis=0) != 0, axis=1)) + 1
        self.starts = np.concatenate([[0], cuts])
        self.counts = np.diff(np.concatenate([self.starts, [len(order)]]))
        self.vertices = mesh.packed().reshape(-1, 4)[order]
        points = mesh.points[order]
        low = np.minimum.reduceat(points.min(axis=1), self.starts)
        high = np.maximum.reduceat(points.max(axis=1), self.starts)
        self.middles, self.radii = (low + high) / 2, np.linalg.norm(high - low, axis=1) / 2

    def seen(self, camera: Camera) -> list[tuple[int, int]]:
        """Return cells that hold all that a camera sees, as first quad and number; the nearest come first.

        What is drawn first hides the rest, which then costs less.
        """
        inside = in_view(camera, self.middles, self.radii)
        place = np.array([camera.pose.x, camera.pose.y, camera.pose.z])
        far = np.linalg.norm(self.middles - place, axis=1) - self.radii
        cells = np.flatnonzero(inside & (far < SIGHT))
        return self._cells(cells[np.argsort(far[cells], kind="stable")])

    def near(self, point: Point, radius: float) -> list[tuple[int, int]]:
        """Return the cells that hold all within a distance."""
        return self._cells(np.flatnonzero(np.linalg.norm(self.middles - point, axis=1) - self.radii < radius))

    def _cells(self, cells: Numbers) -> list[tuple[int, int]]:
        return list(zip(self.starts[cells].tolist(), self.counts[cells].tolist(), strict=True))


def in_view(camera: Camera, middles: Float[np.ndarray, "n 3"], radii: Lengths) -> Mask:
    """Return which spheres a camera may see, whatever the distance."""
    matrix = camera.pose.matrix()
    x, y, z = ((middles - matrix[:3, 3]) @ matrix[:3, :3]).T
    wide = math.radians(camera.fov) / 2
    high = math.atan(math.tan(wide) * camera.height / camera.width)
    inside = x > -radii
    for across, half in ((y, wide), (z, high)):
        inside &= abs(across) * math.cos(half) - x * math.sin(half) < radii
    return np.asarray(inside)
