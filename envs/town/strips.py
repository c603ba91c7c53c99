"""The lanes of a network as strips of quads in CARLA's frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.opendrive import Network, Road, Section

ROAD, PAVEMENT, VERGE = "road", "pavement", "verge"

SURFACES = {
    **dict.fromkeys(("driving", "parking", "bidirectional", "shoulder", "stop", "biking"), ROAD),
    **dict.fromkeys(("onRamp", "offRamp", "entry", "exit", "connectingRamp", "slipLane", "tram"), ROAD),
    **dict.fromkeys(("sidewalk", "walking", "curb", "median"), PAVEMENT),
    **dict.fromkeys(("border", "restricted"), VERGE),
}
"""What the kinds of lanes are made of; others are not built."""

DRIVEN = frozenset({"driving", "parking", "bidirectional", "entry", "exit", "onRamp", "offRamp"})
"""The kinds of lanes that a car may use."""

KERB = 0.12
"""Metres that a pavement lies above the road."""

Line = Float[np.ndarray, "n 3"]
Array = Float[np.ndarray, "n"]


@dataclass(frozen=True)
class Strip:
    """One lane of one section; rows of points run with `s`."""

    road: Road
    section: Section
    lane: int
    kind: str
    surface: str
    inner: Line
    """The edge at the reference line's side."""
    outer: Line
    s: Array
    outermost: bool
    kerbed: bool
    """Whether the inner neighbour lies lower."""

    @property
    def width(self) -> float:
        """The greatest width in metres."""
        return float(np.linalg.norm(self.outer - self.inner, axis=1).max())

    @property
    def left(self) -> Line:
        """The edge on the left of those who look along `s`."""
        return self.outer if self.lane > 0 else self.inner

    @property
    def right(self) -> Line:
        """The edge on the right of those who look along `s`."""
        return self.inner if self.lane > 0 else self.outer


def across(road: Road, s: Array, t: Array, z: float = 0.0) -> Line:
    """Return the points at `s` along the road and `t` to the left of its reference line, `z` above it."""
    line = road.line(s)
    x = line.x - np.sin(line.heading) * t
    y = line.y + np.cos(line.heading) * t
    return np.stack([x, -y, road.elevation(s) + z], axis=1)


def rows(road: Road, start: float, end: float) -> Array:
    """Return where to cut a stretch so that its quads follow the road's bends, slopes and widths."""
    step = 12.0 if road.plain else 1.0 if road.junction or _bent(road, start, end) else 2.0
    return np.linspace(start, end, max(2, int(np.ceil((end - start) / step)) + 1))


def _bent(road: Road, start: float, end: float) -> bool:
    """Return whether a stretch has a bend of a radius below 30 m."""
    s = np.linspace(start, end, max(2, int((end - start) / 2)))
    turn = np.diff(np.unwrap(road.line(s).heading)) / np.diff(s)
    return bool(abs(turn).max() > 1 / 30)


def strips(network: Network) -> Iterator[Strip]:
    """Give the strips of all lanes that are built."""
    for road in network.roads.values():
        for section in road.sections:
            yield from _section(road, section)


def _section(road: Road, section: Section) -> Iterator[Strip]:
    s = rows(road, section.start, section.end)
    edges = road.edges(section, s)
    for side in (1, -1):
        lanes = sorted((i for i in section.lanes if i * side > 0), key=abs)
        built = [i for i in lanes if section.lanes[i].kind in SURFACES]
        for i in built:
            surface = SURFACES[section.lanes[i].kind]
            inner = section.lanes.get(i - side)
            low = inner is None or SURFACES.get(inner.kind) != PAVEMENT
            rise = KERB if surface == PAVEMENT else 0.0
            strip = Strip(
                road, section, i, section.lanes[i].kind, surface,
                across(road, s, edges[i - side], rise), across(road, s, edges[i], rise), s,
                outermost=i == built[-1], kerbed=surface == PAVEMENT and low,
            )  # fmt: skip
            if strip.width > 0.02:
                yield strip
