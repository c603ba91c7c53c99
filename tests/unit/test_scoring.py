"""Scores, against the published tables and numbers worked out by hand."""

from __future__ import annotations

import math
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from mtdrive.envs.comfort import Motion, comfort
from mtdrive.envs.scoring import (
    NAME,
    Infraction,
    Kind,
    Score,
    Version,
    bench2drive_efficiency,
    bench2drive_success,
    interval,
    mean_score,
    nocrash_success,
    nocrash_timeout,
    score,
    success_rate,
)
from mtdrive.errors import DataError

VERSIONS: tuple[Version, ...] = get_args(Version)
KINDS: tuple[Kind, ...] = get_args(Kind)

TABLE: dict[Kind, tuple[float, float, float]] = {
    "pedestrian": (0.50, 0.50, 1 / 2.00),
    "vehicle": (0.60, 0.60, 1 / 1.70),
    "static": (0.65, 0.65, 1 / 1.60),
    "red_light": (0.70, 0.70, 1 / 1.40),
    "stop_sign": (0.80, 0.80, 1 / 1.25),
    "scenario_timeout": (1.00, 0.70, 1 / 1.40),
    "yield": (1.00, 0.70, 1 / 1.40),
    "deviation": (1.00, 1.00, 1.00),
    "blocked": (1.00, 1.00, 1.00),
    "timeout": (1.00, 1.00, 1.00),
}
"""As published, for one infraction."""

infractions = st.builds(
    lambda kind, part: broken(kind, part if kind == "off_lane" else 0.0),
    st.sampled_from(KINDS),
    st.floats(0, 1),
)
speeds = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 300)), max_size=4)


def broken(kind: Kind, fraction: float = 0.0) -> Infraction:
    return Infraction(kind, 1.0, 20, (0.0, 0.0, 0.0), "", fraction)


@pytest.mark.parametrize("kind", TABLE)
def test_each_coefficient_is_the_published_one(kind: Kind) -> None:
    for version, penalty in zip(VERSIONS, TABLE[kind], strict=True):
        assert score(version, 1.0, [broken(kind)]).penalty == pytest.approx(penalty, rel=1e-15)


@pytest.mark.parametrize(
    ("version", "penalty"),
    [
        ("1.0", 0.6 * 0.6 * 0.7 * 0.9),
        ("2.0", 0.6 * 0.6 * 0.7 * 0.9 * 0.85 * 0.97),
        ("2.1", 0.9 / (1 + 0.7 + 0.7 + 0.4 + 0.4 * 0.5 + 0.4 * 0.1)),
    ],
)
def test_a_drive_with_everything_scores_as_worked_out_by_hand(version: Version, penalty: float) -> None:
    kinds: list[Kind] = ["vehicle", "red_light", "vehicle", "blocked"]
    given_ = [*map(broken, kinds), broken("off_lane", 0.1)]
    found = score(version, 0.8, given_, [(0, 50.0), (1, 240.0), (2, 100.0), (3, 90.0)])
    assert (found.version, found.completion) == (version, 80.0)
    assert (found.penalty, found.driving_score) == pytest.approx((penalty, 80 * penalty))


@settings(deadline=None)
@given(st.sampled_from(VERSIONS), st.floats(0, 1), st.lists(infractions, max_size=6), infractions, speeds)
def test_more_infractions_never_raise_a_score(
    version: Version,
    completion: float,
    some: list[Infraction],
    more: Infraction,
    pace: list[tuple[int, float]],
) -> None:
    before = score(version, completion, some, pace)
    after = score(version, completion, [*some, more], pace)
    assert 0 <= after.driving_score <= before.driving_score <= 100 * completion


@settings(deadline=None)
@given(st.sampled_from(VERSIONS), st.lists(infractions, max_size=6), speeds, st.randoms())
def test_the_order_of_infractions_changes_not_one_digit(
    version: Version, some: list[Infraction], pace: list[tuple[int, float]], random: Random
) -> None:
    other = random.sample(some, len(some))
    assert score(version, 0.7, some, pace) == score(version, 0.7, other, pace[::-1])


def test_parts_and_speeds_out_of_range_are_refused() -> None:
    with pytest.raises(DataError, match=r"completion 100\.0"):
        score("2.0", 100.0, [])
    with pytest.raises(DataError, match=r"off_lane 1\.5"):
        score("2.0", 1.0, [broken("off_lane", 1.5)])
    with pytest.raises(DataError, match="found nan"):
        score("2.0", 1.0, [], [(0, math.nan)])


def test_means_are_over_the_planned_routes_not_over_those_that_came_back() -> None:
    scores = [Score("2.0", 100.0, 1.0, 100.0), Score("2.0", 50.0, 0.6, 30.0)]
    assert mean_score("2.0", scores, 4) == Score("2.0", 37.5, 0.4, 32.5)
    assert mean_score("2.0", [], 4).driving_score == 0
    assert success_rate([True, False, True], 8) == 0.25
    with pytest.raises(DataError, match="at most the 1 planned"):
        mean_score("2.0", scores, 1)
    with pytest.raises(DataError, match="0 planned"):
        success_rate([], 0)
    with pytest.raises(DataError, match=r"rules 2\.1, found 2\.0"):
        mean_score("2.1", scores, 4)


def test_the_interval_over_seeds_is_students() -> None:
    # Table of Student's t: 4.303 for 2 degrees of freedom at 95 %, 2.920 at 90 %.
    found = interval([60.0, 62.0, 67.0])
    assert found.mean == 63.0
    assert found.half == pytest.approx(4.30265 * math.sqrt(13 / 3), rel=1e-5)
    assert interval([60.0, 62.0, 67.0], 0.9).half == pytest.approx(2.91999 * math.sqrt(13 / 3), rel=1e-5)
    assert math.isnan(interval([60.0]).half)
    with pytest.raises(DataError, match="for each seed"):
        interval([])
    with pytest.raises(DataError, match="finite"):
        interval([1.0, math.inf])


def test_nocrash_wants_the_goal_in_time_and_no_touch() -> None:
    assert nocrash_timeout(1000.0) == 740.0
    ran_light = [broken("red_light")]
    assert nocrash_success("completed", ran_light, 740.0, 1000.0)
    assert not nocrash_success("completed", ran_light, 740.1, 1000.0)
    assert not nocrash_success("blocked", [], 10.0, 1000.0)
    for kind in ("pedestrian", "vehicle", "static"):
        assert not nocrash_success("completed", [broken(kind)], 10.0, 1000.0)


def test_bench2drive_success_wants_no_infraction() -> None:
    assert bench2drive_success("completed", [])
    assert not bench2drive_success("completed", [broken("off_lane", 0.01)])
    assert not bench2drive_success(None, [])


def test_bench2drive_efficiency_drops_absurd_percentages_and_empty_routes() -> None:
    routes = [[(0, 50.0), (1, 150.0), (2, 1000.1)], [], [(0, 4000.0)], [(0, 1000.0)]]
    assert bench2drive_efficiency(routes) == 550.0
    assert math.isnan(bench2drive_efficiency([[]]))


def test_the_name_of_the_score_does_not_claim_a_leaderboard() -> None:
    assert NAME == "mtdrive score, 2.0 rules, no scenarios"


def drive(n: int, along: ArrayLike = 0.0, aside: ArrayLike = 0.0, spin: ArrayLike = 0.0) -> Motion:
    """Return how a car moves that heads for 30 degrees; `spin` in degrees a second."""
    axes = np.array([[math.cos(math.pi / 6), 0.5, 0.0], [-0.5, math.cos(math.pi / 6), 0.0]])
    parts = np.stack([np.broadcast_to(np.asarray(x, dtype=float), n) for x in (along, aside)], axis=1)
    turn = np.zeros((n, 3))
    turn[:, 2] = spin
    return Motion(parts @ axes, turn, np.tile(axes[0], (n, 1)), np.tile(axes[1], (n, 1)))


t = np.arange(20) / 20


@pytest.mark.parametrize(
    ("calm", "violent"),
    [
        (drive(20, along=2.39), drive(20, along=2.41)),
        (drive(20, along=-4.04), drive(20, along=-4.06)),
        (drive(20, aside=4.88), drive(20, aside=4.90)),
        (drive(20, aside=-4.88), drive(20, aside=-4.90)),
        (drive(20, along=4.12 * (t - 0.5)), drive(20, along=4.14 * (t - 0.5))),
        (drive(10, aside=0.5 + 8.36 * t[:10]), drive(10, aside=0.5 + 8.38 * t[:10])),
        (drive(20, spin=math.degrees(0.94)), drive(20, spin=math.degrees(0.96))),
        (drive(20, spin=np.degrees(1.92 * (t - 0.475))), drive(20, spin=np.degrees(1.94 * (t - 0.475)))),
    ],
    ids=["accelerate", "brake", "right", "left", "lon jerk", "jerk", "yaw rate", "yaw acceleration"],
)
def test_comfort_limits_hold_in_metres_radians_and_seconds(calm: Motion, violent: Motion) -> None:
    # Parabolas leave straight lines as they are, so each value is exact.
    assert comfort(calm) == 1
    assert comfort(violent) == 0


def test_the_share_of_windows_leaves_out_the_last_frames() -> None:
    along = np.zeros(70)
    along[25] = along[65] = 40.0
    assert comfort(drive(70, along=along)) == pytest.approx(2 / 3)
    assert comfort(drive(3)) == 1
    with pytest.raises(DataError, match="at least 3 frames"):
        comfort(drive(2))


def test_exact_comfort_keeps_the_quirks_of_the_published_program() -> None:
    slow_turn = drive(20, spin=2.0)
    assert comfort(slow_turn) == 1
    assert comfort(slow_turn, exact=True) == 0, "2 degrees a second against 0.95 and 1.93"
    twitch = drive(20, spin=0.94 * (-1.0) ** np.arange(20))
    assert comfort(twitch, exact=True) == 1, "the yaw acceleration is no derivative"
    jerky = drive(20, along=4.14 * (t - 0.5))
    assert comfort(jerky) == 0
    assert comfort(jerky, exact=True) == 1, "frames count as 0.1 s apart"


def test_exact_comfort_of_a_stored_drive_is_what_the_published_program_gave() -> None:
    rng = np.random.default_rng(7)
    yaw = np.cumsum(rng.normal(0, 0.01, 200))
    forward = np.stack([np.cos(yaw), np.sin(yaw), 0 * yaw], 1)
    right = np.stack([-np.sin(yaw), np.cos(yaw), 0 * yaw], 1)
    acceleration = np.cumsum(rng.normal(0, 0.15, (200, 3)), 0)
    turn = np.zeros((200, 3))
    turn[:, 2] = rng.normal(0, 0.5, 200)
    assert comfort(Motion(acceleration, turn, forward, right), exact=True) == 0.6
