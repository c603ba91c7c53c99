"""Meshes of what stands beside the roads: buildings, plants, furniture, signals and signs.

In its own frame a thing stands on the origin and faces x, where the road is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town import trees
from mtdrive.envs.town.blocks import block
from mtdrive.envs.town.furniture import RUNS, piece
from mtdrive.envs.town.houses import house
from mtdrive.envs.town.letters import write
from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Colour, Detail, Mesh, join, quads, scattered
from mtdrive.envs.town.shapes import box, tube
from mtdrive.envs.town.signposts import LIGHT, SPEED, STOP, Signpost
from mtdrive.envs.town.sites import Item
from mtdrive.envs.town.tags import Tag

RED, YELLOW, GREEN = 1, 2, 3
"""Lamps of a traffic light."""

BUILDINGS = {"house": house, "block": block}
PLANTS = {"tree": trees.tree, "far tree": trees.far_tree, "bush": trees.bush}
SHAPES = 12
"""Shapes that there are of each plant."""


def build(items: Sequence[Item]) -> Iterator[Mesh]:
    """Give the meshes of things in the world; but for buildings, a few shapes are copied and stretched."""
    copies: dict[tuple[str, int], list[Item]] = defaultdict(list)
    for item in items:
        if item.kind in BUILDINGS:
            parts = BUILDINGS[item.kind](item.extent, np.random.default_rng(item.style))
            yield join(list(parts)).moved(item.pose.matrix())
        else:
            copies[item.kind, item.style % SHAPES if item.kind in PLANTS else 0].append(item)
    for (kind, style), same in copies.items():
        shape = join(list(PLANTS[kind](style) if kind in PLANTS else piece(kind)))
        yield _stretched(kind, scattered(shape, np.stack([_place(i) for i in same])), same)


def _place(item: Item) -> Float[np.ndarray, "4 4"]:
    """Return what takes a shape to its place; plants are stretched, and what runs along y is so along it."""
    stretch = item.extent if item.kind in PLANTS else (1.0, item.extent[1] if item.kind in RUNS else 1.0, 1.0)
    return item.pose.matrix() * [*stretch, 1.0]


def _stretched(kind: str, mesh: Mesh, items: Sequence[Item]) -> Mesh:
    """Return copies of what runs along y with textures of the right size."""
    if kind not in RUNS:
        return mesh
    long = np.repeat([i.extent[1] for i in items], len(mesh) // len(items))
    return replace(mesh, uv=mesh.uv * np.stack([long, np.ones(len(long))], axis=1)[:, None])


def build_signpost(signpost: Signpost, slot: int, z: float) -> Mesh:
    """Return the mesh of a signal or sign on ground of height `z`; `slot` is where its state is read."""
    parts = _light(_reach(signpost), slot) if signpost.kind == LIGHT else _sign(signpost)
    matrix = signpost.pose.matrix()
    matrix[2, 3] = z
    return join(list(parts)).moved(matrix)


def _reach(signpost: Signpost) -> float:
    """Return how far to the side the middle of its lanes lies."""
    if not signpost.stops:
        return 0.0
    away = [
        signpost.pose.right @ [s.pose.x - signpost.pose.x, s.pose.y - signpost.pose.y, 0.0]
        for s in signpost.stops
    ]
    return float(np.clip(np.mean(away), -7.0, 7.0))


def _light(reach: float, slot: int) -> Iterator[Mesh]:
    tall = 5.9 if abs(reach) > 1.8 else 3.7
    foot = [
        ((0.0, 0.0, -0.4), 0.16),
        ((0.0, 0.0, 0.5), 0.15),
        ((0.0, 0.0, 0.55), 0.10),
        ((0.0, 0.0, tall), 0.075),
    ]
    yield tube(foot, Material.METAL, Tag.POLE, sides=7).at(Detail.NEAR)
    yield tube([foot[2], foot[3]], Material.METAL, Tag.POLE, sides=3).at(Detail.FAR)
    yield from _head((0.2, 0.0, 3.1), slot)
    if tall > 4:
        yield box((0, reach / 2, tall - 0.1), (0.06, abs(reach) / 2, 0.06), Material.METAL, Tag.POLE)
        yield from _head((0.12, reach, tall - 0.25), slot)


def _head(at: tuple[float, float, float], slot: int) -> Iterator[Mesh]:
    """Give a signal head: a case before a board with a white rim, three lamps under hoods."""
    x, y, z = at
    dark, tag = (0.10, 0.11, 0.10), Tag.TRAFFIC_LIGHT
    yield box(at, (0.12, 0.2, 0.55), Material.PLAIN, tag, colour=dark)
    yield box((x - 0.06, y, z), (0.02, 0.31, 0.66), Material.PLAIN, tag, colour=(0.75, 0.75, 0.72))
    yield box(
        (x - 0.05, y, z), (0.02, 0.28, 0.63), Material.PLAIN, tag, colour=(0.05, 0.05, 0.05), faces=(0,)
    )
    for lamp, up, colour in (
        (RED, 0.35, (1.0, 0.10, 0.06)), (YELLOW, 0.0, (1.0, 0.72, 0.08)), (GREEN, -0.35, (0.08, 1.0, 0.35)),
    ):  # fmt: skip
        disc = [((x + 0.125, y, z + up), 0.14), ((x + 0.16, y, z + up), 0.0)]
        yield tube(disc, Material.LAMP, tag, sides=8, axis=0, colour=colour, lamp=lamp, slot=slot)
        hood = box(
            (x + 0.20, y, z + up + 0.15),
            (0.09, 0.13, 0.012),
            Material.PLAIN,
            tag,
            colour=dark,
            faces=(0, 2, 3, 4, 5),
        )
        yield hood.at(Detail.NEAR)


def _sign(signpost: Signpost) -> Iterator[Mesh]:
    yield tube([((0, 0, -0.4), 0.045), ((0, 0, 2.6), 0.045)], Material.METAL, Tag.POLE, sides=5).at(
        Detail.NEAR
    )
    yield tube([((0, 0, -0.4), 0.045), ((0, 0, 2.6), 0.045)], Material.METAL, Tag.POLE, sides=3).at(
        Detail.FAR
    )
    red, white, black = (0.75, 0.05, 0.06), (0.95, 0.95, 0.95), (0.05, 0.05, 0.05)
    if signpost.kind == STOP:
        yield from _plate(8, 0.45, 0.05, white, 22.5)
        yield next(_plate(8, 0.41, 0.06, red, 22.5))
        yield write("STOP", (0.065, 0.0, 2.3), 0.26, white).at(Detail.NEAR)
    elif signpost.kind == SPEED:
        yield from _plate(16, 0.40, 0.05, red)
        yield next(_plate(16, 0.31, 0.06, white))
        yield write(f"{signpost.value:.0f}", (0.065, 0.0, 2.3), 0.30, black).at(Detail.NEAR)
    else:
        yield from _plate(6, 0.52, 0.05, red, -90.0)
        yield next(_plate(6, 0.34, 0.06, white, -90.0))


def _plate(corners: int, radius: float, x: float, colour: Colour, turn: float = 0.0) -> Iterator[Mesh]:
    """Give the front of a flat sign, which faces x, and its grey back; with 6 corners it is a triangle."""
    angle = np.radians(turn) + np.arange(corners + 1) * (2 * np.pi / corners)
    radii = (
        np.where(np.arange(corners + 1) % 2, radius / 2, radius)
        if corners == 6
        else np.full(corners + 1, radius)
    )
    rim = np.stack([np.full(corners + 1, x), radii * np.cos(angle), 2.3 + radii * np.sin(angle)], axis=1)
    middle = np.broadcast_to(np.array([x, 0.0, 2.3]), (corners // 2, 3))
    fan = np.stack([middle, rim[:-2:2], rim[1:-1:2], rim[2::2]], axis=1)
    yield quads(fan, Material.PLAIN, Tag.TRAFFIC_SIGN, colour=colour)
    yield quads(fan[:, ::-1] - [0.02, 0, 0], Material.PLAIN, Tag.TRAFFIC_SIGN, colour=(0.5, 0.5, 0.52))
