"""Where the lanes of a network end at junctions, and what lies there: lights, stop lines, crossings."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element, SubElement

import carla
import numpy as np

from mtdrive.envs.network_draft import WRONG, Draft
from mtdrive.envs.polylines import Line, along, between, joined, length, polygons
from mtdrive.envs.town import signposts

LIGHT = "linkSignalID:"
"""What precedes the number of a link in the name of the parameter with the OpenDRIVE id of its light."""
LONGEST_CUT, SHORTEST_LANE = 12.0, 8.0
"""Metres that a lane may lose at an end, and that must remain."""
BESIDE = 1.5
"""Metres from a lane's centre to a stop on it."""
SAME_DIRECTION = math.cos(math.radians(30))
NEAR_PAINT = 9.0
"""Metres from a crossing to the paint that is meant for it."""
WAITING, FARTHEST = 0.5, 4.0
"""Metres behind the kerb where a crossing begins for walkers, so that long vehicles miss those who wait, and
within which the kerb is looked for."""
WALKER = "pedestrian"
BEFORE_PAINT = 0.5
"""Metres from the end of a lane to the paint of a crossing."""


def name_lights(draft: Draft) -> None:
    """Say which of the map's lights each link of SUMO's lights is.

    netconvert guesses, and gives some lanes of Town01 the light of another street.
    """
    lights = _lights_of(draft)
    for plan in draft.root.iter("tlLogic"):
        for param in plan.findall("param"):
            plan.remove(param)
        for c in draft.root.iter("connection"):
            name = lights.get(f"{c.get('from')}_{c.get('fromLane')}")
            if name and c.get("tl") == plan.get("id"):
                SubElement(plan, "param", key=f"{LIGHT}{c.get('linkIndex')}", value=name)


def _lights_of(draft: Draft) -> dict[str, str]:
    """Return the light that each lane ends at."""
    posts = signposts.read(draft.network).values()
    stops = [(p.id, s.pose) for p in posts if p.kind == signposts.LIGHT for s in p.stops]
    found = {}
    for name in (n for n in draft.source if n[0] != ":" and draft.is_open(n)):
        line = draft.lines[name]
        for light, pose in stops:
            place = np.array([pose.x, pose.y, pose.z])
            if np.hypot(*(place - line[-1])[:2]) < LONGEST_CUT and along(line, place)[1] < BESIDE:
                way = line[-1] - line[-2]
                if way[:2] @ pose.forward[:2] > SAME_DIRECTION * np.hypot(*way[:2]):
                    found[name] = light
    return found


class Ends:
    """Where lanes end at a junction, and what lies there: stop lines and crossings."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.cuts: dict[tuple[str, bool], float] = {}
        """Metres to take from an edge, at its end or at its start."""
        self.walks: dict[tuple[str, bool], float] = {}
        """The same for its pavement, which goes on to the middle of the crossing."""

    def move(self) -> None:
        """End the lanes at the stop lines and put the crossings on the paint."""
        self._find_stops()
        self._find_crossings()
        whole = dict(self.draft.lines)
        for (edge, at_end), whole_cut in self.cuts.items():
            for lane in self.draft.edges[edge].iter("lane"):
                name = lane.get("id", "")
                line = self.draft.lines[name]
                total = length(line)
                walked = lane.get("allow") == WALKER
                cut = self.walks.get((edge, at_end), 0.0) if walked else whole_cut
                self.draft.put(name, between(line, *((0.0, total - cut) if at_end else (cut, total))))
        self._extend(whole)

    def _find_stops(self) -> None:
        lanes = {source: name for name, source in self.draft.source.items() if name[0] != ":"}
        for post in signposts.read(self.draft.network).values():
            for stop in post.stops if post.kind in (signposts.LIGHT, signposts.STOP) else ():
                name = lanes.get((stop.road, stop.lane), "")
                if name and not self.draft.network.roads[stop.road].junction:
                    place = np.array([stop.pose.x, stop.pose.y, stop.pose.z])
                    self._cut(name, True, place, 0.0)

    def _cut(self, name: str, at_end: bool, place: np.ndarray, room: float) -> None:
        """Take from a lane what is nearer to its end than `place`, and so many metres more."""
        line = self.draft.lines[name]
        total, (at, beside) = length(line), along(line, place)
        cut = room + (total - at if at_end else at)
        key = name.rpartition("_")[0], at_end
        other = self.cuts.get((key[0], not at_end), 0.0)
        if beside < WRONG and cut < LONGEST_CUT and total - cut - other > SHORTEST_LANE:
            self.cuts[key] = max(cut, self.cuts.get(key, 0.0))

    def _find_crossings(self) -> None:
        paint = [_Paint(p) for p in polygons(self.draft.map.get_crosswalks())]
        for edge in self.draft.edges.values():
            if edge.get("function") != "crossing":
                continue
            name = f"{edge.get('id')}_0"
            line = self.draft.lines[name]
            self.draft.put(name, self._lengthened(line))
            near = min(paint, key=lambda p: p.distance(line), default=None)
            if near is not None and near.distance(line) < NEAR_PAINT:
                paint.remove(near)
                self.draft.put(name, self._lengthened(near.carry(line)))
                self.draft.lanes[name].set("width", f"{near.width:.2f}")
                self.draft.lanes[name].attrib.pop("outlineShape", None)
                self._cut_before(near, edge)

    def _lengthened(self, line: Line) -> Line:
        """Return a crossing whose ends are behind the kerbs."""
        way = (line[-1] - line[0]) / max(float(np.linalg.norm(line[-1] - line[0])), 1e-9)
        return np.stack([self._behind_kerb(line[0], -way), self._behind_kerb(line[-1], way)])

    def _behind_kerb(self, end: np.ndarray, way: np.ndarray) -> np.ndarray:
        for metres in np.arange(0.0, FARTHEST, 0.25):
            place = carla.Location(*(end + metres * way).tolist())
            if self.draft.map.get_waypoint(place, False, carla.LaneType.Driving) is None:
                return end + (metres + WAITING) * way
        return end + WAITING * way

    def _cut_before(self, paint: _Paint, crossing: Element) -> None:
        junction = crossing.get("id", "").rpartition("_")[0][1:]
        for name in crossing.get("crossingEdges", "").split():
            edge = self.draft.edges[name]
            at_end = edge.get("to") == junction
            for lane in (str(e.get("id")) for e in edge.iter("lane") if self.draft.is_open(str(e.get("id")))):
                at, total = along(self.draft.lines[lane], paint.centre)[0], length(self.draft.lines[lane])
                if 0.1 < at < total - 0.1:
                    self._cut(lane, at_end, paint.centre, paint.width / 2 + BEFORE_PAINT)
                    beyond = total - at if at_end else at
                    self.walks[name, at_end] = min(beyond, self.cuts.get((name, at_end), 0.0))

    def _extend(self, whole: dict[str, Line]) -> None:
        """Give what was cut from lanes to the lanes through the junction."""
        for start, end, via in list(self.draft.connections()):
            if via and (start.rpartition("_")[0], True) in self.cuts and self._drives(via):
                cut = self.cuts[start.rpartition("_")[0], True]
                tail = between(whole[start], length(whole[start]) - cut, length(whole[start]))
                self.draft.put(via, joined(tail, self.draft.lines[via]))
            if not via and (end.rpartition("_")[0], False) in self.cuts and self._drives(start):
                head = between(whole[end], 0.0, self.cuts[end.rpartition("_")[0], False])
                self.draft.put(start, joined(self.draft.lines[start], head))

    def _drives(self, name: str) -> bool:
        return self.draft.edges[name.rpartition("_")[0]].get("function") == "internal"


class _Paint:
    """A painted crossing."""

    def __init__(self, corners: Line) -> None:
        self.centre = corners.mean(0)
        flat = (corners - self.centre)[:, :2]
        self.way = np.linalg.svd(flat)[2][0]
        self.width = float(np.ptp(flat @ np.array([-self.way[1], self.way[0]])))

    def distance(self, line: Line) -> float:
        """Return how far a crossing lies beside the paint; far away if it runs in another direction."""
        way = (line[-1] - line[0])[:2]
        if abs(way @ self.way) < SAME_DIRECTION * np.linalg.norm(way):
            return math.inf
        return float(np.linalg.norm((line.mean(0) - self.centre)[:2]))

    def carry(self, line: Line) -> Line:
        """Return a crossing moved onto the paint."""
        moved = line[[0, -1]].copy()
        moved[:, :2] = self.centre[:2] + ((moved - self.centre)[:, :2] @ self.way)[:, None] * self.way
        return moved
