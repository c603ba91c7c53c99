"""The structs of CARLA's remote calls: readers that check what came in, and writers.

A reader takes a decoded msgpack value and returns ours, or raises `CallError`. Fields that an older client
leaves out are missing at the end of an array; fields of a newer one are surplus there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mtdrive.envs.town.stage import Pose

T = TypeVar("T")
Vector = tuple[float, float, float]
Reader = Callable[[Any], T]
Msg = list[Any]
"""An array on its way out."""

ZERO: Vector = (0.0, 0.0, 0.0)


class CallError(Exception):
    """A call cannot be done; the client raises RuntimeError with this text."""


def number(value: Any) -> float:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise CallError(f"expected a finite number, found {_brief(value)}")
    return float(value)


def whole(value: Any) -> int:
    """Read an integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise CallError(f"expected an integer, found {_brief(value)}")
    return value


def flag(value: Any) -> bool:
    """Read a truth value."""
    if not isinstance(value, (bool, int)):
        raise CallError(f"expected true or false, found {_brief(value)}")
    return bool(value)


def text(value: Any) -> str:
    """Read a string; bytes that are not UTF-8 stay as they are."""
    if not isinstance(value, str):
        raise CallError(f"expected a text, found {_brief(value)}")
    return value


def anything(value: Any) -> Any:
    """Read what is not looked at."""
    return value


def array(value: Any, least: int = 0) -> Sequence[Any]:
    """Read an array of at least so many items."""
    if not isinstance(value, (list, tuple)) or len(value) < least:
        raise CallError(f"expected an array of at least {least}, found {_brief(value)}")
    return value


def array_of(reader: Reader[T]) -> Reader[list[T]]:
    """Return a reader of arrays whose items `reader` reads."""
    return lambda value: [reader(item) for item in array(value)]


def optional(reader: Reader[T]) -> Reader[T | None]:
    """Return a reader of `[false]` or `[true, value]`."""

    def read(value: Any) -> T | None:
        found = array(value, 1)
        return reader(array(found, 2)[1]) if flag(found[0]) else None

    return read


def vector(value: Any) -> Vector:
    """Read x, y, z."""
    x, y, z = (number(item) for item in array(value, 3)[:3])
    return x, y, z


def pair(value: Any) -> tuple[float, float]:
    """Read x, y."""
    x, y = (number(item) for item in array(value, 2)[:2])
    return x, y


def pose(value: Any) -> Pose:
    """Read a transform."""
    location, rotation = array(value, 2)[:2]
    return Pose(*vector(location), *vector(rotation))


def read_description(value: Any) -> tuple[str, dict[str, str]]:
    """Read `[uid, blueprint id, [[attribute, type, value]]]`."""
    _, name, attributes = array(value, 3)[:3]
    pairs = (array(attribute, 3) for attribute in array(attributes))
    return text(name), {text(pair[0]): text(pair[2]) for pair in pairs}


def write_pose(value: Pose) -> Msg:
    """Write a transform."""
    return [[value.x, value.y, value.z], [value.pitch, value.yaw, value.roll]]


def write_box(centre: Vector, extent: Vector, rotation: Vector = ZERO, actor: int = 0) -> Msg:
    """Write a bounding box; `extent` is half of the size, `rotation` pitch, yaw, roll."""
    return [list(centre), list(extent), list(rotation), actor]


def _brief(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) < 60 else f"{shown[:57]}..."
