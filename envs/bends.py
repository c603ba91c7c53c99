"""How fast one drives through the bends of streets; SUMO slows down for those of junctions only."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mtdrive.envs.polylines import STEP, STRAIGHT, Speeds, bend_speeds, length
from mtdrive.envs.streets import Streets


class Bends:
    """The speeds for all lanes with bends."""

    def __init__(self, streets: Streets) -> None:
        self._speeds: Mapping[str, tuple[float, Speeds]] = {
            f"{lane.edge}_{lane.index}": (length(lane.line) / lane.metres / STEP, speeds)
            for lane in streets.lanes
            if (speeds := bend_speeds(lane.line)).min() < STRAIGHT
        }

    def speed(self, lane: str, metres: float) -> float:
        """Return how fast one drives at a place of a lane; infinite where nothing bends."""
        if lane not in self._speeds:
            return math.inf
        scale, speeds = self._speeds[lane]
        return float(speeds[min(max(int(metres * scale), 0), len(speeds) - 1)])
