"""What a driving environment is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

import carla

from mtdrive.envs.cameras import CHASE, CameraSettings, LabelName
from mtdrive.envs.health import ServerSettings
from mtdrive.envs.scoring import Infraction
from mtdrive.errors import ConfigError

Density = Literal["empty", "regular", "dense"]
TrafficKind = Literal["sumo", "manager"]

SLOWEST_RATE = 10.0
"""Ticks per second: CARLA's physics makes at most ten steps of 0.01 s a tick."""
TAKEN = ("speed", "command", "target_point")
"""Names in the observation that no camera can have."""


@dataclass(frozen=True)
class Rewards:
    """What a step earns; an infraction counts when it is first seen."""

    progress: float = 1.0
    """For a metre of new progress along the route."""
    second: float = 0.0
    """For each second that passes; negative to hurry."""
    completed: float = 20.0
    """For the end of the route."""
    pedestrian: float = -100.0
    vehicle: float = -60.0
    static: float = -50.0
    red_light: float = -30.0
    stop_sign: float = -20.0
    off_lane: float = -10.0
    """For leaving the lanes of the route, once."""
    deviation: float = -50.0
    blocked: float = -50.0
    timeout: float = 0.0

    def of(
        self, progress: float, seconds: float, infractions: Iterable[Infraction], completed: bool
    ) -> float:
        """Return the reward of a step."""
        broken = sum(float(getattr(self, infraction.kind, 0.0)) for infraction in infractions)
        return self.progress * progress + self.second * seconds + self.completed * completed + broken


@dataclass(frozen=True)
class DrivingSettings:
    """The server, what an episode is drawn from, what is seen and what is earned."""

    server: ServerSettings = field(default_factory=ServerSettings)
    towns: tuple[str, ...] = ("Grid",)
    weathers: tuple[str, ...] = ("ClearNoon",)
    """Names in `carla.WeatherParameters`."""
    densities: tuple[str, ...] = ("regular",)
    """Of the traffic."""
    traffic: str = "sumo"
    """Who drives the others: `sumo`, or CARLA's traffic `manager`, with which no episode is like another."""
    length: tuple[float, float] = (200.0, 400.0)
    """Least and most metres of a route."""
    turns: int = 1
    """Fewest turns of a route."""
    cameras: tuple[CameraSettings, ...] = (CameraSettings(),)
    """The first one's frames have the labels."""
    labels: tuple[str, ...] = ()
    """Of the first camera, in `info["labels"]`: depth, semantics, flow, pose."""
    target_point: bool = False
    """Whether the observation has the planner's next point. With it a policy can drive half of the routes
    without looking."""
    rate: float = 10.0
    """Steps per second."""
    vehicle: str = "vehicle.tesla.model3"
    rewards: Rewards = field(default_factory=Rewards)
    end_on_collision: bool = False
    """Whether a collision ends the episode."""
    view: CameraSettings | None = CHASE
    """What `render` shows; None for the first camera."""
    patience: float = 10.0
    """Seconds that the server may need for an answer."""
    loading: float = 60.0
    """Seconds that it may need to load a map, to make an actor, or for a frame while it warms up."""
    reload: bool = True
    """Whether each episode loads its map anew. The same seed then gives the same pixels, clouds included,
    whatever came before; CARLA takes seconds for it."""
    crashes: int = 0
    """How many crashes of the server in a row, each within a minute of the one before, are survived: the
    episode is truncated or begun again with a new server. Otherwise SimulatorError is raised, and the next
    reset starts a new server."""

    def __post_init__(self) -> None:
        """Check what contradicts itself.

        Raises:
            ConfigError: something does.
        """
        names = [camera.name for camera in self.cameras]
        if not names or len({*names, *TAKEN}) != len(names) + len(TAKEN):
            raise ConfigError(
                f"cameras need names of their own, other than {', '.join(TAKEN)}; found {names}"
            )
        for name in ("towns", "weathers", "densities"):
            if not getattr(self, name):
                raise ConfigError(f"{name} must name at least one")
        _check_names("densities", self.densities, get_args(Density))
        _check_names("kinds of traffic", (self.traffic,), get_args(TrafficKind))
        _check_names("labels", self.labels, get_args(LabelName))
        if self.rate < SLOWEST_RATE:
            raise ConfigError(
                f"rate must be at least {SLOWEST_RATE:g}, since physics needs it; found {self.rate:g}"
            )
        if not 0 < self.length[0] <= self.length[1]:
            raise ConfigError(f"length must be the least and the most metres, found {self.length}")


def check_weathers(names: Iterable[str]) -> None:
    """Check that CARLA has such presets.

    Raises:
        ConfigError: one is not among them.
    """
    presets = vars(carla.WeatherParameters).items()
    known = sorted(name for name, value in presets if isinstance(value, carla.WeatherParameters))
    _check_names("weathers", names, known)


def changed(settings: DrivingSettings, changes: dict[str, Any]) -> DrivingSettings:
    """Return settings with others in places.

    Raises:
        ConfigError: there is no setting of such a name, or the settings contradict each other.
    """
    _check_names("settings", changes, [f.name for f in fields(settings)])
    return replace(settings, **changes)


def _check_names(what: str, found: Iterable[str], known: Iterable[str]) -> None:
    known = tuple(known)
    for name in found:
        if name not in known:
            raise ConfigError(f"{what} are {', '.join(known)}; found {name!r}")
