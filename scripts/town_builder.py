"""OpenDRIVE of a town's table: curves, lanes through junctions, signals, signs and crossings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scenariogeneration import xodr

from scripts.town_tables import LIGHTS, STOPS, Junction, Street

LANE, PAVEMENT, SHOULDER = 3.5, 2.2, 0.6
"""Widths in metres."""

STOP = 4.5
"""Metres from the stop line to the end of the road; the crossing lies between."""


@dataclass
class Arm:
    """A street's end at a junction, seen by those who drive in."""

    road: int
    street: Street
    point: np.ndarray
    heading: float
    """Of those who drive in."""
    at_end: bool
    """Of the road, or at its start."""

    def lane(self, k: int, entering: bool) -> int:
        """Return the id of the k-th lane from the middle, of those who drive in or out."""
        return -k if entering == self.at_end else k

    def edge(self, k: int, entering: bool) -> tuple[np.ndarray, float]:
        """Return the left edge of that lane and its direction."""
        heading = self.heading if entering else self.heading + math.pi
        right = np.array([math.sin(heading), -math.cos(heading)])
        return self.point + right * LANE * (k - 1), heading

    @property
    def contact(self) -> xodr.ContactPoint:
        """Which end of the road it is."""
        return xodr.ContactPoint.end if self.at_end else xodr.ContactPoint.start


@dataclass
class Builder:
    """A map in the making."""

    name: str
    junctions: dict[str, Junction]
    streets: tuple[Street, ...]
    signals: int
    """The last id that was given. scenariogeneration changes ids that it has seen before, in any map."""
    arms: dict[str, list[Arm]] = field(default_factory=dict)
    controllers: dict[int, list[list[int]]] = field(default_factory=dict)
    """Per junction: the signals of each turn."""

    def build(self) -> xodr.OpenDrive:
        """Return the map without its controllers, which scenariogeneration does not know."""
        self.drive = xodr.OpenDrive(self.name, geo_reference=GEOREFERENCE)
        roads = [self._street(number, street) for number, street in enumerate(self.streets)]
        for number, key in enumerate(self.junctions):
            self._junction(1000 + number, key, roads)
        return self.drive

    def _street(self, number: int, street: Street) -> xodr.Road:
        ends = [self.junctions[k] for k in (street.start, street.end)]
        corners = [np.array(p, float) for p in ((ends[0].x, ends[0].y), *street.via, (ends[1].x, ends[1].y))]
        corners[0] = corners[0] + _unit(corners[1] - corners[0]) * ends[0].radius
        corners[-1] = corners[-1] + _unit(corners[-2] - corners[-1]) * ends[1].radius
        plan, length = _rounded(corners, street.bend)
        road = xodr.Road(number, plan, _lanes(street), name=f"{street.start}-{street.end}")
        road.add_type(xodr.RoadType.town, 0, speed=street.limit, speed_unit="km/h")
        knots = [(0.0, ends[0].z), *((s * length, z) for s, z in street.rise), (length, ends[1].z)]
        for (s0, z0), (s1, z1) in pairwise(knots):
            road.add_elevation(s0, *_smooth(z0, z1, s1 - s0))
        for at_end, key, a, b in ((False, street.start, 1, 0), (True, street.end, -2, -1)):
            way = corners[b] - corners[a]
            arm = Arm(number, street, corners[b], math.atan2(way[1], way[0]), at_end)
            self.arms.setdefault(key, []).append(arm)
            junction = 1000 + list(self.junctions).index(key)
            (road.add_successor if at_end else road.add_predecessor)(xodr.ElementType.junction, junction)
            self._speed_sign(road, street, at_end, length)
        self.drive.add_road(road)
        return road

    def _speed_sign(self, road: xodr.Road, street: Street, at_end: bool, length: float) -> None:
        """Put the limit beside the lanes that begin at this end."""
        side, s = (1, length - 12) if at_end else (-1, 12)
        facing = xodr.Orientation.negative if at_end else xodr.Orientation.positive
        sign = self._sign(s, side * (street.lanes * LANE + 1.0), "274", facing, street.limit)
        sign.add_validity(*((1, street.lanes) if at_end else (-street.lanes, -1)))
        road.add_signal(sign)

    def _sign(
        self, s: float, t: float, kind: str, facing: xodr.Orientation, limit: int | None = None
    ) -> xodr.Signal:
        self.signals += 1
        dynamic = xodr.Dynamic.yes if kind == "1000001" else xodr.Dynamic.no
        return xodr.Signal(
            s, t, "OpenDRIVE", kind, "-1", id=str(self.signals), name=f"signal_{self.signals}", zOffset=0.0,
            dynamic=dynamic, value=limit, unit=limit and "km/h", orientation=facing, height=1.0, width=0.6,
        )  # fmt: skip

    def _junction(self, number: int, key: str, roads: list[xodr.Road]) -> None:
        arms = self.arms[key]
        junction = xodr.Junction(f"junction {key}", number)
        count = 0
        for arm in arms:
            right = min((a for a in arms if a is not arm), key=lambda a: _turn(arm, a))
            for other, k, m in _movements(arm, arms):
                road = 10000 + 100 * (number - 1000) + count
                corner = other is right and k == arm.street.lanes
                self._connect(junction, (road, number), (arm, k), (other, m), corner, self.junctions[key].z)
                count += 1
        self.drive.add_junction(junction)
        self._rule(number, key, arms, roads)

    def _connect(
        self, junction: xodr.Junction, ids: tuple[int, int], entry: tuple[Arm, int], exit_: tuple[Arm, int],
        corner: bool, z: float,
    ) -> None:  # fmt: skip
        """Add a lane through a junction; the one at its right `corner` carries the pavement."""
        (arm, k), (other, m) = entry, exit_
        plan = _through(*arm.edge(k, True), *other.edge(m, False))
        lanes = xodr.LaneSection(0, xodr.Lane(a=0, lane_type=xodr.LaneType.none))
        lane = xodr.Lane(a=LANE)
        lane.add_link("predecessor", arm.lane(k, True))
        lane.add_link("successor", other.lane(m, False))
        lanes.add_right_lane(lane)
        if corner and arm.street.paved and other.street.paved:
            lanes.add_right_lane(xodr.Lane(a=PAVEMENT, lane_type=xodr.LaneType.sidewalk))
        whole = xodr.Lanes()
        whole.add_lanesection(lanes)
        road = xodr.Road(ids[0], plan, whole, road_type=ids[1])
        road.add_predecessor(xodr.ElementType.road, arm.road, arm.contact)
        road.add_successor(xodr.ElementType.road, other.road, other.contact)
        road.add_type(xodr.RoadType.town, 0, speed=min(arm.street.limit, 30), speed_unit="km/h")
        road.add_elevation(0, z, 0, 0, 0)
        self.drive.add_road(road)
        connection = xodr.Connection(arm.road, ids[0], xodr.ContactPoint.start)
        connection.add_lanelink(arm.lane(k, True), -1)
        junction.add_connection(connection)

    def _rule(self, number: int, key: str, arms: list[Arm], roads: list[xodr.Road]) -> None:
        rule = self.junctions[key].rule
        turns: list[tuple[float, list[int]]] = []
        for arm in arms:
            through = any(abs(_turn(arm, a) - math.pi) < 0.3 for a in arms if a is not arm)
            road = roads[arm.road]
            length = road.planview.get_total_length()
            if rule == LIGHTS or (rule == STOPS and not through):
                signal = self._guard(road, arm, length, "1000001" if rule == LIGHTS else "206")
                axis = arm.heading % math.pi
                near = [t for a, t in turns if min(abs(a - axis), math.pi - abs(a - axis)) < 0.3]
                turns.append((axis, near[0] if near else []))
                turns[-1][1].append(signal)
            if rule == LIGHTS and arm.street.paved:
                self.signals += 1
                _crossing(road, arm, length, self.signals)
        if rule == LIGHTS:
            self.controllers[number] = list({id(t): t for _, t in turns}.values())

    def _guard(self, road: xodr.Road, arm: Arm, length: float, kind: str) -> int:
        """Put a light or stop sign at the end of a road; a reference says which lanes obey it, and where."""
        facing = xodr.Orientation.positive if arm.at_end else xodr.Orientation.negative
        place, line = (length - 0.3, length - STOP) if arm.at_end else (0.3, STOP)
        side = -1 if arm.at_end else 1
        n = arm.street.lanes
        sign = self._sign(place, side * (n * LANE + 0.9), kind, facing)
        sign.add_validity(0, 0)
        road.add_signal(sign)
        reference = xodr.SignalReference(line, 0.0, str(self.signals), facing)
        reference.add_validity(*((-n, -1) if arm.at_end else (1, n)))
        road.add_signal(reference)
        return self.signals


GEOREFERENCE = "+proj=tmerc +lat_0=49 +lon_0=8 +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"


def _unit(v: np.ndarray) -> np.ndarray:
    return np.asarray(v / np.linalg.norm(v))


def _turn(arm: Arm, other: Arm) -> float:
    """Return by how much the way out along `other` lies to the left of a sharp right turn, from 0 to 2 pi."""
    return (other.heading - arm.heading) % (2 * math.pi)


def _movements(arm: Arm, arms: list[Arm]) -> Iterator[tuple[Arm, int, int]]:
    """Give where one may go: straight on in all lanes, left from the innermost, right from the outermost."""
    n = arm.street.lanes
    used: set[int] = set()
    for other in arms:
        if other is arm:
            continue
        turn, m = _turn(arm, other), other.street.lanes
        if abs(turn - math.pi) < 0.45:
            pairs = [(k, k) for k in range(1, min(n, m) + 1)]
        else:
            pairs = [(1, 1)] if turn > math.pi else [(n, m)]
        for k, j in pairs:
            used.add(k)
            yield other, k, j
    assert used == set(range(1, n + 1)), f"{arm.street}: lanes without a way on"


def _rounded(corners: list[np.ndarray], bend: float) -> tuple[xodr.PlanView, float]:
    """Return lines through corners with arcs of a radius in between, and their length."""
    way = _unit(corners[1] - corners[0])
    plan = xodr.PlanView(*corners[0].tolist(), math.atan2(way[1], way[0]))
    total, since = 0.0, corners[0]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        a, b = _unit(corner - before), _unit(after - corner)
        turn = math.atan2(a[0] * b[1] - a[1] * b[0], float(a @ b))
        if abs(turn) < 1e-6:
            continue
        cut = bend * math.tan(abs(turn) / 2)
        straight = float((corner - since) @ a) - cut
        assert straight > 0.1, f"no room for the bend at {corner}"
        plan.add_geometry(xodr.Line(straight))
        plan.add_geometry(xodr.Arc(math.copysign(1 / bend, turn), length=bend * abs(turn)))
        total += straight + bend * abs(turn)
        since = corner + b * cut
    last = float(np.linalg.norm(corners[-1] - since))
    plan.add_geometry(xodr.Line(last))
    plan.adjust_geometries()
    return plan, total + last


def _through(p: np.ndarray, start: float, q: np.ndarray, end: float) -> xodr.PlanView:
    """Return a way from one point and direction to another: a line, or an arc with a line at one end."""
    a, b = (np.array([math.cos(h), math.sin(h)]) for h in (start, end))
    turn = (end - start + math.pi) % (2 * math.pi) - math.pi
    plan = xodr.PlanView(*p.tolist(), start)
    if abs(turn) < 1e-6:
        assert abs(a[0] * (q - p)[1] - a[1] * (q - p)[0]) < 1e-6, "lanes that are not in line"
        plan.add_geometry(xodr.Line(float(np.linalg.norm(q - p))))
    else:
        before, after = np.linalg.solve(np.stack([a, b], axis=1), q - p)
        assert min(before, after) > 0, "a turn that is no turn"
        cut = min(before, after)
        radius = cut / math.tan(abs(turn) / 2)
        if before - cut > 1e-6:
            plan.add_geometry(xodr.Line(before - cut))
        plan.add_geometry(xodr.Arc(math.copysign(1 / radius, turn), length=radius * abs(turn)))
        if after - cut > 1e-6:
            plan.add_geometry(xodr.Line(after - cut))
    plan.adjust_geometries()
    return plan


def _smooth(z0: float, z1: float, length: float) -> tuple[float, float, float, float]:
    """Return the cubic from one height to another that is level at both ends."""
    rise = z1 - z0
    return z0, 0.0, 3 * rise / length**2, -2 * rise / length**3


def _mark(
    kind: xodr.RoadMarkType, change: bool, colour: xodr.RoadMarkColor = xodr.RoadMarkColor.white
) -> xodr.RoadMark:
    """Return a line; where lanes may not be changed it has to say so, broken or not."""
    return xodr.RoadMark(
        kind, 0.13, color=colour, laneChange=xodr.LaneChange.both if change else xodr.LaneChange.none
    )


def _lanes(street: Street) -> xodr.Lanes:
    middle = xodr.Lane(a=0, lane_type=xodr.LaneType.none)
    kind = xodr.RoadMarkType.broken if street.lanes == 1 else xodr.RoadMarkType.solid_solid
    middle.add_roadmark(_mark(kind, False, xodr.RoadMarkColor.yellow))
    section = xodr.LaneSection(0, middle)
    for add in (section.add_left_lane, section.add_right_lane):
        for k in range(1, street.lanes + 1):
            lane = xodr.Lane(a=LANE)
            inner = k < street.lanes
            lane.add_roadmark(_mark(xodr.RoadMarkType.broken if inner else xodr.RoadMarkType.solid, inner))
            add(lane)
        kind, width = (
            (xodr.LaneType.sidewalk, PAVEMENT) if street.paved else (xodr.LaneType.shoulder, SHOULDER)
        )
        add(xodr.Lane(a=width, lane_type=kind))
    lanes = xodr.Lanes()
    lanes.add_lanesection(section)
    return lanes


def _crossing(road: xodr.Road, arm: Arm, length: float, number: int) -> None:
    """Put a pedestrian crossing between the stop line and the junction."""
    s = length - STOP / 2 if arm.at_end else STOP / 2
    half = arm.street.lanes * LANE
    kind = xodr.ObjectType.crosswalk
    thing = xodr.Object(s, 0, kind, id=str(number), name=f"crossing_{number}", width=2 * half, length=2.6)
    outline = xodr.Outline()
    for i, (u, v) in enumerate(((-1.3, -half), (1.3, -half), (1.3, half), (-1.3, half), (-1.3, -half))):
        outline.add_corner(xodr.CornerLocal(u, v, 0, 0, i))
    thing.add_outline(outline)
    road.add_object(thing)
