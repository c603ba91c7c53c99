"""Routes on CARLA's towns: published files, against CARLA's own planner."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from mtdrive.envs.route_files import RouteOrder, read_pairs, read_routes
from mtdrive.envs.routes import RoadMap, Route, plan, random_routes
from mtdrive.envs.town.roads import FOLDERS
from mtdrive.errors import DataError
from mtdrive.orders import Command
from tests.routes import check_on_lanes

pytestmark = pytest.mark.real

GOLDEN = Path(__file__).parents[1] / "golden" / "longest6_planner.json"
"""Metres and turns of CARLA's GlobalRoutePlanner, one leg after the other, on the routes where it takes no
way around a block and no leg begins inside a junction."""

LETTERS = {Command.LEFT: "L", Command.RIGHT: "R", Command.STRAIGHT: "S"}


@pytest.fixture
def carla_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = os.environ.get("MTDRIVE_REAL_DATA")
    if not folder:
        pytest.skip("MTDRIVE_REAL_DATA is not set")
    monkeypatch.setenv(FOLDERS, str(Path(folder) / "carla" / "maps"))
    return Path(folder) / "carla"


def turns(route: Route) -> str:
    return "".join(LETTERS[Command(c)] for c, _ in groupby(route.commands.tolist()) if c in LETTERS)


def crow(order: RouteOrder) -> float:
    return float(sum(a.distance(b) for a, b in pairwise(order.places)))


def test_the_routes_of_published_files_plan_and_other_towns_are_refused(
    carla_data: Path, record_property: Callable[[str, object], None]
) -> None:
    at_hand = {p.name.split(".")[0] for p in (carla_data / "maps").iterdir()}
    planned, refused = Counter[str](), Counter[str]()
    for path in sorted((carla_data / "routes").glob("*.xml")):
        for order in read_routes(path)[::4]:
            if order.town in at_hand:
                check_on_lanes(RoadMap.named(order.town), order.plan())
                planned[order.town] += 1
                continue
            with pytest.raises(DataError, match=f"is in {order.town}, which is not at hand"):
                order.plan()
            refused[order.town] += 1
    record_property("planned", dict(planned))
    assert planned.total() == 17
    assert set(refused) == {"Town12", "Town13"}


def test_ways_and_turns_of_longest6_are_those_of_carla_s_planner(carla_data: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    for order in read_routes(carla_data / "routes" / "longest6.xml"):
        route = order.plan()
        assert route.length < 1.15 * crow(order)
        if order.id in golden:
            metres, wanted = golden[order.id]
            assert turns(route) == wanted, order.id
            assert route.length == pytest.approx(metres, rel=0.01), order.id
    assert len(golden) == 27


@pytest.mark.parametrize("town", ["Town02", "Town04", "Town07", "Town10HD"])
def test_random_routes_on_carla_s_towns_lie_on_the_lanes(carla_data: Path, town: str) -> None:
    for route in random_routes(roads := RoadMap.named(town), 0, 6, (300, 600), 2):
        check_on_lanes(roads, route)


def test_pairs_of_nocrash_are_within_the_spawn_points_of_their_towns(carla_data: Path) -> None:
    for town, points in (("Town01", 255), ("Town02", 101)):
        pairs = read_pairs(carla_data / "routes" / f"nocrash_{town}.txt")
        assert len(pairs) == 25
        assert max(map(max, pairs)) < points
        places = RoadMap.named(town).places
        a, b = (places[k % len(places)].location for k in pairs[0])
        assert plan(RoadMap.named(town), [a, b], "x").length > 20
