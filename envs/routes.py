"""Routes: where a drive shall go, planned on a town's lanes. CARLA's frame: metres, degrees.

The way and its commands are those of CARLA's `GlobalRoutePlanner` (agents/navigation), with three
differences. A change of lane is a smooth diagonal instead of a jump, and is never made where the paint
forbids it. All places are planned together: one in a junction, where lanes lie above each other, belongs to
the lane that the others ask for. A turn is told from the whole way through the junction, even if a place lies
in the middle of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import carla

from mtdrive.envs.lane_graph import SLACK, Spot, Stretch, joined
from mtdrive.envs.random_routes import random_route, random_routes, regions
from mtdrive.envs.road_map import Candidate, RoadMap
from mtdrive.envs.tracing import Route, trace
from mtdrive.errors import DataError

__all__ = ["RoadMap", "Route", "plan", "random_route", "random_routes", "regions"]

REACH = 10.0
"""Metres that a place may be away from every driving lane: files may be made for another version of a
town."""

GAP_COST = 5.0
"""Metres of way that a metre between a place and the route is worth: rather than by a sharp change of lane, a
place on the way is passed on the next lane."""


def plan(roads: RoadMap, places: Sequence[carla.Location], id: str, reach: float = REACH) -> Route:
    """Return the shortest way from the first place over all others to the last.

    Those between may be passed on a lane beside theirs. `reach` is how many metres a place may be away from
    every driving lane.

    Raises:
        DataError: if a place is off the map, or there is no way from one to the next.
    """
    if len(places) < 2:
        raise DataError(f"route {id}: expected at least 2 places, found {len(places)}")
    candidates = [
        _candidates(roads, place, f"route {id}: place {i}", 0 < i < len(places) - 1, reach)
        for i, place in enumerate(places)
    ]
    try:
        stretches = _search(roads, places, candidates, id, SLACK)
    except DataError:
        stretches = _search(roads, places, candidates, id, math.inf)
    route = trace(roads, stretches, id) if stretches else None
    if route is None or route.length < 1:
        raise DataError(f"route {id}: expected places apart, found them all at {_text(places[0])}")
    return route


def _search(
    roads: RoadMap,
    places: Sequence[carla.Location],
    candidates: Sequence[Sequence[Candidate]],
    id: str,
    slack: float,
) -> list[Stretch]:
    """Return the way; with `slack`, candidates are given up that are so much farther than another."""
    reached = {c.spot: _Reached(GAP_COST * c.gap, None) for c in candidates[0]}
    for i, (place, options) in enumerate(zip(places[1:], candidates[1:], strict=True), start=1):
        reached = _leg(roads, reached, place, options, slack)
        if not reached:
            raise DataError(
                f"route {id}: no way leads from place {i - 1} to place {i} at {_text(place)} on the lanes of "
                f"{roads.name}; move one of them"
            )
    return joined(min(reached.values(), key=lambda r: r.cost).unrolled())


@dataclass(frozen=True)
class _Reached:
    """A spot was reached at a cost, by stretches after those of another."""

    cost: float
    before: _Reached | None
    stretches: tuple[Stretch, ...] = ()

    def unrolled(self) -> list[Stretch]:
        chain: list[_Reached] = [self]
        while chain[-1].before:
            chain.append(chain[-1].before)
        return [s for r in reversed(chain) for s in r.stretches]


def _leg(
    roads: RoadMap,
    sources: Mapping[Spot, _Reached],
    place: carla.Location,
    options: Sequence[Candidate],
    slack: float,
) -> dict[Spot, _Reached]:
    """Return how the candidates of the next place are reached."""
    gaps = {c.spot: c.gap for c in options}
    costs = {spot: r.cost for spot, r in sources.items()}
    ways = roads.graph.ways(costs, list(gaps), (place.x, place.y), max(gaps.values()), slack)
    return {
        spot: _Reached(
            way.cost + GAP_COST * gaps.get(spot, 0.0),
            sources[way.source],
            tuple(roads.graph.stretches(way, spot)),
        )
        for spot, way in ways.items()
    }


def _candidates(
    roads: RoadMap, place: carla.Location, what: str, between: bool, reach: float
) -> list[Candidate]:
    if not all(map(math.isfinite, (place.x, place.y, place.z))):
        raise DataError(f"{what} is at {_text(place)}, which is no place; correct it")
    found = roads.near(place, beside=between)
    if found[0].gap > reach:
        raise DataError(
            f"{what} at {_text(place)} is off the map: {found[0].gap:.0f} m from the nearest driving lane of "
            f"{roads.name}; is it of another town?"
        )
    return found


def _text(place: carla.Location) -> str:
    return f"({place.x:.1f}, {place.y:.1f}, {place.z:.1f})"
