"""What SUMO leaves out of driving: to slow down for bends, and to change lanes without turning across."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mtdrive.envs.polylines import STEP, STRAIGHT, Speeds, at, bend_speeds, length
from mtdrive.envs.streets import Streets

MOST = 8.0
"""Degrees to the lane that one drives at most while changing to another."""


class Bends:
    """The speeds for all lanes with bends. SUMO slows down for those of junctions only."""

    def __init__(self, streets: Streets) -> None:
        self._speeds: Mapping[str, tuple[float, Speeds]] = {
            lane.name: (length(lane.line) / lane.metres / STEP, speeds)
            for lane in streets.lanes
            if (speeds := bend_speeds(lane.line)).min() < STRAIGHT
        }

    def speed(self, lane: str, metres: float) -> float:
        """Return how fast one drives at a place of a lane; infinite where nothing bends."""
        if lane not in self._speeds:
            return math.inf
        scale, speeds = self._speeds[lane]
        return float(speeds[min(max(int(metres * scale), 0), len(speeds) - 1)])


class Courses:
    """The directions of lanes that have neighbours.

    SUMO moves those who change lanes sideways at one speed, so that the slow ones stand across the street.
    """

    def __init__(self, streets: Streets) -> None:
        count: dict[str, int] = {}
        for lane in streets.lanes:
            count[lane.edge] = count.get(lane.edge, 0) + 1
        self._yaws: dict[str, list[float]] = {}
        for lane in streets.lanes:
            if count[lane.edge] > 1:
                scale = length(lane.line) / lane.metres
                points = at(lane.line, np.arange(int(lane.metres / STEP) + 2) * STEP * scale)
                ways = np.diff(points[:, :2], axis=0)
                self._yaws[lane.name] = np.degrees(np.arctan2(ways[:, 1], ways[:, 0])).tolist()

    def yaw(self, yaw: float, lane: str, metres: float) -> float:
        """Return a yaw as near as it may be to that of SUMO."""
        known = self._yaws.get(lane)
        if known is None:
            return yaw
        course = known[min(max(int(metres / STEP), 0), len(known) - 2)]
        off = (yaw - course + 180) % 360 - 180
        return course + min(max(off, -MOST), MOST)
