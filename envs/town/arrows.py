"""Arrows on the lanes before junctions: where each lane leads."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, quads
from mtdrive.envs.town.opendrive import Network, Road
from mtdrive.envs.town.signposts import lane_pose, wrapped
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.tags import Tag

BEFORE = (7.0, 24.0)
"""Metres from the tips of arrows to the junction."""

LIFT = 0.012
LENGTH, SHAFT, HEAD = 3.6, 0.07, 0.24
"""Metres: of an arrow, and half the widths of its shaft and its head."""

LEFT, STRAIGHT, RIGHT = -1, 0, 1

TURN = 30.0
"""Degrees from which on a lane through a junction is no longer straight."""

Cell = tuple[int, int]
Place = tuple[float, float, float]
"""Of a lane's end: x, y, and the yaw of the traffic in degrees."""
Exits = dict[Cell, list[tuple[Place, float]]]
"""Where lanes through junctions begin, and by how much they turn to the right, by cells of 2 m."""


def arrows(network: Network) -> Iterator[Mesh]:
    """Give the arrows on lanes."""
    for tip, ways in places(network):
        yield _arrow(ways).moved(tip.matrix())


def places(network: Network) -> Iterator[tuple[Pose, set[int]]]:
    """Give where the tips of arrows are and where they point: only if lanes of one direction lead apart."""
    exits = _exits(network)
    for road in network.roads.values():
        if not road.junction:
            for forward in (True, False):
                yield from _approach(road, forward, exits)


def _exits(network: Network) -> Exits:
    found: Exits = defaultdict(list)
    for road in (r for r in network.roads.values() if r.junction):
        first, last = _ends(road, 0.0), _ends(road, road.length)
        for lane in first.keys() & last.keys():
            start, end = (first, last) if lane < 0 else (last, first)
            found[_cell(start[lane])].append((start[lane], wrapped(end[lane][2] - start[lane][2])))
    return found


def _ends(road: Road, s: float) -> dict[int, Place]:
    """Return the middles of all driving lanes at one end of a road."""
    section, at = road.sections[-1 if s else 0], np.array([s])
    edges, line = road.edges(section, at), road.line(at)
    x, y, heading = line.x.item(), line.y.item(), line.heading.item()
    found = {}
    for i in (i for i, lane in section.lanes.items() if lane.kind == "driving"):
        t = float(edges[i][0] + edges[i + (1 if i < 0 else -1)][0]) / 2
        yaw = wrapped(-math.degrees(heading) + (0 if i < 0 else 180))
        found[i] = x - math.sin(heading) * t, -y - math.cos(heading) * t, yaw
    return found


def _cell(place: Place) -> Cell:
    return math.floor(place[0] / 2), math.floor(place[1] / 2)


def _approach(road: Road, forward: bool, exits: Exits) -> Iterator[tuple[Pose, set[int]]]:
    section = road.sections[-1 if forward else 0]
    s = road.length if forward else 0.0
    ways = {i: _ways(end, exits) for i, end in _ends(road, s).items() if (i < 0) == forward}
    if len({frozenset(w) for w in ways.values()}) < 2 and all(
        len(w) != 1 or STRAIGHT in w for w in ways.values()
    ):
        return
    for far in BEFORE:
        if section.end - section.start < far + LENGTH + 4:
            continue
        for i in (i for i in ways if ways[i]):
            at, width = lane_pose(road, i, s - far if forward else s + far)
            if width > 2.2:
                yield at, ways[i]


def _ways(end: Place, exits: Exits) -> set[int]:
    """Return where the lanes lead that begin where a lane ends."""
    i, j = _cell(end)
    near = [x for a in (-1, 0, 1) for b in (-1, 0, 1) for x in exits.get((i + a, j + b), ())]
    turns = [
        turn
        for place, turn in near
        if math.dist(place[:2], end[:2]) < 0.7 and abs(wrapped(place[2] - end[2])) < 30
    ]
    return {LEFT if t < -TURN else RIGHT if t > TURN else STRAIGHT for t in turns}


def _arrow(ways: set[int]) -> Mesh:
    """Return an arrow whose tip lies in the origin and that points along x."""
    tip = 0.0 if STRAIGHT in ways else -0.9
    parts = [[(-LENGTH, -SHAFT), (tip - 0.8, -SHAFT), (tip - 0.8, SHAFT), (-LENGTH, SHAFT)]]
    if STRAIGHT in ways:
        parts.append([(-1.2, -HEAD), (0.0, 0.0), (0.0, 0.0), (-1.2, HEAD)])
    for side in (w for w in ways if w != STRAIGHT):
        root = tip - (0.8 if STRAIGHT not in ways else 1.5)
        bend = [(root - 0.45, -SHAFT), (root, -SHAFT), (root + 0.35, 0.42), (root - 0.05, 0.42)]
        head = [(root - 0.40, 0.42), (root + 0.70, 0.42), (root + 0.75, 0.95), (root + 0.75, 0.95)]
        parts += [[(x, y * side) for x, y in part][::side] for part in (bend, head)]
    points = np.array(parts)
    return quads(
        np.concatenate([points, np.full((len(points), 4, 1), LIFT)], axis=-1), Material.PAINT, Tag.ROAD_LINE
    )
