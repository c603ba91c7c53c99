"""Which boxes touch, by linear programming; and the laws that an impulse obeys."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from mtdrive.envs.town.contacts import Contact, Grid, Mass, Rectangle, impulse, pairs, touch


def turned(x: float, y: float, yaw: float, length: float, width: float) -> Rectangle:
    return Rectangle(x, y, math.cos(yaw), math.sin(yaw), length, width, 0.0, 1.0)


RECTANGLES = st.builds(
    turned, st.floats(-6, 6), st.floats(-6, 6), st.floats(-4, 4), st.floats(0.1, 5), st.floats(0.1, 2)
)


def depth_of_overlap(a: Rectangle, b: Rectangle) -> float:
    """Return the radius of the largest disc in both, below 0 where they are apart."""
    rows, bounds = [], []
    for r in (a, b):
        for nx, ny, half in ((r.cos, r.sin, r.length), (-r.sin, r.cos, r.width)):
            for sign in (1, -1):
                rows.append([sign * nx, sign * ny, 1.0])
                bounds.append(half + sign * (nx * r.x + ny * r.y))
    free = [(None, None)] * 3
    found = linprog([0, 0, -1], A_ub=rows, b_ub=bounds, bounds=free).x
    assert found is not None
    return float(found[2])


@given(RECTANGLES, RECTANGLES)
@settings(max_examples=150, deadline=None)
def test_touching_is_having_a_point_in_common(a: Rectangle, b: Rectangle) -> None:
    overlap = depth_of_overlap(a, b)
    assume(abs(overlap) > 1e-6)
    assert (touch(a, b) is not None) == (overlap > 0)


@given(RECTANGLES, RECTANGLES)
@settings(max_examples=150, deadline=None)
def test_moving_by_the_depth_along_the_normal_parts_them(a: Rectangle, b: Rectangle) -> None:
    contact = touch(a, b)
    assume(contact is not None)
    assert contact is not None
    far = contact.depth + 1e-6
    moved = a._replace(x=a.x + far * contact.normal[0], y=a.y + far * contact.normal[1])
    assert touch(moved, b) is None


def test_boxes_above_each_other_do_not_touch() -> None:
    low, high = turned(0, 0, 0, 2, 1), turned(0, 0, 0, 2, 1)._replace(bottom=5.0, top=7.0)
    assert touch(low, high) is None


@given(st.lists(RECTANGLES, min_size=2, max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_look_up_misses_no_touch(items: list[Rectangle]) -> None:
    spread = [r._replace(x=r.x * 6, y=r.y * 6) for r in items]
    touching = {(i, j) for j in range(len(spread)) for i in range(j) if touch(spread[i], spread[j])}
    assert touching <= set(pairs(spread))
    grid = Grid(spread)
    assert all(j in grid.near(spread[i]) and i in grid.near(spread[j]) for i, j in touching)


MASSES = st.builds(
    lambda m, i, vx, vy, w, x, y: Mass(1 / m, 1 / i, vx, vy, w, (x, y)),
    st.floats(50, 9000), st.floats(50, 9000), st.floats(-20, 20), st.floats(-20, 20), st.floats(-3, 3),
    st.floats(-3, 3), st.floats(-3, 3),
)  # fmt: skip


def after(body: Mass, push: tuple[float, float], point: tuple[float, float]) -> Mass:
    rx, ry = point[0] - body.centre[0], point[1] - body.centre[1]
    return body._replace(
        vx=body.vx + push[0] * body.inverse,
        vy=body.vy + push[1] * body.inverse,
        spin=body.spin + (rx * push[1] - ry * push[0]) * body.turn,
    )


def energy(body: Mass) -> float:
    return (body.vx**2 + body.vy**2) / body.inverse / 2 + body.spin**2 / body.turn / 2


@given(MASSES, MASSES, st.floats(-4, 4))
@settings(max_examples=200, deadline=None)
def test_a_collision_makes_no_energy_and_stops_the_closing(a: Mass, b: Mass, angle: float) -> None:
    contact = Contact((math.cos(angle), math.sin(angle)), 0.1, (0.0, 0.0))
    push = impulse(a, b, contact)
    a2, b2 = after(a, push, contact.point), after(b, (-push[0], -push[1]), contact.point)
    assert energy(a2) + energy(b2) <= (energy(a) + energy(b)) * (1 + 1e-9)
    normal = np.array(contact.normal)
    before = normal @ (np.array(b.speed_at(contact.point)) - a.speed_at(contact.point))
    then = normal @ (np.array(b2.speed_at(contact.point)) - a2.speed_at(contact.point))
    assert then <= max(0.61 * before, before if before <= 0 else 1e-9)
    assert before > 0 or push == (0.0, 0.0)
