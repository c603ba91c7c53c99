"""From a plan to steering and speed, against what circles and exponentials say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtdrive.errors import ConfigError
from mtdrive.tasks.policy import Control, Creep
from mtdrive.tasks.policy.control import EMERGENCY, arc, pursuit_angle

WHEELBASE = 2.9


def circle(radius: float, steps: np.ndarray) -> np.ndarray:
    """Places on the circle that the rear axle's middle drives, as seen from the car's middle."""
    angles = steps / abs(radius)
    right = math.copysign(1, radius) * abs(radius) * (1 - np.cos(angles))
    return np.stack([right, abs(radius) * np.sin(angles) - WHEELBASE / 2], axis=-1)


@given(
    st.floats(4, 200).flatmap(lambda r: st.sampled_from([r, -r])),
    st.floats(2.0, 7.0),
)
def test_a_circle_is_driven_with_its_own_angle(radius: float, reach: float) -> None:
    places = circle(
        radius, np.linspace(WHEELBASE / 2, 12, 4000) if abs(radius) > 8 else np.linspace(1.5, 8, 4000)
    )
    angle = pursuit_angle(places, min(reach, abs(radius)), WHEELBASE)
    assert angle == pytest.approx(math.atan(WHEELBASE / radius), rel=0.02)


def test_the_point_lies_between_the_places() -> None:
    """Far places are joined by straight lines: the reach does not jump from one to the next."""
    places = np.array([[0.0, 4.0], [4.0, 8.0]])
    reach = math.hypot(2.0, 6.0 + WHEELBASE / 2)
    expected = math.atan2(2 * WHEELBASE * 2.0, reach**2)
    assert pursuit_angle(places, reach, WHEELBASE) == pytest.approx(expected, rel=1e-9)


def test_a_car_that_stands_keeps_its_wheels_straight() -> None:
    assert pursuit_angle(np.zeros((8, 2)), 3.0, WHEELBASE) == 0


def test_the_end_of_a_short_path_is_headed_for() -> None:
    places = np.array([[0.5, 1.0]])
    d = math.hypot(0.5, 1.0 + WHEELBASE / 2)
    assert pursuit_angle(places, 9.0, WHEELBASE) == pytest.approx(math.atan2(2 * WHEELBASE * 0.5, d * d))


@given(st.floats(-1.0, 1.0), st.floats(1.0, 20.0))
def test_an_arc_is_the_way_of_the_cars_middle(angle: float, length: float) -> None:
    """Against the bicycle integrated in small steps."""
    x = y = yaw = 0.0
    steps = 2000
    slip = math.atan(math.tan(angle) / 2)
    for _ in range(steps):
        d = length / steps
        middle = yaw + 0.5 * d * math.cos(slip) * math.tan(angle) / WHEELBASE + slip
        x, y = x + d * math.sin(middle), y + d * math.cos(middle)
        yaw += d * math.cos(slip) * math.tan(angle) / WHEELBASE
    np.testing.assert_allclose(arc(angle, length, WHEELBASE)[-1], (x, y), atol=1e-4)


@pytest.mark.parametrize(("target", "speed"), [(8.0, 0.0), (3.0, 8.0), (5.0, 5.0)])
def test_the_speed_nears_its_target_exponentially(target: float, speed: float) -> None:
    control, dt, now = Control(horizon=1.5), 0.01, speed
    for _ in range(300):
        now += dt * control.acceleration(target, now)
    assert now == pytest.approx(target + (speed - target) * math.exp(-3.0 / 1.5), abs=0.03)


def test_a_target_near_zero_is_a_stop_that_holds() -> None:
    """A car that stands is held by the brake; noise of the network does not make it creep."""
    control, dt, now = Control(), 0.05, 6.0
    for _ in range(200):
        now = max(now + dt * control.acceleration(0.1, now), 0.0)
    assert now == 0
    assert control.acceleration(0.2, 0.0) == EMERGENCY
    assert control.acceleration(1.0, 0.0) == 1.0


def test_a_least_speed_never_stops() -> None:
    assert Control(least_speed=2.0).acceleration(0.0, 0.0) == 2.0


def test_hard_braking_has_a_bound() -> None:
    assert Control().acceleration(1.0, 30.0) == EMERGENCY


def test_the_point_moves_away_with_the_speed() -> None:
    places = np.array([[0.0, 1.0], [2.0, 3.0], [2.0, 9.0]])
    for speed, reach in ((-1.0, 3.0), (0.0, 3.0), (10.0, 4.0)):
        assert Control().angle(places, speed, WHEELBASE) == pursuit_angle(places, reach, WHEELBASE)


@pytest.mark.parametrize("bad", [{"ahead": 0.0}, {"horizon": 0.0}, {"least_speed": -1.0}])
def test_impossible_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Control(**bad)


def test_a_car_creeps_after_it_has_stood_for_so_long_and_only_for_a_moment() -> None:
    creep = Creep(Control(creep_after=2.0, creep_time=0.5, creep_speed=1.5))
    least = [creep.least_speed(0.0, 0.25) for _ in range(18)]
    assert least == [0.0] * 7 + [1.5] * 2 + [0.0] * 6 + [1.5] * 2 + [0.0]


def test_a_car_that_moved_between_has_not_stood() -> None:
    creep = Creep(Control(creep_after=2.0))
    speeds = ([0.0] * 7 + [0.5]) * 4
    assert not any(creep.least_speed(speed, 0.25) for speed in speeds)
    never = Creep(Control(creep_after=0.0))
    assert not any(never.least_speed(0.0, 10.0) for _ in range(50))


def test_creeping_may_not_be_set_below_zero() -> None:
    with pytest.raises(ConfigError, match=r"control.creep_time starts at 0, found -1"):
        Control(creep_time=-1.0)
