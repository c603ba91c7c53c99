"""Agents that fail, for the tests of evaluations; named as `tests.drive_agents:Class`."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np

from mtdrive.envs.agent import Agent
from mtdrive.envs.agents import ConstantVelocity
from mtdrive.envs.cameras import CameraSettings
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.rig import Observation

STEPS = 4


class _Failing(ConstantVelocity):
    """Drives for some steps."""

    def begin(self, env: DrivingEnv) -> None:
        """Begin to count."""
        self.steps = 0

    def act(self, observation: Observation) -> Any:
        """Fail after some steps."""
        self.steps += 1
        return super().act(observation) if self.steps <= STEPS else self.fail()

    def fail(self) -> Any:
        """Go wrong."""


class Raises(_Failing):
    """Raises."""

    def fail(self) -> Any:
        """Raise."""
        return dict[str, int]()["no such\nkey"]


class NotANumber(_Failing):
    """Gives NaN."""

    def fail(self) -> Any:
        """Give NaN."""
        return np.array([np.nan, 0.0])


class Misshapen(_Failing):
    """Gives three numbers."""

    def fail(self) -> Any:
        """Give them."""
        return np.zeros(3)


class Speechless(_Failing):
    """Gives nothing."""


class Slow(_Failing):
    """Catches what it can, and does not come to an end."""

    def fail(self) -> Any:
        """Sleep."""
        while True:
            try:
                time.sleep(60)
            except Exception:  # noqa: PERF203  it does not want to be ended
                continue


class Dies(_Failing):
    """Takes its process with it."""

    def fail(self) -> Any:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)


class Blot(Misshapen):
    """Sees, and sketches a white picture, until it gives three numbers."""

    cameras = (CameraSettings("wide", 32, 16, 110.0),)

    def sketch(self, image: Any) -> Any:
        """Return white."""
        return np.full_like(image, 255)


class NoAgent:
    """Is none."""


class Picky(Agent):
    """Wants a rate that physics does not allow."""

    rate = 5.0

    def act(self, observation: Observation) -> Any:
        """Act."""
        return np.zeros(2)
