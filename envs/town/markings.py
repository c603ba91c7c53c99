"""Paint on the road: lines, stop lines, crossings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, quads
from mtdrive.envs.town.opendrive import Mark, Network, Post, Road, Section
from mtdrive.envs.town.shapes import ribbon
from mtdrive.envs.town.signposts import LIGHT, STOP, Signpost, Stop
from mtdrive.envs.town.strips import ROAD, SURFACES, Strip, across, rows
from mtdrive.envs.town.surface import STOREY, Surface
from mtdrive.envs.town.tags import Tag

LIFT = 0.012
"""Metres that paint lies above the road: less would flicker far away."""

LONG = 3.0
"""Metres from the middle of a quad of a junction's lane to its corners, at most."""

DASH, PERIOD = 3.0, 6.5
"""Metres of a dash, and from one to the next."""

Heights = Float[np.ndarray, "n"]

COLOURS = {"yellow": (1.0, 0.74, 0.22)}
WHITE = (1.0, 1.0, 1.0)


def paint(
    network: Network, signposts: dict[str, Signpost], surface: Surface, strips: Sequence[Strip]
) -> Iterator[Mesh]:
    """Give the meshes of all paint."""
    laps = Laps(strips)
    for road in network.roads.values():
        if not road.junction:
            for section in road.sections:
                yield from _lines(road, section)
        for thing in road.objects:
            if thing.kind == "crosswalk" and len(thing.outline) >= 4:
                yield from _crossing(road, thing, surface, laps)
    for signpost in signposts.values():
        if signpost.kind in (LIGHT, STOP):
            yield from (_stop_line(s) for s in signpost.stops)


def _lines(road: Road, section: Section) -> Iterator[Mesh]:
    for lane in section.lanes.values():
        if lane.id != 0 and SURFACES.get(lane.kind) != ROAD:
            continue
        ends = [*(m.start for m in lane.marks[1:]), section.end - section.start]
        for mark, end in zip(lane.marks, ends, strict=False):
            yield from _line(road, section, lane.id, mark, section.start + end)


def _line(road: Road, section: Section, lane: int, mark: Mark, end: float) -> Iterator[Mesh]:
    """Give the one or two lines of a mark; of two kinds, the first is on the left."""
    start = section.start + mark.start
    kinds = [k for k in mark.kind.split() if k in ("solid", "broken")]
    width = min(max(mark.width, 0.1), 0.25)
    places = [0.0] if len(kinds) == 1 else [0.8 * width, -0.8 * width]
    # The line at a lane's outer edge lies inside it: kerbs and banks begin at the edge.
    inward = 0.0 if lane == 0 else -np.sign(lane) * width / 2
    for kind, place in zip(kinds, places, strict=False):
        if end - start > 0.5:
            yield from _stroke(
                road, section, lane, place + float(inward), width, kind, (start, end), mark.colour
            )


def _stroke(
    road: Road, section: Section, lane: int, place: float, width: float, kind: str, span: tuple[float, float],
    colour: str,
) -> Iterator[Mesh]:  # fmt: skip
    tint = COLOURS.get(colour, WHITE)
    if kind == "solid":
        s = rows(road, *span)
        t = road.edges(section, s)[lane] + place
        strip = ribbon(across(road, s, t + width / 2, LIFT), across(road, s, t - width / 2, LIFT))
        yield quads(strip, Material.PAINT, Tag.ROAD_LINE, colour=tint)
        return
    begins = np.arange(span[0] + (PERIOD - DASH) / 2, span[1] - DASH, PERIOD)
    s = (begins[:, None] + np.array([0.0, DASH])).reshape(-1)
    t = road.edges(section, s)[lane] + place
    left, right = (across(road, s, t + h, LIFT).reshape(-1, 2, 3) for h in (width / 2, -width / 2))
    dashes = np.stack([left[:, 0], left[:, 1], right[:, 1], right[:, 0]], axis=1)
    yield quads(dashes, Material.PAINT, Tag.ROAD_LINE, colour=tint)


def _stop_line(stop: Stop) -> Mesh:
    """Return a line of 40 cm across a lane, that ends where the lane stops."""
    p, half = stop.pose, stop.width / 2 - 0.1
    corners = [(-0.5, -half, LIFT), (-0.1, -half, LIFT), (-0.1, half, LIFT), (-0.5, half, LIFT)]
    points = np.array(corners) @ p.matrix()[:3, :3].T + [p.x, p.y, p.z]
    return quads(points, Material.PAINT, Tag.ROAD_LINE)


def _crossing(road: Road, thing: Post, surface: Surface, laps: Laps) -> Iterator[Mesh]:
    """Give the stripes of a crossing; they run along its short sides."""
    line = road.line(np.array([thing.s]))
    heading = float(line.heading[0]) + thing.heading
    origin = across(road, np.array([thing.s]), np.array([thing.t]))[0]
    u, v = np.array(thing.outline[:4]).T
    x = origin[0] + np.cos(heading) * u - np.sin(heading) * v
    y = origin[1] - np.sin(heading) * u - np.cos(heading) * v
    corners = np.stack([x, y], axis=1)
    if np.linalg.norm(corners[1] - corners[0]) > np.linalg.norm(corners[2] - corners[1]):
        corners = np.roll(corners, -1, axis=0)
    a, b, c, d = corners
    count = int(np.linalg.norm(c - b) / 1.0)
    pieces = max(1, round(float(np.linalg.norm(b - a)) / 1.2))
    if not count:
        return
    low = ((np.arange(count) + 0.25) / count)[:, None, None]
    far = (np.arange(pieces + 1) / pieces)[None, :, None]
    sides = [
        (a + (d - a) * at) * (1 - far) + (b + (c - b) * at) * far for at in (low, low + 0.5 / count)
    ]  # each count pieces+1 2
    near = float(origin[2])
    first, second = (np.concatenate([s, _tops(s, near, surface, laps)[..., None]], axis=-1) for s in sides)
    points = np.stack([first[:, :-1], first[:, 1:], second[:, 1:], second[:, :-1]], axis=2).reshape(-1, 4, 3)
    along, over = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    if (along[:, 0] * over[:, 1] - along[:, 1] * over[:, 0])[0] < 0:
        points = points[:, ::-1]
    yield quads(points, Material.PAINT, Tag.ROAD_LINE)


def _tops(places: np.ndarray, near: float, surface: Surface, laps: Laps) -> np.ndarray:
    """Return the heights of paint at places: above all lanes that lie above each other there."""
    ground = np.array([surface.height(x, y, near) for x, y in places.reshape(-1, 2).tolist()])
    top = np.maximum(ground, laps.highest(places.reshape(-1, 2), near)) + LIFT
    return np.asarray(top.reshape(places.shape[:-1]))


class Laps:
    """The quads of lanes in junctions, which lie above each other and not always level."""

    def __init__(self, strips: Sequence[Strip]) -> None:
        crossed = [s for s in strips if s.road.junction and s.surface == ROAD]
        self.quads = np.concatenate([np.zeros((0, 4, 3)), *(ribbon(s.left, s.right) for s in crossed)])
        self.middles = self.quads[..., :2].mean(axis=1)

    def highest(self, places: Float[np.ndarray, "n 2"], near: float) -> Heights:
        """Return the height of the highest lane at places of a crossing, -inf where there is none."""
        middle = places.mean(axis=0)
        reach = float(np.linalg.norm(places - middle, axis=1).max()) + LONG
        found = self.quads[np.linalg.norm(self.middles - middle, axis=1) < reach]
        found = found[abs(found[..., 2].mean(axis=1) - near) < STOREY]
        out = np.full(len(places), -np.inf)
        for corner in ((0, 1, 2), (0, 2, 3)):
            a, b, c = (found[None, :, k] for k in corner)
            u, v = b - a, c - a
            w = places[:, None] - a[..., :2]
            scale = u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
            with np.errstate(divide="ignore", invalid="ignore"):
                p = (w[..., 0] * v[..., 1] - w[..., 1] * v[..., 0]) / scale
                q = (u[..., 0] * w[..., 1] - u[..., 1] * w[..., 0]) / scale
            inside = (p > -0.05) & (q > -0.05) & (p + q < 1.05)
            z = np.where(inside, a[..., 2] + p * u[..., 2] + q * v[..., 2], -np.inf)
            out = np.maximum(out, z.max(axis=1, initial=-np.inf))
        return out
