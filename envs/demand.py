"""Who takes part in traffic: kinds of vehicles and walkers, drawn by seed from a server's blueprints."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mtdrive.envs.scene import ActorKind
from mtdrive.errors import ConfigError, SimulatorError


class Density(NamedTuple):
    """Road users for each kilometre of driving lane, and of pavement."""

    vehicles: float
    walkers: float


DENSITIES: Mapping[str, Density] = {
    "empty": Density(0, 0),
    "regular": Density(4, 10),
    "dense": Density(20, 50),
}
"""In Town01, with 4.9 km of each, the numbers of NoCrash: 20 vehicles and 50 walkers, or 100 and 250."""


def density_of(density: str | Density) -> Density:
    """Return a density by its name.

    Raises:
        ConfigError: there is none, or a number is below 0.
    """
    if isinstance(density, str):
        if density not in DENSITIES:
            raise ConfigError(f"expected a density of {', '.join(DENSITIES)}, found {density!r}")
        return DENSITIES[density]
    if min(density) < 0:
        raise ConfigError(f"expected numbers of road users for each kilometre, found {tuple(density)}")
    return density


@dataclass(frozen=True)
class Habit:
    """How a kind of vehicle is driven, in SUMO's terms: m/s and m/s2."""

    share: float
    """Of the vehicles."""
    vehicle_class: str
    acceleration: float
    braking: float
    top_speed: float
    gap: float
    """Metres to the one ahead when both stand."""


HABITS: Mapping[str, Habit] = {
    "car": Habit(0.72, "passenger", 2.4, 3.5, 50, 2.0),
    "van": Habit(0.10, "delivery", 2.0, 3.5, 40, 2.2),
    "truck": Habit(0.06, "truck", 1.3, 3.0, 25, 2.5),
    "motorcycle": Habit(0.07, "motorcycle", 3.0, 4.0, 50, 1.8),
    "bicycle": Habit(0.05, "bicycle", 1.2, 3.0, 6, 1.2),
}
"""By CARLA's base types. Buses are left out: CARLA's is too wide for its lanes."""


@dataclass(frozen=True)
class Choice:
    """A blueprint with its attributes."""

    type_id: str
    attributes: Mapping[str, str]
    kind: ActorKind
    habit: str
    """Of `HABITS`; "walker" for walkers."""
    pace: float
    """Of a vehicle: its part of the speed limit. Of a walker: m/s."""


class Catalogue:
    """The blueprints of a server that can take part.

    Raises:
        SimulatorError: it has no car or no walker.
    """

    def __init__(self, library: Iterable[Any]) -> None:
        blueprints = sorted(library, key=lambda b: str(b.id))
        self.vehicles: dict[str, list[Any]] = {}
        for blueprint in (b for b in blueprints if b.id.startswith("vehicle.")):
            if _value(blueprint, "special_type") != "emergency":
                self.vehicles.setdefault(_base(blueprint), []).append(blueprint)
        self.walkers = [b for b in blueprints if b.id.startswith("walker.pedestrian.")]
        if not self.vehicles.get("car") or not self.walkers:
            raise SimulatorError(
                "the server has no blueprints of cars or walkers; use a server of CARLA's release"
            )

    def vehicle(self, draw: random.Random) -> Choice:
        """Return a vehicle."""
        kinds = [kind for kind in HABITS if kind in self.vehicles]
        kind = draw.choices(kinds, [HABITS[k].share for k in kinds])[0]
        blueprint = draw.choice(self.vehicles[kind])
        attributes = {"role_name": "autopilot", **_pick(blueprint, ("color", "driver_id"), draw)}
        wheels = "two_wheeler" if kind in ("motorcycle", "bicycle") else "vehicle"
        pace = min(max(draw.gauss(1.0, 0.08), 0.8), 1.2)
        return Choice(blueprint.id, attributes, wheels, kind, pace)  # type: ignore[arg-type]

    def walker(self, draw: random.Random) -> Choice:
        """Return a walker."""
        blueprint = draw.choice(self.walkers)
        pace = draw.uniform(0.9, 1.2) if _value(blueprint, "age") == "child" else draw.uniform(1.1, 1.7)
        return Choice(blueprint.id, {"role_name": "pedestrian"}, "walker", "walker", pace)


def _value(blueprint: Any, name: str) -> str:
    return str(blueprint.get_attribute(name).as_str()) if blueprint.has_attribute(name) else ""


def _base(blueprint: Any) -> str:
    kind = _value(blueprint, "base_type").lower()
    return kind or ("motorcycle" if _value(blueprint, "number_of_wheels") == "2" else "car")


def _pick(blueprint: Any, names: Sequence[str], draw: random.Random) -> dict[str, str]:
    """Return one of the recommended values of each attribute that the blueprint has."""
    found = {}
    for name in (n for n in names if blueprint.has_attribute(n)):
        values = list(blueprint.get_attribute(name).recommended_values)
        if values:
            found[name] = str(draw.choice(values))
    return found
