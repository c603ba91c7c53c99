"""One episode: a car that follows a route through a town, step by step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import carla

from mtdrive.envs.driving_settings import DrivingSettings
from mtdrive.envs.episode import Episode
from mtdrive.envs.guide import Guide
from mtdrive.envs.judge import Judge
from mtdrive.envs.rig import Rig
from mtdrive.envs.signals import StopLine
from mtdrive.envs.simulation import Simulation

if TYPE_CHECKING:
    from mtdrive.envs.autopilot import Autopilot
    from mtdrive.envs.scoring import Infraction
    from mtdrive.envs.traffic import Traffic

SETTLE = 1.0
"""Seconds that the car gets to come to rest on its wheels."""
AGE = 2.5
"""Seconds after which a world that was loaded anew begins: more than what comes before takes."""
ADAPT = 0.5
"""Seconds that cameras get to adapt to the light."""
HOLD = carla.VehicleControl(brake=1.0, hand_brake=True)


class Drive:
    """An episode that has begun; `tick`, `scene` and `seen` are of the last step."""

    def __init__(
        self,
        simulation: Simulation,
        settings: DrivingSettings,
        episode: Episode,
        lines: tuple[StopLine, ...],
        viewed: bool,
    ) -> None:
        """Put the car and the others into a town that is loaded and cleared, and make the first step.

        Raises:
            ConfigError: the town has no such route or weather.
            SimulatorError: the server dies or hangs.
        """
        self.simulation, self.episode = simulation, episode
        self.route = episode.route_on(simulation.roads, settings)
        self.guide, self.judge = Guide(self.route), Judge(simulation.roads, self.route, lines)
        self.traffic: Traffic | Autopilot | None = None
        try:
            self._begin(settings, viewed)
        except BaseException:
            self._end_traffic()
            raise

    def move(self, control: carla.VehicleControl) -> tuple[Infraction, ...]:
        """Make a step, and return what rules it broke.

        Raises:
            SimulatorError: the server died or hangs.
        """
        commands = [carla.command.ApplyVehicleControl(self.rig.car.id, control)]
        if self.traffic:
            commands += self.traffic.step(self.scene.ego, self.scene.lights)
        self.tick = self.simulation.tick(commands)
        self._look()
        return self.judge.observe(self.scene, self.guide)

    def close(self) -> None:
        """Take all away, as far as the server lives."""
        self._end_traffic()
        self.simulation.clear()

    def _begin(self, settings: DrivingSettings, viewed: bool) -> None:
        simulation = self.simulation
        simulation.set_weather(self.episode.weather)
        self.rig = Rig(simulation, settings, self.route)
        simulation.tick([carla.command.ApplyVehicleControl(self.rig.car.id, HOLD)])
        if self.episode.density != "empty":
            self._begin_traffic(settings.traffic)
        simulation.warm_up(math.ceil(SETTLE * simulation.rate), AGE)
        self.rig.mount(viewed)
        simulation.warm_up(math.ceil(ADAPT * simulation.rate))
        simulation.reset_lights()
        self.tick = simulation.warm_up()
        self._look()

    def _begin_traffic(self, kind: str) -> None:
        """Put others on the streets; SUMO is imported only if it moves them."""
        simulation, episode = self.simulation, self.episode
        make: type[Traffic | Autopilot]
        if kind == "manager":
            from mtdrive.envs.autopilot import Autopilot as make
        else:
            from mtdrive.envs.traffic import Traffic as make
        self.traffic = make(simulation.roads, episode.density, episode.seed, simulation.rate)
        self.traffic.spawn(simulation, self.route)

    def _end_traffic(self) -> None:
        if self.traffic:
            self.traffic.close()

    def _look(self) -> None:
        self.scene = self.simulation.scene(self.rig.car, self.traffic)
        self.guide.advance(self.scene.ego.xyz[:2])
        self.seen = self.rig.observe(self.tick, self.scene, self.guide)
