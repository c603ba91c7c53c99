"""What the checks of a server stand on: a session with cars and cameras, and the list that they are in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import carla
import numpy as np

from mtdrive.envs.scene import Actor
from mtdrive.envs.simulation import Simulation

CAR = "vehicle.tesla.model3"
WIDTH, HEIGHT, FOV = 128, 64, 90.0
HOLD = carla.VehicleControl(brake=1.0)


class Bench:
    """A session for checks; each begins with `begin`."""

    def __init__(self, simulation: Simulation) -> None:
        """Take a session whose map is loaded."""
        self.simulation = simulation

    def begin(self) -> None:
        """Clear the town."""
        self.simulation.clear()
        self.simulation.tick()

    def spot(self, number: int = 0) -> carla.Transform:
        """Return a spawn point of the map; the first is one with a straight road ahead."""
        return self._straight()[number]

    def park(self, number: int = 0, type_id: str = CAR, ahead: float = 0.0) -> Any:
        """Return a new car at a spawn point, or some metres ahead of it."""
        place = self.spot(number)
        place.location += ahead * place.get_forward_vector()
        return self.simulation.spawn(type_id, place)

    def camera(self, kind: str, parent: Any, place: carla.Transform, name: str = "") -> None:
        """Add a camera to a car."""
        size = {"image_size_x": str(WIDTH), "image_size_y": str(HEIGHT), "fov": str(FOV)}
        self.simulation.listen(name or kind, f"sensor.camera.{kind}", place, parent, **size)

    def settle(self, car: Any) -> Actor:
        """Let a car come to rest on its wheels, and return how it is."""
        self.simulation.tick([carla.command.ApplyVehicleControl(car.id, HOLD)])
        self.simulation.warm_up(round(self.simulation.rate))
        return self.simulation.scene(car).ego

    def drive(self, car: Any, control: carla.VehicleControl, seconds: float) -> list[Actor]:
        """Drive a car, and return how it was after each tick."""
        command = carla.command.ApplyVehicleControl(car.id, control)
        states = []
        for _ in range(round(seconds * self.simulation.rate)):
            self.simulation.tick([command])
            states.append(self.simulation.scene(car).ego)
        return states

    def _straight(self) -> list[carla.Transform]:
        """Return the spawn points, those first that have the straightest 40 m ahead."""
        town = self.simulation.map

        def bend(place: carla.Transform) -> float:
            ahead = town.get_waypoint(place.location).next(40.0)
            if not ahead:
                return math.inf
            way = ahead[0].transform.location - place.location
            return abs(_turn(math.degrees(math.atan2(way.y, way.x)), place.rotation.yaw))

        return sorted(town.get_spawn_points(), key=lambda place: round(bend(place), 1))


@dataclass(frozen=True)
class Check:
    """A check of a server: what it is called, what is expected, and what finds out."""

    name: str
    expected: str
    run: Callable[[Bench], tuple[Any, bool]]
    """Returns what was found, and whether it is as expected."""


class Checks(list[Check]):
    """Checks in their order."""

    def add(self, name: str, expected: str) -> Callable[[Callable[[Bench], tuple[Any, bool]]], None]:
        """Return a decorator that appends a check."""
        return lambda run: self.append(Check(name, expected, run))


def aside(states: Sequence[Actor], start: Actor) -> tuple[float, float]:
    """Return the metres (forward, right) that a car made, as `start` looks."""
    yaw = math.radians(start.yaw)
    way = np.subtract(states[-1].xyz, start.xyz)[:2]
    return float(way @ [math.cos(yaw), math.sin(yaw)]), float(way @ [-math.sin(yaw), math.cos(yaw)])


def turned(states: Sequence[Actor], start: Actor) -> float:
    """Return the degrees that a car turned, clockwise from above."""
    return _turn(states[-1].yaw, start.yaw)


def _turn(yaw: float, before: float) -> float:
    return (yaw - before + 180) % 360 - 180
