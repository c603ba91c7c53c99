"""Planned and random routes against CARLA's own reading of the maps, and against plain searches."""

from __future__ import annotations

import heapq
import math
from itertools import groupby, pairwise

import carla
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.envs.lanes import Lane
from mtdrive.envs.routes import RoadMap, Route, plan, random_route, random_routes
from mtdrive.envs.tracing import turn
from mtdrive.errors import DataError
from mtdrive.orders import Command
from tests.road_maker import opendrive, straight

TOWNS = ("Small", "Grid", "Large", "New")


def location(x: float, y: float, z: float = 0.0) -> carla.Location:
    return carla.Location(x, y, z)


def runs(route: Route) -> list[Command]:
    return [Command(c) for c, _ in groupby(route.commands.tolist())]


@pytest.mark.parametrize("town", TOWNS)
def test_commands_of_town_s_junctions_follow_the_turn_of_the_car(town: str) -> None:
    told = set()
    for route in random_routes(RoadMap.named(town), 1, 12, (250, 450)):
        for command, points in groupby(enumerate(route.commands.tolist()), lambda pair: pair[1]):
            inside = [i for i, _ in points]
            first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, len(route.yaw) - 1)
            bend = (route.yaw[last] - route.yaw[first] + 180) % 360 - 180
            if command <= Command.STRAIGHT:
                wanted = Command.STRAIGHT if abs(bend) < 35 else Command.RIGHT if bend > 0 else Command.LEFT
                assert command == wanted
                told.add(command)
    assert {Command.LEFT, Command.RIGHT} <= told


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_plan_is_the_shortest_way(data: st.DataObject) -> None:
    roads = RoadMap.named("Small")  # it has one lane for each direction
    start, goal = (data.draw(st.sampled_from(roads.places)).location for _ in range(2))
    if start.distance(goal) < 5:
        return
    metres = walked(roads.map.get_waypoint(start), goal)
    if metres is None:
        with pytest.raises(
            DataError, match=r"route x: no way leads from place 0 to place 1 .* on the lanes of Small"
        ):
            plan(roads, [start, goal], "x")
    else:
        route = plan(roads, [start, goal], "x")
        assert route.length == pytest.approx(metres, rel=0.01, abs=2.5)
        assert np.linalg.norm(route.xyz[0] - (start.x, start.y, start.z)) < 1
        assert np.linalg.norm(route.xyz[-1] - (goal.x, goal.y, goal.z)) < 1


def walked(start: carla.Waypoint, goal: carla.Location) -> float | None:
    """Return the metres of the shortest way, found by steps of a metre in all directions."""
    queue, seen, number = [(0.0, 0, start)], set(), 0
    while queue:
        metres, _, here = heapq.heappop(queue)
        if here.transform.location.distance(goal) < 0.8:
            return metres
        if (key := (here.road_id, here.lane_id, round(here.s))) in seen:
            continue
        seen.add(key)
        for there in here.next(1.0):
            number += 1
            step = there.transform.location.distance(here.transform.location)
            heapq.heappush(queue, (metres + step, number, there))
    return None


def test_places_between_are_passed_in_their_order() -> None:
    roads = RoadMap.named("Grid")
    long = random_route(roads, 2, (500, 600), 3)
    places = [location(*map(float, long.xyz[i])) for i in (0, 150, 300, len(long.xyz) - 1)]
    route = plan(roads, places, "x")
    nearest = [int(np.hypot(*(route.xyz[:, :2] - (p.x, p.y)).T).argmin()) for p in places]
    assert nearest == sorted(nearest)
    assert all(np.hypot(*(route.xyz[i, :2] - (p.x, p.y))) < 0.6 for i, p in zip(nearest, places, strict=True))


def test_a_place_a_little_behind_the_last_one_needs_no_way_around_the_block() -> None:
    roads = RoadMap.named("Grid")
    a, b = random_route(roads, 2, (200, 300)).xyz[[0, 100]]
    behind = b - 2 * (b - a) / np.linalg.norm(b - a)
    direct = plan(roads, [location(*a), location(*b)], "x")
    assert plan(roads, [location(*a), location(*b), location(*behind)], "x").length == pytest.approx(
        direct.length
    )


def test_a_change_of_lane_is_a_smooth_diagonal_with_its_command() -> None:
    roads = RoadMap.of("two lanes", opendrive(straight(length=150)))
    for y, other, command in ((1.75, 5.25, Command.CHANGE_RIGHT), (5.25, 1.75, Command.CHANGE_LEFT)):
        route = plan(roads, [location(2, y), location(148, other)], "x")
        assert runs(route) == [Command.FOLLOW, command, Command.FOLLOW]
        across = np.diff(route.xyz[:, 1]) * np.sign(other - y)
        assert (across >= -1e-9).all()
        assert np.abs(route.yaw).max() < 12
        assert np.degrees(np.abs(np.arctan2(np.diff(route.xyz[:, 1]), np.diff(route.xyz[:, 0])))).max() < 12
        changing = np.flatnonzero(route.commands == command)
        assert route.distance[changing[-1]] - route.distance[changing[0]] == pytest.approx(30, abs=2)
        assert set(route.road[: changing[0], 1]) == {-1 if y < 3 else -2}
        assert set(route.road[changing[-1] :, 1]) == {-2 if y < 3 else -1}


def test_a_solid_line_is_not_crossed() -> None:
    roads = RoadMap.of("solid", opendrive(straight(mark="solid")))
    with pytest.raises(DataError, match="no way leads from place 0 to place 1"):
        plan(roads, [location(2, 1.75), location(148, 5.25)], "x")


def test_a_place_on_the_next_lane_is_passed_there_rather_than_by_a_sharp_change() -> None:
    roads = RoadMap.of("two lanes", opendrive(straight()))
    route = plan(roads, [location(5, 1.75), location(60, 1.75), location(66, 5.25), location(190, 5.25)], "x")
    assert runs(route) == [Command.FOLLOW, Command.CHANGE_RIGHT, Command.FOLLOW]
    assert np.abs(route.yaw).max() < 12


def test_a_place_on_a_bridge_belongs_to_the_bridge() -> None:
    below = straight(1, (0, 0), 0.0, 100, 0.0, lanes=1)
    above = straight(2, (50, -50), math.pi / 2, 100, 8.0, lanes=1)
    roads = RoadMap.of("bridge", opendrive(below, above))
    crossing = (51.75, 1.75)
    assert roads.lanes[roads.near(location(*crossing, 0.5))[0].spot.lane].road == 1
    assert roads.lanes[roads.near(location(*crossing, 7.0))[0].spot.lane].road == 2
    assert len(roads.near(location(*crossing, 7.0))) == 1


def bent(bend: float) -> Lane:
    """A lane through a junction, from heading 0 to `bend` degrees."""
    half = math.radians(bend / 2)
    xyz = np.array([[0.0, 0, 0], [math.cos(half), math.sin(half), 0]])
    flat, none = np.zeros(2), np.zeros(0, dtype=np.int64)
    return Lane(1, 0, 1, 5, xyz, np.array([0.0, bend]), flat, flat, flat > -1, (), none, none)


def test_a_turn_is_told_as_by_carla_s_planner() -> None:
    """By the headings at both ends, straight below 35 degrees, and else relative to the other ways."""
    assert [turn([], [bent(bend)]) for bend in (34, -34)] == [Command.STRAIGHT] * 2
    assert [turn([], [bent(bend)]) for bend in (36, -36)] == [Command.RIGHT, Command.LEFT]
    assert turn([bent(170)], [bent(40)]) == Command.LEFT  # the left one of two ways to the right
    assert turn([bent(-30)], [bent(40)]) == Command.RIGHT
    assert turn([], [bent(90), bent(0)]) == Command.STRAIGHT  # the last lane of the junction counts


MIRRORED = {Command.LEFT: Command.RIGHT, Command.RIGHT: Command.LEFT, Command.STRAIGHT: Command.STRAIGHT}
BENDS = st.integers(1, 170) | st.integers(-170, -1)


@given(BENDS, st.lists(BENDS, max_size=3))
def test_a_turn_in_a_mirror_has_the_mirrored_command(bend: int, others: list[int]) -> None:
    told = turn([bent(b) for b in others], [bent(bend)])
    assert turn([bent(-b) for b in others], [bent(-bend)]) == MIRRORED[told]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([(-300.0, 0.0), (10.0, 1.75)], r"route 7: place 0 at \(-300.0, 0.0, 0.0\) is off the map: 300 m"),
        ([(10.0, 1.75), (math.nan, 0.0)], "route 7: place 1 is at .* which is no place"),
        ([(10.0, 1.75)], "route 7: expected at least 2 places, found 1"),
        ([], "route 7: expected at least 2 places, found 0"),
        ([(10.0, 1.75), (10.0, 1.75)], "route 7: expected places apart"),
        (
            [(90.0, 1.75), (10.0, 1.75)],
            "route 7: no way leads from place 0 to place 1 .* on the lanes of one road",
        ),
    ],
)
def test_a_wrong_place_is_one_clear_line(places: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        plan(RoadMap.of("one road", opendrive(straight())), [location(*p) for p in places], "7")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no map",
        "<other/>",
        opendrive(),
        opendrive(straight(kind="sidewalk")),
        opendrive(straight())[:400],
    ],
)
def test_a_map_without_driving_lanes_is_one_clear_line(text: str) -> None:
    with pytest.raises(DataError, match=r"^bad: expected .*; give another map") as caught:
        RoadMap("bad", text)
    assert "\n" not in str(caught.value)


def test_a_map_is_read_once_in_a_process_and_found_by_name() -> None:
    roads = RoadMap.named("Small")
    assert roads.name == "Small"
    assert RoadMap.named("Small") is roads
    assert RoadMap.of("Carla/Maps/Small", roads.xodr) is roads
    with pytest.raises(DataError, match=r"map 'Nowhere': expected one of .*Small"):
        RoadMap.named("Nowhere")


def test_limits_are_those_of_the_lane_then_of_the_road_in_the_unit_they_are_given_in() -> None:
    limits = '<type s="0" type="town"><speed max="50" unit="km/h"/></type>'
    limits += '<type s="100" type="town"><speed max="30" unit="mph"/></type>'
    inner = '<speed sOffset="150" max="20"/>'
    roads = RoadMap.of("limits", opendrive(straight(limits=limits, lane_limits=inner)))
    for y, wanted in ((5.25, [50 / 3.6, 30 * 0.44704, 30 * 0.44704]), (1.75, [50 / 3.6, 30 * 0.44704, 20.0])):
        route = plan(roads, [location(1, y), location(199, y)], "x")
        assert route.speed_limit[[50, 120, 180]] == pytest.approx(wanted)


def test_where_the_map_has_no_limit_the_last_one_holds_and_else_30_km_h() -> None:
    plain = plan(RoadMap.of("plain", opendrive(straight())), [location(1, 1.75), location(99, 1.75)], "x")
    assert plain.speed_limit == pytest.approx(30 / 3.6)
    unlimited = '<type s="0" type="town"><speed max="undefined"/></type>'
    unlimited += '<type s="40" type="town"><speed max="10"/></type><type s="80" type="rural"/>'
    odd = RoadMap.of("odd", opendrive(straight(limits=unlimited)))
    assert plan(odd, [location(1, 1.75), location(99, 1.75)], "x").speed_limit == pytest.approx(10)


def test_places_to_start_are_on_wide_lanes_outside_junctions_and_head_along_them() -> None:
    for town in TOWNS:
        roads = RoadMap.named(town)
        assert len(roads.places) > 20
        for place in roads.places:
            at = roads.map.get_waypoint(place.location)
            assert at.transform.location.distance(place.location) < 0.3
            assert not at.is_junction
            assert math.cos(math.radians(at.transform.rotation.yaw - place.rotation.yaw)) > 0.99


def test_a_route_cut_short_keeps_its_points() -> None:
    route = random_route(RoadMap.named("Small"), 4, (200, 300))
    cut = route.until(50)
    assert len(cut.xyz) == len(cut.yaw) == len(cut.commands) == len(cut.road) == 51
    assert cut.length == pytest.approx(50, abs=1)
    assert all(b - a == pytest.approx(1, abs=0.02) for a, b in pairwise(cut.distance))
    assert cut.start.location.distance(location(*map(float, route.xyz[0]))) < 1e-3
