"""Paint on the road: lines, stop lines, crossings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, quads, ribbon
from mtdrive.envs.town.opendrive import Mark, Network, Post, Road, Section
from mtdrive.envs.town.signposts import LIGHT, STOP, Signpost, Stop
from mtdrive.envs.town.strips import ROAD, SURFACES, across, rows
from mtdrive.envs.town.surface import Surface
from mtdrive.envs.town.tags import Tag

LIFT = 0.012
"""Metres that paint lies above the road: less would flicker far away."""

DASH, PERIOD = 3.0, 6.5
"""Metres of a dash, and from one to the next."""

COLOURS = {"yellow": (1.0, 0.74, 0.22)}
WHITE = (1.0, 1.0, 1.0)


def paint(network: Network, signposts: dict[str, Signpost], surface: Surface) -> Iterator[Mesh]:
    """Give the meshes of all paint."""
    for road in network.roads.values():
        if not road.junction:
            for section in road.sections:
                yield from _lines(road, section)
        for thing in road.objects:
            if thing.kind == "crosswalk" and len(thing.outline) >= 4:
                yield from _crossing(road, thing, surface)
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


def _crossing(road: Road, thing: Post, surface: Surface) -> Iterator[Mesh]:
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
    for k in range(count):
        low, high = (k + 0.25) / count, (k + 0.75) / count
        stripe = np.stack([a + (d - a) * low, b + (c - b) * low, b + (c - b) * high, a + (d - a) * high])
        yield _laid(stripe, float(origin[2]), surface)


def _laid(stripe: np.ndarray, near: float, surface: Surface) -> Mesh:
    """Return a stripe on the ground, with its upper side up."""
    z = [surface.height(float(x), float(y), near) + LIFT for x, y in stripe]
    points = np.concatenate([stripe, np.array(z)[:, None]], axis=1)
    first, second = points[1] - points[0], points[2] - points[0]
    if first[0] * second[1] - first[1] * second[0] < 0:
        points = points[::-1]
    return quads(points[None], Material.PAINT, Tag.ROAD_LINE)
