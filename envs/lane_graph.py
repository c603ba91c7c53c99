"""Shortest ways over the lanes of a map: along lanes, over junctions, and between lanes side by side."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mtdrive.envs.lanes import NODE, Lane

CHANGES = ((6, 5.0), (3, 10.0), (2, 20.0), (1, 40.0))
"""Nodes that a change of lane takes, and what it costs in metres: a gentle change is the cheapest, a sharp
one is made only where there is no room for another."""

SETTLE, SETTLE_COST = 2, 0.1
"""Nodes after which a change best begins, and the cost of one more or less: soon, as with CARLA's planner."""

BACK = 3
"""Points that the next place may lie behind the last one without a way around the block."""

SLACK = 60.0
"""Metres beyond the shortest way to a place after which its other candidates are best given up."""


class Spot(NamedTuple):
    """A point of a lane."""

    lane: int
    point: int


class Way(NamedTuple):
    """How a spot is reached: from which, over which nodes, at which cost in metres."""

    source: Spot
    nodes: tuple[int, ...]
    cost: float


class Stretch(NamedTuple):
    """Points `start` to `stop` of a lane, both included; with `onto`, a change to that lane over them."""

    lane: int
    start: int
    stop: int
    onto: int = -1


class Graph:
    """Nodes are every `NODE`-th point of each lane; an edge goes on along the lane or changes to another."""

    def __init__(self, lanes: tuple[Lane, ...]) -> None:
        self.lanes = lanes
        self.spots = [Spot(i, k * NODE) for i, lane in enumerate(lanes) for k in range(lane.nodes)]
        self.first = [0] * len(lanes)
        for node in range(len(self.spots) - 1, -1, -1):
            self.first[self.spots[node].lane] = node
        self.xy = [tuple(lanes[s.lane].xyz[s.point, :2].tolist()) for s in self.spots]
        self.edges = [[*self._onward(s), *self._changes(s)] for s in self.spots]

    def ways(
        self,
        sources: Mapping[Spot, float],
        targets: Sequence[Spot],
        goal: tuple[float, float],
        near: float,
        slack: float,
    ) -> dict[Spot, Way]:
        """Return the shortest ways to those targets that can be reached.

        Args:
            sources: where to begin, and the cost to begin there.
            targets: candidates of one place.
            goal: that place.
            near: metres; all targets are as near to it.
            slack: metres; targets so much farther than another are left out.
        """
        found = self._direct(sources, targets)
        bound = min((w.cost for w in found.values()), default=math.inf) + slack
        gates = self._gates(targets)
        before: dict[int, tuple[int, Spot]] = {}
        queue = [(c, c, n, -1, s) for s, cost in sources.items() for n, c in self._departures(s, cost)]
        heapq.heapify(queue)
        while queue and gates:
            estimate, cost, node, last, source = heapq.heappop(queue)
            if estimate > bound:
                break
            if node in before:
                continue
            before[node] = last, source
            for target in gates.pop(node, ()):
                total = cost + self._rest(node, target)
                bound = min(bound, total + slack)
                if target not in found or total < found[target].cost:
                    found[target] = Way(source, _unwind(before, node), total)
            for onward, metres in self.edges[node]:
                if onward not in before:
                    ahead = max(math.dist(self.xy[onward], goal) - near, 0.0)
                    heapq.heappush(queue, (cost + metres + ahead, cost + metres, onward, node, source))
        return found

    def stretches(self, way: Way, target: Spot) -> Iterator[Stretch]:
        """Give what is driven on a way."""
        here = way.source
        for there in (self.spots[node] for node in way.nodes):
            if there.lane == here.lane and there.point >= here.point:
                yield Stretch(*here, there.point)
            elif there.lane in self.lanes[here.lane].following:
                yield Stretch(*here, len(self.lanes[here.lane].xyz) - 1)
            else:
                yield Stretch(*here, there.point, there.lane)
            here = there
        yield Stretch(*here, target.point)

    def changes_from(self, node: int) -> list[Spot]:
        """Return where the changes of lane end that begin at a node, the gentlest first."""
        lane = self.spots[node].lane
        onward = (self.spots[k] for k, _ in self.edges[node])
        return [s for s in onward if s.lane != lane and s.lane not in self.lanes[lane].following]

    def _onward(self, spot: Spot) -> list[tuple[int, float]]:
        """Return the next node along the lane, or the first ones of the lanes that follow, with metres."""
        lane = self.lanes[spot.lane]
        here, place = float(lane.along[spot.point]), spot.point // NODE + 1
        if place < lane.nodes:
            return [(self.first[spot.lane] + place, float(lane.along[place * NODE]) - here)]
        return [(self.first[k], lane.length - here) for k in lane.following]

    def _changes(self, spot: Spot) -> Iterator[tuple[int, float]]:
        """Give the nodes at which a change of lane from a node may end, with costs."""
        lane, node = self.lanes[spot.lane], spot.point // NODE
        for side in (lane.left, lane.right):
            onto = int(side[node]) if node < len(side) else -1
            for count, cost in CHANGES if onto >= 0 else ():
                end, other = node + count, self.lanes[onto]
                allowed = end < min(lane.nodes, other.nodes) and bool((side[node:end] == onto).all())
                if allowed and other.wide[end * NODE]:
                    metres = float(other.along[end * NODE] - other.along[spot.point])
                    yield self.first[onto] + end, metres + cost + SETTLE_COST * abs(node - SETTLE)

    def _departures(self, spot: Spot, cost: float) -> list[tuple[int, float]]:
        """Return the first nodes after a spot, or its own, with costs."""
        if spot.point % NODE == 0:
            return [(self.first[spot.lane] + spot.point // NODE, cost)]
        return [(node, cost + metres) for node, metres in self._onward(spot)]

    def _gates(self, targets: Iterable[Spot]) -> dict[int, list[Spot]]:
        """Return the targets by the last node before them."""
        gates: dict[int, list[Spot]] = defaultdict(list)
        for target in targets:
            gates[self.first[target.lane] + target.point // NODE].append(target)
        return gates

    def _rest(self, node: int, target: Spot) -> float:
        along = self.lanes[target.lane].along
        return float(along[target.point] - along[self.spots[node].point])

    def _direct(self, sources: Mapping[Spot, float], targets: Iterable[Spot]) -> dict[Spot, Way]:
        """Return the ways that meet no node in between; who is there already stays."""
        found: dict[Spot, Way] = {}
        for target in targets:
            for source, cost in sources.items():
                if source.lane != target.lane or target.point < source.point - BACK:
                    continue
                reached = max(source, target)
                along = self.lanes[source.lane].along
                total = cost + float(along[reached.point] - along[source.point])
                if reached not in found or total < found[reached].cost:
                    found[reached] = Way(source, (), total)
        return found


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return the stretches with those joined that continue each other on one lane."""
    out: list[Stretch] = []
    for s in stretches:
        if out and out[-1].onto == s.onto == -1 and out[-1].lane == s.lane and out[-1].stop == s.start:
            out[-1] = out[-1]._replace(stop=s.stop)
        else:
            out.append(s)
    return [s for s in out if s.stop > s.start]


def _unwind(before: Mapping[int, tuple[int, Spot]], node: int) -> tuple[int, ...]:
    nodes = [node]
    while (node := before[node][0]) >= 0:
        nodes.append(node)
    return tuple(reversed(nodes))
