"""Stop lines, against the embedded server's own reading of the maps and against the client's landmarks."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import carla
import numpy as np
import pytest

from mtdrive.batch import Command
from mtdrive.envs.routes import Route
from mtdrive.envs.signals import StopLine, lines_of, lines_on
from mtdrive.envs.town import Town, opendrive, signposts
from tests.town_land import XODR

ROOT = Path(__file__).parents[2]
MAPS = ROOT / "envs/town/maps"
SERVER = (sys.executable, "-m", "tests.town_painter")
OWN = ("Small", "Grid", "Large", "New")
CARLAS = ("Town01", "Town02", "Town03", "Town04", "Town05", "Town06", "Town07", "Town10HD")


def own(name: str) -> str:
    return (MAPS / f"{name}.xodr").read_text()


def published(name: str) -> str:
    folder = os.environ.get("MTDRIVE_REAL_DATA")
    if not folder:
        pytest.skip("MTDRIVE_REAL_DATA is not set")
    return gzip.decompress((Path(folder) / f"carla/maps/{name}.xodr.gz").read_bytes()).decode()


@dataclass
class Light:
    """A light as the client shows it."""

    id: str
    stops: Sequence[carla.Waypoint] = ()

    def get_opendrive_id(self) -> str:
        return self.id

    def get_stop_waypoints(self) -> Sequence[carla.Waypoint]:
        return self.stops


@dataclass
class Sign:
    """A stop sign as the client shows it."""

    pose: carla.Transform
    trigger_volume: carla.BoundingBox

    def get_transform(self) -> carla.Transform:
        return self.pose


def read(name: str, text: str) -> tuple[carla.Map, tuple[StopLine, ...]]:
    """Return a map and the lines of all its lights and signs."""
    town = carla.Map(name, text)
    lights = {mark.id for mark in town.get_all_landmarks_of_type("1000001")}
    return town, lines_of(town, map(Light, sorted(lights)), [])


def check_against_signposts(name: str, text: str) -> None:
    posts = signposts.read(opendrive.parse(text, name))
    expected = [(p.kind, p.id, s) for p in posts.values() if p.kind in ("light", "stop") for s in p.stops]
    left = list(read(name, text)[1])
    for kind, signal, stop in expected:
        found = min(
            (line for line in left if (line.kind, line.signal) == (kind, signal)),
            key=lambda line: math.dist(line.xyz[:2], (stop.pose.x, stop.pose.y)),
        )
        left.remove(found)
        assert math.dist(found.xyz, (stop.pose.x, stop.pose.y, stop.pose.z)) < 0.06
        assert abs((found.yaw - stop.pose.yaw + 180) % 360 - 180) < 0.2
        assert found.width == pytest.approx(stop.width, abs=1e-3)
    assert left == []


@pytest.mark.parametrize("name", OWN)
def test_a_lane_has_a_line_where_the_server_has_it(name: str) -> None:
    check_against_signposts(name, own(name))


@pytest.mark.real
@pytest.mark.parametrize("name", CARLAS)
def test_a_lane_of_carlas_towns_has_a_line_where_its_junction_begins(name: str) -> None:
    check_against_signposts(name, published(name))


def to_junction(start: carla.Waypoint) -> Route:
    """Return a route along a lane up to the next junction."""
    places = [start]
    while (ahead := places[-1].next(1.0)) and not ahead[0].is_junction:
        places.append(ahead[0])
    return route_of([(w.transform.location, w.transform.rotation.yaw) for w in places])


def route_of(places: Sequence[tuple[carla.Location, float]]) -> Route:
    n = len(places)
    return Route(
        "test",
        "town",
        np.array([[p.x, p.y, p.z] for p, _ in places]),
        np.array([yaw for _, yaw in places]),
        np.full(n, int(Command.FOLLOW)),
        np.arange(float(n)),
        np.zeros((n, 2), dtype=int),
        np.full(n, 10.0),
    )


@pytest.mark.parametrize("name", OWN)
def test_a_route_meets_the_lines_that_the_client_announces(name: str) -> None:
    town, lines = read(name, own(name))
    met = 0
    for start, _ in town.get_topology():
        place = start.next(0.01)[0]
        if not place.is_junction:
            kinds = ("1000001", "206")
            marks = [m for kind in kinds for m in place.get_landmarks_of_type(500.0, kind, True)]
            found = lines_on(to_junction(place), lines)
            assert [line.signal for _, line in found] == [mark.id for mark in marks]
            assert [at for at, _ in found] == pytest.approx([mark.distance for mark in marks], abs=0.3)
            met += len(found)
    assert met >= len(lines)


def test_a_route_meets_a_line_in_its_lane_direction_and_level_only() -> None:
    line = StopLine("7", "light", (10.2, 1.75, 0.0), 0.0, 3.5)

    def met(y: float, yaw: float = 0.0, z: float = 0.0) -> list[float]:
        x = np.linspace(0, 20, 21)[:: 1 if yaw == 0 else -1]
        route = route_of([(carla.Location(float(a), y, z), yaw) for a in x])
        return [distance for distance, _ in lines_on(route, [line])]

    assert met(1.75) == [pytest.approx(10.2)]
    assert len(met(3.4)) == len(met(0.1)) == len(met(1.75, z=2.0)) == 1
    assert met(3.6) == met(-0.1) == met(1.75, z=3.0) == met(1.75, z=-3.0) == met(1.75, yaw=180.0) == []


def test_lines_come_in_the_order_of_the_route_and_as_often_as_it_crosses_them() -> None:
    far, near = (StopLine(i, "stop", (x, 0.0, 0.0), 0.0, 3.5) for i, x in (("1", 8.5), ("2", 4.5)))
    loop = [*range(10), *range(9, -1, -1), *range(10)]
    heights = [0] * 10 + [50] * 10 + [0] * 10
    route = route_of([(carla.Location(x, y, 0), 0.0) for x, y in zip(loop, heights, strict=True)])
    found = [(distance, line.signal) for distance, line in lines_on(route, [far, near])]
    assert found == [(4.5, "2"), (8.5, "1"), (24.5, "2"), (28.5, "1")]


def test_a_light_that_the_map_does_not_know_has_the_line_of_its_trigger() -> None:
    town, lines = read("Grid", own("Grid"))
    known = next(line for line in lines if line.kind == "light")
    place = town.get_waypoint(carla.Location(*known.xyz)).previous(3.0)[0]
    (found,) = [x for x in lines_of(town, [Light("not in the map", [place])], []) if x.kind == "light"]
    mouth = town.get_waypoint(carla.Location(*found.xyz))
    assert found.signal == "not in the map"
    assert found.yaw == pytest.approx(known.yaw, abs=0.1)
    assert not mouth.is_junction
    assert mouth.next(0.6)[0].is_junction


@pytest.mark.parametrize("turn", [0.0, 90.0, 200.0])
def test_a_stop_sign_of_the_level_has_a_line_where_its_trigger_ends(turn: float) -> None:
    town = carla.Map("street", XODR)
    # The trigger is 6 m long and ends at x = 123, however the sign itself is turned.
    pose = carla.Transform(carla.Location(125.0, 5.0, 0.0), carla.Rotation(yaw=turn))
    centre = carla.Location(120.0, 1.75, 1.0)
    pose.inverse_transform(centre)  # in place
    volume = carla.BoundingBox(centre, carla.Vector3D(3.0, 1.5, 1.0))
    volume.rotation = carla.Rotation(yaw=-turn)
    (found,) = [x for x in lines_of(town, [], [Sign(pose, volume)]) if x.signal != "8"]
    assert found.kind == "stop"
    assert found.xyz == pytest.approx((123.0, 1.75, 0.0), abs=0.06)
    assert (found.yaw, found.width) == pytest.approx((0.0, 3.5), abs=0.01)


def test_a_stop_sign_of_the_map_is_not_counted_twice() -> None:
    town, lines = read("Grid", own("Grid"))
    stop = next(line for line in lines if line.kind == "stop")
    box = carla.BoundingBox(carla.Location(), carla.Vector3D(1.7, 1.7, 1.0))
    sign = Sign(carla.Transform(carla.Location(*stop.xyz)), box)
    assert [x for x in lines_of(town, [], [sign]) if x.kind == "stop"] == [
        x for x in lines if x.kind == "stop"
    ]


def check_live(name: str, text: str) -> None:
    with Town(name, command=SERVER) as server:
        command = [sys.executable, "-m", "tests.signals_client", str(server.port)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240, check=True)
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    expected = read(name, text)[1]
    lines = [StopLine(name, kind, tuple(xyz), *rest) for name, kind, xyz, *rest in seen["lines"]]
    assert lines == list(expected)
    assert {x.signal for x in lines if x.kind == "light"} == set(seen["lights"])
    for signal, places in seen["lights"].items():
        mine = [x.xyz[:2] for x in lines if x.signal == signal]
        # CARLA's towns have their signals in the junction, the lines are where it begins.
        away = [min(math.dist(place, x) for x in mine) for place in places]
        assert max(away) < (0.01 if name in OWN else 10.0)
    stops = [x.xyz[:2] for x in lines if x.kind == "stop"]
    away = [min(math.dist(trigger, x) for x in stops) for trigger in seen["triggers"]]
    # A trigger ends at its line; that of two lanes has its middle between theirs.
    assert away == pytest.approx([1.7] * len(away), abs=0.1 if name in OWN else 0.8)


def test_a_running_town_has_the_lines_of_its_map() -> None:
    check_live("Grid", own("Grid"))


@pytest.mark.real
def test_a_running_town_of_carla_has_the_lines_of_its_map(monkeypatch: pytest.MonkeyPatch) -> None:
    text = published("Town05")
    monkeypatch.setenv("MTDRIVE_MAPS", str(Path(os.environ["MTDRIVE_REAL_DATA"]) / "carla/maps"))
    check_live("Town05", text)
