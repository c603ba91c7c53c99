"""What does not move: the whole town as one mesh, cut into cells that are drawn where a camera sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from mtdrive.envs.town import things
from mtdrive.envs.town.arrows import arrows
from mtdrive.envs.town.markings import paint
from mtdrive.envs.town.mesh import Detail, Mesh, join
from mtdrive.envs.town.paving import pave
from mtdrive.envs.town.roads import TownMap
from mtdrive.envs.town.stage import Camera

Point = Float[np.ndarray, "3"]
Numbers = Int[np.ndarray, "n"]
Lengths = Float[np.ndarray, "n"]
Mask = Bool[np.ndarray, "n"]

CELL, PLOT = 40.0, 10.0
"""Metres of a cell, and of the squares that it is sorted by."""

SIGHT = 450.0
"""Metres beyond which cells are not drawn, unless they reach nearer."""

CLOSE_BY, FAR_AWAY = 32.0, 100.0
"""Metres to a cell up to which it is drawn with all details, and from which on with the fewest."""

LEVELS = (
    (Detail.CLOSE, Detail.ALWAYS), (Detail.NEAR, Detail.AWAY), (Detail.ALWAYS, Detail.FAR),
)  # fmt: skip
"""The first and the last detail that is drawn close by, farther, and far away."""


def mesh_of(town: TownMap) -> Mesh:
    """Return the mesh of a town; the lamps of its n-th signal, counted from 1, have the slot n."""
    return join(list(_parts(town)))


def _parts(town: TownMap) -> Iterator[Mesh]:
    # What is drawn first hides the rest, which then costs less: things before paint before the ground.
    yield from things.build(town.scenery)
    for slot, signpost in enumerate(town.signposts.values(), start=1):
        p = signpost.pose
        yield things.build_signpost(signpost, slot, town.ground(p.x, p.y, p.z))
    yield from arrows(town.network)
    yield from paint(town.network, town.signposts, town.surface, town.strips)
    yield from pave(town.strips, town.surface)


class Cells:
    """The quads of a mesh sorted by cells, with a sphere around each cell."""

    def __init__(self, mesh: Mesh) -> None:
        middle = mesh.points.mean(axis=1)
        keys = np.floor(middle[:, :2] / CELL).astype(int)
        # Quads in a row lie close together, so that they can be left out together.
        order = np.lexsort((*np.floor(middle[:, :2] / PLOT).T, mesh.detail, *keys.T))
        cuts = np.flatnonzero(np.any(np.diff(keys[order], axis=0) != 0, axis=1)) + 1
        self.starts = np.concatenate([[0], cuts])
        kinds = len(Detail)
        cell = np.repeat(np.arange(len(self.starts)), np.diff([*self.starts, len(order)]))
        counts = np.bincount(cell * kinds + mesh.detail[order], minlength=len(self.starts) * kinds)
        self.ends = self.starts[:, None] + counts.reshape(-1, kinds).cumsum(axis=1)
        self.vertices = mesh.packed().reshape(-1, 4)[order]
        points = mesh.points[order]
        low = np.minimum.reduceat(points.min(axis=1), self.starts)
        high = np.maximum.reduceat(points.max(axis=1), self.starts)
        self.middles, self.radii = (low + high) / 2, np.linalg.norm(high - low, axis=1) / 2

    def seen(self, camera: Camera) -> list[tuple[int, int]]:
        """Return cells that hold all that a camera sees, as first quad and number; the nearest come first.

        What is drawn first hides the rest, which then costs less: the land around the map comes last.
        """
        inside = in_view(camera, self.middles, self.radii)
        place = np.array([camera.pose.x, camera.pose.y, camera.pose.z])
        far = np.linalg.norm(self.middles - place, axis=1) - self.radii
        cells = np.flatnonzero(inside & (far < SIGHT))
        order = np.where(self.radii[cells] < SIGHT, far[cells], np.inf)
        cells = cells[np.argsort(order, kind="stable")]
        return self._quads(cells, np.searchsorted((CLOSE_BY, FAR_AWAY), far[cells]))

    def near(self, point: Point, radius: float) -> list[tuple[int, int]]:
        """Return the cells that hold all within a distance."""
        cells = np.flatnonzero(np.linalg.norm(self.middles - point, axis=1) - self.radii < radius)
        return self._quads(cells, np.zeros(len(cells), int))

    def _quads(self, cells: Numbers, levels: Numbers) -> list[tuple[int, int]]:
        """Return where the quads of cells begin that belong to levels of detail, and how many there are."""
        first, last = np.array(LEVELS)[levels].T
        begins = np.where(first > 0, self.ends[cells, first - 1], self.starts[cells])
        counts = self.ends[cells, last] - begins
        return [(b, n) for b, n in zip(begins.tolist(), counts.tolist(), strict=True) if n]


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
