"""Lines of points: their lengths, parts and nearest places. Lengths are measured in the plane."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

Line = Float[np.ndarray, "_ 3"]
Speeds = Float[np.ndarray, " m"]

ACROSS, BRAKING = 2.5, 2.0
"""m/s2 that people in a car bear sideways, and brake with before a bend."""
STEP, SPREAD = 1.0, 3
"""Metres between points where the speed is known, and points to each side over which a bend is averaged."""
STRAIGHT = 60.0
"""m/s; nobody drives so fast."""


@runtime_checkable
class Location(Protocol):
    """A place, such as `carla.Location`."""

    x: float
    y: float
    z: float


def distances(line: Line) -> Float[np.ndarray, " n"]:
    """Return how far each point is along the line."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line[:, :2], axis=0).T))])


def length(line: Line) -> float:
    """Return the length."""
    return float(distances(line)[-1])


def at(line: Line, places: Float[np.ndarray, " m"]) -> Float[np.ndarray, "m 3"]:
    """Return the points at some distances along the line."""
    known = distances(line)
    return np.stack([np.interp(places, known, column) for column in line.T], axis=-1)


def resampled(line: Line, step: float) -> Line:
    """Return the line with a point at least every `step` metres, at equal distances."""
    total = length(line)
    return at(line, np.linspace(0.0, total, max(2, int(np.ceil(total / step)) + 1)))


def between(line: Line, start: float, end: float) -> Line:
    """Return a part of the line."""
    known = distances(line)
    inside = line[(known > start + 1e-3) & (known < end - 1e-3)]
    first, last = at(line, np.array([start, end]))
    return np.concatenate([first[None], inside, last[None]])


def along(line: Line, point: Float[np.ndarray, " 3"]) -> tuple[float, float]:
    """Return where on the line is nearest to a point, and how far the point is from there."""
    start, way = line[:-1, :2], np.diff(line[:, :2], axis=0)
    share = ((point[:2] - start) * way).sum(1) / np.maximum((way**2).sum(1), 1e-12)
    share = np.clip(share, 0.0, 1.0)
    apart = np.linalg.norm(start + share[:, None] * way - point[:2], axis=1)
    best = int(np.argmin(apart))
    return float(distances(line)[best] + share[best] * np.hypot(*way[best])), float(apart[best])


def joined(first: Line, second: Line) -> Line:
    """Return two lines as one; the second begins where the first ends."""
    return np.concatenate([first, second[1:]])


def thin(line: Line, tolerance: float = 0.01) -> Line:
    """Return the line without the points that lie within `tolerance` of the rest, in space."""
    keep = [0]
    for end in range(2, len(line)):
        if _away(line[keep[-1] : end + 1]) > tolerance:
            keep.append(end - 1)
    return line[[*keep, len(line) - 1]]


def _away(line: Line) -> float:
    """Return how far the inner points are from the straight line between the ends."""
    way, rest = line[-1] - line[0], line[1:-1] - line[0]
    share = np.clip(rest @ way / max(float(way @ way), 1e-12), 0.0, 1.0)
    return float(np.linalg.norm(rest - share[:, None] * way, axis=1).max())


def bend_speeds(line: Line) -> Speeds:
    """Return the speeds along a line, a metre apart, so that one has braked when a bend begins."""
    count = max(3, int(length(line) / STEP) + 1)
    points = at(line, np.arange(count) * STEP)[:, :2]
    heading = np.unwrap(np.arctan2(*np.diff(points, axis=0).T[::-1]))
    turned = heading[np.minimum(np.arange(count) + SPREAD, count - 2)]
    turned = np.abs(turned - heading[np.clip(np.arange(count) - SPREAD, 0, count - 2)])
    radius = 2 * SPREAD * STEP / np.maximum(turned, 1e-6)
    speeds = np.minimum(np.sqrt(ACROSS * radius), STRAIGHT)
    for i in range(count - 2, -1, -1):
        speeds[i] = min(speeds[i], math.sqrt(speeds[i + 1] ** 2 + 2 * BRAKING * STEP))
    return np.asarray(speeds)


def polygons(corners: Iterable[Location]) -> Iterator[Line]:
    """Give the polygons of `carla.Map.get_crosswalks`, in which each ends with its first corner."""
    ring: list[tuple[float, float, float]] = []
    for corner in corners:
        ring.append((corner.x, corner.y, corner.z))
        if len(ring) > 2 and ring[-1] == ring[0]:
            yield np.array(ring[:-1])
            ring = []
