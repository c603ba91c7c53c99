"""Which boxes touch, and what the touch does.

Boxes stand upright: they are compared as rectangles turned by their yaw, and by their heights. The axis of
least overlap (the separating axis theorem) says how to part them; the impulse that stops them from closing
acts at the middle of the corners that are inside.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mtdrive.envs.town.stage import Box
from mtdrive.envs.town.structs import Vector

CELL = 12.0
"""Metres; the side of the squares in which boxes are looked up."""
RESTITUTION = 0.1
RUBBING = 0.4
"""The coefficient of friction between bodies."""

Point = tuple[float, float]


class Rectangle(NamedTuple):
    """A box seen from above, and how high it reaches."""

    x: float
    y: float
    cos: float
    sin: float
    length: float
    """Half, like the width."""
    width: float
    bottom: float
    top: float

    def corners(self) -> list[Point]:
        """Return the corners in turn."""
        ax, ay = self.cos * self.length, self.sin * self.length
        bx, by = -self.sin * self.width, self.cos * self.width
        x, y = self.x, self.y
        return [
            (x + ax + bx, y + ay + by),
            (x + ax - bx, y + ay - by),
            (x - ax - bx, y - ay - by),
            (x - ax + bx, y - ay + by),
        ]

    def reach(self) -> float:
        """Return the radius of the circle around it."""
        return math.hypot(self.length, self.width)

    def holds(self, point: Point) -> bool:
        """Return whether a point is inside."""
        dx, dy = point[0] - self.x, point[1] - self.y
        along, across = dx * self.cos + dy * self.sin, dy * self.cos - dx * self.sin
        return abs(along) <= self.length + 1e-9 and abs(across) <= self.width + 1e-9


class Contact(NamedTuple):
    """How two rectangles touch."""

    normal: Point
    """From the second to the first, of length 1."""
    depth: float
    """Metres that they overlap along it."""
    point: Point


def rectangle(box: Box) -> Rectangle:
    """Return a box seen from above."""
    yaw = math.radians(box.pose.yaw)
    p, (length, width, height) = box.pose, box.extent
    return Rectangle(p.x, p.y, math.cos(yaw), math.sin(yaw), length, width, p.z - height, p.z + height)


def around(boxes: Iterable[Box]) -> tuple[Vector, Vector]:
    """Return the middle and half the size of the box along the world's axes that holds others."""
    shapes = [rectangle(box) for box in boxes]
    x, y = zip(*(corner for shape in shapes for corner in shape.corners()), strict=True)
    z = [height for shape in shapes for height in (shape.bottom, shape.top)]
    low, high = (min(x), min(y), min(z)), (max(x), max(y), max(z))
    middle = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2)
    return middle, ((high[0] - low[0]) / 2, (high[1] - low[1]) / 2, (high[2] - low[2]) / 2)


def touch(a: Rectangle, b: Rectangle) -> Contact | None:
    """Return how two rectangles touch, None if they do not."""
    dx, dy = a.x - b.x, a.y - b.y
    reach = a.reach() + b.reach()
    if dx * dx + dy * dy > reach * reach or a.bottom >= b.top or b.bottom >= a.top:
        return None
    depth, normal = math.inf, (1.0, 0.0)
    for nx, ny in ((a.cos, a.sin), (-a.sin, a.cos), (b.cos, b.sin), (-b.sin, b.cos)):
        apart = dx * nx + dy * ny
        overlap = _half(a, nx, ny) + _half(b, nx, ny) - abs(apart)
        if overlap <= 0:
            return None
        if overlap < depth - 1e-12:
            sign = 1.0 if apart >= 0 else -1.0
            depth, normal = overlap, (sign * nx, sign * ny)
    return Contact(normal, depth, _middle(a, b))


def _half(r: Rectangle, nx: float, ny: float) -> float:
    """Return half of the rectangle's shadow on an axis."""
    return r.length * abs(r.cos * nx + r.sin * ny) + r.width * abs(r.cos * ny - r.sin * nx)


def _middle(a: Rectangle, b: Rectangle) -> Point:
    inside = [p for p in a.corners() if b.holds(p)] + [p for p in b.corners() if a.holds(p)]
    inside = inside or [((a.x + b.x) / 2, (a.y + b.y) / 2)]
    return sum(p[0] for p in inside) / len(inside), sum(p[1] for p in inside) / len(inside)


class Grid:
    """Rectangles that can be looked up by place."""

    def __init__(self, items: Iterable[Rectangle]) -> None:
        self.items = list(items)
        self._cells: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, item in enumerate(self.items):
            for cell in _cells(item):
                self._cells[cell].append(index)
        self._around = {(i + k, j + m) for i, j in self._cells for k in (-1, 0, 1) for m in (-1, 0, 1)}

    def lonely(self, x: float, y: float) -> bool:
        """Return whether there is surely nothing within `CELL` of a place."""
        return (math.floor(x / CELL), math.floor(y / CELL)) not in self._around

    def near(self, item: Rectangle) -> list[int]:
        """Return the indices of those that may touch, in order."""
        found = {index for cell in _cells(item) for index in self._cells.get(cell, ())}
        return sorted(found)


def _cells(item: Rectangle) -> Iterator[tuple[int, int]]:
    wide, high = _half(item, 1.0, 0.0), _half(item, 0.0, 1.0)
    for i in range(math.floor((item.x - wide) / CELL), math.floor((item.x + wide) / CELL) + 1):
        for j in range(math.floor((item.y - high) / CELL), math.floor((item.y + high) / CELL) + 1):
            yield i, j


class Mass(NamedTuple):
    """How a body takes an impulse: inverse mass and inertia, 0 for what cannot be moved."""

    inverse: float
    turn: float
    vx: float
    vy: float
    spin: float
    centre: Point

    def speed_at(self, point: Point) -> Point:
        """Return the velocity of the body's material there."""
        rx, ry = point[0] - self.centre[0], point[1] - self.centre[1]
        return self.vx - self.spin * ry, self.vy + self.spin * rx

    def ease(self, point: Point, axis: Point) -> float:
        """Return the speed along an axis that an impulse of 1 N s along it gives at a point."""
        rx, ry = point[0] - self.centre[0], point[1] - self.centre[1]
        return self.inverse + self.turn * (rx * axis[1] - ry * axis[0]) ** 2


def impulse(a: Mass, b: Mass, contact: Contact) -> Point:
    """Return the impulse on `a`, N s, that stops the two from closing; `b` takes the opposite."""
    va, vb = a.speed_at(contact.point), b.speed_at(contact.point)
    closing = vb[0] - va[0], vb[1] - va[1]
    n = contact.normal
    t = -n[1], n[0]
    speed = closing[0] * n[0] + closing[1] * n[1]
    ease = a.ease(contact.point, n) + b.ease(contact.point, n)
    if speed <= 0 or ease <= 0:
        return 0.0, 0.0
    push = (1 + RESTITUTION) * speed / ease
    most = RUBBING * push
    rub = (closing[0] * t[0] + closing[1] * t[1]) / (a.ease(contact.point, t) + b.ease(contact.point, t))
    rub = min(max(rub, -most), most)
    return push * n[0] + rub * t[0], push * n[1] + rub * t[1]


def pairs(items: Sequence[Rectangle]) -> Iterator[tuple[int, int]]:
    """Yield the pairs whose circles overlap, each once, the lower index first."""
    order = sorted(range(len(items)), key=lambda i: items[i].x - items[i].reach())
    open_: list[int] = []
    for i in order:
        left = items[i].x - items[i].reach()
        open_ = [j for j in open_ if items[j].x + items[j].reach() > left]
        yield from ((min(i, j), max(i, j)) for j in open_)
        open_.append(i)
