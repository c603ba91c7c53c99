"""Meshes of what stands beside the roads: buildings, plants, lamps, signals and signs.

In its own frame a thing stands on the origin and faces x, where the road is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from mtdrive.envs.town.letters import write
from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, blob, box, join, prism, quads, scattered, tube
from mtdrive.envs.town.scenery import Item
from mtdrive.envs.town.signposts import LIGHT, SPEED, STOP, Signpost
from mtdrive.envs.town.tags import Tag

STOREY = 3.1
"""Metres from floor to floor, as the textures of walls have it."""

SHOP = 3.7
"""Metres of a ground floor with shops."""

COLUMNS = {
    Material.BRICK: 3, Material.PLASTER: 2, Material.CONCRETE: 4, Material.PANELS: 4, Material.COTTAGE: 2,
    Material.SHOPS: 1,
}  # fmt: skip
"""Windows in a texture: a wall shows a whole number of them."""

WALLS = (Material.BRICK, Material.PLASTER, Material.CONCRETE, Material.PANELS)

RED, YELLOW, GREEN = 1, 2, 3
"""Lamps of a traffic light."""
STREET = 10
"""The lamp of street lamps; those of vehicles come before it."""

Extent = tuple[float, float, float]


def build(items: Sequence[Item]) -> Iterator[Mesh]:
    """Give the meshes of things in the world; plants have few shapes, copied and stretched."""
    plants: dict[tuple[str, int], list[Item]] = defaultdict(list)
    makers = {"house": _house, "block": _block, "lamp": _lamp}
    for item in items:
        if item.kind in PLANTS:
            plants[item.kind, item.style % SHAPES].append(item)
        else:
            rng = np.random.default_rng(item.style)
            yield join(list(makers[item.kind](item.extent, rng))).moved(item.pose.matrix())
    for (kind, style), copies in plants.items():
        shape = join(list(PLANTS[kind](np.random.default_rng(style))))
        sizes = np.array([(*item.extent, 1.0) for item in copies])
        yield scattered(shape, np.stack([i.pose.matrix() for i in copies]) * sizes[:, None])


def _walls(
    half: Extent, low: float, high: float, material: Material, colour: tuple[float, float, float]
) -> Mesh:
    """Return four walls of a building, from one height to another, with whole windows."""
    mesh = box(
        (0, 0, (low + high) / 2),
        (half[0], half[1], (high - low) / 2),
        material,
        Tag.BUILDING,
        faces=(0, 1, 2, 3),
    )
    pitch = 6.2 / COLUMNS[material] if material is not Material.SHOPS else 4.0
    wide = np.array([half[1], half[1], half[0], half[0]]) * 2
    shown = np.maximum(np.round(wide / pitch), 1) * pitch
    uv = mesh.uv * np.array([1.0, 1.0]) * np.stack([shown / wide, np.ones(4)], axis=1)[:, None]
    tint = np.clip(np.round(np.asarray(colour) * 255), 0, 255).astype(np.uint8)
    return Mesh(mesh.points, mesh.normals, uv, np.broadcast_to(tint, (4, 3)), mesh.look)


def _tint(rng: np.random.Generator, least: float = 0.75) -> tuple[float, float, float]:
    grey, warm = rng.uniform(least, 1.0), rng.uniform(-0.06, 0.06)
    return (min(grey + warm, 1.0), grey, max(grey - warm, 0.0))


def _house(half: Extent, rng: np.random.Generator) -> Iterator[Mesh]:
    x, y, z = half
    eaves = STOREY if z < 3.3 else 2 * STOREY
    top = max(2 * z, eaves + 2.0)
    tint = _tint(rng)
    material = Material.COTTAGE if rng.random() < 0.7 else Material.BRICK
    yield _walls(half, -0.4, 0.0, Material.PLASTER, (0.45, 0.43, 0.40))
    yield _walls(half, 0.0, eaves, material, tint)
    gable = np.array([(-x, eaves), (x, eaves), (0, top)])
    yield prism(
        gable, y, Material.PLAIN, Tag.BUILDING, colour=(0.8 * tint[0], 0.78 * tint[1], 0.72 * tint[2])
    )
    over = np.array([(-x - 0.5, eaves - 0.15), (0, top), (0, top + 0.22), (-x - 0.5, eaves + 0.1)])
    for sign in (1, -1):
        outline = over if sign > 0 else (over * [-1, 1])[::-1]
        yield prism(outline, y + 0.4, Material.TILES, Tag.BUILDING, colour=_tint(rng, 0.7))
    yield box(
        (x + 0.03, rng.uniform(-0.4, 0.4) * y, 1.05),
        (0.06, 0.5, 1.05),
        Material.PLAIN,
        Tag.BUILDING,
        colour=tuple(rng.uniform(0.12, 0.5, 3)),
    )
    yield box(
        (-0.4 * x, 0.5 * y, top - 0.4),
        (0.35, 0.35, 1.0),
        Material.KERB,
        Tag.BUILDING,
        colour=(0.8, 0.5, 0.42),
    )


def _block(half: Extent, rng: np.random.Generator) -> Iterator[Mesh]:
    x, y, z = half
    material, tint = WALLS[rng.integers(len(WALLS))], _tint(rng)
    shops = rng.random() < 0.6
    first = SHOP if shops else 0.0
    floors = max(1, round((2 * z - 0.8 - first) / STOREY))
    top = first + floors * STOREY
    yield _walls(half, -0.6, 0.0, Material.PLASTER, (0.4, 0.4, 0.4))
    if shops:
        yield _walls(half, 0.0, SHOP, Material.SHOPS, _tint(rng))
    yield _walls(half, first, top, material, tint)
    yield box(
        (0, 0, top + 0.2),
        (x + 0.15, y + 0.15, 0.25),
        Material.KERB,
        Tag.BUILDING,
        faces=(0, 1, 2, 3, 5),
        colour=tint,
    )
    yield box((0, 0, top + 0.2), (x + 0.15, y + 0.15, 0.2), Material.ROOF, Tag.BUILDING, faces=(4,))
    for _ in range(int(rng.integers(1, 4))):
        at = (rng.uniform(-0.6, 0.6) * x, rng.uniform(-0.7, 0.7) * y, top + 1.0)
        yield box(at, (rng.uniform(0.6, 1.6), rng.uniform(0.6, 1.6), 0.7), Material.ROOF, Tag.BUILDING)


def _tree(rng: np.random.Generator) -> Iterator[Mesh]:
    """Give a tree of half width 1 and half height 1."""
    light = rng.uniform(0.75, 1.0)
    tint = np.array([light * rng.uniform(0.8, 1.0), light, light * rng.uniform(0.7, 0.95)])
    if rng.random() < 0.25:
        yield tube([((0, 0, -0.1), 0.09), ((0, 0, 0.5), 0.07)], Material.BARK, Tag.VEGETATION, sides=5)
        for low, high, r in ((0.24, 1.1, 0.75), (0.7, 1.56, 0.6), (1.16, 2.0, 0.42)):
            cone = [((0, 0, low), 0.02), ((0, 0, low), r), ((0, 0, high), 0.03)]
            yield tube(cone, Material.LEAVES, Tag.VEGETATION, sides=7, colour=tint * (0.7, 0.85, 0.8))
        return
    yield tube([((0, 0, -0.1), 0.1), ((0, 0, 1.0), 0.06)], Material.BARK, Tag.VEGETATION, sides=5)
    yield blob(
        (0, 0, 1.28),
        (1, 1, 0.72),
        Material.LEAVES,
        Tag.VEGETATION,
        rough=rng,
        amount=0.2,
        sides=7,
        layers=4,
        colour=tint,
    )
    turn = rng.uniform(0, 6.28)
    side = (0.55 * np.cos(turn), 0.55 * np.sin(turn), 1.03)
    yield blob(
        side,
        (0.62, 0.62, 0.4),
        Material.LEAVES,
        Tag.VEGETATION,
        rough=rng,
        amount=0.2,
        sides=6,
        layers=3,
        colour=0.9 * tint,
    )


def _bush(rng: np.random.Generator) -> Iterator[Mesh]:
    """Give a bush of half width 1 and half height 1."""
    light = rng.uniform(0.7, 1.0)
    yield blob(
        (0, 0, 0.8),
        (1, 1, 1.1),
        Material.LEAVES,
        Tag.VEGETATION,
        rough=rng,
        amount=0.22,
        sides=6,
        layers=3,
        colour=(light, light, 0.8 * light),
    )


PLANTS = {"tree": _tree, "bush": _bush}
SHAPES = 12
"""Shapes that there are of each plant."""


def _lamp(half: Extent, rng: np.random.Generator) -> Iterator[Mesh]:
    tall = 2 * half[2]
    yield tube([((0, 0, -0.3), 0.1), ((0, 0, tall), 0.06)], Material.METAL, Tag.POLE, sides=6)
    yield box((0.75, 0, tall), (0.8, 0.05, 0.05), Material.METAL, Tag.POLE)
    head = (1.5, 0, tall - 0.05), (0.35, 0.14, 0.07)
    yield box(*head, Material.PLAIN, Tag.POLE, colour=(0.75, 0.76, 0.78), lamp=STREET)


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
    yield tube([((0, 0, -0.4), 0.11), ((0, 0, tall), 0.08)], Material.METAL, Tag.POLE, sides=7)
    yield _head((0.2, 0.0, 3.1), slot)
    if tall > 4:
        yield box((0, reach / 2, tall - 0.1), (0.06, abs(reach) / 2, 0.06), Material.METAL, Tag.POLE)
        yield _head((0.12, reach, tall - 0.25), slot)


def _head(at: tuple[float, float, float], slot: int) -> Mesh:
    x, y, z = at
    case = box(at, (0.12, 0.2, 0.55), Material.PLAIN, Tag.TRAFFIC_LIGHT, colour=(0.10, 0.11, 0.10))
    rim = box(
        (x - 0.06, y, z), (0.02, 0.29, 0.64), Material.PLAIN, Tag.TRAFFIC_LIGHT, colour=(0.05, 0.05, 0.05)
    )
    lamps = [
        tube([((x + 0.12, y, z + up), 0.14), ((x + 0.17, y, z + up), 0.11), ((x + 0.18, y, z + up), 0.0)],
             Material.LAMP, Tag.TRAFFIC_LIGHT, axis=0, colour=colour, lamp=lamp, slot=slot)
        for lamp, up, colour in (
            (RED, 0.35, (1.0, 0.10, 0.06)),
            (YELLOW, 0.0, (1.0, 0.72, 0.08)),
            (GREEN, -0.35, (0.08, 1.0, 0.35)),
        )
    ]  # fmt: skip
    return join([case, rim, *lamps])


def _sign(signpost: Signpost) -> Iterator[Mesh]:
    yield tube([((0, 0, -0.4), 0.045), ((0, 0, 2.6), 0.045)], Material.METAL, Tag.POLE, sides=6)
    red, white, black = (0.75, 0.05, 0.06), (0.95, 0.95, 0.95), (0.05, 0.05, 0.05)
    if signpost.kind == STOP:
        yield _plate(8, 0.45, 0.05, white, 22.5)
        yield _plate(8, 0.41, 0.06, red, 22.5)
        yield write("STOP", (0.065, 0.0, 2.3), 0.26, white)
    elif signpost.kind == SPEED:
        yield _plate(16, 0.40, 0.05, red)
        yield _plate(16, 0.31, 0.06, white)
        yield write(f"{signpost.value:.0f}", (0.065, 0.0, 2.3), 0.30, black)
    else:
        yield _plate(3, 0.52, 0.05, red, -90.0)
        yield _plate(3, 0.34, 0.06, white, -90.0)


def _plate(
    corners: int, radius: float, x: float, colour: tuple[float, float, float], turn: float = 0.0
) -> Mesh:
    """Return a flat sign that faces x, with a grey back."""
    angle = np.radians(turn) + np.arange(corners) * (2 * np.pi / corners)
    rim = np.stack([np.full(corners, x), radius * np.cos(angle), 2.3 + radius * np.sin(angle)], axis=1)
    following = np.roll(rim, -1, axis=0)
    middle = np.broadcast_to(np.array([x, 0.0, 2.3]), rim.shape)
    front = quads(
        np.stack([middle, rim, following, following], 1), Material.PLAIN, Tag.TRAFFIC_SIGN, colour=colour
    )
    back = np.stack([middle, following, rim, rim], 1) - [0.02, 0, 0]
    return join([front, quads(back, Material.PLAIN, Tag.TRAFFIC_SIGN, colour=(0.5, 0.5, 0.52))])
