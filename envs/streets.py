"""What traffic needs to know of a SUMO network: where one can drive and walk without end, and its lights."""

from __future__ import annotations

import random
import xml.sax
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import carla
import numpy as np
import sumolib.net
from jaxtyping import Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from mtdrive.envs.polylines import Line, at, length, resampled
from mtdrive.errors import DataError

CAR, WALKER = "passenger", "pedestrian"
"""SUMO's classes: where cars may drive, all vehicles may; people walk on pavements."""
FITS = 1.0
"""Metres that lanes may lie beside those of the map in the median."""


class Place(NamedTuple):
    """A point of a lane, in CARLA's frame."""

    edge: str
    lane: int
    metres: float
    """From the lane's start, as SUMO counts."""
    x: float
    y: float
    z: float
    yaw: float


class Step(NamedTuple):
    """A way from one pavement to another."""

    edges: tuple[str, ...]
    """Of SUMO: areas, perhaps a crossing, and the other pavement."""
    to_end: bool
    """Whether one then walks to that pavement's end, or to its start."""


@dataclass(frozen=True)
class Lane:
    """A lane of a street."""

    edge: str
    index: int
    line: Line
    metres: float
    """Its length as SUMO counts."""

    @property
    def name(self) -> str:
        """SUMO's id."""
        return f"{self.edge}_{self.index}"

    def places(self, step: float, margin: float) -> Iterator[Place]:
        """Give points so many metres apart, that far from the ends."""
        count = int((self.metres - 2 * margin) / step) + 1 if self.metres >= 2 * margin else 0
        metres = self.metres / 2 + (np.arange(count) - (count - 1) / 2) * step
        scale = length(self.line) / self.metres
        for m, a, b in zip(
            metres, at(self.line, metres * scale), at(self.line, metres * scale + 0.1), strict=True
        ):
            yaw = float(np.degrees(np.arctan2(b[1] - a[1], b[0] - a[0])))
            x, y, z = a.tolist()
            yield Place(self.edge, self.index, float(m), x, y, z, yaw)


class Streets:
    """A network that was read.

    Raises:
        DataError: the file is no network, or nobody can drive in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # With lxml sumolib 1.28 forgets which streets the crossings cross.
            self.net = sumolib.net.readNet(
                str(path), lxml=False, withInternal=True, withPedestrianConnections=True, withPrograms=True
            )
            x, y = self.net.getLocationOffset()
            self.offset = float(x), float(y)
            streets = list(self.net.getEdges(withInternal=False))
            self.onward = self._onward(streets)
            self.lanes = tuple(self._lanes(CAR, self.onward))
            self.pavements = tuple(self._lanes(WALKER, [e.getID() for e in streets]))
        except (xml.sax.SAXException, OSError, KeyError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"{path}: expected a SUMO network, found: {error}; build it again") from None
        if not self.lanes:
            raise DataError(
                f"{path}: nobody can drive on in this network; build it again, or give another map"
            )

    def _onward(self, streets: Sequence[Any]) -> dict[str, tuple[str, ...]]:
        """Return the edges that one can go on to from each, among those that lead to each other."""
        found = {e.getID(): [f.getID() for f in e.getAllowedOutgoing(CAR)] for e in streets if e.allows(CAR)}
        kept = _largest(found)
        return {e: tuple(f for f in found[e] if f in kept) for e in found if e in kept}

    def _lanes(self, user: str, edges: Any) -> Iterator[Lane]:
        for name in edges:
            for lane in self.net.getEdge(name).getLanes():
                if lane.allows(user):
                    line = np.array(lane.getShape3D(), dtype=float)
                    line = (line - [*self.offset, 0.0]) * [1, -1, 1]
                    yield Lane(name, lane.getIndex(), line, lane.getLength())

    @cached_property
    def metres(self) -> Mapping[str, float]:
        """The length of each edge that one can drive on."""
        return {lane.edge: lane.metres for lane in self.lanes}

    @cached_property
    def footways(self) -> Mapping[tuple[str, bool], tuple[Step, ...]]:
        """Where one can walk on to from a pavement's end (True) or start.

        With at most one crossing between: SUMO lets those jump who have to cross two and wait for a light.
        Nor without one to a pavement that meets this one at both ends: SUMO mixes up the two places.
        """
        areas, crossings = self._areas()
        roads, found = {edge: self._roads(edge) for edge, _ in areas}, {}
        for (edge, end), area in areas.items():
            other = areas.get((edge, not end))
            steps = []
            for (onto, other_end), there in areas.items():
                if (
                    roads[onto] & roads[edge]
                ):  # the same street's other side, to which there is a way at both ends
                    continue
                if there == area and not (other and areas.get((onto, not other_end)) == other):
                    steps.append(Step((area, onto), not other_end))
                if (area, there) in crossings:
                    steps.append(Step((area, crossings[area, there], there, onto), not other_end))
            found[edge, end] = tuple(steps)
        return found

    def _areas(self) -> tuple[dict[tuple[str, bool], str], dict[tuple[str, str], str]]:
        """Return the walking area at each end of each pavement, and the crossings between areas."""
        areas: dict[tuple[str, bool], str] = {}
        sides: dict[str, dict[str, None]] = {}
        for edge in self.net.getEdges():
            for way in (w for x in edge.getLanes() if x.allows(WALKER) for w in x.getOutgoing()):
                start, end = edge.getID(), way.getTo().getID()
                kinds = edge.getFunction(), way.getTo().getFunction()
                if kinds == ("walkingarea", "crossing"):
                    sides.setdefault(end, {})[start] = None
                elif kinds == ("crossing", "walkingarea"):
                    sides.setdefault(start, {})[end] = None
                elif kinds == ("", "walkingarea"):
                    areas[start, True] = end
                elif kinds == ("walkingarea", ""):
                    areas[end, False] = start
        pairs = {crossing: tuple(ends) for crossing, ends in sides.items() if len(ends) == 2}
        return areas, {way: c for c, (a, b) in pairs.items() for way in ((a, b), (b, a))}

    def _roads(self, name: str) -> frozenset[str]:
        """Return the OpenDRIVE roads of an edge."""
        origins = (lane.getParam("origId") or "" for lane in self.net.getEdge(name).getLanes())
        return frozenset(part.rpartition("_")[0] for origin in origins for part in origin.split())

    @cached_property
    def _points(self) -> cKDTree:
        return cKDTree(np.concatenate([resampled(lane.line, 5.0)[:, :2] for lane in self.lanes]))

    def distance(self, x: float, y: float) -> float:
        """Return how far the nearest lane is, within 2.5 m."""
        return float(self._points.query((x, y))[0])

    def fits(self, town: carla.Map) -> None:
        """Check that the network is that of a map.

        Raises:
            DataError: it is not.
        """
        apart = []
        for lane in self.lanes[:: max(1, len(self.lanes) // 40)]:
            x, y, z = at(lane.line, np.array([length(lane.line) / 2]))[0].tolist()
            near = town.get_waypoint(carla.Location(x, y, z)).transform.location
            apart.append(near.distance(carla.Location(x, y, z)))
        if (median := float(np.median(apart))) > FITS:
            raise DataError(
                f"{self.path}: the network is not that of {town.name}: its lanes lie {median:.1f} m beside "
                "those of the map; build it again from the map"
            )

    @cached_property
    def _origins(self) -> dict[tuple[str, str], list[str]]:
        """The edges of each OpenDRIVE lane, in no order."""
        found: dict[tuple[str, str], list[str]] = {}
        for lane in self.lanes:
            param = self.net.getLane(lane.name).getParam("origId") or ""
            for origin in param.split():
                road, _, number = origin.rpartition("_")
                found.setdefault((road, number), []).append(lane.edge)
        return found

    def edges_of(self, road: Int[np.ndarray, "n 2"]) -> list[str]:
        """Return the edges of a route that is given by OpenDRIVE road and lane, up to the first gap."""
        edges: list[str] = []
        for key in dict.fromkeys((str(r), str(lane)) for r, lane in road.tolist()):
            edges += [e for e in self._origins.get(key, ()) if not edges or e != edges[-1]]
        for i, (a, b) in enumerate(pairwise(edges)):
            if b not in self.onward[a]:
                return edges[: i + 1]
        return edges

    def way(self, start: str, metres: float, draw: random.Random) -> list[str]:
        """Return a random way on from an edge, so many metres long, the edge itself first."""
        way, total = [start], 0.0
        while total < metres:
            way.append(draw.choice(self.onward[way[-1]]))
            total += self.metres[way[-1]]
        return way


def _largest(graph: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the largest part of a graph in which every node leads to every other."""
    names = list(graph)
    number = {name: i for i, name in enumerate(names)}
    pairs = np.array([(number[a], number[b]) for a in names for b in graph[a] if b in number], dtype=int)
    rows, columns = pairs.reshape(-1, 2).T
    matrix = coo_matrix((np.ones(len(pairs)), (rows, columns)), shape=(len(names), len(names)))
    _, labels = connected_components(matrix, connection="strong")
    inside = labels[rows] == labels[columns]  # a node that does not lead to itself is no such part
    if not inside.any():
        return set()
    largest = np.bincount(labels[rows[inside]]).argmax()
    return {name for name, label in zip(names, labels, strict=True) if label == largest}
