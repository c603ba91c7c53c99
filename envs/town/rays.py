"""Straight lines through the world: what is in their way."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from mtdrive.envs.town.stage import Box, Land
from mtdrive.envs.town.structs import Vector

PACE, COARSER = 0.25, 0.002
"""Metres between the points of a line that are compared with the ground, and what is added a metre."""


def meet(box: Box, start: Vector, direction: Vector, swell: float = 0.0) -> float | None:
    """Return how far along a unit direction a box begins, 0 from inside it, None if it is not met.

    `swell` makes the box larger on all sides, as for a ball of that radius.
    """
    turn = box.pose.matrix()
    origin = turn[:3, :3].T @ (np.asarray(start) - turn[:3, 3])
    heading = turn[:3, :3].T @ np.asarray(direction)
    first, last = 0.0, math.inf
    for o, d, half in zip(origin.tolist(), heading.tolist(), box.extent, strict=True):
        half += swell
        if abs(d) < 1e-12:
            if abs(o) > half:
                return None
            continue
        near, far = sorted(((-half - o) / d, (half - o) / d))
        first, last = max(first, near), min(last, far)
    return first if first <= last else None


def beside(box: Box, start: Vector, direction: Vector, reach: float) -> bool:
    """Return whether a line comes so near to a box that it may meet it."""
    x, y, z = box.pose.x - start[0], box.pose.y - start[1], box.pose.z - start[2]
    along = min(max(x * direction[0] + y * direction[1] + z * direction[2], 0.0), reach)
    away = math.hypot(x - along * direction[0], y - along * direction[1], z - along * direction[2])
    return away <= math.hypot(*box.extent)


def nearest(boxes: Iterable[Box], start: Vector, direction: Vector, reach: float) -> tuple[float, Box] | None:
    """Return the distance and the box that is met first within a reach."""
    found = None
    for box in boxes:
        distance = meet(box, start, direction)
        if distance is not None and distance <= reach:
            found, reach = (distance, box), distance
    return found


def land_on(land: Land, start: Vector, direction: Vector, reach: float) -> Vector | None:
    """Return where a line first goes through the ground."""
    above = start[2] >= land.ground(start[0], start[1], start[2])
    before = 0.0
    while before < reach:
        distance = min(before + PACE + COARSER * before, reach)
        x, y, z = (s + distance * d for s, d in zip(start, direction, strict=True))
        if (z >= land.ground(x, y, z)) != above:
            return _between(land, start, direction, before, distance, above)
        before = distance
    return None


def _between(land: Land, start: Vector, direction: Vector, low: float, high: float, above: bool) -> Vector:
    for _ in range(40):
        middle = (low + high) / 2
        x, y, z = (s + middle * d for s, d in zip(start, direction, strict=True))
        if (z >= land.ground(x, y, z)) == above:
            low = middle
        else:
            high = middle
    return start[0] + high * direction[0], start[1] + high * direction[1], start[2] + high * direction[2]
