"""Routes by chance, and streets that are kept apart for tests; a seed gives the same in every process."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from mtdrive.envs.lane_graph import Spot, Stretch, joined
from mtdrive.envs.lanes import NODE, Lane
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.tracing import Route, trace
from mtdrive.errors import ConfigError
from mtdrive.orders import Command

CHANGE = 0.25
"""How often a lane is left for its neighbour where the paint allows it."""

GENTLE = 15
"""Points that a change of lane takes at least."""

TRIES, LOSSES = 8, 400
"""Walks from one start, and walks of the wished length in vain after which the search is given up."""


def random_route(
    roads: RoadMap,
    seed: int,
    length: tuple[float, float],
    least_turns: int = 0,
    within: Collection[int] | None = None,
) -> Route:
    """Return the first of `random_routes`."""
    return random_routes(roads, seed, 1, length, least_turns, within)[0]


def random_routes(
    roads: RoadMap,
    seed: int,
    count: int,
    length: tuple[float, float],
    least_turns: int = 0,
    within: Collection[int] | None = None,
    room: float = 0.0,
) -> tuple[Route, ...]:
    """Return routes from different places, none of which drives a street twice in the same direction.

    At a junction every way is as likely. A route begins and ends outside junctions, is of a `length` in
    metres between two limits, and turns left or right at least `least_turns` times. `within` are the
    OpenDRIVE ids of the roads that may be used, such as a part of `regions`; None for all. A route begins at
    least `room` metres before the end of its first lane, so that what stands there can be seen.

    Raises:
        ConfigError: if the map does not have so many.
    """
    least, most = length
    if not 0 < least <= most or count < 1 or least_turns < 0:
        raise ConfigError(
            "random routes: expected a count of at least 1, 0 < least <= most metres and 0 turns or more, "
            f"found {count}, {least} to {most} and {least_turns}"
        )
    draw = random.Random(f"{seed} routes {roads.name}")
    search = _Search(roads, draw, length, least_turns, within, room)
    found = [
        replace(r, id=f"{roads.name}-{seed}-{i}") for i, r in zip(range(count), search.routes(), strict=False)
    ]
    if len(found) < count:
        raise ConfigError(
            f"random routes: of {count} of {least:.0f} to {most:.0f} m with {least_turns} turns or more, "
            f"{len(found)} were found on {roads.name}; the longest way without a street twice was "
            f"{search.longest:.0f} m. Ask for fewer, for other lengths or less turns, or take a larger town"
        )
    return tuple(found)


def regions(roads: RoadMap, seed: int, held_out: float) -> tuple[frozenset[int], frozenset[int]]:
    """Return the ids of the roads to train on, and of those that are held out for tests.

    A straight line in a direction drawn by `seed` cuts the town so that the share `held_out` of its metres of
    lanes lies behind it. Roads and junctions are not cut: they belong to the side that their middle is on.
    """
    if not 0 < held_out < 1:
        raise ConfigError(f"regions: expected a share held out between 0 and 1, found {held_out}")
    angle = random.Random(f"{seed} regions {roads.name}").uniform(0, 2 * math.pi)
    across = np.array([math.cos(angle), math.sin(angle), 0.0])
    blocks: dict[tuple[int, int], list[Lane]] = {}
    for lane in roads.lanes:
        blocks.setdefault((lane.junction, lane.road if lane.junction < 0 else -1), []).append(lane)
    places = {key: np.concatenate([lane.xyz for lane in block]) for key, block in blocks.items()}
    order = sorted(blocks, key=lambda key: (float(places[key].mean(0) @ across), key))
    metres = np.cumsum([sum(lane.length for lane in blocks[k]) for k in order])
    count = int(np.searchsorted(metres, (1 - held_out) * metres[-1]))
    sides = (order[:count], order[count:])
    train, test = (frozenset(lane.road for k in side for lane in blocks[k]) for side in sides)
    return train, test


class _Search:
    """Walks over the lanes from places in an order by chance."""

    def __init__(
        self,
        roads: RoadMap,
        draw: random.Random,
        length: tuple[float, float],
        least_turns: int,
        within: Collection[int] | None,
        room: float,
    ) -> None:
        self.roads, self.draw, self.room = roads, draw, room
        (self.least, self.most), self.least_turns = length, least_turns
        self.allowed = frozenset(lane.road for lane in roads.lanes) if within is None else frozenset(within)
        self.longest = 0.0

    def routes(self) -> Iterator[Route]:
        """Give routes of the wished kind, each from another place, until there are no more."""
        starts = [s for s in self.roads.spots if self._may_start(s)]
        self.draw.shuffle(starts)
        losses = 0
        for start in starts:
            for stretches in (self._walk(start) for _ in range(TRIES)):
                route = self._cut(trace(self.roads, stretches, "")) if stretches else None
                if route:
                    losses = 0
                    yield route
                    break
                losses += bool(stretches)
            if losses > LOSSES:
                return

    def _may_start(self, spot: Spot) -> bool:
        lane = self.roads.lanes[spot.lane]
        return lane.road in self.allowed and bool(lane.length - lane.along[spot.point] >= self.room)

    def _walk(self, start: Spot) -> list[Stretch]:
        """Return a way as long as the longest route; empty if it ends before the shortest."""
        lanes, here, way = self.roads.lanes, start, list[Stretch]()
        driven, seen = 0.0, {_street(lanes[start.lane])}
        while True:
            way += self._along(here)
            last = lanes[way[-1].lane]
            driven += float(last.length - lanes[here.lane].along[here.point])
            onward = [k for k in last.following if self._may(lanes[k], seen)]
            if not onward or driven >= self.most:
                break
            here = Spot(self.draw.choice(onward), 0)
            seen.add(_street(lanes[here.lane]))
        self.longest = max(self.longest, min(driven, self.most))
        return joined(way) if driven >= self.least else []

    def _along(self, here: Spot) -> list[Stretch]:
        """Return what is driven to the end of a lane, or of its neighbour."""
        graph, lane = self.roads.graph, self.roads.lanes[here.lane]
        if self.draw.random() < CHANGE:
            nodes = range(-(-here.point // NODE), lane.nodes)
            changes = [
                (n * NODE, end) for n in nodes for end in graph.changes_from(graph.first[here.lane] + n)
            ]
            gentle = [(begin, end) for begin, end in changes if end.point - begin >= GENTLE]
            if gentle:
                begin, end = self.draw.choice(gentle)
                return [
                    Stretch(*here, begin),
                    Stretch(here.lane, begin, end.point, end.lane),
                    Stretch(*end, len(self.roads.lanes[end.lane].xyz) - 1),
                ]
        return [Stretch(*here, len(lane.xyz) - 1)]

    def _may(self, lane: Lane, seen: Collection[tuple[int, int, bool]]) -> bool:
        return lane.road in self.allowed and _street(lane) not in seen

    def _cut(self, route: Route) -> Route | None:
        """Return the route up to an end by chance among those that fit, None if none does."""
        turning = np.isin(route.commands, (Command.LEFT, Command.RIGHT))
        begins = turning & (np.diff(route.commands, prepend=Command.FOLLOW) != 0)
        fits = (route.commands == Command.FOLLOW) & (np.cumsum(begins) >= self.least_turns)
        fits &= (self.least <= route.distance) & (route.distance <= self.most)
        ends = np.flatnonzero(fits)
        return route.until(self.draw.choice(ends.tolist())) if len(ends) else None


def _street(lane: Lane) -> tuple[int, int, bool]:
    return lane.road, lane.section, lane.id > 0
