"""Traffic by CARLA's own traffic manager, for comparison with what others have done with it.

It is not deterministic, and it may hang or crash: it runs in a process of its own, which is replaced then.
The vehicles stay, and go on under the next manager. Walkers are led by CARLA's navigation in that process.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import carla

from mtdrive.envs.demand import Catalogue, Choice, Density, density_of
from mtdrive.envs.headlights import low_beams
from mtdrive.envs.health import Server
from mtdrive.envs.manager import Lost, Manager
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import Actor
from mtdrive.envs.servers import free_port
from mtdrive.envs.simulation import Simulation
from mtdrive.errors import SimulatorError

LOG = logging.getLogger(__name__)

CLEAR, ABOVE = 15.0, 0.5
"""Metres around the ego's start where nobody is put, and above the ground at which all appear."""
ROUNDS = 3
"""In which those get another place who were in the way."""
START = 60.0
"""Seconds in which a manager's process begins."""
SILENCE = 5.0
"""Seconds that a manager may think after a step of the server."""
LATE = 0.3
"""Seconds in which a server hears of a step that was asked for by a process that was killed."""
LOST = 5
"""Managers that may hang or die in an episode."""
MOVING, STILL = 0.5, 90.0
"""m/s that some vehicle must reach within so many simulated seconds: longer than lights are red."""


class Autopilot:
    """All road users but the ego, with the same methods as `Traffic`."""

    def __init__(
        self, roads: RoadMap, density: str | Density = "regular", seed: int = 0, rate: float = 20.0
    ) -> None:
        """Take who takes part; pavements are taken to be as long as lanes. The rate does not matter."""
        self._roads, self._density, self._seed = roads, density_of(density), seed
        self._vehicles: list[int] = []
        self._walkers: dict[int, float] = {}
        """Controllers, and the m/s of their walkers."""
        self._simulation: Simulation | None = None
        self._server: Server
        self._plain_cue: Callable[[float], int] | None = None
        self._manager: Manager | None = None
        self._ports: set[int] = set()
        self._lost = 0
        self._moved, self._since = False, 0.0

    def users(self) -> tuple[Actor, ...]:
        """Return nobody: the server says where they are."""
        return ()

    def spawn(self, simulation: Simulation, route: Route) -> None:
        """Put everybody on the streets, none near the route's start; from now on the manager makes the steps.

        Raises:
            SimulatorError: the server failed, or no manager can be started.
        """
        self._simulation, self._server = simulation, simulation.server
        draw = random.Random(f"{self._seed} traffic")
        metres = sum(lane.length for lane in self._roads.lanes if lane.junction < 0)
        vehicles, walkers = (round(part * metres / 1000) for part in self._density)
        with simulation.remote("asking for blueprints and the weather"):
            catalogue = Catalogue(simulation.world.get_blueprint_library())
            beams = low_beams(simulation.world.get_weather())
        self._add_vehicles(simulation, [catalogue.vehicle(draw) for _ in range(vehicles)], route, draw, beams)
        self._add_walkers(simulation, [catalogue.walker(draw) for _ in range(walkers)])
        self._plain_cue, simulation.cue = simulation.cue, self._cue
        self._begin()

    def step(self, ego: Actor, lights: Mapping[str, int]) -> list[Any]:
        """Return no commands: the manager drives in the server's steps. One that does nothing is replaced.

        Raises:
            SimulatorError: too many managers failed.
        """
        assert self._simulation is not None, "nobody was spawned"
        if not self._moved:
            snapshot = self._simulation.world.get_snapshot()
            states = [state for state in map(snapshot.find, self._vehicles) if state]
            self._moved = not states or any(s.get_velocity().length() > MOVING for s in states)
            if not self._moved and snapshot.timestamp.elapsed_seconds - self._since > STILL:
                self._replace("no vehicle moves")
        return []

    def close(self) -> None:
        """End the manager; the actors belong to the session. Twice does no harm."""
        if self._simulation is not None and self._plain_cue is not None:
            self._simulation.cue = self._plain_cue
            self._end(at_once=not self._server.alive)

    def _add_vehicles(
        self,
        simulation: Simulation,
        choices: Sequence[Choice],
        route: Route,
        draw: random.Random,
        beams: Any,
    ) -> None:
        start = route.start.location
        places = [p for p in self._roads.places if p.location.distance(start) > CLEAR]
        draw.shuffle(places)
        spots, left = iter(places), list(choices)
        for _ in range(ROUNDS):
            tried = list(zip(left, spots, strict=False))
            ids = _spawn(simulation, [(c, _above(p, ABOVE), 0, beams) for c, p in tried])
            self._vehicles += filter(None, ids)
            left = [c for (c, _), id in zip(tried, ids, strict=True) if not id]

    def _add_walkers(self, simulation: Simulation, choices: Sequence[Choice]) -> None:
        with simulation.remote("asking for places of walkers"):
            simulation.world.set_pedestrians_seed(self._seed)
            found = [simulation.world.get_random_location_from_navigation() for _ in choices]
        places = [carla.Transform(place) for place in found if place is not None]
        tried = list(zip(choices, places, strict=False))
        ids = _spawn(simulation, [(c, _above(p, 1 + ABOVE), 0, None) for c, p in tried])
        there = [(c, id) for (c, _), id in zip(tried, ids, strict=True) if id]
        leader = Choice("controller.ai.walker", {}, "walker", "walker", 0.0)
        leaders = _spawn(simulation, [(leader, carla.Transform(), id, None) for _, id in there])
        self._walkers = {id: c.pace for (c, _), id in zip(there, leaders, strict=True) if id}

    def _cue(self, patience: float) -> int:
        """Make a step and return its frame."""
        before = frame = self._frame()
        while frame == before:
            frame = self._try(before, patience)
        return frame

    def _try(self, before: int, patience: float) -> int:
        """Return the frame of the step that was made; `before` if the manager failed first."""
        try:
            return self._drive(before, patience)
        except Lost as lost:
            self._replace(str(lost))
        return self._frame()

    def _drive(self, before: int, patience: float) -> int:
        """Let the manager make a step, and look whether the server or the manager is late with it."""
        assert self._manager is not None
        self._manager.tell(patience)
        begun, stepped = time.monotonic(), math.inf
        while (answer := self._manager.answer()) is None:
            now = time.monotonic()
            self._check_server()
            if self._frame() > before:
                stepped = min(stepped, now)
            if now - stepped > SILENCE or now - begun > patience:
                raise Lost(f"it does not answer for {now - begun:.0f} s")
        return int(answer["frame"])

    def _begin(self) -> None:
        """Start a manager, or a few one after the other if they fail."""
        try:
            self._start()
        except Lost as lost:
            self._replace(str(lost))

    def _start(self) -> None:
        assert self._simulation is not None
        port = free_port(1, self._ports)
        self._ports.add(port)
        self._manager = Manager()
        self._manager.tell(
            {
                "host": self._server.host, "port": self._server.port, "manager": port, "seed": self._seed,
                "patience": START, "vehicles": self._vehicles, "walkers": self._walkers,
            }
        )  # fmt: skip
        deadline = time.monotonic() + START
        while self._manager.answer() is None:
            self._check_server()
            if time.monotonic() > deadline:
                raise Lost(f"it did not begin in {START:.0f} s")
        snapshot = self._simulation.world.get_snapshot()
        self._moved, self._since = False, snapshot.timestamp.elapsed_seconds

    def _replace(self, why: str) -> None:
        """End the manager and start another one for the same vehicles."""
        self._end(at_once=True)
        self._lost += 1
        if self._lost > LOST:
            raise SimulatorError(
                f"CARLA's traffic manager failed {self._lost} times in this episode, at last: {why}; "
                "use traffic by SUMO"
            )
        time.sleep(LATE)
        self._server.line.call("get_episode_settings")  # tells a server that hangs
        LOG.warning("CARLA's traffic manager is replaced: %s", why)
        self._begin()

    def _end(self, at_once: bool) -> None:
        if self._manager is not None:
            self._manager.end(at_once)
        self._manager = None

    def _check_server(self) -> None:
        if not self._server.alive:
            raise SimulatorError("the server died in a tick")

    def _frame(self) -> int:
        assert self._simulation is not None
        return int(self._simulation.world.get_snapshot().frame)


Order = tuple[Choice, carla.Transform, int, Any]
"""Who, where, fixed to which actor, with which lights."""


def _spawn(simulation: Simulation, orders: Sequence[Order]) -> list[int]:
    """Spawn actors in one batch and a tick; return their ids, 0 for those who were in the way."""
    if not orders:
        return []
    library, commands = simulation.world.get_blueprint_library(), []
    for choice, place, parent, beams in orders:
        blueprint = library.find(choice.type_id)
        for name, value in choice.attributes.items():
            blueprint.set_attribute(name, value)
        command = carla.command.SpawnActor(blueprint, place, *([parent] if parent else []))
        if beams is not None:
            command = command.then(carla.command.SetVehicleLightState(carla.command.FutureActor, beams))
        commands.append(command)
    return [0 if r.error else r.actor_id for r in simulation.tick(commands).responses]


def _above(place: carla.Transform, metres: float) -> carla.Transform:
    location = carla.Location(place.location.x, place.location.y, place.location.z + metres)
    return carla.Transform(location, place.rotation)
