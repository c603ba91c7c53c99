"""The structs of CARLA's remote calls: readers that check what came in, and writers.

A reader takes a decoded msgpack value and returns ours, or raises `CallError`. Fields that an older client
leaves out are missing at the end of an array; fields of a newer one are surplus there.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mtdrive.envs.town.limits import FARTHEST, NAME, NUMBER, POINTS
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
    """Read a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise CallError(f"expected a finite number, found {brief(value)}")
    if abs(value) > NUMBER:
        raise CallError(f"expected a number of at most {NUMBER:g}, found {value:g}")
    return float(value)


def whole(value: Any) -> int:
    """Read an integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise CallError(f"expected an integer, found {brief(value)}")
    return value


def flag(value: Any) -> bool:
    """Read a truth value."""
    if not isinstance(value, (bool, int)):
        raise CallError(f"expected true or false, found {brief(value)}")
    return bool(value)


def text(value: Any) -> str:
    """Read a string; bytes that are not UTF-8 stay as they are."""
    if not isinstance(value, str):
        raise CallError(f"expected a text, found {brief(value)}")
    return value


def word(value: Any) -> str:
    """Read a short string that every client can read."""
    found = text(value)
    if len(found) > NAME:
        raise CallError(f"expected at most {NAME} characters, found {len(found)}: {brief(found)}")
    if any("\ud800" <= letter <= "\udfff" for letter in found):
        raise CallError(f"expected a text in UTF-8, found {brief(found)}")
    return found


def anything(value: Any) -> Any:
    """Read what is not looked at."""
    return value


def array(value: Any, least: int = 0) -> Sequence[Any]:
    """Read an array of at least so many items."""
    if not isinstance(value, (list, tuple)) or len(value) < least:
        raise CallError(f"expected an array of at least {least}, found {brief(value)}")
    return value


def array_of(reader: Reader[T], most: int) -> Reader[list[T]]:
    """Return a reader of arrays of so many items at most, which `reader` reads."""
    return lambda value: [reader(item) for item in few(value, most)]


def few(value: Any, most: int) -> Sequence[Any]:
    """Read an array of at most so many items."""
    found = array(value)
    if len(found) > most:
        raise CallError(f"expected an array of at most {most}, found {len(found)} items")
    return found


def optional(reader: Reader[T]) -> Reader[T | None]:
    """Return a reader of `[false]` or `[true, value]`."""

    def read(value: Any) -> T | None:
        found = array(value, 1)
        return reader(array(found, 2)[1]) if flag(found[0]) else None

    return read


def vector(value: Any) -> Vector:
    """Read x, y, z."""
    x, y, z = array(value, 3)[:3]
    if type(x) is type(y) is type(z) is float and all(-NUMBER <= item <= NUMBER for item in (x, y, z)):
        return x, y, z  # what a client sends many times in every step
    return number(x), number(y), number(z)


def pair(value: Any) -> tuple[float, float]:
    """Read x, y."""
    x, y = (number(item) for item in array(value, 2)[:2])
    return x, y


def pose(value: Any) -> Pose:
    """Read a transform."""
    location, rotation = array(value, 2)[:2]
    return Pose(*point(location), *vector(rotation))


def point(value: Any) -> Vector:
    """Read x, y, z of a point in the world."""
    found = vector(value)
    if max(found) > FARTHEST or min(found) < -FARTHEST:
        raise CallError(f"expected a place within {FARTHEST:g} m of the origin, found {brief(found)}")
    return found


def read_description(value: Any) -> tuple[str, dict[str, str]]:
    """Read `[uid, blueprint id, [[attribute, type, value]]]`."""
    _, type, attributes = array(value, 3)[:3]
    pairs = (array(attribute, 3) for attribute in few(attributes, POINTS))
    return word(type), {word(pair[0]): word(pair[2]) for pair in pairs}


def write_pose(value: Pose) -> Msg:
    """Write a transform."""
    return [[value.x, value.y, value.z], [value.pitch, value.yaw, value.roll]]


def write_box(centre: Vector, extent: Vector, rotation: Vector = ZERO, actor: int = 0) -> Msg:
    """Write a bounding box; `extent` is half of the size, `rotation` pitch, yaw, roll."""
    return [list(centre), list(extent), list(rotation), actor]


def brief(value: Any) -> str:
    """Return a value as a short text without letters that a log cannot hold."""
    shown = _BRIEF.repr(value).encode("ascii", "backslashreplace").decode()
    return shown if len(shown) < 100 else f"{shown[:97]}..."


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 57
_BRIEF.maxlevel = 3
