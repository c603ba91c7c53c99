"""The guide against plain versions of the Leaderboard's and TransFuser's planners, and against closed
forms."""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.envs.guide import Guide, far_nodes
from mtdrive.envs.routes import RoadMap, Route, random_routes
from mtdrive.envs.scene import Actor
from mtdrive.orders import Command

XY = tuple[float, float]


def route_of(xy: np.ndarray, commands: list[int] | None = None) -> Route:
    """A route over given points."""
    steps = np.diff(xy, axis=0)
    yaw = np.degrees(np.arctan2(steps[:, 1], steps[:, 0]))
    return Route(
        id="made up",
        town="none",
        xyz=np.c_[xy, np.zeros(len(xy))],
        yaw=np.r_[yaw, yaw[-1]],
        commands=np.array(commands or [Command.FOLLOW] * len(xy), dtype=np.int64),
        distance=np.r_[0, np.cumsum(np.linalg.norm(steps, axis=1))],
        road=np.zeros((len(xy), 2), dtype=np.int64),
        speed_limit=np.full(len(xy), 10.0),
    )


def line(metres: int) -> np.ndarray:
    return np.stack([np.arange(metres + 1.0), np.zeros(metres + 1)], axis=1)


def at(guide: Guide, x: float, y: float) -> Guide:
    guide.advance((x, y))
    return guide


def car(x: float, y: float, yaw: float) -> Actor:
    return Actor(1, "vehicle", (x, y, 0.0), yaw, (0.0, 0.0, 0.0), (2.0, 1.0, 0.8))


def plain_sampling(xy: list[XY], commands: list[int]) -> list[int]:
    """The Leaderboard's rule, point by point: changes of lane always, changes of command, 50 m, the end."""
    changes = (Command.CHANGE_LEFT, Command.CHANGE_RIGHT)
    kept: list[int] = []
    metres = 0.0
    for i, command in enumerate(commands):
        before = commands[i - 1] if i > 0 else None
        if (
            command in changes
            or (before != command and before not in changes)
            or metres > 50
            or i == len(commands) - 1
        ):
            kept.append(i)
            metres = 0.0
        else:
            metres += math.dist(xy[i], xy[i - 1])
    return kept


class PlainPlanner:
    """TransFuser's rule: places before the farthest one that is near are dropped; the second left is next."""

    def __init__(self, nodes: list[tuple[XY, int]]) -> None:
        self.nodes = deque(nodes)

    def step(self, xy: XY) -> tuple[XY, int]:
        metres, drop, farthest = 0.0, 0, -math.inf
        for i in range(1, len(self.nodes)):
            if metres > 50:
                break
            metres += math.dist(self.nodes[i][0], self.nodes[i - 1][0])
            away = math.dist(self.nodes[i][0], xy)
            if away <= 7.5 and away > farthest:
                drop, farthest = i, away
        for _ in range(drop):
            if len(self.nodes) > 2:
                self.nodes.popleft()
        return self.nodes[1]


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 6]), st.integers(1, 130)), min_size=1, max_size=8))
def test_the_far_places_are_the_leaderboard_s(parts: list[tuple[int, int]]) -> None:
    # CARLA's planner gives a change of lane two points, and other commands between two changes
    commands = [
        c
        for command, count in parts
        for c in ([command, command, 4, 4] if command > 4 else [command] * count)
    ]
    route = route_of(line(len(commands)), [*commands, 4])
    assert far_nodes(route) == plain_sampling([(x, y) for x, y, _ in route.xyz], [*commands, 4])


def test_a_long_change_of_lane_has_its_two_ends_as_far_places() -> None:
    commands = [4] * 20 + [5] * 30 + [4] * 20 + [6] * 60 + [4] * 10
    assert far_nodes(route_of(line(139), commands)) == [0, 20, 49, 70, 122, 129, 139]
    assert far_nodes(route_of(line(9), [4, 4, 5, 5, 1, 1, 1, 4, 4, 4])) == [
        0,
        2,
        3,
        4,
        7,
        9,
    ]  # a turn is told


@pytest.mark.parametrize("town", ["Grid", "Large"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_commands_and_targets_are_those_of_the_leaderboard_s_planner(town: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    for route in random_routes(RoadMap.named(town), seed, 3, (200, 500), 2):
        nodes = far_nodes(route)
        plain = PlainPlanner([((route.xyz[i, 0], route.xyz[i, 1]), int(route.commands[i])) for i in nodes])
        guide, off = Guide(route), 0.0
        for i in range(0, len(route.xyz), 2):
            off = 0.9 * off + draw.normal(0, 0.6)
            side = math.radians(route.yaw[i] + 90)
            xy = (route.xyz[i, 0] + off * math.cos(side), route.xyz[i, 1] + off * math.sin(side))
            guide.advance(xy)
            target, command = plain.step(xy)
            assert guide.far_command == command
            right, forward = guide.target_point(car(*xy, -90.0))
            assert (xy[0] + right, xy[1] - forward) == pytest.approx(target, abs=1e-6)


def test_a_turn_is_told_shortly_before_it_and_until_it_is_done() -> None:
    guide = Guide(route_of(line(139), [4] * 70 + [1] * 20 + [4] * 10 + [3] * 10 + [4] * 30))
    told = [at(guide, x + 0.01, 0.0).command for x in range(140)]
    assert told[:50] == [Command.FOLLOW] * 50
    assert told[50:90] == [Command.LEFT] * 40
    assert told[90:110] == [Command.STRAIGHT] * 20
    assert told[110:] == [Command.FOLLOW] * 30


def test_the_leaderboard_tells_a_turn_before_the_junction_and_no_longer_in_it() -> None:
    guide = Guide(route_of(line(139), [4] * 70 + [1] * 20 + [4] * 50))
    told = [at(guide, x, 0.0).far_command for x in range(140)]
    assert told[:45] == [Command.FOLLOW] * 45  # the place after 52 m counts as reached 7.5 m before
    assert told[45:63] == [Command.LEFT] * 18
    assert told[63:] == [Command.FOLLOW] * 77


def test_a_drive_along_the_route_completes_it() -> None:
    for route in random_routes(RoadMap.named("Large"), 6, 3, (200, 500), 1):
        guide = Guide(route)
        for point, distance in zip(route.xyz, route.distance, strict=True):
            guide.advance((point[0], point[1]))
            assert guide.travelled == pytest.approx(distance, abs=0.1)
            assert abs(guide.offset) < 0.1
            assert guide.deviation < 0.1
        end = math.radians(route.yaw[-1])
        guide.advance((route.xyz[-1, 0] + 0.5 * math.cos(end), route.xyz[-1, 1] + 0.5 * math.sin(end)))
        assert guide.completion == 1
        assert guide.index == len(route.xyz) - 1


def test_offset_is_positive_on_the_right_and_deviation_is_the_distance() -> None:
    guide = Guide(route_of(line(100)))
    for x in range(10):
        guide.advance((float(x), 0.0))
    assert (at(guide, 9.5, 2.0).offset, guide.deviation) == pytest.approx((2.0, 2.0))
    assert (at(guide, 9.5, -3.0).offset, guide.deviation) == pytest.approx((-3.0, 3.0))
    assert at(guide, 5.0, 3.0).travelled == pytest.approx(9.5)  # backed up
    assert guide.deviation == pytest.approx(5.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 30))
def test_progress_never_goes_back_and_stays_within_the_route(seed: int, reach: float) -> None:
    route = ROUTE
    guide, draw, xy = Guide(route), np.random.default_rng(seed), route.xyz[0, :2].copy()
    states = []
    for _ in range(60):
        xy += draw.normal(0, reach, 2)
        guide.advance((xy[0], xy[1]))
        states.append((guide.index, guide.travelled, guide.completion))
        assert 0 <= guide.completion <= 1
        assert guide.index <= len(route.xyz) - 1
        assert guide.command in Command
        assert guide.far_command in Command
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(states))


ROUTE = random_routes(RoadMap.named("Small"), 0, 1, (200, 300), 1)[0]


def test_a_route_that_crosses_itself_is_driven_in_its_order() -> None:
    t = np.linspace(0, 2 * math.pi, 240, endpoint=False)[5:]
    eight = np.c_[40 * np.sin(t), 40 * np.sin(t) * np.cos(t)]
    guide = Guide(route_of(eight))
    for i, (x, y) in enumerate(eight):
        guide.advance((x, y))
        assert abs(guide.index - i) <= 1


def test_a_cut_across_a_roundabout_does_not_gain_all_of_it() -> None:
    t = np.radians(np.arange(180, -160, -1.0))
    guide = Guide(route_of(np.r_[line(20) - [45, 0], 25 * np.c_[np.cos(t), np.sin(t)]]))
    for x in np.arange(-45, 25, 0.5):
        guide.advance((x, 0.3))
    assert guide.travelled < 20 + 2 * 50 + 20
    assert guide.completion < 0.9


def test_who_passed_a_far_place_at_a_distance_is_led_on() -> None:
    guide = Guide(route_of(line(300)))
    for x in range(200):
        guide.advance((float(x), 12.0))
    right, forward = guide.target_point(car(199.0, 12.0, 0.0))
    assert right == pytest.approx(-12)
    assert forward == pytest.approx(9, abs=1)
