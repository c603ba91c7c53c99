"""Helpers of the tests that drive."""

from __future__ import annotations

import numpy as np

from mtdrive.envs.cameras import CameraSettings
from mtdrive.envs.coordinates import relative
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.driving_settings import DrivingSettings
from mtdrive.envs.health import ServerSettings

SMALL = DrivingSettings(
    server=ServerSettings(pause=0.1),
    towns=("Small",),
    densities=("empty",),
    cameras=(CameraSettings(width=64, height=36),),
    view=CameraSettings("chase", 48, 32, x=-6.0, z=3.2, pitch=-12.0),
    length=(50.0, 80.0),
    patience=60.0,
)
"""The smallest town with the smallest images that stable-baselines3 takes; patient, as testers are busy."""


def follow(env: DrivingEnv, speed: float = 6.0) -> np.ndarray:
    """Return the action of a driver that looks a little ahead on its route and at nothing else."""
    ego, route = env.scene.ego, env.route
    ahead = route.xyz[min(env.guide.index + 8, len(route.xyz) - 1), :2]
    right, forward = relative(ahead, ego.xyz[:2], ego.yaw)
    return np.array([np.clip(1.2 * np.arctan2(right, forward), -1, 1), 0.5 if ego.speed < speed else 0.0])
