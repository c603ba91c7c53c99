"""A network after netconvert, whose lanes are put where the map has them.

netconvert puts lanes of changing width, and lanes through junctions whose roads shift, up to 14 m beside
their places (CARLA's Town04 and Town06). Here every lane gets the line that `carla.Map` has for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from xml.etree.ElementTree import Element

import carla
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from mtdrive.envs.polylines import STRAIGHT, Line, along, bend_speeds, between, length, resampled, thin
from mtdrive.envs.town import opendrive

STEP = 1.0
"""Metres between the points of a line before those that change nothing are left out."""
WRONG = 4.0
"""Metres beside netconvert's line at which another lane must be meant."""
LONGEST_WAY = 400
"""Steps of a way through a junction."""


class Draft:
    """The lines of a network's lanes, in CARLA's frame."""

    def __init__(self, root: Element, xodr: str) -> None:
        self.root, self.map = root, carla.Map("map", xodr)
        self.network = opendrive.parse(xodr, "the map")
        self.edges = {e.get("id", ""): e for e in root.iter("edge")}
        self.lanes = {e.get("id", ""): e for e in root.iter("lane")}
        location = root.find("location")
        x, y = (location.get("netOffset", "0,0") if location is not None else "0,0").split(",")
        self.offset = np.array([float(x), float(y), 0.0])
        self.lines = {name: self._read(lane.get("shape", "")) for name, lane in self.lanes.items()}
        self.changed: set[str] = set()
        self._axes: dict[str, _Axis] = {}

    def _read(self, text: str) -> Line:
        points = [[*map(float, p.split(",")), 0.0][:3] for p in text.split()]
        return np.asarray((np.array(points) - self.offset) * [1, -1, 1])

    def store(self) -> None:
        """Write the lines that changed, and their lengths."""
        for name in self.changed:
            line, lane = self.lines[name], self.lanes[name]
            points = line * [1, -1, 1] + self.offset
            lane.set("shape", " ".join(",".join(f"{v:.2f}" for v in p) for p in points.tolist()))
            lane.set("length", f"{max(length(line), 0.1):.2f}")
        self.changed.clear()
        for edge in self.edges.values():
            self._even(edge)

    def _even(self, edge: Element) -> None:
        """Give the lanes of a street the same length, as SUMO wants it."""
        if not edge.get("function"):
            longest = max(length(self.lines[lane.get("id", "")]) for lane in edge.iter("lane"))
            for lane in edge.iter("lane"):
                lane.set("length", f"{longest:.2f}")

    def put(self, name: str, line: Line) -> None:
        """Give a lane another line."""
        self.lines[name] = thin(line)
        self.changed.add(name)

    @cached_property
    def source(self) -> dict[str, tuple[str, int]]:
        """The OpenDRIVE road and lane of each lane that has one."""
        found = {}
        for name, lane in self.lanes.items():
            for param in lane.findall("param[@key='origId']"):
                road, _, number = param.get("value", "").split()[0].rpartition("_")
                found[name] = (road, int(number))
        return found

    def connections(self) -> Iterator[tuple[str, str, str]]:
        """Give the ways on: lane, lane, and the first lane between them or nothing."""
        for c in self.root.iter("connection"):
            start, end = f"{c.get('from')}_{c.get('fromLane')}", f"{c.get('to')}_{c.get('toLane')}"
            yield start, end, c.get("via", "")

    def is_open(self, name: str) -> bool:
        """Return whether anybody may use a lane."""
        return self.lanes[name].get("disallow") != "all"

    def follow_lanes(self) -> None:
        """Put the lanes of streets on their centres."""
        for name, (road, lane) in self.source.items():
            if name[0] != ":" and self.is_open(name):
                self.put(name, self._centres(road, lane, resampled(self.lines[name], 2 * STEP)))

    def _centres(self, road: str, lane: int, line: Line) -> Line:
        """Return where the map has a lane near each point of a line; without the points where it has not.

        At sharp corners netconvert leads lanes beyond the ends of their roads.
        """
        s = np.array(self._along(road, line))
        onward = np.maximum.accumulate(s) if s[-1] > s[0] else np.minimum.accumulate(s)
        fresh = np.diff(onward, prepend=onward[0] - 1) != 0
        places = []
        for metres, near in zip(s[fresh & (s == onward)].tolist(), line[fresh & (s == onward)], strict=True):
            waypoint = self.map.get_waypoint_xodr(int(road), lane, metres)
            place = near if waypoint is None else _place(waypoint)
            if np.hypot(*(place - near)[:2]) < WRONG:
                places.append(place)
        return np.stack(places) if len(places) > 1 else line

    def _along(self, road: str, line: Line) -> list[float]:
        if road not in self._axes:
            self._axes[road] = _Axis(self.network.roads[road])
        metres: list[float] = self._axes[road].at(line).tolist()
        return metres

    def follow_ways(self) -> None:
        """Lead the lanes through junctions from the end of one lane to the start of the next."""
        after = {start: via or end for start, end, via in self.connections() if start[0] == ":"}
        for start, end, via in list(self.connections()):
            if not via or start[0] == ":" or start not in self.source or end not in self.source:
                continue
            chain = [via]
            while after.get(chain[-1], "").startswith(":"):
                chain.append(after[chain[-1]])
            way = self._way(start, end, via)
            if way is not None:
                self._share(way, chain)

    def _way(self, start: str, end: str, via: str) -> Line | None:
        (road, lane), (goal_road, _) = self.source[start], self.source[end]
        allowed = {int(road), int(goal_road), int(self.source.get(via, (road, 0))[0])}
        tail, goal = self.lines[start][-1], self.lines[end][0]
        here = self.map.get_waypoint_xodr(int(road), lane, self._along(road, tail[None])[0])
        if np.hypot(*(goal - tail)[:2]) < STEP:
            return np.stack([tail, goal])
        points = [tail]
        for _ in range(LONGEST_WAY if here is not None else 0):
            ways = [w for w in here.next(STEP) if w.road_id in allowed]
            here = min(ways, key=lambda w: float(np.hypot(*(_place(w) - goal)[:2])), default=None)
            if here is None:
                return None
            points.append(_place(here))
            if np.hypot(*(points[-1] - goal)[:2]) < 0.75 * STEP:
                return np.stack([*points[:-1], goal])
        return None

    def _share(self, way: Line, chain: list[str]) -> None:
        """Give each lane of a chain its part of a way."""
        ends = [along(way, self.lines[name][-1])[0] for name in chain[:-1]]
        for name, a, b in zip(chain, [0.0, *ends], [*ends, length(way)], strict=True):
            if b - a > 0.2 or len(chain) == 1:
                self.put(name, between(way, a, b))
                known = float(self.lanes[name].get("speed", STRAIGHT))
                self.lanes[name].set("speed", f"{min(known, bend_speeds(self.lines[name]).min()):.2f}")


class _Axis:
    """Finds the place along a road's reference line."""

    def __init__(self, road: opendrive.Road) -> None:
        self.s = np.linspace(0.0, road.length, max(2, int(road.length / 0.25)))
        line = road.line(self.s)
        self.xy = np.stack([line.x, -line.y], axis=1)
        self.tree = cKDTree(self.xy)

    def at(self, points: Line) -> Float[np.ndarray, " n"]:
        """Return the distances along the road; never quite its ends, where CARLA knows no lane."""
        i = np.clip(self.tree.query(points[:, :2])[1], 1, None)
        way, step = self.xy[i] - self.xy[i - 1], self.s[i] - self.s[i - 1]
        share = ((points[:, :2] - self.xy[i - 1]) * way).sum(1) / np.maximum((way**2).sum(1), 1e-9)
        metres = self.s[i - 1] + np.clip(share, -1.0, 2.0) * step
        return np.asarray(np.clip(metres, 1e-3, self.s[-1] - 1e-3))


def _place(waypoint: carla.Waypoint) -> np.ndarray:
    place = waypoint.transform.location
    return np.array([place.x, place.y, place.z])
