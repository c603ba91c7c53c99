"""Where road users go: at random, by seed, without end. All that is told to SUMO is told here."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from mtdrive.envs.demand import HABITS, Choice
from mtdrive.envs.streets import Place, Streets
from mtdrive.envs.sumo import Placed, Sumo, libsumo, to_sumo_angle

FURTHER, ENOUGH = 300.0, 150.0
"""Metres that a way grows to when less than so many are left."""
TRIES = 10
"""To find a place for somebody."""
BLOCK, WALKS = 4, 3
"""Pavements of a walk, and walks that are planned: some are too short to plan the next in time."""

TAIL = 0.5
"""Metres that SUMO takes a vehicle for longer: behind one that waits in a junction it leaves no gap."""

Extent = tuple[float, float, float]


class Trips:
    """The ways of all vehicles and walkers."""

    def __init__(self, streets: Streets, sumo: Sumo, seed: int) -> None:
        self.streets, self.sumo, self._seed = streets, sumo, seed
        self._draws: dict[str, random.Random] = {}
        self._parks = [p for lane in streets.lanes for p in lane.places(10.0, 8.0)]
        self._walking: dict[str, tuple[str, bool]] = {}
        """The pavement where each walk ends, and whether it leads to the pavement's end."""

    def _draw(self, name: str) -> random.Random:
        return self._draws.setdefault(name, random.Random(f"{self._seed} trip of {name}"))

    def add_vehicle(self, name: str, choice: Choice, extent: Extent, place: Place) -> None:
        """Let a vehicle enter with its middle at a place."""
        habit = HABITS[choice.habit]
        kind = self._kind(name, "DEFAULT_VEHTYPE", (extent[0] + TAIL / 2, *extent[1:]))
        types = libsumo.vehicletype
        types.setVehicleClass(kind, habit.vehicle_class)
        types.setAccel(kind, habit.acceleration)
        types.setDecel(kind, habit.braking)
        types.setMaxSpeed(kind, habit.top_speed)
        types.setMinGap(kind, habit.gap - TAIL)
        types.setSpeedFactor(kind, choice.pace)
        types.setImperfection(kind, 0.2)
        libsumo.route.add(name, self.streets.way(place.edge, FURTHER, self._draw(name)))
        libsumo.vehicle.add(
            name,
            name,
            kind,
            departLane=str(place.lane),
            departPos=f"{place.metres + extent[0]:.3f}",
            departSpeed="0",
        )

    def add_walker(self, name: str, choice: Choice, extent: Extent, place: Place) -> None:
        """Let a walker enter at a place."""
        kind = self._kind(name, "DEFAULT_PEDTYPE", extent)
        libsumo.vehicletype.setMaxSpeed(kind, choice.pace)
        libsumo.vehicletype.setSpeedFactor(kind, 10.0)  # only its own pace counts, not the pavement's limit
        libsumo.person.add(name, place.edge, place.metres, typeID=kind)
        self._walking[name] = place.edge, self._draw(name).random() < 0.5
        for _ in range(WALKS):
            self._walk_on(name)

    def _kind(self, name: str, base: str, extent: Extent) -> str:
        """Make a type for one road user."""
        kind = f"type {name}".replace(" ", "_")
        libsumo.vehicletype.copy(base, kind)
        libsumo.vehicletype.setLength(kind, 2 * extent[0])
        libsumo.vehicletype.setWidth(kind, 2 * extent[1])
        libsumo.vehicletype.setSpeedDeviation(kind, 0.0)
        return kind

    def go_on(self, vehicles: Iterable[str], walkers: Iterable[str]) -> None:
        """Give those who are about to arrive another way; once a second is enough."""
        for name in vehicles:
            route, index = libsumo.vehicle.getRoute(name), libsumo.vehicle.getRouteIndex(name)
            left = route[max(index, 0) :]
            if (
                sum(self.streets.metres.get(e, 0.0) for e in left[1:]) < ENOUGH
                and left[-1] in self.streets.onward
            ):
                more = self.streets.way(left[-1], FURTHER, self._draw(name))
                libsumo.vehicle.setRoute(name, [*left, *more[1:]])
        for name in walkers:
            while libsumo.person.getRemainingStages(name) < WALKS:
                self._walk_on(name)

    def _walk_on(self, name: str) -> None:
        """Add a walk along pavements; where there is no way on, it goes back."""
        draw, (edge, to_end) = self._draw(name), self._walking[name]
        edges, ways = [edge], self.streets.footways
        for _ in range(BLOCK):
            if not ways.get((edge, to_end)):
                to_end = not to_end
                if len(edges) > 1 or not ways.get((edge, to_end)):
                    break
            step = draw.choice(ways[edge, to_end])
            edges += step.edges
            edge, to_end = edges[-1], step.to_end
        self._walking[name] = edge, to_end
        metres = self.streets.net.getEdge(edge).getLength()
        libsumo.person.appendWalkingStage(name, edges, metres * draw.uniform(0.3, 0.7))

    def move_away(self, name: str, others: Sequence[Placed], ego: tuple[float, float], clear: float) -> bool:
        """Put a vehicle that is stuck where it disturbs nobody, so many metres from the ego."""
        for place in self._draw(name).sample(self._parks, min(TRIES, len(self._parks))):
            free = all(math.hypot(o.x - place.x, o.y - place.y) > 2 * 10.0 for o in others)
            if free and math.hypot(ego[0] - place.x, ego[1] - place.y) > clear:
                x, y = self.sumo.to_sumo(place.x, place.y)
                libsumo.vehicle.moveToXY(name, place.edge, place.lane, x, y, to_sumo_angle(place.yaw), 0)
                return True
        return False
