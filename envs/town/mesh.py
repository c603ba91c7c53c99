"""Meshes of quads, and the shapes that things are built of, in CARLA's frame.

The corners of a quad run so that `(b - a) x (c - a)`, by the usual formula, points out of the thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.materials import TILE, Material
from mtdrive.envs.town.tags import Tag

Corners = Float[np.ndarray, "quads 4 3"]
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

    def __len__(self) -> int:
        return len(self.points)

    def moved(self, matrix: Float[np.ndarray, "4 4"]) -> Mesh:
        """Return the mesh after a rigid motion."""
        turn = matrix[:3, :3].T
        return replace(self, points=self.points @ turn + matrix[:3, 3], normals=self.normals @ turn)

    def packed(self) -> np.ndarray:
        """Return the vertices, four a quad."""
        out = np.zeros((len(self), 4), VERTEX)
        out["point"], out["uv"] = self.points, self.uv
        out["normal"][..., :3] = np.round(self.normals * 127) + 127
        out["colour"][..., :3] = self.colour[:, None]
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
    tints = np.broadcast_to(np.asarray(colour, dtype=float), (n, 3))
    look = np.broadcast_to(np.array([material, tag, lamp, slot]), (n, 4))
    return Mesh(
        points,
        _normals(points) if normals is None else normals,
        metres / TILE[material],
        np.clip(np.round(tints * 255), 0, 255).astype(np.uint8),
        look,
    )


def _normals(points: Corners) -> Corners:
    across = np.cross(points[:, 2] - points[:, 0], points[:, 3] - points[:, 1])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    return np.repeat(across[:, None], 4, axis=1)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Return one mesh of several."""
    parts = [m for m in meshes if len(m)] or list(meshes[:1])
    return Mesh(*(np.concatenate([getattr(m, k) for m in parts]) for k in Mesh.__dataclass_fields__))


def scattered(mesh: Mesh, places: Float[np.ndarray, "m 4 4"]) -> Mesh:
    """Return copies of a mesh at many places, which may stretch it; the normals stay as if they did not."""
    m, n = len(places), len(mesh)
    turns, shifts = places[:, None, None, :3, :3], places[:, None, None, :3, 3]
    lengths = np.linalg.norm(turns, axis=-2, keepdims=True)

    def repeated(rows: np.ndarray) -> np.ndarray:
        return np.broadcast_to(rows, (m, *rows.shape)).reshape(-1, *rows.shape[1:])

    points = (turns @ mesh.points[None, ..., None])[..., 0] + shifts
    normals = ((turns / lengths) @ mesh.normals[None, ..., None])[..., 0]
    return Mesh(
        points.reshape(m * n, 4, 3), normals.reshape(m * n, 4, 3), repeated(mesh.uv), repeated(mesh.colour),
        repeated(mesh.look),
    )  # fmt: skip


def ribbon(left: Float[np.ndarray, "n 3"], right: Float[np.ndarray, "n 3"]) -> Corners:
    """Return the quads between two lines; seen from above, the first lies on the left."""
    return np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)


_BOX = np.array(
    [
        [(1, -1, -1), (1, 1, -1), (1, 1, 1), (1, -1, 1)],
        [(-1, 1, -1), (-1, -1, -1), (-1, -1, 1), (-1, 1, 1)],
        [(1, 1, -1), (-1, 1, -1), (-1, 1, 1), (1, 1, 1)],
        [(-1, -1, -1), (1, -1, -1), (1, -1, 1), (-1, -1, 1)],
        [(-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)],
        [(-1, 1, -1), (1, 1, -1), (1, -1, -1), (-1, -1, -1)],
    ],
    dtype=float,
)
"""Front, back, right, left, top, bottom."""


def box(
    middle: Vector,
    half: Vector,
    material: Material,
    tag: Tag,
    *,
    colour: Colour = WHITE,
    faces: Sequence[int] = (0, 1, 2, 3, 4, 5),
    taper: tuple[float, float] = (1.0, 1.0),
    lamp: int = 0,
    slot: int = 0,
) -> Mesh:
    """Return a box by its middle and half sizes; the rest is as for `quads`.

    `faces` says which of front, back, right, left, top and bottom there are; `taper`, how long and wide the
    top is as a share of the bottom.
    """
    corners = _BOX[list(faces)].copy()
    sizes = 2 * np.asarray(half)
    wide = [sizes[1], sizes[1], sizes[0], sizes[0], sizes[0], sizes[0]]
    high = [sizes[2]] * 4 + [sizes[1]] * 2
    uv = np.array([[(0, 0), (wide[f], 0), (wide[f], high[f]), (0, high[f])] for f in faces])
    corners[..., :2] *= np.where(corners[..., 2:] > 0, np.asarray(taper), 1.0)
    points = corners * np.asarray(half) + np.asarray(middle)
    return quads(points, material, tag, uv=uv, colour=colour, lamp=lamp, slot=slot)


def tube(
    rings: Sequence[tuple[Vector, float]],
    material: Material,
    tag: Tag,
    *,
    sides: int = 8,
    colour: Colour | np.ndarray = WHITE,
    axis: int = 2,
    lamp: int = 0,
    slot: int = 0,
) -> Mesh:
    """Return a round body along an axis: circles of given middles and radii, joined; the ends stay open."""
    turn = np.arange(sides + 1) * (2 * np.pi / sides)
    circle = np.roll(np.stack([np.cos(turn), np.sin(turn), np.zeros_like(turn)], axis=1), axis - 2, axis=1)
    middles = np.array([m for m, _ in rings], dtype=float)
    radii = np.array([r for _, r in rings], dtype=float)
    points = middles[:, None] + radii[:, None, None] * circle
    normals = np.broadcast_to(circle, points.shape)
    u = turn * float(radii.max())
    v = np.concatenate([[0.0], np.linalg.norm(np.diff(middles, axis=0), axis=1).cumsum()])
    uv = np.stack(np.broadcast_arrays(u[None], v[:, None]), axis=-1)
    return quads(
        _grid(points),
        material,
        tag,
        uv=_grid(uv),
        colour=colour,
        normals=_grid(normals),
        lamp=lamp,
        slot=slot,
    )


def _grid(rows: np.ndarray) -> np.ndarray:
    """Return the quads of a grid whose second index runs to the right of the first, seen from outside."""
    parts = (rows[:-1, :-1], rows[:-1, 1:], rows[1:, 1:], rows[1:, :-1])
    return np.stack(parts, axis=2).reshape(-1, 4, rows.shape[-1])


def blob(
    middle: Vector,
    half: Vector,
    material: Material,
    tag: Tag,
    *,
    rough: np.random.Generator | None = None,
    amount: float = 0.0,
    sides: int = 8,
    layers: int = 5,
    colour: Colour | np.ndarray = WHITE,
    lamp: int = 0,
    slot: int = 0,
) -> Mesh:
    """Return an ellipsoid, with its radius varied by up to `amount` by `rough`."""
    up = np.linspace(-np.pi / 2, np.pi / 2, layers + 1)[:, None]
    turn = (np.arange(sides + 1) * (2 * np.pi / sides))[None]
    unit = np.stack(np.broadcast_arrays(np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.sin(up)), -1)
    radius = np.ones((layers + 1, sides))
    if rough is not None:
        radius += rough.uniform(-amount, amount, radius.shape)
    radius = np.concatenate([radius, radius[:, :1]], axis=1)
    points = unit * radius[..., None] * np.asarray(half) + np.asarray(middle)
    size = float(max(half))
    uv = np.stack(np.broadcast_arrays(turn * size, up * size), axis=-1)
    normals = unit / np.asarray(half)
    normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    return quads(
        _grid(points),
        material,
        tag,
        uv=_grid(uv),
        colour=colour,
        normals=_grid(normals),
        lamp=lamp,
        slot=slot,
    )


def prism(
    outline: np.ndarray,
    half_width: float | np.ndarray,
    material: Material,
    tag: Tag,
    *,
    colour: Colour = WHITE,
    closed: bool = True,
) -> Mesh:
    """Return a side view made thick: `outline` holds x and z, counter-clockwise with x to the right and z up.

    `half_width` may differ from corner to corner. With `closed` there are walls left and right; they are fans
    of quads around the middle of the outline, which must see every corner.
    """
    n = len(outline)
    wide = np.broadcast_to(half_width, n)
    sides = [np.stack([outline[:, 0], y * wide, outline[:, 1]], axis=1) for y in (-1, 1)]
    near, far = (np.concatenate([s, s[:1]]) for s in sides)
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(near, axis=0), axis=1).cumsum()])
    uv = np.stack(
        [
            np.stack([along[:-1], along[1:], along[1:], along[:-1]], 1),
            np.stack([-wide, -np.roll(wide, -1), np.roll(wide, -1), wide], 1),
        ],
        axis=-1,
    )
    band = quads(
        np.stack([near[:-1], near[1:], far[1:], far[:-1]], 1)[:, ::-1], material, tag, uv=uv, colour=colour
    )
    if not closed:
        return band
    walls = []
    for line, step in ((near, 1), (far, -1)):
        middle = line[:-1].mean(axis=0)
        fan = np.stack([np.broadcast_to(middle, (n, 3)), line[:-1], line[1:], line[1:]], 1)[:, ::step]
        walls.append(quads(fan, material, tag, uv=fan[..., [0, 2]], colour=colour))
    return join([band, *walls])
