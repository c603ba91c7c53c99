"""What a driver must know of its car."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import carla


@dataclass(frozen=True)
class Car:
    """The geometry of a car's steering."""

    wheelbase: float = 2.9
    """Metres."""
    largest_steer: float = math.radians(70)
    """Radians of the front wheels at full steering."""
    steering_curve: tuple[tuple[float, float], ...] = ((0, 1),)
    """Pairs of a speed in km/h and the part of the angle that is left."""

    @classmethod
    def of(cls, vehicle: carla.Vehicle) -> Car:
        """Ask the server, once."""
        physics = vehicle.get_physics_control()
        front, rear = physics.wheels[0], physics.wheels[-1]
        across = front.position - rear.position
        away = vehicle.get_transform().get_forward_vector()
        wheelbase = abs(across.x * away.x + across.y * away.y + across.z * away.z) / 100
        curve = tuple((point.x, point.y) for point in physics.steering_curve)
        return cls(wheelbase, math.radians(front.max_steer_angle), curve)

    def steer(self, angle: float, speed: float) -> float:
        """Return the control in [-1, 1] that turns the front wheels by `angle` radians at `speed` m/s."""
        speeds, parts = zip(*self.steering_curve, strict=True)
        reach = self.largest_steer * float(np.interp(3.6 * abs(speed), speeds, parts))
        return min(max(angle / reach, -1.0), 1.0)
