"""Traffic lights, stop, yield and speed signs of a map: where they stand, and which lanes obey them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mtdrive.envs.town.opendrive import Network, Post, Road
from mtdrive.envs.town.stage import Box, Pose, Signal
from mtdrive.envs.town.strips import DRIVEN, across

LIGHT, STOP, YIELD, SPEED = "light", "stop", "yield", "speed"
KINDS = {"1000001": LIGHT, "206": STOP, "205": YIELD, "274": SPEED}
"""By the type in OpenDRIVE."""

TRIGGER_LENGTH, TRIGGER_HEIGHT = 3.4, 2.0
"""Metres of the box before the stop line in which a driver must mind a signal."""


class Stop(NamedTuple):
    """Where a lane reaches the signal that it obeys."""

    road: str
    lane: int
    pose: Pose
    """On the lane's centre, x along the traffic."""
    width: float


@dataclass(frozen=True)
class Signpost(Signal):
    """A traffic light or sign; x of its pose points to the drivers who obey it."""

    kind: str = LIGHT
    """`LIGHT`, `STOP`, `YIELD` or `SPEED`."""
    value: float = -1.0
    """What a speed sign says."""
    stops: tuple[Stop, ...] = ()


def read(network: Network) -> dict[str, Signpost]:
    """Return the lights and signs of a map by id."""
    uses: dict[str, list[tuple[Road, Post]]] = {}
    for road in network.roads.values():
        for post in (*road.signals, *road.references):
            uses.setdefault(post.id, []).append((road, post))
    switched = {s: c for c, ids in network.controllers.items() for s in ids}
    ruled = {c: j for j, ids in network.junctions.items() for c in ids}
    found = {}
    for road in network.roads.values():
        for post in (p for p in road.signals if p.kind in KINDS):
            controller = switched.get(post.id, "")
            found[post.id] = _signpost(road, post, uses[post.id], controller, ruled.get(controller, ""))
    return found


def _signpost(road: Road, post: Post, uses: list[tuple[Road, Post]], controller: str, group: str) -> Signpost:
    stops: list[Stop] = []
    for stop in (s for other, use in uses for s in _stops(other, use)):
        # The lanes of a junction that begin in one place are one lane before it.
        if all(math.hypot(stop.pose.x - s.pose.x, stop.pose.y - s.pose.y) > 0.5 for s in stops):
            stops.append(stop)
    x, y, z = across(road, np.array([post.s]), np.array([post.t]))[0].tolist()
    yaw = stops[0].pose.yaw if stops else _heading(road, post.s, post.forward is not False)
    return Signpost(
        post.id, Pose(x, y, z, 0.0, wrapped(yaw + 180), 0.0), group, controller,
        tuple(_trigger(s) for s in stops), KINDS[post.kind], post.value, tuple(stops),
    )  # fmt: skip


def _trigger(stop: Stop) -> Box:
    p, half = stop.pose, TRIGGER_LENGTH / 2
    x, y, z = (np.array([p.x, p.y, p.z]) - half * p.forward).tolist()
    pose = Pose(x, y, z + TRIGGER_HEIGHT / 2, p.pitch, p.yaw, 0.0)
    return Box(pose, (half, stop.width / 2, TRIGGER_HEIGHT / 2))


def _stops(road: Road, post: Post) -> Iterator[Stop]:
    """Give the lanes of a road that obey a signal.

    A lane inside a junction stops where it begins, as CARLA moves a stop line out of the junction.
    """
    section = road.section_at(post.s)
    for i, lane in section.lanes.items():
        forward = i < 0
        meant = any(a <= i <= b for a, b in post.lanes) if post.lanes else post.forward in (None, forward)
        if not meant or i == 0 or lane.kind not in DRIVEN:
            continue
        s = min(max(post.s, 0.0), road.length)
        if road.junction:
            s = 0.0 if forward else road.length
        if i in road.section_at(s).lanes:
            pose, width = lane_pose(road, i, s)
            yield Stop(road.id, i, pose, width)


def lane_pose(road: Road, lane: int, s: float) -> tuple[Pose, float]:
    """Return the centre of a lane at `s`, x along its traffic, and the lane's width."""
    edges = road.edges(road.section_at(s), np.array([s]))
    inner, outer = edges[lane - (1 if lane > 0 else -1)], edges[lane]
    x, y, z = across(road, np.array([s]), (inner + outer) / 2)[0].tolist()
    near = np.array([max(s - 0.5, 0.0), min(s + 0.5, road.length)])
    slope = float(np.diff(road.elevation(near))[0]) / max(float(np.ptp(near)), 1e-6)
    pitch = math.degrees(math.atan(slope if lane < 0 else -slope))
    return Pose(x, y, z, pitch, _heading(road, s, lane < 0), 0.0), float(abs(outer - inner)[0])


def _heading(road: Road, s: float, forward: bool) -> float:
    """Return CARLA's yaw of the traffic along a road or against it."""
    heading = -math.degrees(float(road.line(np.array([s])).heading[0]))
    return wrapped(heading if forward else heading + 180)


def wrapped(degrees: float) -> float:
    """Return an angle from -180 to 180."""
    return (degrees + 180) % 360 - 180
