"""What drives in closed loop: anything that makes an action of an observation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from mtdrive.envs.cameras import CameraSettings
from mtdrive.envs.rig import Observation

if TYPE_CHECKING:
    from mtdrive.envs.driving_env import DrivingEnv

BLINDFOLD = CameraSettings("front", 32, 16)
"""For agents that look at no image: the smallest that costs next to nothing."""


class Agent(ABC):
    """Drives one episode after another; what it must see is the same in all of them."""

    cameras: tuple[CameraSettings, ...] = (BLINDFOLD,)
    """Videos show what the first one sees."""
    target_point: bool = False
    """Whether the observation has the planner's next point."""
    rate: float = 10.0
    """Steps per second that it was made for."""

    def begin(self, env: DrivingEnv) -> None:  # noqa: B027  most have nothing to do
        """Begin a new episode; a policy takes nothing privileged from `env`."""

    @abstractmethod
    def act(self, observation: Observation) -> Float[np.ndarray, "action=2"]:
        """Return the steering, right positive, and the throttle, or the brake where negative; in [-1, 1]."""

    def sketch(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Return the first camera's image with what the last action was meant to do, for videos."""
        return image
