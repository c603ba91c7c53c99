"""Following a path, and being pushed off it so that a learner sees how to come back."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import numpy as np

from mtdrive.envs.car import Car
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import Actor


def pure_pursuit(ego: Actor, route: Route, index: int, car: Car) -> float:
    """Return the steering in [-1, 1] that leads the rear axle in an arc to a point of the route ahead.

    Craig Coulter, Implementation of the Pure Pursuit Path Tracking Algorithm, CMU-RI-TR-92-01. The point is
    nearer than usual, so that bends are not cut: `4 + 0.25 v` metres away.
    """
    yaw = math.radians(ego.yaw)
    cos, sin = math.cos(yaw), math.sin(yaw)
    x, y = ego.xyz[0] - car.wheelbase / 2 * cos, ego.xyz[1] - car.wheelbase / 2 * sin
    ahead = 4.0 + 0.25 * max(ego.speed, 0.0)
    away = route.xyz[index : index + 40, :2] - (x, y)
    reach = np.hypot(away[:, 0], away[:, 1])
    far = int(np.argmax(reach >= ahead)) if reach[-1] >= ahead else len(reach) - 1
    right = -sin * away[far, 0] + cos * away[far, 1]
    angle = math.atan2(2 * car.wheelbase * right, max(float(reach[far]), 1.0) ** 2)
    return car.steer(angle, ego.speed)


@dataclass
class SteeringNoise:
    """Pushes of the steering that rise and fall in a straight line, as in conditional imitation learning.

    Codevilla et al., End-to-end Driving via Conditional Imitation Learning, ICRA 2018
    (https://arxiv.org/abs/1710.02410). The learner's label stays what the expert wants.
    """

    seed: int
    rate: float = 0.3
    """Pushes a second while there is none."""
    strength: float = 1.0
    """Scales the peaks; 0 for none."""
    _random: random.Random = field(init=False, repr=False)
    _begun: float | None = field(init=False, default=None, repr=False)
    _length: float = field(init=False, default=1.0, repr=False)
    _peak: float = field(init=False, default=0.0, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed} steering noise")

    def push(self, time: float, dt: float, car: Car, speed: float) -> float:
        """Return what is added to the steering at `time`, in seconds, a step of `dt` after the last."""
        if self._begun is None:
            if self._random.random() >= self.rate * dt:
                return 0.0
            self._begin(time)
        assert self._begun is not None
        done = (time - self._begun) / self._length
        if done >= 1:
            self._begun = None
            return 0.0
        return self.strength * car.steer(self._peak * (1 - abs(2 * done - 1)), speed)

    def _begin(self, time: float) -> None:
        self._begun = time
        self._length = self._random.uniform(0.6, 1.9)
        self._peak = math.copysign(self._random.uniform(0.03, 0.12), self._random.random() - 0.5)
