"""Route files of published benchmarks: the Leaderboard's XML and NoCrash's text.

Leaderboard: Dosovitskiy et al., "CARLA: An Open Urban Driving Simulator", CoRL 2017, and
https://leaderboard.carla.org; both its older form (`<waypoint x= y= z=>`) and its newer one
(`<waypoints><position x= y= z=>`). Scenarios in these files are left out: nothing here plays them.

NoCrash: Codevilla et al., "Exploring the Limitations of Behavior Cloning for Autonomous Driving", ICCV 2019,
https://arxiv.org/abs/1904.08980.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import carla

from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.routes import Route, plan
from mtdrive.errors import DataError

REACH = 100.0
"""Metres that a place may be away from every lane: the Leaderboard takes the nearest one at any distance, and
files of Town05 hold places 58 m beside the roads."""


class Weather(NamedTuple):
    """What the sky is like from a share of the route on."""

    percentage: float
    parameters: dict[str, float]
    """By the names of `carla.WeatherParameters`."""


@dataclass(frozen=True)
class RouteOrder:
    """A route as a file asks for it."""

    file: Path
    id: str
    town: str
    places: tuple[carla.Location, ...]
    weathers: tuple[Weather, ...]

    def plan(self, roads: RoadMap | None = None) -> Route:
        """Return the route; without a map, on the one of `RoadMap.named`.

        Raises:
            DataError: if there is no map of the town, the map is of another, or no way leads along the
            places.
        """
        if roads is None:
            roads = self._map()
        elif roads.name.removesuffix("_Opt") != self.town.removesuffix("_Opt"):
            raise DataError(
                f"{self._name}: is in {self.town}, found the map of {roads.name}; load {self.town}"
            )
        try:
            return plan(roads, self.places, self.id, REACH)
        except DataError as error:
            raise DataError(f"{self.file.name}: {error}") from error

    @property
    def _name(self) -> str:
        return f"{self.file.name}: route {self.id}"

    def _map(self) -> RoadMap:
        try:
            return RoadMap.named(self.town)
        except DataError as error:
            raise DataError(f"{self._name}: is in {self.town}, which is not at hand: {error}") from error


def read_routes(path: Path) -> tuple[RouteOrder, ...]:
    """Return the routes of a Leaderboard file.

    Raises:
        DataError: naming the file, the route and what is wrong with it.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: expected a route file of the Leaderboard ({error}); restore it") from error
    found = list(root.iter("route"))
    if root.tag != "routes" or not found:
        raise DataError(
            f"{path}: expected <routes> with <route> in it, found <{root.tag}>; give another file"
        )
    orders = tuple(_order(path, number, route) for number, route in enumerate(found, start=1))
    twice = sorted({o.id for o in orders if sum(o.id == other.id for other in orders) > 1})
    if twice:
        raise DataError(f"{path}: route {twice[0]} is there twice; give each another id")
    return orders


def read_pairs(path: Path) -> tuple[tuple[int, int], ...]:
    """Return the pairs of a NoCrash file: start and goal as numbers of the running town's spawn points.

    Raises:
        DataError: naming the file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a text of NoCrash ({error}); restore it") from error
    pairs = tuple(_pair(path, number, line) for number, line in enumerate(lines, start=1) if line.strip())
    if not pairs:
        raise DataError(f"{path}: expected a start and a goal on each line, found none; restore it")
    return pairs


def plan_pair(
    roads: RoadMap, pair: tuple[int, int], spawn_points: Sequence[carla.Transform], id: str
) -> Route:
    """Return the route of a NoCrash pair.

    `spawn_points` are `world.get_map().get_spawn_points()` of the running town: a map file holds none. Their
    number and order may change between versions of a town.

    Raises:
        DataError: if there are not so many, or no way leads from one to the other.
    """
    if max(pair) >= len(spawn_points):
        raise DataError(
            f"route {id}: expected spawn points up to number {max(pair)} on {roads.name}, found "
            f"{len(spawn_points)}; is it the town that the pairs were made for?"
        )
    return plan(roads, [spawn_points[k].location for k in pair], id)


def _order(path: Path, number: int, route: Element) -> RouteOrder:
    id, town = route.get("id"), route.get("town") or route.get("map")
    where = f"{path}: route {id if id is not None else f'number {number}'}"
    if not id or not town:
        raise DataError(
            f"{where}: expected the attributes id and town, found {sorted(route.keys())}; add them"
        )
    elements = route.findall("waypoint") or route.findall("waypoints/position")
    places = tuple(
        carla.Location(*(_number(e, axis, f"{where}: place {i}") for axis in "xyz"))
        for i, e in enumerate(elements)
    )
    if len(places) < 2:
        raise DataError(f"{where}: expected at least 2 places, found {len(places)}; add some")
    weathers = route.findall("weathers/weather") or route.findall("weather")
    return RouteOrder(path, id, town, places, tuple(_weather(e, f"{where}: weather") for e in weathers))


def _weather(element: Element, where: str) -> Weather:
    numbers = {
        key: _number(element, key, where) for key in element.attrib if key not in ("id", "route_percentage")
    }
    unknown = sorted(key for key in numbers if not hasattr(carla.WeatherParameters, key))
    if unknown:
        raise DataError(f"{where}: {unknown[0]} is no weather parameter of CARLA; correct it")
    share = _number(element, "route_percentage", where) if "route_percentage" in element.attrib else 0.0
    return Weather(share, numbers)


def _number(element: Element, key: str, where: str) -> float:
    text = element.get(key)
    try:
        value = float(text if text is not None else "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: expected a number as {key}, found {text!r}; correct it")
    return value


def _pair(path: Path, number: int, line: str) -> tuple[int, int]:
    words = line.split()
    if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
        raise DataError(
            f"{path}: line {number}: expected two numbers of spawn points, found {line!r}; correct it"
        )
    return int(words[0]), int(words[1])
