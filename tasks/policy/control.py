"""From a plan to the steering and the speed of a car: pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mtdrive.errors import ConfigError

STILL = 0.1
"""A car slower than this stands, m/s."""
EMERGENCY = -8.0
"""The acceleration, m/s^2, that stands for braking as hard as possible."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """How a plan is driven."""

    ahead: float = 3.0
    """Metres from the rear axle to the point of the path that the car heads for, when it stands. The labels
    are the way of a car that followed its lane, so that a far point would cut bends once more."""
    ahead_time: float = 0.1
    """Seconds that this point is further away for each m/s of speed."""
    horizon: float = 1.0
    """Seconds in which the target speed is to be reached: what the expert's target speed means."""
    standing: float = 0.3
    """A target speed below this, in m/s, is a stop."""
    least_speed: float = 0.0
    """The target speed is never less, m/s. A blind policy would stop and never start again without it."""
    creep_after: float = 55.0
    """Seconds of standing still after which the car creeps on, as TransFuser's does (Chitta et al., PAMI
    2022): it may stand because it stands. 0 never creeps."""
    creep_time: float = 1.5
    """Seconds of creeping."""
    creep_speed: float = 2.0
    """The least target speed meanwhile, m/s."""

    def __post_init__(self) -> None:
        if not (self.ahead > 0 and self.ahead_time >= 0 and self.horizon > 0):
            raise ConfigError(
                "control needs a positive ahead and horizon and an ahead_time from 0, found "
                f"{self.ahead}, {self.horizon} and {self.ahead_time}"
            )
        for name in ("standing", "least_speed", "creep_after", "creep_time", "creep_speed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"control.{name} starts at 0, found {getattr(self, name)}")

    def angle(self, places: Float[np.ndarray, "n 2"], speed: float, wheelbase: float) -> float:
        """Return the angle of the front wheels for places at a speed in m/s; see `pursuit_angle`."""
        return pursuit_angle(places, self.ahead + self.ahead_time * max(speed, 0.0), wheelbase)

    def acceleration(self, target: float, speed: float) -> float:
        """Return the acceleration in m/s^2 that leads from a speed to the target speed, both in m/s."""
        target = max(target, self.least_speed)
        if target < self.standing:
            return EMERGENCY if speed < self.standing else min(-speed / self.horizon, -1.0)
        return max((target - speed) / self.horizon, EMERGENCY)


class Creep:
    """Watches how long a car stands."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.stood = self.left = 0.0

    def least_speed(self, speed: float, seconds: float) -> float:
        """Return the least target speed for the next step.

        Args:
            speed: of the car, m/s.
            seconds: since the last call.
        """
        self.left = max(self.left - seconds, 0.0)
        self.stood = self.stood + seconds if speed < STILL else 0.0
        if 0 < self.control.creep_after <= self.stood:
            self.stood, self.left = 0.0, self.control.creep_time
        return self.control.creep_speed if self.left > 0 else 0.0


def pursuit_angle(points: Float[np.ndarray, "n 2"], reach: float, wheelbase: float) -> float:
    """Return the angle of the front wheels, radians, right positive, that leads the rear axle onto a path.

    Craig Coulter, Implementation of the Pure Pursuit Path Tracking Algorithm, CMU-RI-TR-92-01: in an arc to
    where the path is first `reach` metres from the rear axle; to its end if it is shorter.

    Args:
        points: (right, forward) metres from the middle of the car, which the path starts from.
        reach: metres.
        wheelbase: metres; the rear axle is half of it behind the middle.
    """
    path = np.concatenate([np.zeros((1, 2)), points]) + np.array([0.0, wheelbase / 2])
    right, forward = _first_at(path, reach)
    length = max(math.hypot(right, forward), 1.0)
    return math.atan2(2 * wheelbase * right, length**2)


def _first_at(path: Float[np.ndarray, "n 2"], reach: float) -> tuple[float, float]:
    """Return where a path first leaves the circle of radius `reach` about the origin, else its end."""
    away = np.hypot(path[:, 0], path[:, 1])
    beyond = np.flatnonzero(away > reach)
    if not beyond.size or beyond[0] == 0:
        right, forward = path[0] if beyond.size else path[-1]
        return float(right), float(forward)
    inner, outer = path[beyond[0] - 1], path[beyond[0]]
    step = outer - inner
    # |inner + t step| = reach, the larger root, which lies in (0, 1].
    a, b, c = float(step @ step), float(inner @ step), float(inner @ inner) - reach**2
    t = (-b + math.sqrt(b * b - a * c)) / a
    right, forward = inner + t * step
    return float(right), float(forward)


def arc(angle: float, length: float, wheelbase: float, count: int = 20) -> Float[np.ndarray, "count 2"]:
    """Return places, (right, forward) from the middle of a car, that the middle passes at a steady angle.

    Args:
        angle: of the front wheels, radians, right positive.
        length: metres of the way.
        wheelbase: metres.
        count: of places, evenly apart.
    """
    curvature = math.tan(angle) / wheelbase
    slip = math.atan(math.tan(angle) / 2)
    way = np.linspace(length / count, length, count)
    turn = way * curvature * math.cos(slip)
    chord = way * np.sinc(turn / (2 * np.pi))
    heading = slip + turn / 2
    return np.stack([chord * np.sin(heading), chord * np.cos(heading)], axis=-1)
