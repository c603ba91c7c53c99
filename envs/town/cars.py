"""Meshes of cars and vans in their own frame; lengths are shares of the body's box.

A hull is a grid of points: cross sections along the car, each from the right sill over the deck to the left
one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Colour, Mesh, join, quads
from mtdrive.envs.town.people import BODY, BRAKE, CLEAR, DARK, FRONT, LEFT, RED, REVERSE, RIGHT, Extent
from mtdrive.envs.town.shapes import box, grid, wheel

AMBER: Colour = (1.0, 0.55, 0.05)
PAINTED = (0.5, 0.75)
"""Where the texture of coachwork is plain."""

WIDE = 0.94
"""The width of a hull; the rest is for mirrors."""


@dataclass(frozen=True)
class Shape:
    """The outlines of a kind of car."""

    hull: Sequence[tuple[float, float, float, float, float]]
    """From back to front: place, heights of sill, shoulder and middle, and width."""
    cabin: tuple[float, float, float, float]
    """Places of the back window's foot and top, and of the windscreen's top and foot."""
    belt: float
    """Height of the lower edge of the windows."""
    posts: tuple[float, ...]
    """Places of the posts between the side windows."""
    lamps: tuple[float, float]
    """Heights of the lamps at the back and at the front."""
    axles: tuple[float, float] = (-0.60, 0.62)
    wheel: float = 0.335
    """Metres of a wheel's radius."""
    blind: float = -2.0
    """Up to where from the back there is sheet metal instead of side windows."""


SEDAN = Shape(
    hull=(
        (-1.0, 0.24, 0.54, 0.56, 0.84), (-0.95, 0.16, 0.625, 0.655, 0.93), (-0.66, 0.14, 0.645, 0.68, 0.985),
        (-0.30, 0.13, 0.63, 0.66, 1.0), (0.10, 0.13, 0.61, 0.64, 1.0), (0.40, 0.13, 0.60, 0.645, 1.0),
        (0.66, 0.14, 0.57, 0.62, 0.985), (0.92, 0.17, 0.49, 0.535, 0.91), (1.0, 0.22, 0.42, 0.45, 0.74),
    ),
    cabin=(-0.74, -0.40, 0.06, 0.43), belt=0.625, posts=(-0.06,), lamps=(0.56, 0.44),
)  # fmt: skip
HATCH = Shape(
    hull=(
        (-1.0, 0.24, 0.50, 0.54, 0.84), (-0.95, 0.16, 0.60, 0.63, 0.94), (-0.62, 0.14, 0.62, 0.65, 0.99),
        (-0.20, 0.13, 0.605, 0.64, 1.0), (0.20, 0.13, 0.59, 0.63, 1.0), (0.48, 0.13, 0.58, 0.63, 1.0),
        (0.70, 0.14, 0.55, 0.605, 0.97), (0.93, 0.17, 0.48, 0.52, 0.89), (1.0, 0.22, 0.40, 0.44, 0.74),
    ),
    cabin=(-0.96, -0.72, 0.08, 0.50), belt=0.605, posts=(-0.10,), lamps=(0.56, 0.44), axles=(-0.62, 0.62),
    wheel=0.31,
)  # fmt: skip
SUV = Shape(
    hull=(
        (-1.0, 0.27, 0.54, 0.56, 0.88), (-0.96, 0.20, 0.60, 0.615, 0.96), (-0.62, 0.18, 0.61, 0.63, 1.0),
        (-0.20, 0.17, 0.60, 0.63, 1.0), (0.20, 0.17, 0.595, 0.625, 1.0), (0.44, 0.17, 0.59, 0.63, 1.0),
        (0.68, 0.18, 0.575, 0.62, 0.99), (0.93, 0.21, 0.53, 0.565, 0.93), (1.0, 0.25, 0.45, 0.47, 0.80),
    ),
    cabin=(-0.965, -0.82, 0.10, 0.44), belt=0.60, posts=(-0.52, -0.08), lamps=(0.56, 0.47), wheel=0.38,
)  # fmt: skip
VAN = Shape(
    hull=(
        (-1.0, 0.17, 0.50, 0.50, 0.95), (-0.97, 0.13, 0.53, 0.53, 0.99), (-0.60, 0.12, 0.53, 0.53, 1.0),
        (-0.10, 0.12, 0.53, 0.53, 1.0), (0.40, 0.12, 0.53, 0.53, 1.0), (0.66, 0.12, 0.52, 0.54, 1.0),
        (0.82, 0.12, 0.48, 0.50, 0.98), (0.96, 0.14, 0.39, 0.41, 0.92), (1.0, 0.17, 0.33, 0.34, 0.80),
    ),
    cabin=(-0.985, -0.95, 0.46, 0.76), belt=0.52, posts=(-0.45, 0.02, 0.30), lamps=(0.36, 0.34),
    axles=(-0.60, 0.66), wheel=0.36,
)  # fmt: skip
CARGO = replace(VAN, posts=(0.30,), blind=0.20)


def shape_of(extent: Extent) -> Shape:
    """Return the kind of car that has a size."""
    x, _, z = extent
    if z > 0.97 and not (x > 2.6 and z < 1.05):
        return CARGO if x > 2.7 else VAN
    if z > 0.81:
        return SUV
    return HATCH if x < 2.14 else SEDAN


def car(extent: Extent) -> Iterator[Mesh]:
    """Give a car or van."""
    shape = shape_of(extent)
    yield _hull(shape, extent)
    yield from _cabin(shape, extent)
    yield from running_gear(extent, shape.axles, min(shape.wheel, 0.27 * 2 * extent[2]))
    yield from lamps(extent, shape.lamps, (0.96 * shape.hull[0][4], 0.96 * shape.hull[-1][4]))
    x, y, z = extent[0], WIDE * extent[1], 2 * extent[2]
    nose, tail = 1.003 * x, -1.003 * x
    low = shape.hull[-1][1]
    grille = [(nose, -0.42 * y, (low + 0.03) * z), (nose, 0.42 * y, (low + 0.03) * z)]
    grille += [(nose, 0.46 * y, (shape.lamps[1] - 0.02) * z), (nose, -0.46 * y, (shape.lamps[1] - 0.02) * z)]
    yield quads(np.array([grille]), Material.GRILLE, BODY, uv=np.array([(0, 0), (1, 0), (1, 1), (0, 1)]))
    yield plate((nose + 0.004, 0, (low + 0.055) * z), 1)
    yield plate((tail - 0.004, 0, (shape.hull[0][1] + 0.14) * z), -1)
    for side in (1, -1):
        at = (
            0.98 * shape.cabin[3] * x - 0.05,
            side * (0.5 * (WIDE * extent[1] + extent[1])),
            (shape.belt + 0.03) * z,
        )
        half = (0.09, 0.5 * (extent[1] - y) - 0.005, 0.07)
        yield box(at, half, Material.COACHWORK, BODY, colour=(0.8, 0.8, 0.8))


def _hull(shape: Shape, extent: Extent) -> Mesh:
    half, tall = np.array([extent[0], WIDE * extent[1]]), 2 * extent[2]
    table = np.array(shape.hull)
    x, sill, shoulder, middle, wide = table.T
    waist = sill + 0.52 * (shoulder - sill)
    section = [(0.96, sill), (1.0, waist), (0.93, shoulder), (0.0, middle)]
    side = np.stack(
        [np.stack([x * half[0], f * wide * half[1], z * tall], axis=1) for f, z in section], axis=1
    )
    rows = np.concatenate([side, side[:, 2::-1] * [1, -1, 1]], axis=1)
    normals = np.cross(np.gradient(rows, axis=1), np.gradient(rows, axis=0))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    v = np.array([0.02, 0.24, 0.45, 0.75, 0.45, 0.24, 0.02])
    uv = np.stack(np.broadcast_arrays(((x + 1) / 2)[:, None], v[None]), axis=-1)
    dark = np.broadcast_to(np.array([0.55, 0.95, 1, 1, 1, 0.95, 0.55])[:, None], (len(x), 7, 1))
    skin = quads(grid(rows), Material.COACHWORK, BODY, uv=grid(uv), normals=grid(normals)).shaded(
        grid(dark)[..., 0]
    )
    return join([skin, _end(rows[-1], 1), _end(rows[0], -1)])


def _end(section: np.ndarray, way: int) -> Mesh:
    """Return what closes a hull at the front or the back."""
    a, b, c, d, e, f, g = section
    faces = np.array([[g, a, b, f], [f, b, c, e], [e, c, d, d]])[:, ::way]
    return quads(faces, Material.COACHWORK, BODY, uv=_plain(faces)).shaded(
        np.array([[0.72] * 4, [1.0] * 4, [1.0] * 4])
    )


def _plain(faces: np.ndarray) -> np.ndarray:
    """Return texture coordinates in the plain part of the coachwork."""
    return np.broadcast_to(
        np.array(PAINTED) + np.array([(0, 0), (0.3, 0), (0.3, 0.2), (0, 0.2)]), (len(faces), 4, 2)
    )


def _cabin(shape: Shape, extent: Extent) -> Iterator[Mesh]:
    """Give windows, posts and the roof."""
    x, y, z = extent[0], WIDE * extent[1], 2 * extent[2]
    back, back_top, front_top, front = (p * x for p in shape.cabin)
    low, edge, roof = (shape.belt - 0.012) * z, 0.955 * z, z
    foot, top = 0.905 * y, 0.76 * y if extent[2] < 0.95 else 0.86 * y
    crown = 0.5 * (back_top + front_top)

    def side(at: float, height: float, sign: int, out: float = 0.0) -> tuple[float, float, float]:
        """Return a point on a side window: along the car, and from 0 at the belt to 1 at the roof."""
        return at, sign * (foot + (top - foot) * height + out), low + (edge - low) * height

    def edge_of(at: float, height: float) -> float:
        """Keep a place along the car between windscreen and back window at a height."""
        return float(np.clip(at, back + (back_top - back) * height, front + (front_top - front) * height))

    glass, metal = [], []
    for s in (1, -1):
        start = max(shape.blind * x, back)
        if start > back:
            metal.append([side(back, 0, s), side(start, 0, s), side(start, 1, s), side(back_top, 1, s)][::-s])
        glass.append(
            [side(start, 0, s), side(front, 0, s), side(front_top, 1, s), side(max(start, back_top), 1, s)][
                ::-s
            ]
        )
        wide = 0.035 * x
        for at in (*(p * x for p in shape.posts), back + 0.3 * wide, front - 0.3 * wide):
            ends = [edge_of(at + sign * wide, h) for h in (0.0, 1.0) for sign in (-1, 1)]
            if at > 0.8 * front or at < 0.9 * back:
                shift = (front_top - front) if at > 0 else (back_top - back)
                ends[2], ends[3] = (edge_of(e + shift, 1.0) for e in ends[:2])
            a, b, c, d = ends
            metal.append(
                [side(a, 0, s, 0.006), side(b, 0, s, 0.006), side(d, 1, s, 0.006), side(c, 1, s, 0.006)][::-s]
            )
    glass.append([side(front, 0, -1), side(front, 0, 1), side(front_top, 1, 1), side(front_top, 1, -1)])
    glass.append([side(back, 0, 1), side(back, 0, -1), side(back_top, 1, -1), side(back_top, 1, 1)])
    panes = np.array(glass)
    yield quads(panes, Material.GLASS, BODY, uv=panes[..., [0, 2]] * 1.6)
    corners = [side(at, 1, t) for at, t in ((back_top, -1), (back_top, 1), (front_top, 1), (front_top, -1))]
    p, q, r, u = corners
    ahead, behind = (
        [(0.62 * at + 0.38 * crown, t * 0.66 * top, roof) for t in (1, -1)] for at in (front_top, back_top)
    )
    tops = [
        [behind[1], behind[0], ahead[0], ahead[1]], [u, r, ahead[0], ahead[1]], [q, p, behind[1], behind[0]],
        [r, q, behind[0], ahead[0]], [p, u, ahead[1], behind[1]],
    ]  # fmt: skip
    yield _faces(tops, up=True)
    yield _faces(metal, up=False)


def _faces(faces: list[list[tuple[float, float, float]]], *, up: bool) -> Mesh:
    """Return sheets of coachwork; with `up`, each is turned so that its upper side is seen."""
    points = np.array(faces)
    across = np.cross(points[:, 2] - points[:, 0], points[:, 3] - points[:, 1])
    if up:
        points = np.where((across[:, 2] < 0)[:, None, None], points[:, ::-1], points)
    return quads(points, Material.COACHWORK, BODY, uv=_plain(points))


def running_gear(extent: Extent, axles: Sequence[float], radius: float) -> Iterator[Mesh]:
    """Give wheels, the dark arches around them, and the dark floor."""
    x, y = extent[0], WIDE * extent[1]
    for at in axles:
        for side in (1, -1):
            yield wheel((at * x, side * (y + 0.012), radius), radius, 0.21, side, BODY)
            yield _arch((at * x, side * (y + 0.004), radius), 1.14 * radius, side)
    yield box(
        (0, 0, 0.75 * radius), (0.86 * x, 0.80 * y, 0.30 * radius), Material.RUBBER, BODY, faces=(0, 1, 5)
    )


def _arch(at: tuple[float, float, float], radius: float, side: int) -> Mesh:
    """Return a dark part of a disc on the side of a car, behind a wheel."""
    x, y, z = at
    turn = np.linspace(-0.10 * np.pi, 1.10 * np.pi, 9)
    rim = np.stack([x + radius * np.cos(turn), np.full(9, y), z + radius * np.sin(turn)], axis=1)
    middle = np.broadcast_to(np.array(at), (4, 3))
    fan = np.stack([middle, rim[:-2:2], rim[1:-1:2], rim[2::2]], axis=1)[:, ::-side]
    return quads(fan, Material.RUBBER, BODY, colour=(0.8, 0.8, 0.8))


def lamps(
    extent: Extent, heights: tuple[float, float], wide: tuple[float, float], size: float = 1.0
) -> Iterator[Mesh]:
    """Give the lamps of a vehicle: front, brake, blinkers, reverse; heights and widths at back and front."""
    x, y = extent[0], WIDE * extent[1]
    back, front = (2 * extent[2] * h for h in heights)
    for side, blinker in ((1, RIGHT), (-1, LEFT)):
        for at, z, face, colour, lamp, share in (
            (x - 0.004, front, 0, CLEAR, FRONT, wide[1]), (-x + 0.004, back, 1, RED, BRAKE, wide[0]),
        ):  # fmt: skip
            half = (0.012, 0.13 * y * size, 0.055 * size)
            outer = side * share * y
            yield box(
                (at, outer - side * 0.21 * y * size, z),
                half,
                Material.LAMP,
                BODY,
                colour=colour,
                faces=(face,),
                lamp=lamp,
            )
            small = (0.010, 0.035 * y * size, 0.055 * size)
            yield box(
                (at, outer - side * 0.04 * y * size, z),
                small,
                Material.LAMP,
                BODY,
                colour=AMBER,
                faces=(face,),
                lamp=blinker,
            )
        low = (-x + 0.004, side * (wide[0] - 0.25) * y, back - 0.09)
        yield box(low, (0.01, 0.05, 0.03), Material.LAMP, BODY, colour=CLEAR, faces=(1,), lamp=REVERSE)


def painted(mesh: Mesh) -> Mesh:
    """Return coachwork without the gaps of doors."""
    return replace(mesh, uv=np.full_like(mesh.uv, PAINTED[1]))


def plate(at: tuple[float, float, float], way: int) -> Mesh:
    """Return a number plate that faces forward or back: dark signs on white."""
    x, y, z = at
    face = 0 if way > 0 else 1
    white = box(at, (0.0, 0.26, 0.06), Material.PLAIN, BODY, faces=(face,))
    signs = np.array([(x + 0.003 * way, y + s, z) for s in (-0.17, -0.09, 0.03, 0.11, 0.18)])
    return join([white, box(signs, (0.0, 0.025, 0.035), Material.PLAIN, BODY, faces=(face,), colour=DARK)])
