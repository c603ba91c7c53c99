"""Agents to compare a policy with: the privileged expert, and two that look at nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mtdrive.envs.agent import Agent
from mtdrive.envs.car import Car
from mtdrive.envs.expert import Expert
from mtdrive.envs.rig import Observation

if TYPE_CHECKING:
    from mtdrive.envs.driving_env import DrivingEnv

SPEED, GAIN = 6.0, 0.5
"""The constant velocity in m/s, and the pedal for each m/s that is missing."""


class ExpertAgent(Agent):
    """Sees the whole scene: what a policy can reach at most."""

    def begin(self, env: DrivingEnv) -> None:
        """Look at the route."""
        with env.simulation.remote("reading the car"):
            car = Car.of(env.car)
        self._env, self._expert = env, Expert(env.route, env.lines, car)

    def act(self, observation: Observation) -> Float[np.ndarray, "action=2"]:
        """Do what the expert would."""
        return self._expert.act(self._env.scene, self._env.guide).action


class ConstantVelocity(Agent):
    """Drives straight on at 6 m/s."""

    def act(self, observation: Observation) -> Float[np.ndarray, "action=2"]:
        """Hold the speed."""
        pedal = GAIN * (SPEED - float(observation["speed"][0]))
        return np.array([0.0, np.clip(pedal, -1, 1)], np.float32)


class StandStill(Agent):
    """Brakes."""

    def act(self, observation: Observation) -> Float[np.ndarray, "action=2"]:
        """Brake."""
        return np.array([0.0, -1.0], np.float32)


AGENTS: dict[str, type[Agent]] = {
    "expert": ExpertAgent,
    "constant_velocity": ConstantVelocity,
    "stand_still": StandStill,
}
"""By the name that `mtdrive drive` knows them by."""
