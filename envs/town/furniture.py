"""Meshes of what stands along streets: lamps, benches, bins, shelters, fences, guard rails.

Each faces x. Runs, as of fences, are 2 m long along y and are stretched; the rest has the size in `SIZES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from mtdrive.envs.town import trees
from mtdrive.envs.town.materials import TILE, Material
from mtdrive.envs.town.mesh import Colour, Detail, Mesh, quads
from mtdrive.envs.town.shapes import bar, box, tube
from mtdrive.envs.town.tags import Tag

STREET = 10
"""The lamp of street lamps; those of signals and vehicles come before it."""

Extent = tuple[float, float, float]

SIZES: dict[str, Extent] = {
    "lamp": (0.09, 0.09, 3.2), "bench": (0.30, 0.80, 0.42), "bin": (0.22, 0.22, 0.50),
    "cabinet": (0.20, 0.45, 0.60), "shelter": (0.75, 1.80, 1.25), "advert": (0.12, 0.70, 1.20),
    "planter": (0.35, 0.70, 0.50), "hydrant": (0.14, 0.14, 0.40), "mailbox": (0.22, 0.22, 0.65),
}  # fmt: skip
"""Half of depth, width and height."""

RUNS: dict[str, tuple[float, float]] = {
    "fence": (0.04, 0.50), "hedge": (0.32, 0.55), "wall": (0.12, 0.42), "rail": (0.16, 0.40),
}  # fmt: skip
"""Half of the depth and height of what runs along streets."""

TAGS = {
    "lamp": Tag.POLE,
    "fence": Tag.FENCE,
    "hedge": Tag.VEGETATION,
    "wall": Tag.WALL,
    "rail": Tag.GUARD_RAIL,
}
"""Of the rest: `STATIC`."""

GREEN: Colour = (0.20, 0.30, 0.24)
GREY: Colour = (0.46, 0.48, 0.50)
SIDES = (0, 1, 2, 3)
SEEN = (0, 1, 2, 3, 4)
"""All faces of a box but that on the ground."""


def piece(kind: str) -> Iterator[Mesh]:
    """Give the parts of one kind of thing."""
    makers: dict[str, Callable[[], Iterator[Mesh]]] = {
        "lamp": _lamp, "bench": _bench, "bin": _bin, "cabinet": _cabinet, "shelter": _shelter,
        "advert": _advert, "planter": _planter, "hydrant": _hydrant, "mailbox": _mailbox, "fence": _fence,
        "hedge": _hedge, "wall": _wall, "rail": _rail,
    }  # fmt: skip
    yield from makers[kind]()


def _lamp() -> Iterator[Mesh]:
    tall = 2 * SIZES["lamp"][2]
    pole = [((0.0, 0.0, -0.3), 0.13), ((0.0, 0.0, 1.0), 0.11), ((0.0, 0.0, tall - 0.5), 0.075)]
    yield tube(pole, Material.METAL, Tag.POLE, sides=5, colour=(0.9, 0.95, 0.95)).at(Detail.NEAR)
    yield tube([pole[0], pole[-1]], Material.METAL, Tag.POLE, sides=3, colour=(0.9, 0.95, 0.95)).at(
        Detail.FAR
    )
    yield bar((0.0, 0.0, tall - 0.52), (0.30, 0.0, tall - 0.06), 0.04, Material.METAL, Tag.POLE).at(
        Detail.NEAR
    )
    yield bar((0.28, 0.0, tall - 0.07), (1.25, 0.0, tall + 0.03), 0.035, Material.METAL, Tag.POLE).at(
        Detail.NEAR
    )
    yield box(
        (1.50, 0, tall + 0.03),
        (0.36, 0.13, 0.05),
        Material.PLAIN,
        Tag.POLE,
        colour=(0.60, 0.62, 0.64),
        taper=(0.8, 0.6),
    )
    lens = box(
        (1.54, 0, tall - 0.03),
        (0.26, 0.10, 0.025),
        Material.PLAIN,
        Tag.POLE,
        colour=(0.9, 0.9, 0.86),
        lamp=STREET,
    )
    yield lens


def _pad(deep: float, wide: float) -> Mesh:
    """Return a slab under a thing that stands beside a pavement, level with it."""
    return box(
        (0, 0, -0.25), (deep, wide, 0.25), Material.KERB, Tag.SIDEWALK, faces=SEEN, colour=(0.85, 0.85, 0.85)
    )


def _bench() -> Iterator[Mesh]:
    wood: Colour = (0.95, 0.80, 0.62)
    yield _pad(0.45, 0.95)
    slats = np.array([(x, 0.0, 0.45) for x in (-0.10, 0.06, 0.22)] + [(-0.20, 0.0, z) for z in (0.60, 0.76)])
    sizes = np.array([(0.065, 0.80, 0.02)] * 3 + [(0.02, 0.80, 0.06)] * 2)
    yield box(slats, sizes, Material.FENCE, Tag.STATIC, colour=wood).at(Detail.NEAR)
    legs = np.array([(0.02, y, 0.22) for y in (-0.62, 0.62)])
    yield box(legs, (0.22, 0.04, 0.22), Material.METAL, Tag.STATIC, faces=SIDES).at(Detail.NEAR)


def _bin() -> Iterator[Mesh]:
    yield _pad(0.35, 0.35)
    barrel = [
        ((0.0, 0.0, 0.0), 0.19),
        ((0.0, 0.0, 0.82), 0.22),
        ((0.0, 0.0, 0.84), 0.14),
        ((0.0, 0.0, 0.84), 0.0),
    ]
    yield tube(barrel, Material.PLAIN, Tag.STATIC, sides=8, colour=GREEN)
    yield tube(
        [((0.0, 0.0, 0.95), 0.24), ((0.0, 0.0, 1.0), 0.0)], Material.PLAIN, Tag.STATIC, sides=8, colour=GREEN
    )


def _cabinet() -> Iterator[Mesh]:
    yield _pad(0.35, 0.60)
    yield box((0, 0, 0.58), (0.18, 0.42, 0.58), Material.PLAIN, Tag.STATIC, faces=SEEN, colour=GREY)
    yield box((0, 0, 1.18), (0.21, 0.45, 0.025), Material.PLAIN, Tag.STATIC, colour=GREY)
    doors = np.array([(0.182, y, 0.60) for y in (-0.20, 0.20)])
    yield box(doors, (0.0, 0.18, 0.48), Material.PLAIN, Tag.STATIC, faces=(0,), colour=(0.52, 0.54, 0.56)).at(
        Detail.CLOSE
    )


def _shelter() -> Iterator[Mesh]:
    frame: Colour = (0.25, 0.27, 0.28)
    yield _pad(0.95, 2.0)
    posts = np.array([(x, y, 1.2) for x in (-0.68, 0.45) for y in (-1.72, 1.72)])
    yield box(posts, (0.035, 0.035, 1.2), Material.PLAIN, Tag.STATIC, faces=SIDES, colour=frame)
    yield box((0, 0, 2.44), (0.78, 1.85, 0.06), Material.PLAIN, Tag.STATIC, colour=frame)
    yield box(
        (-0.68, 0, 1.20),
        (0.012, 1.70, 0.85),
        Material.GLASS,
        Tag.STATIC,
        faces=(0, 1),
        colour=(1.0, 1.0, 1.0),
    )
    yield box((-0.40, -0.3, 0.47), (0.18, 1.0, 0.025), Material.FENCE, Tag.STATIC).at(Detail.NEAR)
    yield _poster((-0.1, 1.72, 1.15), 0.25)
    yield box(
        (0.70, 0.0, 2.44),
        (0.09, 0.5, 0.045),
        Material.PLAIN,
        Tag.STATIC,
        faces=(0,),
        colour=(0.95, 0.80, 0.25),
    )


def _poster(at: tuple[float, float, float], left: float) -> Mesh:
    """Return a panel across y with a poster on both sides; `left` says which."""
    x, y, z = at
    mesh = box((x, y, z), (0.55, 0.06, 0.85), Material.POSTERS, Tag.STATIC, faces=(2, 3))
    uv = np.array([(left, 0), (left + 0.25, 0), (left + 0.25, 1), (left, 1)])
    return replace(mesh, uv=np.stack([uv, uv]))


def _advert() -> Iterator[Mesh]:
    yield _pad(0.35, 0.90)
    yield box((0, 0, 1.3), (0.11, 0.70, 1.05), Material.PLAIN, Tag.STATIC, colour=(0.24, 0.25, 0.27))
    yield box(
        (0, 0, 0.15), (0.08, 0.40, 0.15), Material.PLAIN, Tag.STATIC, faces=SIDES, colour=(0.24, 0.25, 0.27)
    )
    for x, face, left in ((0.112, 0, 0.5), (-0.112, 1, 0.0)):
        mesh = box((x, 0, 1.3), (0.0, 0.62, 0.95), Material.POSTERS, Tag.STATIC, faces=(face,))
        uv = np.array([[(left, 0), (left + 0.25, 0), (left + 0.25, 1), (left, 1)]])
        yield replace(mesh, uv=uv)


def _planter() -> Iterator[Mesh]:
    yield _pad(0.45, 0.80)
    yield box((0, 0, 0.25), (0.32, 0.68, 0.25), Material.KERB, Tag.STATIC, faces=SIDES)
    yield box((0, 0, 0.47), (0.28, 0.64, 0.02), Material.SOIL, Tag.STATIC, faces=(4,))
    yield next(trees.bush(3)).stretched((0.27, 0.6, 0.28), (0.0, 0.0, 0.42)).at(Detail.NEAR)


def _hydrant() -> Iterator[Mesh]:
    red: Colour = (0.72, 0.10, 0.08)
    yield _pad(0.25, 0.25)
    body = [
        ((0.0, 0.0, 0.0), 0.13),
        ((0.0, 0.0, 0.55), 0.11),
        ((0.0, 0.0, 0.62), 0.14),
        ((0.0, 0.0, 0.78), 0.0),
    ]
    yield tube(body, Material.PLAIN, Tag.STATIC, sides=8, colour=red).at(Detail.NEAR)
    yield box((0, 0, 0.45), (0.06, 0.19, 0.06), Material.PLAIN, Tag.STATIC, colour=red).at(Detail.CLOSE)


def _mailbox() -> Iterator[Mesh]:
    yellow: Colour = (0.95, 0.72, 0.10)
    yield _pad(0.35, 0.35)
    yield box((0, 0, 0.35), (0.05, 0.05, 0.35), Material.METAL, Tag.STATIC, faces=SIDES)
    yield box((0, 0, 0.98), (0.20, 0.22, 0.32), Material.PLAIN, Tag.STATIC, colour=yellow, taper=(0.85, 1.0))
    yield box(
        (0.19, 0, 1.12), (0.005, 0.14, 0.02), Material.PLAIN, Tag.STATIC, faces=(0,), colour=(0.1, 0.1, 0.1)
    ).at(Detail.CLOSE)


def _fence() -> Iterator[Mesh]:
    half, high = RUNS["fence"]
    yield box((0, 0, high - 0.15), (half, 1.0, high + 0.15), Material.FENCE, Tag.FENCE, faces=SEEN)


def _hedge() -> Iterator[Mesh]:
    half, high = RUNS["hedge"]
    yield trees.hedge().stretched((half, 1.0, high))


def _wall() -> Iterator[Mesh]:
    half, high = RUNS["wall"]
    yield box(
        (0, 0, high - 0.2),
        (half, 1.0, high + 0.15),
        Material.MASONRY,
        Tag.WALL,
        faces=SIDES,
        colour=(0.9, 0.85, 0.8),
    )
    yield box((0, 0, 2 * high), (half + 0.04, 1.0, 0.05), Material.KERB, Tag.WALL)


def _rail() -> Iterator[Mesh]:
    front = [(0.0, -1, 0.45), (0.0, 1, 0.45), (0.0, 1, 0.76), (0.0, -1, 0.76)]
    band = [front, front[::-1]]
    uv = np.array([[(0, 0), (2, 0), (2, TILE[Material.RAIL] / 3), (0, TILE[Material.RAIL] / 3)]])
    uv = np.concatenate([uv, uv[:, [3, 2, 1, 0]]])
    yield quads(np.array(band), Material.RAIL, Tag.GUARD_RAIL, uv=uv)
    posts = np.array([(-0.08, y, 0.25) for y in (-0.5, 0.5)])
    yield box(posts, (0.05, 0.04, 0.45), Material.METAL, Tag.GUARD_RAIL, faces=(0, 2, 3)).at(Detail.CLOSE)
