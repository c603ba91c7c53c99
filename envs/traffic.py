"""Traffic by SUMO, co-simulated from here: the same on every server, and the same for the same seed.

SUMO moves vehicles, two-wheelers and walkers; the server shows them as actors without physics. Once a tick
the server's lights and the ego go into SUMO, so that everybody minds them, and the places come out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import carla

from mtdrive.envs.bends import Bends, Courses
from mtdrive.envs.casting import Cast, cast
from mtdrive.envs.demand import Catalogue, Density, density_of
from mtdrive.envs.ego_double import NAME, EgoDouble
from mtdrive.envs.headlights import low_beams
from mtdrive.envs.networks import network_of
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.road_users import RoadUser
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import Actor
from mtdrive.envs.simulation import Simulation
from mtdrive.envs.streetlights import plans_of
from mtdrive.envs.streets import Lane, Place, Streets
from mtdrive.envs.sumo import Placed, Sumo, libsumo
from mtdrive.envs.trips import Trips
from mtdrive.errors import SimulatorError

CLEAR = 15.0
"""Metres around the ego's start where nobody is put."""
STUCK, OUT_OF_SIGHT = 90.0, 50.0
"""Seconds after which a vehicle that stands is put elsewhere, if it is so many metres from the ego."""
APART, WALKERS_APART = 15.0, 2.0
"""Metres between the places where road users start."""
MARGIN = 0.5
"""m/s below what a bend allows from which a vehicle is held to that."""
CLOCK = 10
"""Ticks between two looks at the lights of walkers."""


class Traffic:
    """All road users but the ego. One at a time in a process.

    Raises:
        ConfigError: the density is unknown, or there is no network and no netconvert to make it.
        DataError: the network is damaged or of another map.
        SimulatorError: this process has traffic already.
    """

    def __init__(
        self, roads: RoadMap, density: str | Density = "regular", seed: int = 0, rate: float = 20.0
    ) -> None:
        """Read the network and start SUMO; `rate` in ticks a second."""
        self._density, self._seed, self._dt = density_of(density), seed, 1 / rate
        self._users: dict[str, RoadUser] = {}
        self._steps = 0
        self._sumo: Sumo | None = None
        if any(self._density):
            self._streets = _streets(network_of(roads.name, roads.xodr))
            self._streets.fits(roads.map)
            self._bends, self._courses = Bends(self._streets), Courses(self._streets)
            self._held: set[str] = set()
            self._plans = list(plans_of(self._streets.net))
            self._lights: dict[str, int] = {}
            self._shown: dict[str, str] = {}
            self._occupied: set[str] = set()
            self._inside: dict[str, frozenset[int]] = {}
            self._sumo = Sumo(self._streets.path, self._streets.offset, seed, self._dt)
            self._trips = Trips(self._streets, self._sumo, seed)

    def close(self) -> None:
        """End SUMO; the actors belong to the session. Twice does no harm."""
        if self._sumo is not None:
            self._sumo.close()

    def users(self) -> tuple[Actor, ...]:
        """Return the road users as they are; actors without physics tell no velocity."""
        return tuple(user.now for user in self._users.values())

    def spawn(self, simulation: Simulation, route: Route) -> None:
        """Put everybody on the streets, none near the route's start; some ticks pass.

        Raises:
            SimulatorError: the server failed.
        """
        if self._sumo is None:
            return
        draw = random.Random(f"{self._seed} traffic")
        try:
            catalogue = Catalogue(simulation.world.get_blueprint_library())
            beams = int(low_beams(simulation.world.get_weather()))
            vehicles, walkers = self._numbers()
            start = route.start.location
            driven = _clear(draw, self._streets.lanes, APART, 8.0, start)
            drivers = cast(simulation, [catalogue.vehicle(draw) for _ in range(vehicles)], driven)
            walked = _clear(draw, self._streets.pavements, WALKERS_APART, 1.0, start)
            people = cast(simulation, [catalogue.walker(draw) for _ in range(walkers)], walked)
        except RuntimeError as error:
            raise SimulatorError(f"the traffic cannot be spawned: {error}") from None
        self.begin(route, (*drivers, *people), beams)

    def _numbers(self) -> tuple[int, int]:
        """Return how many vehicles and walkers there shall be."""
        lanes, pavements = (
            sum(x.metres for x in xs) / 1000 for xs in (self._streets.lanes, self._streets.pavements)
        )
        return round(self._density.vehicles * lanes), round(self._density.walkers * pavements)

    def begin(self, route: Route, crew: Iterable[Cast], beams: int = 0) -> None:
        """Let those take part whose actors are there, and the ego; `beams` are lamps that are on."""
        assert self._sumo is not None, "an empty street"
        self._ego = EgoDouble(self._streets, self._sumo, route)
        for who in crew:
            walks = who.choice.kind == "walker"
            name = f"{'walker' if walks else 'vehicle'}{len(self._users)}"
            self._users[name] = RoadUser(name, who.choice, who.actor, who.middle, who.lift, beams)
            enter = self._trips.add_walker if walks else self._trips.add_vehicle
            enter(name, who.choice, who.actor.extent, who.place)

    def step(self, ego: Actor, lights: Mapping[str, int]) -> list[Any]:
        """Let one tick pass in SUMO and return the commands that show it.

        Args:
            ego: as it is now.
            lights: the state of each OpenDRIVE signal.
        """
        if self._sumo is None:
            return []
        try:
            self._advance(self._sumo, ego, lights)
        except libsumo.TraCIException as error:
            raise SimulatorError(f"SUMO failed: {error}") from None
        return [command for user in self._users.values() for command in user.commands()]

    def _advance(self, sumo: Sumo, ego: Actor, lights: Mapping[str, int]) -> None:
        self._steps += 1
        self._show(lights)
        self._ego.move(ego)
        sumo.step()
        self._ego.look()
        vehicles, walkers = dict(sumo.vehicles()), dict(sumo.walkers())
        self._occupied = {placed.on for placed in vehicles.values() if placed.on.startswith(":")}
        vehicles.pop(NAME, None)
        if self._steps % max(1, round(1 / self._dt)) == 0:
            self._trips.go_on(vehicles, walkers)
            self._unstick(vehicles, ego)
        for name, placed in vehicles.items():
            user = self._users[name]
            yaw = self._courses.yaw(placed.yaw, placed.on, placed.metres - user.now.extent[0])
            user.follow(placed._replace(yaw=yaw), self._dt)
            self._slow_down(name, placed)
        for name, placed in walkers.items():
            self._users[name].follow(placed, self._dt)

    def _slow_down(self, name: str, placed: Placed) -> None:
        """Hold a vehicle back in a bend, and let it go after."""
        speed = self._bends.speed(placed.on, placed.metres)
        if speed < placed.speed + MARGIN:
            libsumo.vehicle.setSpeed(name, speed)
            self._held.add(name)
        elif name in self._held:
            libsumo.vehicle.setSpeed(name, -1)
            self._held.remove(name)

    def _show(self, lights: Mapping[str, int]) -> None:
        """Set SUMO's lights; those for walkers follow the others by the clock."""
        changed = lights != self._lights or self._steps % CLOCK == 0
        self._lights = dict(lights)
        for plan in self._plans:
            inside = plan.inside(self._occupied)
            if not changed and self._inside.get(plan.id) == inside:
                continue
            self._inside[plan.id] = inside
            letters = plan.show(lights, inside, self._steps * self._dt)
            if self._shown.get(plan.id) != letters:
                libsumo.trafficlight.setRedYellowGreenState(plan.id, letters)
                self._shown[plan.id] = letters

    def _unstick(self, seen: Mapping[str, Placed], ego: Actor) -> None:
        """Put one vehicle elsewhere that has stood for long, if nobody sees it."""
        x, y, _ = ego.xyz
        for name, placed in seen.items():
            if placed.waited > STUCK and math.hypot(placed.x - x, placed.y - y) > OUT_OF_SIGHT:
                self._trips.move_away(name, tuple(seen.values()), (x, y), OUT_OF_SIGHT)
                return


@lru_cache(maxsize=4)
def _streets(path: Path) -> Streets:
    return Streets(path)


def _clear(
    draw: random.Random, lanes: Sequence[Lane], step: float, margin: float, start: carla.Location
) -> list[Place]:
    """Return places along lanes in random order, none near the start."""
    places = [p for lane in lanes for p in lane.places(step, margin)]
    draw.shuffle(places)
    return [p for p in places if math.hypot(p.x - start.x, p.y - start.y) > CLEAR]
