"""Red lights and stop signs: each rule on both sides of its threshold, and against plain accounts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.envs.guide import Guide
from mtdrive.envs.judge import Infraction, Judge, Rules
from mtdrive.envs.random_routes import random_routes
from mtdrive.envs.routes import RoadMap, Route
from mtdrive.envs.scene import GREEN, RED, YELLOW
from mtdrive.envs.signals import StopLine, lines_of, lines_on
from tests.judging import HALF, LANE, LIGHT, STOP, Led, judge, kinds, scene


def cross(
    lights: Sequence[int],
    *,
    start: float = 97.5,
    y: float = LANE,
    yaw: float = 0.0,
    z: float = 0.0,
    rules: Rules | None = None,
) -> list[str]:
    """Return what a car does wrong that drives half a metre a tick over the line at x = 100."""
    one = judge([LIGHT], rules)
    found: list[Infraction] = []
    ahead = math.cos(math.radians(yaw))
    for tick, state in enumerate(lights):
        middle = start - HALF * ahead + 0.5 * tick * ahead
        found += one.observe(scene(tick, middle, y, z=z, yaw=yaw, lights={"7": state}), Led())
    return kinds(found)


def test_a_red_light_is_run_in_the_tick_in_which_the_front_reaches_the_line() -> None:
    # The front is at 97.5, 98, ..., 100 in the sixth tick.
    green = [GREEN] * 12
    assert cross([*green[:5], RED, *green[6:]]) == ["red_light"]
    assert cross([*[RED] * 5, *green]) == []
    assert cross([*green[:6], *[RED] * 6]) == []
    assert cross([YELLOW] * 12) == []
    assert cross([RED] * 12) == ["red_light"]


def test_the_tail_decides_where_the_rules_say_so() -> None:
    rules = Rules(crossing=-1.0)
    green = [GREEN] * 16
    assert cross([*green[:6], *[RED] * 10], rules=rules) == ["red_light"]
    assert cross([*[RED] * 10, *green], rules=rules) == []


@pytest.mark.parametrize(
    ("aside", "count"),
    [(1.74, 1), (1.76, 0), (-1.74, 1), (-1.76, 0)],
)
def test_a_light_is_for_its_own_lane_only(aside: float, count: int) -> None:
    assert len(cross([RED] * 12, y=LANE + aside)) == count


def test_a_light_is_for_its_own_direction_and_level_only() -> None:
    assert cross([RED] * 12, start=102.5, yaw=180.0) == []
    backwards = judge([LIGHT])
    for tick in range(12):
        assert backwards.observe(scene(tick, 99.0 + 0.5 * tick, yaw=180.0, lights={"7": RED}), Led()) == ()
    assert cross([RED] * 12, z=2.4) == ["red_light"]
    assert cross([RED] * 12, z=2.6) == []


def test_a_car_that_starts_beyond_the_line_has_not_crossed_it() -> None:
    assert cross([RED] * 12, start=100.0) == []


def test_two_lines_of_one_light_are_one_infraction_and_a_later_crossing_is_another() -> None:
    one = judge([LIGHT, replace(LIGHT, xyz=(100.5, LANE, 0.0))])
    found: list[Infraction] = []
    for tick, x in [(0, 97.0), (1, 99.0), (2, 97.0), (103, 97.0), (104, 99.0)]:
        found += one.observe(scene(tick, x, lights={"7": RED}), Led())
    assert [(i.kind, i.frame, i.detail) for i in found] == [("red_light", 1, "7"), ("red_light", 104, "7")]


def roll(speeds: Sequence[float], start: float, y: float = LANE, step: float = 0.5) -> list[str]:
    """Return what a car does wrong whose middle goes `step` a tick, at speeds of its own."""
    one = judge([STOP])
    found: list[Infraction] = []
    for tick, speed in enumerate(speeds):
        found += one.observe(scene(tick, start + step * tick, y, speed=speed), Led())
    return kinds(found)


def at(tick: int, speed: float) -> list[float]:
    speeds = [5.0] * 20
    speeds[tick] = speed
    return speeds


@pytest.mark.parametrize(("speed", "found"), [(0.09, []), (0.11, ["stop_sign"])])
def test_a_stop_sign_asks_for_less_than_a_tenth_of_a_metre_a_second(speed: float, found: list[str]) -> None:
    assert roll(at(4, speed), 195.0) == found


@pytest.mark.parametrize(
    ("start", "found"),
    [(200 - 5.59, []), (200 - 5.61, ["stop_sign"]), (199.9, []), (200.0, [])],
)
def test_a_stop_counts_within_the_zone_only(start: float, found: list[str]) -> None:
    # A car that starts at the line or beyond has not run it.
    assert roll(at(0, 0.0), start) == found
    assert roll(at(1, 0.0), 199.4) == []
    assert roll(at(2, 0.0), 199.4) == ["stop_sign"], "stops 40 cm beyond the line"


def test_a_stop_sign_is_for_its_own_lane_only_and_a_stop_beside_it_does_not_count() -> None:
    assert roll([5.0] * 20, 195.0, y=-LANE) == []
    one = judge([STOP])
    found: list[Infraction] = []
    for tick, (x, y, speed) in enumerate([(196, LANE + 2, 0.0), (198, LANE, 5.0), (201, LANE, 5.0)]):
        found += one.observe(scene(tick, x, y, speed=speed), Led())
    assert kinds(found) == ["stop_sign"]


def test_a_stop_counts_for_one_visit_of_the_zone() -> None:
    one = judge([STOP])
    ticks = [(198.0, 0.0), (190.0, 5.0), (198.0, 5.0), (201.0, 5.0), (198.0, 0.0), (201.0, 0.0)]
    ticks += [(198.0, -5.0), (201.0, 5.0)]
    found = [one.observe(scene(i, x, speed=v), Led()) for i, (x, v) in enumerate(ticks)]
    assert [kinds(f) for f in found] == [[], [], [], ["stop_sign"], [], [], [], ["stop_sign"]]


def test_one_stop_counts_for_all_lanes_of_a_sign() -> None:
    one = judge([STOP, replace(STOP, xyz=(200.0, LANE + 3.5, 0.0))])
    ticks = [(197.0, LANE, 0.0), (199.0, LANE + 3.0, 3.0), (201.0, LANE + 3.5, 3.0)]
    assert [one.observe(scene(i, x, y, speed=v), Led()) for i, (x, y, v) in enumerate(ticks)] == [()] * 3


def plainly(path: Sequence[tuple[float, float, float, float]], red: Sequence[bool]) -> set[tuple[str, int]]:
    """Say which ticks run the light or the sign, by intersecting segments and by looking back."""
    found = set()
    for n in range(1, len(path)):
        was, now = ((x + HALF * math.cos(a), y + HALF * math.sin(a)) for x, y, a, _ in path[n - 1 : n + 1])
        if red[n] and _meets(was, now, 100.0):
            found.add(("red_light", n))
        if _meets(path[n - 1][:2], path[n][:2], 200.0):
            before = n - 1
            stopped = False
            while before >= 0 and 194.4 <= path[before][0] < 200 and abs(path[before][1] - LANE) <= 1.75:
                stopped |= path[before][3] < 0.1
                before -= 1
            if not stopped:
                found.add(("stop_sign", n))
    return found


def _meets(a: Sequence[float], b: Sequence[float], x: float) -> bool:
    """Whether a step from a to b passes forwards between (x, 0) and (x, 2 LANE)."""
    if not a[0] < x <= b[0]:
        return False

    def side(p: Sequence[float]) -> float:
        return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])

    return side((x, 0.0)) <= 0 <= side((x, 2 * LANE))


steps = st.lists(
    st.tuples(
        st.floats(-1, 6), st.floats(-0.6, 0.6), st.floats(-40, 40), st.sampled_from([0.0, 5.0]), st.booleans()
    ),
    min_size=8,
    max_size=40,
)


@settings(deadline=None)
@given(st.sampled_from([90.0, 192.0]), steps)
def test_lights_and_stop_signs_agree_with_a_plain_account_of_random_drives(
    start: float, moves: list[tuple[float, float, float, float, bool]]
) -> None:
    x, y = start, LANE
    path, red = [], []
    for dx, dy, yaw, speed, state in moves:
        x, y = x + dx, y + dy
        path.append((x, y, math.radians(yaw), speed))
        red.append(state)
    # Ten seconds a tick, so that no repeat is left out.
    one = judge([LIGHT, STOP], Rules(blocked=math.inf, timeout=math.inf))
    found = set()
    for n, (px, py, turn, speed) in enumerate(path):
        now = scene(
            n,
            px,
            py,
            yaw=math.degrees(turn),
            speed=speed,
            lights={"7": RED if red[n] else GREEN},
            tick_length=10,
        )
        found |= {(i.kind, n) for i in one.observe(now, Led())}
    assert found == plainly(path, red)


@dataclass
class Light:
    """A light as the client shows it."""

    id: str

    def get_opendrive_id(self) -> str:
        return self.id


def glide(roads: RoadMap, route: Route, lines: Sequence[StopLine], *, careful: bool) -> Judge:
    """Move a car along a route; a careful one stands at stop signs and has green lights."""
    one, guide = Judge(roads, route, lines), Guide(route)
    lights = dict.fromkeys((line.signal for line in lines), GREEN if careful else RED)
    stops = [at for at, line in lines_on(route, lines) if line.kind == "stop"]
    for tick, metres in enumerate(np.arange(0.0, route.length + 0.5)):
        x, y, z = (float(np.interp(metres, route.distance, route.xyz[:, i])) for i in range(3))
        yaw = float(route.yaw[np.searchsorted(route.distance, metres, side="right") - 1])
        stands = careful and any(0 < at - metres <= 3 for at in stops)
        guide.advance((x, y))
        one.observe(scene(tick, x, y, z=z, yaw=yaw, speed=0.0 if stands else 5.0, lights=lights), guide)
    return one


@pytest.mark.parametrize("town", ["Grid", "Large"])
def test_a_drive_along_a_planned_route_breaks_only_the_signals_that_it_ignores(town: str) -> None:
    roads = RoadMap.named(town)
    lights = {mark.id for mark in roads.map.get_all_landmarks_of_type("1000001")}
    lines = lines_of(roads.map, map(Light, lights), [])
    passed: Counter[str] = Counter()
    for route in random_routes(roads, 3, 3, (300.0, 500.0), least_turns=2):
        careful = glide(roads, route, lines, careful=True)
        assert (careful.ended, careful.completion, careful.infractions) == ("completed", 1.0, ())
        hasty = glide(roads, route, lines, careful=False)
        met = Counter(
            "red_light" if line.kind == "light" else "stop_sign" for _, line in lines_on(route, lines)
        )
        assert (hasty.ended, Counter(kinds(hasty.infractions))) == ("completed", met)
        passed += met
    assert passed["red_light"] > 1
    assert passed["stop_sign"] > 1 or town == "Large"
