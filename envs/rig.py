"""The car with its cameras: what is spawned, and what comes of a tick's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import carla
import gymnasium
import numpy as np
from jaxtyping import UInt8

from mtdrive.envs import cameras
from mtdrive.envs.cameras import CameraSettings
from mtdrive.envs.coordinates import pose_of
from mtdrive.envs.driving_settings import DrivingSettings
from mtdrive.envs.guide import Guide
from mtdrive.envs.headlights import low_beams
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import Scene
from mtdrive.envs.simulation import Simulation, Tick
from mtdrive.orders import Command

DROP = 0.3
"""Metres above the road at which the car is made, lest it touches the road."""
FASTEST = 100.0
"""Bounds of the speed in the observation, m/s."""
FAR = 1000.0
"""Bounds of the target point, metres."""
COLLISION, VIEW = "collision", "view"

Observation = dict[str, Any]


def observation_space(settings: DrivingSettings) -> gymnasium.Space[Observation]:
    """Return the space of what `Rig.observe` gives."""
    spaces: dict[str, gymnasium.Space[Any]] = {
        camera.name: gymnasium.spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
        for camera in settings.cameras
    }
    spaces["speed"] = gymnasium.spaces.Box(-FASTEST, FASTEST, (1,), np.float32)
    spaces["command"] = gymnasium.spaces.Discrete(max(Command) + 1)
    if settings.target_point:
        spaces["target_point"] = gymnasium.spaces.Box(-FAR, FAR, (2,), np.float32)
    return gymnasium.spaces.Dict(spaces)


class Rig:
    """The car of an episode."""

    def __init__(self, simulation: Simulation, settings: DrivingSettings, route: Route) -> None:
        """Put the car at the start of a route, with its lights on if it is dark."""
        self._simulation, self._settings = simulation, settings
        start = route.start
        start.location.z += DROP
        self.car = simulation.spawn(settings.vehicle, start, role_name="hero")
        with simulation.remote("setting the car's lights"):
            self.car.set_light_state(low_beams(simulation.world.get_weather()))
        self._view = settings.cameras[0].name

    def mount(self, viewed: bool) -> None:
        """Add the sensors; `viewed` is for the camera of `render`."""
        settings, simulation = self._settings, self._simulation
        for camera in settings.cameras:
            self._mount(camera.name, "sensor.camera.rgb", camera, camera.attributes)
        for label in settings.labels:
            if label in cameras.SENSORS:
                self._mount(_named(label), cameras.SENSORS[label], settings.cameras[0], {})
        if viewed and settings.view:
            self._view = VIEW + "."
            self._mount(self._view, "sensor.camera.rgb", settings.view, settings.view.attributes)
        simulation.listen(COLLISION, "sensor.other.collision", carla.Transform(), self.car)

    def observe(self, tick: Tick, scene: Scene, guide: Guide) -> Observation:
        """Return what a policy may see."""
        seen: Observation = {c.name: cameras.colours(tick.data[c.name]) for c in self._settings.cameras}
        seen["speed"] = np.array([scene.ego.speed], np.float32).clip(-FASTEST, FASTEST)
        seen["command"] = np.int64(guide.command)
        if self._settings.target_point:
            seen["target_point"] = np.array(guide.target_point(scene.ego), np.float32).clip(-FAR, FAR)
        return seen

    def labels(self, tick: Tick) -> dict[str, np.ndarray]:
        """Return the labels of the first camera; `pose` is `T_world,camera` in the library's frame."""
        found = {
            label: cameras.DECODERS[label](tick.data[_named(label)])
            for label in self._settings.labels
            if label in cameras.DECODERS
        }
        if "pose" in self._settings.labels:
            found["pose"] = pose_of(tick.data[self._settings.cameras[0].name].transform)
        return found

    def view(self, tick: Tick) -> UInt8[np.ndarray, "h w 3"]:
        """Return the picture that `render` shows."""
        return cameras.colours(tick.data[self._view])

    def _mount(self, name: str, type_id: str, camera: CameraSettings, more: Mapping[str, str]) -> None:
        attributes = {**camera.blueprint(), **more}
        self._simulation.listen(name, type_id, camera.transform, self.car, **attributes)


def _named(label: str) -> str:
    """Return the name of a label's sensor, which no camera of the settings has."""
    return f"label.{label}"
