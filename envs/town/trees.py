"""Meshes of trees, bushes and hedges, of half width 1 and half height 1, on the origin.

Close by they have boughs, clumps and loose twigs; farther away a crown is one clump. What is lower or inside
is darker, as less light gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Detail, Mesh, quads
from mtdrive.envs.town.shapes import box, grid, tube
from mtdrive.envs.town.tags import Tag

FINE = 2.0
"""By how much leaves are smaller than on a tree of half width and height 1."""

GREENS = {
    "oak": (0.86, 0.92, 0.80), "lime": (0.95, 1.0, 0.72), "birch": (1.0, 0.98, 0.66),
    "maple": (1.0, 0.80, 0.55), "poplar": (0.80, 0.95, 0.78),
}  # fmt: skip

Point = tuple[float, float, float]


def tree(style: int) -> Iterator[Mesh]:
    """Give a tree; a few shapes of each kind."""
    kinds: tuple[Callable[[np.random.Generator], Iterator[Mesh]], ...] = (
        _broad("oak", 0.62), _broad("lime", 0.75), _spruce, _broad("birch", 0.80, slim=0.72),
        _broad("oak", 0.66), _poplar, _pine, _broad("maple", 0.68), _spruce, _broad("lime", 0.70),
        _broad("oak", 0.60), _pine,
    )  # fmt: skip
    return kinds[style % len(kinds)](np.random.default_rng(style))


def bush(style: int) -> Iterator[Mesh]:
    """Give a bush."""
    rng = np.random.default_rng(style)
    light = rng.uniform(0.75, 1.0)
    tint = light * np.array([1.0, 1.0, rng.uniform(0.6, 0.9)])
    for turn in (0.3, 2.4, 4.5):
        at = (0.36 * np.cos(turn), 0.36 * np.sin(turn), rng.uniform(0.55, 0.75))
        yield _clump(at, (0.64, 0.64, 1.1), rng, tint, sides=6, layers=3).at(Detail.CLOSE)
        yield _twigs(at, (0.64, 0.64, 1.1), rng, tint, 5)
    yield _clump((0, 0, 0.75), (0.95, 0.95, 1.2), rng, tint, sides=5, layers=2).at(Detail.AWAY)


def hedge() -> Mesh:
    """Return a clipped hedge that runs along y."""
    mesh = box(
        (0, 0, 0.95), (1, 1, 1.05), Material.LEAVES, Tag.VEGETATION, faces=(0, 1, 2, 3, 4), taper=(0.8, 0.99),
        colour=(0.80, 0.86, 0.70),
    )  # fmt: skip
    mesh = replace(mesh, uv=mesh.uv * np.array([0.7, 0.3], np.float32))
    return mesh.shaded(0.55 + 0.45 * np.clip(mesh.points[..., 2] / 2, 0, 1))


def far_tree(style: int) -> Iterator[Mesh]:
    """Give a tree that no road comes near to: as it is drawn far away."""
    for mesh in tree(style):
        if mesh.detail[0] == Detail.AWAY:
            yield mesh.at(Detail.ALWAYS)


def _broad(kind: str, low: float, slim: float = 1.0) -> Callable[[np.random.Generator], Iterator[Mesh]]:
    """Return a maker of broad-leaved trees whose crown begins at a height."""

    def make(rng: np.random.Generator) -> Iterator[Mesh]:
        tint = np.array(GREENS[kind]) * rng.uniform(0.85, 1.0)
        white = (0.84, 0.82, 0.78) if kind == "birch" else (0.8, 0.76, 0.7)
        material = Material.PLAIN if kind == "birch" else Material.BARK
        yield from _trunk(low + 0.5, 0.058 * slim, material, white)
        high = 2.0 - low
        turns = rng.uniform(0, 6.28) + np.arange(4) * 1.57 + rng.uniform(-0.3, 0.3, 4)
        for turn in turns:
            out = slim * rng.uniform(0.40, 0.50)
            at = (out * np.cos(turn), out * np.sin(turn), low + high * rng.uniform(0.30, 0.52))
            bough = [((0.0, 0.0, low * 0.75), 0.03), (at, 0.02)]
            yield tube(bough, Material.BARK, Tag.VEGETATION, sides=3, colour=(0.7, 0.66, 0.6)).at(
                Detail.CLOSE
            )
            half = (
                slim * rng.uniform(0.46, 0.54),
                slim * rng.uniform(0.46, 0.54),
                high * rng.uniform(0.27, 0.33),
            )
            own = tint * rng.uniform(0.90, 1.0)
            yield _clump(at, half, rng, own, sides=6, low=low, high=high).at(Detail.CLOSE)
            yield _twigs(at, half, rng, own, 6, low=low, high=high)
        top = (rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1), low + 0.66 * high)
        half = (0.56 * slim, 0.56 * slim, 0.36 * high)
        yield _clump(top, half, rng, tint, low=low, high=high).at(Detail.CLOSE)
        yield _twigs(top, half, rng, tint, 8, low=low, high=high)
        middle, half = (0.0, 0.0, low + 0.48 * high), (0.86 * slim, 0.86 * slim, 0.54 * high)
        yield _clump(middle, half, rng, tint, sides=5, layers=3).at(Detail.AWAY)

    return make


def _poplar(rng: np.random.Generator) -> Iterator[Mesh]:
    tint = np.array(GREENS["poplar"]) * rng.uniform(0.85, 1.0)
    yield from _trunk(0.6, 0.05, Material.BARK, (0.8, 0.76, 0.7))
    for z, wide, high in ((0.70, 0.36, 0.42), (1.08, 0.40, 0.48), (1.52, 0.30, 0.46)):
        at = (rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06), z)
        yield _clump(at, (wide, wide, high), rng, tint, low=0.3, high=1.7).at(Detail.CLOSE)
        yield _twigs(at, (wide, wide, high), rng, tint, 6, low=0.3, high=1.7)
    yield _clump((0, 0, 1.14), (0.40, 0.40, 0.86), rng, tint, sides=4, layers=3).at(Detail.AWAY)


def _spruce(rng: np.random.Generator) -> Iterator[Mesh]:
    """Give a spruce: tiers of boughs that hang at their tips."""
    tint = np.array([0.9, 1.0, 0.9]) * rng.uniform(0.8, 1.0)
    yield from _trunk(0.5, 0.05, Material.BARK, (0.62, 0.55, 0.48))
    for detail, tiers, sides in ((Detail.CLOSE, 6, 8), (Detail.AWAY, 2, 5)):
        for k in range(tiers):
            low = 0.18 + 1.55 * k / tiers
            wide = 0.72 * (1 - k / tiers) ** 0.85 + 0.05
            high = min(low + 2.4 / tiers, 2.0) if k < tiers - 1 else 2.0
            rim = wide * (1 + np.where(np.arange(sides) % 2, -0.26, 0.10) + rng.uniform(-0.07, 0.07, sides))
            yield _skirt(low, high, rim, rng.uniform(0, 6.28), tint).at(detail)


def _skirt(low: float, high: float, rim: np.ndarray, turn: float, tint: np.ndarray) -> Mesh:
    """Return a cone with a ragged rim, and its dark underside."""
    n = len(rim)
    at = turn + np.arange(n) * 2 * np.pi / n
    droop = low - 0.05 * (rim / rim.max())
    edge = np.stack([rim * np.cos(at), rim * np.sin(at), droop], axis=1)
    following = np.roll(edge, -1, axis=0)
    top, under = np.array([0, 0, high]), np.array([0, 0, low + 0.10])
    sides = np.stack(
        [edge, following, np.broadcast_to(top, edge.shape), np.broadcast_to(top, edge.shape)], axis=1
    )
    below = np.stack(
        [following, edge, np.broadcast_to(under, edge.shape), np.broadcast_to(under, edge.shape)], axis=1
    )
    out = np.stack([np.cos(at), np.sin(at), np.full(n, 0.6)], axis=1) / 1.17
    normals = np.stack([out, np.roll(out, -1, axis=0), out, out], axis=1)
    long = float(np.linalg.norm([rim.max(), high - low]))
    u = np.arange(n) * 0.5
    uv = (
        np.stack([u, 0 * u, u + 0.5, 0 * u, u + 0.25, 0 * u + long, u + 0.25, 0 * u + long], 1).reshape(
            n, 4, 2
        )
        * FINE
    )
    shade = np.concatenate([np.tile([1.0, 1.0, 0.50, 0.50], (n, 1)), np.full((n, 4), 0.34)])
    points, both = np.concatenate([sides, below]), np.concatenate([normals, -normals])
    mesh = quads(
        points, Material.NEEDLES, Tag.VEGETATION, uv=np.concatenate([uv, uv]), normals=both, colour=tint
    )
    return mesh.shaded(shade * (0.78 + 0.11 * low))


def _pine(rng: np.random.Generator) -> Iterator[Mesh]:
    """Give a pine: a bare trunk, needles on top."""
    tint = np.array([0.95, 1.0, 0.85]) * rng.uniform(0.85, 1.0)
    yield from _trunk(1.5, 0.05, Material.BARK, (0.95, 0.68, 0.5))
    for k in range(4):
        turn = rng.uniform(0, 6.28)
        at = (0.30 * np.cos(turn), 0.30 * np.sin(turn), 1.12 + 0.2 * k)
        half = (0.52 - 0.06 * k, 0.52 - 0.06 * k, 0.17)
        yield _clump(at, half, rng, tint, Material.NEEDLES, layers=3, low=0.9, high=1.1).at(Detail.CLOSE)
        yield _twigs(at, half, rng, tint, 6, Material.NEEDLES, 0.9, 1.1)
    yield _clump((0, 0, 1.45), (0.68, 0.68, 0.50), rng, tint, Material.NEEDLES, sides=5, layers=3).at(
        Detail.AWAY
    )


def _trunk(top: float, radius: float, material: Material, tint: Point) -> Iterator[Mesh]:
    rings = [((0.0, 0.0, -0.1), 1.5 * radius), ((0.0, 0.0, 0.12), radius), ((0.0, 0.0, top), 0.7 * radius)]
    yield tube(rings, material, Tag.VEGETATION, sides=5, colour=tint).at(Detail.CLOSE)
    yield tube([rings[0], rings[2]], material, Tag.VEGETATION, sides=3, colour=tint).at(Detail.AWAY)


def _clump(
    at: Point, half: Point, rng: np.random.Generator, tint: np.ndarray,
    material: Material = Material.LEAVES, *, sides: int = 7, layers: int = 4, low: float = 0.0,
    high: float = 0.0,
) -> Mesh:  # fmt: skip
    """Return a clump of leaves; with `low` and `high`, its brightness is that of a part of a larger crown."""
    turns, heights = np.arange(sides + 1), np.linspace(-1, 1, layers + 1)
    angle = (turns * 2 * np.pi / sides)[None] + rng.uniform(0, 6.28) + 0.5 * np.arange(layers + 1)[:, None]
    wide = np.sqrt(np.maximum(1 - (0.94 * heights) ** 4, 0))
    wide[[0, -1]] = 0
    radius = wide[:, None] * rng.uniform(0.80, 1.14, (layers + 1, sides))[:, turns % sides]
    up = (heights * np.where(abs(heights) == 1, 0.90, 0.84))[:, None] + rng.uniform(
        -0.09, 0.09, (layers + 1, sides)
    )[:, turns % sides]
    up[[0, -1]] = up[[0, -1], :1]
    rows = np.stack([radius * np.cos(angle), radius * np.sin(angle), up], axis=-1)
    points = grid(rows)
    normals = points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-6) / np.asarray(half)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    around = np.stack(np.broadcast_arrays(angle * max(half[:2]), 1.6 * up * half[2]), axis=-1)
    points = points * np.asarray(half) + np.asarray(at)
    mesh = quads(points, material, Tag.VEGETATION, uv=grid(around) * FINE, normals=normals, colour=tint)
    return mesh.shaded(_shade(points, at, half, low, high))


def _shade(points: np.ndarray, at: Point, half: Point, low: float, high: float) -> np.ndarray:
    bottom, tall = (low, high) if high else (at[2] - half[2], 2 * half[2])
    up = np.clip((points[..., 2] - bottom) / tall, 0, 1)
    own = np.clip((points[..., 2] - at[2]) / half[2], -1, 1)
    return np.asarray(np.clip(0.66 + 0.20 * up + 0.15 * own, 0.35, 1.0))


def _twigs(
    at: Point, half: Point, rng: np.random.Generator, tint: np.ndarray, count: int,
    material: Material = Material.LEAVES, low: float = 0.0, high: float = 0.0,
) -> Mesh:  # fmt: skip
    """Return leaves that stand out from a clump, seen from both sides: they break its outline."""
    way = rng.standard_normal((count, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    root = way * np.array(half) * 0.78 + np.array(at)
    out = way + 0.5 * rng.standard_normal((count, 3)) - [0, 0, 0.2]
    out *= rng.uniform(0.11, 0.20, (count, 1)) / np.linalg.norm(out, axis=1, keepdims=True)
    side = np.cross(out, rng.standard_normal((count, 3)))
    side *= rng.uniform(0.05, 0.10, (count, 1)) / np.linalg.norm(side, axis=1, keepdims=True)
    points = np.stack([root, root + 0.5 * out - side, root + 1.1 * out, root + 0.5 * out + side], axis=1)
    normals = np.repeat((way + np.array([0, 0, 0.4]))[:, None], 4, axis=1)
    normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    uv = rng.uniform(0, 1, (count, 1, 2)) + np.array([(0, 0), (0.1, -0.08), (0.2, 0), (0.1, 0.08)]) * FINE
    both = (np.concatenate([x, x[:, ::-1]]) for x in (points, uv, normals))
    points, uv, normals = both
    mesh = quads(points, material, Tag.VEGETATION, uv=uv, normals=normals, colour=tint)
    return mesh.shaded(_shade(points, at, half, low, high)).at(Detail.CLOSE)
