"""The ego in SUMO, so that others follow it, brake for it and give way to it."""

from __future__ import annotations

import math
import random

from mtdrive.envs.routes import Route
from mtdrive.envs.scene import Actor
from mtdrive.envs.streets import Streets
from mtdrive.envs.sumo import Sumo, ahead, libsumo, to_sumo_angle

NAME = "ego"
FREELY = 2
"""moveToXY's way to put a vehicle exactly where it is told, also beside the road."""
REACH = 50.0
"""Metres from the nearest street beyond which it is not there: SUMO looks no farther than 100."""
LOOK = 10.0
"""Metres after which that is looked up again."""
AFTER = 300.0
"""Metres that its way goes on after the route, so that it never arrives."""


class EgoDouble:
    """A vehicle that is put where the ego is. Others see its way ahead as they would see its indicators."""

    def __init__(self, streets: Streets, sumo: Sumo, route: Route) -> None:
        self._streets, self._sumo = streets, sumo
        self._way = self._lengthened(streets.edges_of(route.road) or [streets.lanes[0].edge])
        self._here = False
        self._looked, self._near = (math.inf, math.inf), False

    def _lengthened(self, way: list[str]) -> list[str]:
        if way[-1] not in self._streets.onward:
            return way
        return [*way, *self._streets.way(way[-1], AFTER, random.Random(0))[1:]]

    def move(self, ego: Actor) -> None:
        """Put it where the ego is now; far from all streets there is none."""
        x, y = ahead(ego.xyz[0], ego.xyz[1], ego.yaw, ego.extent[0])
        if math.hypot(x - self._looked[0], y - self._looked[1]) > LOOK:
            self._looked, self._near = (x, y), self._streets.distance(x, y) < REACH
        if not self._near:
            self._leave()
            return
        if not self._here:
            self._enter(ego)
        libsumo.vehicle.moveToXY(NAME, "", -1, *self._sumo.to_sumo(x, y), to_sumo_angle(ego.yaw), FREELY)

    def _leave(self) -> None:
        if self._here:
            libsumo.vehicle.unsubscribe(NAME)
            libsumo.vehicle.remove(NAME)
            self._here = False

    def _enter(self, ego: Actor) -> None:
        if "ego" not in libsumo.vehicletype.getIDList():
            libsumo.vehicletype.copy("DEFAULT_VEHTYPE", NAME)
            libsumo.route.add(NAME, self._way)
        libsumo.vehicletype.setLength(NAME, 2 * ego.extent[0])
        libsumo.vehicletype.setWidth(NAME, 2 * ego.extent[1])
        libsumo.vehicle.add(NAME, NAME, NAME)
        libsumo.vehicle.setSpeedMode(NAME, 0)
        libsumo.vehicle.setLaneChangeMode(NAME, 0)
        self._here = True

    def look(self) -> None:
        """See what became of it in the step: SUMO changes the way of one who leaves it."""
        self._here = self._here and NAME in libsumo.vehicle.getIDList()
        if not self._here:
            return
        edge, left = libsumo.vehicle.getRoadID(NAME), libsumo.vehicle.getRoute(NAME)
        planned = self._way[self._way.index(edge) :] if edge in self._way else None
        if planned and left[-1] != self._way[-1]:
            libsumo.vehicle.setRoute(NAME, planned)
        elif planned is None and left == (edge,) and edge in self._streets.onward:
            libsumo.vehicle.setRoute(NAME, self._lengthened([edge]))
