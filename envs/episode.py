"""What an episode of driving is: drawn by its seed, or asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from mtdrive.envs.driving_settings import Density, DrivingSettings
from mtdrive.envs.random_routes import random_route
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.routes import Route
from mtdrive.errors import ConfigError

OPTIONS = ("route", "town", "weather", "density")


@dataclass(frozen=True)
class Episode:
    """Where, under which sky, among how many others."""

    seed: int
    town: str
    weather: str
    density: Density
    route: Route | None = None
    """None: `route_on` draws one."""

    def route_on(self, roads: RoadMap, settings: DrivingSettings) -> Route:
        """Return the route."""
        return self.route or random_route(roads, self.seed, settings.length, settings.turns)


def draw(settings: DrivingSettings, seed: int, options: Mapping[str, Any]) -> Episode:
    """Return the episode of a seed, but for what the options ask for.

    Raises:
        ConfigError: the options contradict themselves or name what there is not.
    """
    for name in options:
        if name not in OPTIONS:
            raise ConfigError(f"options of an episode are {', '.join(OPTIONS)}; found {name!r}")
    route = options.get("route")
    town = options.get("town") or (route.town if route else _choose(seed, "town", settings.towns))
    if route and route.town != town:
        raise ConfigError(f"the route {route.id} is of {route.town}, the town asked for is {town}")
    density = options.get("density") or _choose(seed, "density", settings.densities)
    if density not in get_args(Density):
        raise ConfigError(f"density must be one of {', '.join(get_args(Density))}; found {density!r}")
    weather = options.get("weather") or _choose(seed, "weather", settings.weathers)
    return Episode(seed, town, weather, density, route)


def _choose(seed: int, what: str, among: tuple[Any, ...]) -> Any:
    return random.Random(f"{seed} {what}").choice(among)
