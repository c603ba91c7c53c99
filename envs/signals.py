"""Stop lines of a town: where its traffic lights and stop signs bid drivers to stop, a line for each lane.

The OpenDRIVE map decides, since CARLA makes its lights and their triggers from it. CARLA's frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import carla
import numpy as np
from jaxtyping import Bool, Float

from mtdrive.envs.coordinates import relative
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import Actor

STOP_SIGN = "206"
"""The type of stop signs in OpenDRIVE."""

LEVELS = 2.5
"""Metres of height between a line and a car from which they are on different levels."""

NEAR = 8.0
"""Metres: a stop sign's trigger volume this close to a line of the map belongs to it."""

_SAME = 0.5
_STEP = 0.05

Each = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class StopLine:
    """A line across one lane, before which one has to stop."""

    signal: str
    """OpenDRIVE id; of a stop sign that the map does not know, its place."""
    kind: Literal["light", "stop"]
    xyz: tuple[float, float, float]
    """Its middle."""
    yaw: float
    """Of the traffic that crosses it, degrees."""
    width: float
    """Of the lane, metres."""


def stop_lines(world: carla.World) -> tuple[StopLine, ...]:
    """Return the lines of the running town; a few remote calls, so once per episode."""
    actors = world.get_actors()
    return lines_of(world.get_map(), actors.filter("traffic.traffic_light*"), actors.filter("traffic.stop*"))


def lines_of(town: carla.Map, lights: Iterable[Any], signs: Iterable[Any]) -> tuple[StopLine, ...]:
    """Return the lines of a town with these `carla.TrafficLight`, and all stop signs of map and level."""
    marks: dict[str, list[carla.Landmark]] = {}
    for mark in town.get_all_landmarks():
        marks.setdefault(mark.id, []).append(mark)
    stops: list[StopLine] = []
    for name, group in marks.items():
        stops += _lines(name, "stop", _obeying(town, [m for m in group if m.type == STOP_SIGN]))
    stops += _unmapped(town, signs, tuple(stops))
    lines = [*_lights(town, lights, marks), *stops]
    return tuple(sorted(lines, key=lambda line: (line.kind, line.signal, line.xyz)))


def lines_on(route: Route, lines: Iterable[StopLine]) -> tuple[tuple[float, StopLine], ...]:
    """Return the lines that a route crosses in their lane and direction, with the metres from its start."""
    found = []
    for line in lines:
        across, along = relative(route.xyz[:, :2], line.xyz[:2], line.yaw).T
        step = np.diff(along)
        before = np.flatnonzero((along[:-1] < 0) & (along[1:] >= 0))
        for i in before.tolist():
            share = -along[i] / step[i]
            aside = across[i] + share * (across[i + 1] - across[i])
            high = route.xyz[i, 2] + share * (route.xyz[i + 1, 2] - route.xyz[i, 2]) - line.xyz[2]
            if abs(aside) <= line.width / 2 and abs(high) < LEVELS:
                gap = route.distance[i + 1] - route.distance[i]
                found.append((float(route.distance[i] + share * gap), line))
    return tuple(sorted(found, key=lambda item: item[0]))


class Crossings:
    """Which lines a point of a car crosses from tick to tick, in their lane and direction."""

    def __init__(self, lines: Sequence[StopLine], point: float) -> None:
        """Take a point of the car in half lengths before its middle: 1 is its front."""
        self.lines, self._point = lines, point
        self._xyz = np.array([line.xyz for line in lines]).reshape(-1, 3)
        self._yaw = np.radians([line.yaw for line in lines])
        self._half = np.array([line.width for line in lines]) / 2
        self._before: tuple[Each, Each] | None = None

    def step(self, ego: Actor) -> tuple[list[StopLine], Each, Bool[np.ndarray, " n"]]:
        """Return the lines crossed, how far the point is beyond each line, and if it is in its lane."""
        yaw, reach = math.radians(ego.yaw), self._point * ego.extent[0]
        x = ego.xyz[0] + reach * math.cos(yaw) - self._xyz[:, 0]
        y = ego.xyz[1] + reach * math.sin(yaw) - self._xyz[:, 1]
        cos, sin = np.cos(self._yaw), np.sin(self._yaw)
        along, across = x * cos + y * sin, y * cos - x * sin
        facing = (np.cos(self._yaw - yaw) > 0) & (np.abs(self._xyz[:, 2] - ego.xyz[2]) < LEVELS)
        was, beside = self._before or (along, across)
        self._before = along, across
        passed = np.flatnonzero(facing & (was < 0) & (along >= 0))
        share = -was[passed] / (along - was)[passed]
        at = beside[passed] + share * (across - beside)[passed]
        crossed = [self.lines[i] for i in passed[np.abs(at) <= self._half[passed]].tolist()]
        return crossed, along, facing & (np.abs(across) <= self._half)


def _lights(
    town: carla.Map, lights: Iterable[Any], marks: Mapping[str, Sequence[carla.Landmark]]
) -> Iterator[StopLine]:
    """Give the lines of lights; one whose id the map lacks has those of its trigger, as the Leaderboard."""
    for light in lights:
        name = light.get_opendrive_id()
        places = list(_obeying(town, marks.get(name, ())))
        yield from _lines(name, "light", places or map(_to_junction, light.get_stop_waypoints()))


def _obeying(town: carla.Map, marks: Iterable[carla.Landmark]) -> Iterator[carla.Waypoint]:
    """Give where the lanes that obey a signal reach its line."""
    for mark in marks:
        for low, high in map(sorted, mark.get_lane_validities()):
            for lane in (i for i in range(low, high + 1) if i):
                place = town.get_waypoint_xodr(mark.road_id, lane, mark.s)
                if place is not None and place.lane_type == carla.LaneType.Driving:
                    yield _out_of_junction(place)


def _out_of_junction(place: carla.Waypoint) -> carla.Waypoint:
    """Move a place on a lane of a junction back to where that lane begins."""
    # previous_until_lane_start() of the client gives wrong places beyond the first road.
    road = place.road_id
    while place.is_junction and place.road_id == road:
        back = place.previous(_STEP)
        if not back:
            break
        place = back[0]
    return place


def _to_junction(place: carla.Waypoint) -> carla.Waypoint:
    """Move a place along its lane to where a junction begins, if one comes within 50 m."""
    here = place
    for _ in range(100):
        ahead = here.next(0.5)
        if here.is_junction or not ahead:
            return place
        if ahead[0].is_junction:
            return here
        here = ahead[0]
    return place


def _unmapped(town: carla.Map, signs: Iterable[Any], known: Sequence[StopLine]) -> Iterator[StopLine]:
    """Give the lines of stop signs that stand in the level but not in the map, from their triggers."""
    for sign in signs:
        volume, pose = sign.trigger_volume, sign.get_transform()
        middle = carla.Location(volume.location)
        pose.transform(middle)  # in place
        if any(math.dist(line.xyz[:2], (middle.x, middle.y)) < NEAR for line in known):
            continue
        place = town.get_waypoint(middle)
        while ahead := [w for w in place.next(_STEP) if _holds(volume, pose, middle, w)]:
            place = ahead[0]
        yield from _lines(f"stop at {middle.x:.0f}, {middle.y:.0f}", "stop", [_out_of_junction(place)])


def _holds(
    volume: carla.BoundingBox, pose: carla.Transform, middle: carla.Location, place: carla.Waypoint
) -> bool:
    """Return whether a place is inside a trigger, seen from above."""
    # The client's contains() leaves out the rotation of the box.
    here, turn = place.transform.location, pose.rotation.yaw + volume.rotation.yaw
    right, forward = relative(np.array([here.x, here.y]), (middle.x, middle.y), turn).tolist()
    return bool(abs(forward) <= volume.extent.x and abs(right) <= volume.extent.y)


def _lines(name: str, kind: Literal["light", "stop"], places: Iterable[carla.Waypoint]) -> Iterator[StopLine]:
    """Give a line at each place; lanes of a junction that begin in one place are one lane before it."""
    seen: list[carla.Location] = []
    for place in places:
        here = place.transform.location
        if all(here.distance(other) > _SAME for other in seen):
            seen.append(here)
            yaw = (place.transform.rotation.yaw + 180) % 360 - 180
            yield StopLine(name, kind, (here.x, here.y, here.z), yaw, place.lane_width)
