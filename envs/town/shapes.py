"""The shapes that things are built of, as meshes in CARLA's frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import WHITE, Colour, Corners, Mesh, Vector, join, quads
from mtdrive.envs.town.tags import Tag


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


_UNIT = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
_SIDES = np.array([(1, 2), (1, 2), (0, 2), (0, 2), (0, 1), (0, 1)])
"""Along which axes a face of a box is wide and high."""


def box(
    middle: Vector | Float[np.ndarray, "n 3"],
    half: Vector | Float[np.ndarray, "n 3"],
    material: Material,
    tag: Tag,
    *,
    colour: Colour = WHITE,
    faces: Sequence[int] = (0, 1, 2, 3, 4, 5),
    taper: tuple[float, float] = (1.0, 1.0),
    lamp: int = 0,
    slot: int = 0,
) -> Mesh:
    """Return one or more boxes by their middles and half sizes; the rest is as for `quads`.

    `faces` says which of front, back, right, left, top and bottom there are; `taper`, how long and wide the
    top is as a share of the bottom.
    """
    middles, halves = np.broadcast_arrays(np.atleast_2d(middle).astype(float), np.atleast_2d(half))
    corners = _BOX[list(faces)]
    corners = corners * np.where(corners[..., 2:] > 0, np.array([*taper, 1.0]), 1.0)
    points = corners * halves[:, None, None] + middles[:, None, None]
    uv = _UNIT * (2 * halves[:, _SIDES[list(faces)]])[:, :, None]
    return quads(points, material, tag, uv=uv.reshape(-1, 4, 2), colour=colour, lamp=lamp, slot=slot)


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
        grid(points),
        material,
        tag,
        uv=grid(uv),
        colour=colour,
        normals=grid(normals),
        lamp=lamp,
        slot=slot,
    )


def grid(rows: np.ndarray) -> np.ndarray:
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
        grid(points),
        material,
        tag,
        uv=grid(uv),
        colour=colour,
        normals=grid(normals),
        lamp=lamp,
        slot=slot,
    )


def prism(
    outline: np.ndarray,
    half_width: float | Sequence[float] | np.ndarray,
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


def bar(
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


def wheel(at: Vector, radius: float, thick: float, side: int, tag: Tag, *, tread: bool = True) -> Mesh:
    """Return a wheel that rolls along x; its outer face is at `at`, on the right with `side` 1."""
    x, y, z = at
    turn = np.arange(11) * np.pi / 5
    circle = np.stack([np.cos(turn), np.zeros(11), np.sin(turn)], axis=1)
    rim = np.array(at) + radius * circle
    middle = np.broadcast_to(np.array(at), (5, 3))
    fan = np.stack([middle, rim[:-2:2], rim[1:-1:2], rim[2::2]], axis=1)
    flat = 0.5 + 0.5 * circle[:, [0, 2]]
    uv = np.stack([np.full((5, 2), 0.5), flat[:-2:2], flat[1:-1:2], flat[2::2]], axis=1)
    face = quads(fan[:, ::-side], Material.WHEEL, tag, uv=uv[:, ::-side])
    if not tread:
        return face
    ends = sorted((y, y - side * thick))
    return join([face, tube([((x, e, z), radius) for e in ends], Material.RUBBER, tag, sides=10, axis=1)])
