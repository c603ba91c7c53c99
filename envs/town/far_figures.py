"""Bodies as they look far away: a stack of a few slices, each a box that narrows upwards."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from jaxtyping import Float, Int

from mtdrive.envs.town.mesh import Mesh

SLICES = 5
SHARE = 0.35
"""How much a quad that faces elsewhere counts as farther, in heights of the body."""

Numbers = Int[np.ndarray, "n"]
Corners = Float[np.ndarray, "_ 4 3"]


def simplified(mesh: Mesh) -> Mesh:
    """Return a mesh of few quads that has about the shape and the colours of another; it has no lamps."""
    points = _stack(mesh.points)
    across = np.cross(points[:, 2] - points[:, 0], points[:, 3] - points[:, 1])
    normals = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    like = _alike(mesh, points.mean(axis=1), normals)
    own = {"points": points, "normals": np.repeat(normals[:, None], 4, axis=1)}
    copied = {f.name: getattr(mesh, f.name)[like] for f in fields(Mesh) if f.name not in own}
    copied["uv"] = np.repeat(copied["uv"].mean(axis=1, keepdims=True), 4, axis=1)
    return Mesh(**own, **copied)


def _stack(points: Corners) -> Corners:
    """Return the sides of the slices and the top."""
    low, high = points[..., 2].min(), points[..., 2].max()
    levels = low + (high - low) * np.linspace(0.01, 0.99, SLICES + 1)
    rings = np.stack([_ring(points, z) for z in levels.tolist()])
    rings[0, :, 2], rings[-1, :, 2] = low, high
    sides = [
        np.stack([rings[:-1, i], rings[:-1, (i + 1) % 4], rings[1:, (i + 1) % 4], rings[1:, i]], axis=1)
        for i in range(4)
    ]
    return np.concatenate([*sides, rings[-1:]])


def _ring(points: Corners, z: float) -> Float[np.ndarray, "4 3"]:
    """Return the rectangle around what is at a height; seen from above, x turns to y."""
    start, end = points.reshape(-1, 3), np.roll(points, -1, axis=1).reshape(-1, 3)
    share = (z - start[:, 2]) / np.where(start[:, 2] == end[:, 2], np.inf, end[:, 2] - start[:, 2])
    met = start + share[:, None] * (end - start)
    met = met[(share > 0) & (share < 1)]
    (x0, y0), (x1, y1) = met[:, :2].min(axis=0), met[:, :2].max(axis=0)
    return np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]])


def _alike(mesh: Mesh, middles: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> Numbers:
    """Return the quads that are nearest and face the same way."""
    own = mesh.points.mean(axis=1)
    far = np.linalg.norm(middles[:, None] - own, axis=2) / np.ptp(mesh.points[..., 2])
    away = 1 - normals @ mesh.normals.mean(axis=1).T
    lamps = np.where(mesh.look[:, 2] > 0, 9.0, 0.0)
    return np.asarray(np.argmin(far + SHARE * away + lamps, axis=1))
