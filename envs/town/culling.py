"""Which quads of the town a camera may see: those in its view that face it and that no wall hides.

Quads in a row lie close together: runs of them are looked at first, as boxes. A run is left out where a
single wall hides all of its box, so that nothing is left out that could be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int

from mtdrive.envs.town.stage import Camera

Numbers = Int[np.ndarray, "_"]
Mask = Bool[np.ndarray, "_"]
Point = Float32[np.ndarray, "3"]
Points = Float32[np.ndarray, "_ 3"]
Corners = Float32[np.ndarray, "_ 4 3"]
Lengths = Float32[np.ndarray, "_"]

RUN = 8
"""Quads of a run, at most."""
WALL = 20.0
"""Square metres of a quad that may hide others, at least."""
WALLS = 48
"""Walls that are tried: those that look largest."""
GROUP = 16
"""Walls that are tried at once: what the largest hide is not tried again."""
SIDES = 5
"""Planes that bound what a wall hides: through its edges, and its own."""
APART = 1.0
"""Metres that an eye is before a wall, at least: what is nearer may be cut off at the front of the view."""
FLAT = 1e-3
"""Metres that a wall may bend."""
SLACK = 1e-3
"""Metres behind a triangle where its front still counts as seen: the graphics card decides."""


class Culling:
    """The quads of a mesh."""

    def __init__(self, points: Corners, cuts: np.ndarray) -> None:
        """Take the corners of the quads; no run goes across a cut."""
        points = np.asarray(points, np.float32)
        self._faces = _planes(points[:, :3]), _planes(points[:, [0, 2, 3]])
        bounds = np.unique([0, *np.ravel(cuts), len(points)]).tolist()
        runs = [np.arange(a, b, RUN) for a, b in pairwise(bounds)]
        self._starts = np.concatenate(runs)
        self._ends = np.append(self._starts[1:], len(points))
        low = np.minimum.reduceat(points.min(axis=1), self._starts).T
        high = np.maximum.reduceat(points.max(axis=1), self._starts).T
        self._middles, self._halves = (low + high) / 2, (high - low) / 2
        walls = _walls(points)
        self._run_of_wall = np.searchsorted(self._starts, walls, side="right") - 1
        self._walls, self._wall_middles = points[walls], points[walls].mean(axis=1)
        across = _across(self._walls)
        double = np.linalg.norm(across, axis=1)
        self._fronts, self._areas = across / np.maximum(double, 1e-9)[:, None], double / 2

    def seen(self, camera: Camera, ranges: Sequence[tuple[int, int]]) -> Numbers:
        """Return the quads that a camera may see of ranges, each given by its first quad and its length."""
        eye = np.array([camera.pose.x, camera.pose.y, camera.pose.z], np.float32)
        begins, counts = np.array(ranges, dtype=np.int64).reshape(-1, 2).T
        ends = begins + counts
        runs = _joined(np.searchsorted(self._starts, begins), np.searchsorted(self._starts, ends))
        runs = runs[self._in_view(camera, eye, runs)]
        runs = runs[~self._hidden(eye, runs)]
        quads = _joined(self._starts[runs], self._ends[runs])
        front = np.zeros(len(quads), bool)
        for x, y, z, along in self._faces:
            front |= eye[0] * x[quads] + eye[1] * y[quads] + eye[2] * z[quads] > along[quads]
        return quads[front]

    def _in_view(self, camera: Camera, eye: Point, runs: Numbers) -> Mask:
        """Return which runs reach into the view of a camera."""
        inward = _inward(camera)
        away = self._middles[:, runs] - eye[:, None]
        return np.asarray((inward @ away + abs(inward) @ self._halves[:, runs] > 0).all(axis=0))

    def _hidden(self, eye: Point, runs: Numbers) -> Mask:
        """Return which runs are behind one of the walls that are in other runs."""
        walls = self._largest(eye, runs)
        inward, least = _shadows(eye, self._walls[walls], self._fronts[walls])
        outward, away, halves = abs(inward), self._middles[:, runs] - eye[:, None], self._halves[:, runs]
        left = np.arange(len(runs))
        for group in range(0, len(inward), SIDES * GROUP):
            sides = slice(group, group + SIDES * GROUP)
            reach = inward[sides] @ away[:, left] - outward[sides] @ halves[:, left]
            behind = (reach > least[sides, None]).reshape(-1, SIDES, len(left)).all(axis=1).any(axis=0)
            left = left[~behind]
        hidden = np.ones(len(runs), bool)
        hidden[left] = False
        return hidden

    def _largest(self, eye: Point, runs: Numbers) -> Numbers:
        """Return the walls of some runs that look largest."""
        there = np.zeros(len(self._starts), bool)
        there[runs] = True
        walls = np.flatnonzero(there[self._run_of_wall])
        away = eye - self._wall_middles[walls]
        before = (away * self._fronts[walls]).sum(axis=1)
        far = np.linalg.norm(away, axis=1)
        looks = self._areas[walls] * before / np.maximum(far, APART) ** 3
        looks[before < APART] = 0
        best = np.argsort(-looks, kind="stable")[:WALLS]
        return np.asarray(walls[best[looks[best] > 0]])


def all_of(ranges: Sequence[tuple[int, int]]) -> Numbers:
    """Return the quads of ranges."""
    begins, counts = np.array(ranges, dtype=np.int64).reshape(-1, 2).T
    return _joined(begins, begins + counts)


def _joined(begins: Numbers, ends: Numbers) -> Numbers:
    """Return the numbers of several ranges, one range after the other."""
    counts = ends - begins
    return np.repeat(begins - counts.cumsum() + counts, counts) + np.arange(counts.sum())


def _across(points: Corners) -> Points:
    """Return the normals of quads, twice as long as the area is large."""
    return np.asarray(np.cross(points[:, 2] - points[:, 0], points[:, 3] - points[:, 1]))


def _planes(corners: Float32[np.ndarray, "_ 3 3"]) -> Float32[np.ndarray, "4 _"]:
    """Return the normals of triangles and how far along them an eye sees the front."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    along = (normals * corners[:, 0]).sum(axis=1) - SLACK
    return np.concatenate([normals.T, along[None]])


def _walls(points: Corners) -> Numbers:
    """Return the large flat convex quads."""
    across = _across(points)
    double = np.linalg.norm(across, axis=1)
    normals = (across / np.maximum(double, 1e-9)[:, None])[:, None]
    edges = np.roll(points, -1, axis=1) - points
    turns = np.cross(edges, np.roll(edges, -1, axis=1))
    convex = ((turns * normals).sum(axis=2) > 0).all(axis=1)
    bend = abs(((points - points[:, :1]) * normals).sum(axis=2)).max(axis=1)
    return np.flatnonzero((double > 2 * WALL) & convex & (bend < FLAT))


def _inward(camera: Camera) -> Float32[np.ndarray, "5 3"]:
    """Return the direction of a camera and the normals of the sides of its view."""
    wide = math.radians(camera.fov) / 2
    high = math.atan(math.tan(wide) * camera.height / camera.width)
    (a, b), (c, d) = (math.sin(wide), math.cos(wide)), (math.sin(high), math.cos(high))
    normals = np.array([[1, 0, 0], [a, b, 0], [a, -b, 0], [c, 0, d], [c, 0, -d]])
    return np.asarray(normals @ camera.pose.matrix()[:3, :3].T, np.float32)


def _shadows(eye: Point, walls: Corners, fronts: Points) -> tuple[Points, Lengths]:
    """Return five planes a wall, beyond all of which it hides: normals, and how far along from the eye."""
    rays = walls - eye
    sides = np.cross(rays, np.roll(rays, -1, axis=1))
    sides *= np.sign((sides * rays.mean(axis=1)[:, None]).sum(axis=2))[..., None]
    inward = np.concatenate([sides, -fronts[:, None]], axis=1)
    least = np.zeros(inward.shape[:2], np.float32)
    least[:, 4] = -(fronts * rays[:, 0]).sum(axis=1)
    return inward.reshape(-1, 3), least.reshape(-1)
