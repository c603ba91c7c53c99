"""Traffic without a server: its actors, a town's lights, and what must hold of everybody."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import carla
import numpy as np

from mtdrive.envs.casting import Cast
from mtdrive.envs.demand import HABITS, Choice
from mtdrive.envs.networks import known_network
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import Actor
from mtdrive.envs.streets import Lane, Place, Streets
from mtdrive.envs.town import opendrive, signposts
from mtdrive.envs.town.models import VEHICLES, WALKERS
from mtdrive.envs.town.signposts import Signpost

EGO = (2.4, 1.0, 0.75)
"""Half the ego's length, width and height."""


def streets_of(roads: RoadMap) -> Streets:
    path = known_network(roads.name, roads.xodr)
    assert path is not None
    return Streets(path)


def route_along(roads: RoadMap, number: int = 0, metres: float = 150.0) -> Route:
    """Return a route that follows CARLA's lanes from one of the places to start."""
    points = [roads.map.get_waypoint(roads.places[number].location)]
    while len(points) < metres:
        points.append(points[-1].next(1.0)[0])
    xyz = np.array([[(p := w.transform.location).x, p.y, p.z] for w in points])
    road = np.array([[w.road_id, w.lane_id] for w in points])
    count = len(points)
    yaw = np.array([w.transform.rotation.yaw for w in points])
    zero = np.zeros(count, int)
    return Route("test", roads.name, xyz, yaw, zero, np.arange(count, dtype=float), road, zero + 10.0)


def ego_at(place: np.ndarray, yaw: float) -> Actor:
    x, y, z = place.tolist()
    return Actor(999, "vehicle", (x, y, z), yaw, (0.0, 0.0, 0.0), EGO)


def crew(streets: Streets, vehicles: int, walkers: int, start: carla.Location, seed: int = 0) -> list[Cast]:
    """Return actors of Town's sizes at places like those that traffic chooses."""
    draw = random.Random(seed)
    models = sorted(k for k, m in VEHICLES.items() if m.base in HABITS and m.special != "emergency")
    out: list[Cast] = []
    for place in _places(draw, streets.lanes, 15.0, 8.0, start)[:vehicles]:
        name = draw.choice(models)
        model = VEHICLES[name]
        kind = "two_wheeler" if model.wheels == 2 else "vehicle"
        choice = Choice(name, {}, kind, model.base, draw.uniform(0.9, 1.1))  # type: ignore[arg-type]
        out.append(_cast(len(out), choice, place, model.size.half, 0.0))
    for place in _places(draw, streets.pavements, 2.0, 1.0, start)[:walkers]:
        name = draw.choice(sorted(WALKERS))
        size = WALKERS[name].half
        out.append(_cast(len(out), Choice(name, {}, "walker", "walker", 1.4), place, size, size[2]))
    return out


def _places(
    draw: random.Random, lanes: Sequence[Lane], step: float, margin: float, start: carla.Location
) -> list[Place]:
    found = [p for lane in lanes for p in lane.places(step, margin)]
    draw.shuffle(found)
    return [p for p in found if math.hypot(p.x - start.x, p.y - start.y) > 15]


def _cast(id: int, choice: Choice, place: Place, extent: tuple[float, float, float], lift: float) -> Cast:
    xyz = (place.x, place.y, place.z + lift)
    return Cast(choice, place, Actor(id, choice.kind, xyz, place.yaw, (0.0, 0.0, 0.0), extent), 0.0, lift)


def lights_of(roads: RoadMap) -> Callable[[float], dict[str, int]]:
    """Return what lights show at a time: each controller has 10 s of green, 3 of yellow, 2 of red."""
    network = opendrive.parse(roads.xodr, roads.name)
    groups = [[network.controllers[c] for c in names] for names in network.junctions.values() if names]

    def show(time: float) -> dict[str, int]:
        shown = {}
        for group in groups:
            turn, phase = int(time // 15) % len(group), time % 15
            for i, signals in enumerate(group):
                state = 2 if phase < 10 else 1 if phase < 13 else 0
                shown.update(dict.fromkeys(signals, state if i == turn else 0))
        return shown

    return show


def light_posts(roads: RoadMap) -> list[Signpost]:
    posts = signposts.read(opendrive.parse(roads.xodr, roads.name)).values()
    return [p for p in posts if p.kind == signposts.LIGHT]


def front(actor: Actor) -> tuple[float, float]:
    yaw, reach = math.radians(actor.yaw), actor.extent[0]
    return actor.xyz[0] + reach * math.cos(yaw), actor.xyz[1] + reach * math.sin(yaw)


class RedLights:
    """Counts the vehicles whose front crosses a stop line."""

    def __init__(self, lines: Sequence[tuple[str, float, float, float]]) -> None:
        self.lines = lines
        """Signal, place and yaw of each."""
        self.red, self.green = 0, 0
        self._before: dict[int, tuple[float, float]] = {}

    @classmethod
    def of(cls, roads: RoadMap) -> RedLights:
        return cls([(p.id, s.pose.x, s.pose.y, s.pose.yaw) for p in light_posts(roads) for s in p.stops])

    def see(self, users: Sequence[Actor], lights: dict[str, int]) -> None:
        for user in (u for u in users if u.kind != "walker"):
            place, before = front(user), self._before.get(user.id)
            self._before[user.id] = place
            for signal, x, y, yaw in self.lines if before else ():
                assert before is not None
                cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
                was, now = ((p[0] - x) * cos + (p[1] - y) * sin for p in (before, place))
                beside = (place[1] - y) * cos - (place[0] - x) * sin
                if was < 0 <= now and abs(beside) < 1.75 and abs(user.yaw - yaw + 180) % 360 - 180 < 30:
                    self.red += lights[signal] == 0
                    self.green += lights[signal] != 0


def overlaps(users: Sequence[Actor]) -> Iterator[tuple[int, int]]:
    """Give the pairs whose boxes touch, those of two walkers left out."""
    for i, one in enumerate(users):
        for other in users[:i]:
            near = one.extent[0] + one.extent[1] + other.extent[0] + other.extent[1]
            if one.kind == other.kind == "walker" or math.dist(one.xyz[:2], other.xyz[:2]) > near:
                continue
            if not _separate(one, other) and abs(one.xyz[2] - other.xyz[2]) < 3:
                yield one.id, other.id


def _separate(one: Actor, other: Actor) -> bool:
    a, b = _corners(one), _corners(other)
    for yaw in (one.yaw, one.yaw + 90, other.yaw, other.yaw + 90):
        axis = np.array([math.cos(math.radians(yaw)), math.sin(math.radians(yaw))])
        if (a @ axis).max() < (b @ axis).min() or (b @ axis).max() < (a @ axis).min():
            return True
    return False


def _corners(actor: Actor) -> np.ndarray:
    cos, sin = math.cos(math.radians(actor.yaw)), math.sin(math.radians(actor.yaw))
    corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * actor.extent[:2]
    return np.asarray(corners @ np.array([[cos, sin], [-sin, cos]]) + actor.xyz[:2])
