"""Routes by chance, and streets held out."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from mtdrive.envs.routes import RoadMap, random_route, random_routes, regions
from mtdrive.errors import ConfigError
from mtdrive.orders import Command
from tests.road_maker import opendrive, straight
from tests.routes import check_on_lanes

TOWNS = ("Small", "Grid", "Large", "New")


@pytest.mark.parametrize("town", TOWNS)
def test_a_random_route_is_as_wished_and_lies_on_the_lanes(town: str) -> None:
    roads = RoadMap.named(town)
    found = random_routes(roads, 5, 12, (200, 400), 2, room=15.0)
    assert len({tuple(route.xyz[0]) for route in found}) == 12
    for route in found:
        assert 200 <= route.length <= 400
        assert route.turns >= 2
        assert route.commands[0] == route.commands[-1] == Command.FOLLOW
        check_on_lanes(roads, route)
        junction = (Command.LEFT, Command.RIGHT, Command.STRAIGHT)
        ahead = int(np.isin(route.commands, junction).argmax())
        assert route.distance[ahead] >= 15
        streets = [(r, lane > 0) for (r, lane), _ in groupby(map(tuple, route.road.tolist()))]
        streets = [street for street, _ in groupby(streets)]
        assert len(streets) == len(set(streets))


def test_a_seed_gives_the_same_route_in_every_process_and_version() -> None:
    route = random_route(RoadMap.of("two lanes", opendrive(straight(length=150))), 2, (60, 100))
    assert route.id == "two lanes-2-0"
    assert route.xyz[0] == pytest.approx(STORED[0], abs=0.01)
    assert route.length == pytest.approx(STORED[1], abs=0.01)
    assert [c for c, _ in groupby(route.commands.tolist())] == STORED[2]


STORED = (55.0, 1.75, 0.0), 77.197, [4, 6, 4]
"""Start, length and commands of that route, as first made."""


@pytest.mark.parametrize(
    ("count", "length", "turns", "message"),
    [
        (1, (5000, 6000), 0, r"of 1 of 5000 to 6000 m .* 0 were found on Small; the longest way"),
        (1, (200, 300), 40, r"with 40 turns or more, 0 were found on Small"),
        (900, (200, 300), 0, r"of 900 of"),
        (1, (300, 200), 0, r"expected a count of at least 1, 0 < least <= most"),
        (0, (200, 300), 0, r"expected a count"),
    ],
)
def test_a_wish_that_the_map_cannot_meet_is_said(
    count: int, length: tuple[float, float], turns: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        random_routes(RoadMap.named("Small"), 0, count, length, turns)


@pytest.mark.parametrize("town", ["Grid", "Large"])
@pytest.mark.parametrize("seed", [0, 1])
def test_streets_held_out_are_never_driven_by_routes_of_the_rest(town: str, seed: int) -> None:
    roads = RoadMap.named(town)
    train, test = regions(roads, seed, 0.3)
    assert not train & test
    assert train | test == {lane.road for lane in roads.lanes}
    metres = {side: sum(x.length for x in roads.lanes if x.road in side) for side in (train, test)}
    assert metres[test] / sum(metres.values()) == pytest.approx(0.3, abs=0.12)
    for side in (train, test):
        for route in random_routes(roads, 3, 5, (80, 250), 0, side):
            assert set(route.road[:, 0]) <= side
