"""What an evaluation in closed loop consists of, fixed in a file before it begins."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast, get_args

from mtdrive.envs.agents import AGENTS
from mtdrive.envs.driving_settings import Density, check_weathers
from mtdrive.envs.random_routes import random_routes
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.route_files import read_pairs, read_routes
from mtdrive.envs.tracing import Route
from mtdrive.errors import ConfigError, DataError, check_least
from mtdrive.files import write_atomically

FILE = "evaluation.json"
PACKAGES = ("mtdrive", "carla", "libsumo")
"""Those whose versions change what is driven."""
ROOM = 15.0
"""Metres before a junction at which random routes begin at the latest: from the line, a car may not see the
light."""


@dataclass(frozen=True, kw_only=True)
class DriveSettings:
    """What is driven: every route in every weather and density, with every seed, so many times."""

    agent: str
    """A name in `mtdrive.envs.agents.AGENTS`, a checkpoint's folder, or `module:Class`."""
    towns: tuple[str, ...] = ()
    """Empty for all those of an XML file, else for Grid."""
    routes: int = 10
    """Random routes in each town."""
    routes_seed: int = 0
    length: tuple[float, float] = (200.0, 400.0)
    """Metres of a random route."""
    turns: int = 1
    """Fewest turns of a random route."""
    routes_file: str = ""
    """Of the Leaderboard (`.xml`) or NoCrash (`.txt`), in place of random routes."""
    weathers: tuple[str, ...] = ("ClearNoon",)
    densities: tuple[str, ...] = ("regular",)
    seeds: tuple[int, ...] = (0,)
    """Of the traffic; figures have intervals over them."""
    repetitions: int = 1
    """With the same seed, each with other traffic."""
    server: str = "town"

    def __post_init__(self) -> None:
        check_weathers(self.weathers)
        if not set(self.densities) <= set(get_args(Density)):
            raise ConfigError(
                f"densities are {', '.join(get_args(Density))}; found {', '.join(self.densities)}"
            )
        check_least("drive", self, {"routes": 1, "repetitions": 1, "turns": 0})
        for name in ("towns", "weathers", "densities", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ConfigError(f"{name} must differ, found {', '.join(map(str, values))}")
            if not values and name != "towns":
                raise ConfigError(f"{name} must name at least one")
        if self.routes_file and Path(self.routes_file).suffix not in (".xml", ".txt"):
            raise ConfigError(f"a file of routes ends in .xml or .txt, found {self.routes_file}")


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One drive that is planned."""

    name: str
    """Of its record."""
    town: str
    number: int
    """Of the route, in its file or among the town's random ones."""
    route: str
    """What the route is called."""
    weather: str
    density: Density
    seed: int
    repetition: int
    episode: int
    """Seed of the environment, the same in all weathers and for all agents."""


def assignments(settings: DriveSettings) -> list[Assignment]:
    """Return all that is to be driven; whole sets of routes come one after the other.

    Raises:
        ConfigError: a town has not so many routes.
        DataError: the file of routes is damaged, or a map is not at hand.
    """
    routes = list(_routes(settings))
    if not routes:
        raise ConfigError(f"{settings.routes_file} has no route in {', '.join(settings.towns)}")
    return [
        _assignment(settings, *route, weather, cast(Density, density), seed, repetition)
        for seed in settings.seeds
        for repetition in range(settings.repetitions)
        for weather in settings.weathers
        for density in settings.densities
        for route in routes
    ]


def _routes(settings: DriveSettings) -> Iterator[tuple[str, int, str]]:
    """Give the town, the number and the name of each route."""
    file = Path(settings.routes_file)
    if file.suffix == ".xml":
        for number, order in enumerate(read_routes(file)):
            if order.town in (settings.towns or (order.town,)):
                yield order.town, number, order.id
        return
    pairs = read_pairs(file) if file.suffix == ".txt" else ()
    for town in settings.towns or ("Grid",):
        if pairs:
            yield from ((town, i, f"{start}-{goal}") for i, (start, goal) in enumerate(pairs))
        else:
            found = town_routes(town, *random_of(settings))
            yield from ((town, i, route.id) for i, route in enumerate(found))


def random_of(settings: DriveSettings) -> tuple[int, int, tuple[float, float], int]:
    """Return the seed, number, length and turns of the random routes."""
    return settings.routes_seed, settings.routes, settings.length, settings.turns


@lru_cache(maxsize=16)
def town_routes(
    town: str, seed: int, count: int, length: tuple[float, float], turns: int
) -> tuple[Route, ...]:
    """Return the random routes of a town."""
    return random_routes(RoadMap.named(town), seed, count, length, turns, room=ROOM)


def _assignment(
    settings: DriveSettings,
    town: str,
    number: int,
    route: str,
    weather: str,
    density: Density,
    seed: int,
    repetition: int,
) -> Assignment:
    name = f"{town}-{number:03d}-{weather}-{density}-seed{seed}"
    return Assignment(
        name=f"{name}-{repetition}" if settings.repetitions > 1 else name,
        town=town,
        number=number,
        route=route,
        weather=weather,
        density=density,
        seed=seed,
        repetition=repetition,
        episode=random.Random(f"{seed} {town} {number} {repetition}").randrange(2**31),
    )


def begin(out: Path, settings: DriveSettings) -> list[Assignment]:
    """Return what is to be driven, and write it down in a folder, where it stays as it is.

    Raises:
        ConfigError: the folder holds another evaluation, or the settings ask for what there is not.
        DataError: a file is damaged.
    """
    planned = assignments(settings)
    content = json.loads(json.dumps({"settings": _given(settings), "routes": [asdict(p) for p in planned]}))
    path = out / FILE
    out.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _compare(path, content)
    else:
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
    return planned


def _given(settings: DriveSettings) -> dict[str, Any]:
    """Return all that decides on what is driven: also what is in files, and versions."""
    given = asdict(settings)
    if settings.server not in ("town", "carla"):
        given["server"] = "running"  # where it listens may change
    given["agent_content"] = "" if is_class(settings.agent) else digest_of(Path(settings.agent))
    given["routes_content"] = digest_of(Path(settings.routes_file)) if settings.routes_file else ""
    return given | {f"{name} version": version(name) for name in PACKAGES}


def is_class(agent: str) -> bool:
    """Return whether an agent is code, not a checkpoint."""
    return agent in AGENTS or (":" in agent and not Path(agent).exists())


def digest_of(path: Path) -> str:
    """Return what tells contents of a file or folder apart."""
    if not path.exists():
        raise ConfigError(
            f"an agent is {', '.join(AGENTS)}, the folder of a checkpoint, or module:Class; found {path}, "
            "which does not exist"
        )
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _compare(path: Path, content: Mapping[str, Any]) -> None:
    try:
        there = json.loads(path.read_text())
        settings, routes = dict(there["settings"]), there["routes"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: cannot be read ({error}); evaluate into another folder") from None
    now = content["settings"]
    name = next((name for name in now if settings.get(name) != now[name]), None)
    if name is None and routes == content["routes"]:
        return
    changed = f"{name} {settings.get(name)!r}, now {now[name]!r}" if name else "other routes"
    raise ConfigError(
        f"{path.parent} holds an evaluation with {changed}; give the same settings to go on, or another "
        "folder"
    )
