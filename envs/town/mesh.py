"""Meshes of quads in CARLA's frame.

The corners of a quad run so that `(b - a) x (c - a)`, by the usual formula, points out of the thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.materials import TILE, Material
from mtdrive.envs.town.tags import Tag

Corners = Float[np.ndarray, "quads 4 3"]
"""Single precision in a `Mesh`, as on the graphics card."""
Colour = tuple[float, float, float]
Vector = tuple[float, float, float]

WHITE: Colour = (1.0, 1.0, 1.0)

VERTEX = np.dtype(
    [
        ("point", "<f4", 3),
        ("normal", "u1", 4),
        ("uv", "<f4", 2),
        ("colour", "u1", 4),
        ("look", "u1", 4),
    ]
)
"""A vertex on the graphics card; the last byte of `look` and that of `colour` are the halves of the slot."""

LAYOUT = "3f4 4f1 2f4 4f1 4u1"


class Detail(IntEnum):
    """At which distances a part is drawn; in this order, those of a distance follow each other."""

    CLOSE = 0
    """Close by only."""
    NEAR = 1
    """Close by and farther."""
    ALWAYS = 2
    AWAY = 3
    """Everywhere but close by."""
    FAR = 4
    """Far away only."""


@dataclass(frozen=True)
class Mesh:
    """Quads with all that the shader needs; one row a quad."""

    points: Corners
    normals: Corners
    uv: Float[np.ndarray, "quads 4 2"]
    """In tiles of the texture."""
    colour: np.ndarray
    """Bytes; the texture is multiplied by it."""
    look: np.ndarray
    """Material, tag (0: the body's own), lamp (0: none), and the slot of the signal that it is a lamp of."""
    shade: np.ndarray
    """Bytes; how bright each corner is."""
    detail: np.ndarray
    """Of `Detail`."""

    def __len__(self) -> int:
        return len(self.points)

    def moved(self, matrix: Float[np.ndarray, "4 4"]) -> Mesh:
        """Return the mesh after a rigid motion."""
        turn = matrix[:3, :3].T
        points, normals = self.points @ turn + matrix[:3, 3], self.normals @ turn
        return replace(self, points=points.astype(np.float32), normals=normals.astype(np.float32))

    def stretched(self, by: Vector, shift: Vector = (0.0, 0.0, 0.0)) -> Mesh:
        """Return the mesh stretched along its axes and shifted; the normals stay as if it were not."""
        return replace(self, points=(self.points * by + shift).astype(np.float32))

    def at(self, detail: Detail) -> Mesh:
        """Return the mesh, to be drawn at some distances."""
        return replace(self, detail=np.full(len(self), detail, np.uint8))

    def shaded(self, bright: np.ndarray) -> Mesh:
        """Return the mesh with corners of other brightness, from 0 to 1; a row a quad, or one for all."""
        shade = np.broadcast_to(np.clip(np.round(bright * 255), 0, 255).astype(np.uint8), (len(self), 4))
        return replace(self, shade=shade)

    def packed(self) -> np.ndarray:
        """Return the vertices, four a quad."""
        out = np.zeros((len(self), 4), VERTEX)
        out["point"], out["uv"] = self.points, self.uv
        out["normal"][..., :3] = np.round(self.normals * 127) + 127
        out["colour"][..., :3] = np.round(self.colour[:, None] * (self.shade[..., None] / 255))
        out["colour"][..., 3] = self.look[:, None, 3] >> 8
        out["look"] = self.look[:, None] & 255
        return out.reshape(-1)


def quads(
    points: np.ndarray,
    material: Material,
    tag: Tag,
    *,
    uv: np.ndarray | None = None,
    colour: Colour | np.ndarray = WHITE,
    normals: np.ndarray | None = None,
    lamp: int = 0,
    slot: int = 0,
) -> Mesh:
    """Return a mesh.

    Args:
        points: n quads of 4 corners.
        material: decides the texture.
        tag: the semantic tag; 0 stands for the tag of the body.
        uv: metres along the texture, right and up; by default x and y of the points.
        colour: multiplies the texture, up to 1.
        normals: for smooth shading; by default those of the quads.
        lamp: which lamp it is, 0 for none.
        slot: the signal that it is a lamp of.
    """
    points = np.asarray(points, dtype=float).reshape(-1, 4, 3)
    n = len(points)
    metres = points[..., :2] if uv is None else np.broadcast_to(uv, (n, 4, 2))
    tints = np.empty((n, 3), np.uint8)
    tints[:] = np.clip(np.asarray(colour, dtype=float) * 255 + 0.5, 0, 255)
    look = np.empty((n, 4), np.uint16)
    look[:] = material, tag, lamp, slot
    return Mesh(
        points.astype(np.float32),
        (_normals(points) if normals is None else normals).astype(np.float32),
        (metres / TILE[material]).astype(np.float32),
        tints,
        look,
        np.full((n, 4), 255, np.uint8),
        np.full(n, Detail.ALWAYS, np.uint8),
    )


def _normals(points: Corners) -> Corners:
    u, v = points[:, 2] - points[:, 0], points[:, 3] - points[:, 1]
    # By hand: numpy's `cross` takes several times as long for few rows.
    across = u[:, [1, 2, 0]] * v[:, [2, 0, 1]] - u[:, [2, 0, 1]] * v[:, [1, 2, 0]]
    across /= np.maximum(np.sqrt((across**2).sum(axis=1, keepdims=True)), 1e-9)
    return np.repeat(across[:, None], 4, axis=1)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Return one mesh of several."""
    parts = [m for m in meshes if len(m)] or list(meshes[:1])
    return Mesh(*(np.concatenate([getattr(m, k) for m in parts]) for k in Mesh.__dataclass_fields__))


def scattered(mesh: Mesh, places: Float[np.ndarray, "m 4 4"]) -> Mesh:
    """Return copies of a mesh at many places, which may stretch it; the normals stay as if they did not."""
    m, n = len(places), len(mesh)
    places = places.astype(np.float32)
    turns, shifts = places[:, None, None, :3, :3], places[:, None, None, :3, 3]
    lengths = np.linalg.norm(turns, axis=-2, keepdims=True)

    def repeated(rows: np.ndarray) -> np.ndarray:
        return np.broadcast_to(rows, (m, *rows.shape)).reshape(-1, *rows.shape[1:])

    points = (turns @ mesh.points[None, ..., None])[..., 0] + shifts
    normals = ((turns / lengths) @ mesh.normals[None, ..., None])[..., 0]
    rest = (repeated(getattr(mesh, k)) for k in ("uv", "colour", "look", "shade", "detail"))
    return Mesh(points.reshape(m * n, 4, 3), normals.reshape(m * n, 4, 3), *rest)
