"""The attributes that a client gives an actor, and whether they are good.

Other clients read them as texts: what their parsers would stumble over is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mtdrive.envs.town.actors import Attributes, Sensor
from mtdrive.envs.town.blueprints import BOOL, COLOUR, FLOAT, INT, Blueprint
from mtdrive.envs.town.limits import ALL_PIXELS, NUMBER, PIXELS, SENSORS, SIDE
from mtdrive.envs.town.structs import CallError, brief

GOOD = {
    BOOL: re.compile(r"true|false|0|1", re.IGNORECASE),
    INT: re.compile(r"[+-]?\d{1,10}", re.ASCII),
    FLOAT: re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE),
    COLOUR: re.compile(r"\d{1,3},\d{1,3},\d{1,3}", re.ASCII),
}
"""How values are written."""
WANTED = {BOOL: "true or false", INT: "an integer of 32 bits", FLOAT: "a number", COLOUR: "r,g,b"}


def read_attributes(blueprint: Blueprint, given: Mapping[str, str]) -> Attributes:
    """Return types and values by name; those that are not given, or cannot be, are the blueprint's.

    Raises:
        CallError: a value is bad.
    """
    own = blueprint.attributes.values()
    found = {a.id: (a.type, given.get(a.id, a.value) if a.modifiable else a.value) for a in own}
    for name, (kind, value) in found.items():
        if not _good(kind, value):
            raise CallError(f"attribute {name}: expected {WANTED[kind]}, found {brief(value)}")
    if blueprint.id.startswith("sensor.camera."):
        _check_camera(found)
    return found


def _good(kind: int, value: str) -> bool:
    if kind not in GOOD:
        return True
    if not GOOD[kind].fullmatch(value):
        return False
    if kind == COLOUR:
        return all(int(part) <= 255 for part in value.split(","))
    if kind == INT:
        return abs(int(value)) < 1 << 31
    return kind != FLOAT or abs(float(value)) <= NUMBER


def _check_camera(attributes: Attributes) -> None:
    for name in ("image_size_x", "image_size_y"):
        if not 1 <= int(attributes[name][1]) <= SIDE:
            raise CallError(f"attribute {name}: expected 1 to {SIDE}, found {attributes[name][1]}")
    if _pixels(attributes) > PIXELS:
        raise CallError(
            f"attributes image_size_x and image_size_y: expected at most {PIXELS} pixels, "
            f"found {_pixels(attributes)}"
        )
    if not 1 <= float(attributes["fov"][1]) < 179:
        raise CallError(f"attribute fov: expected 1 to 179 degrees, found {attributes['fov'][1]}")


def _pixels(attributes: Attributes) -> int:
    """Return how many pixels an image has; 0 for what is no camera."""
    if "image_size_x" not in attributes:
        return 0
    return int(attributes["image_size_x"][1]) * int(attributes["image_size_y"][1])


def check_sensors(attributes: Attributes, others: Iterable[Sensor]) -> None:
    """Look whether there may be one more sensor.

    Raises:
        CallError: there are too many, or all images together are too large.
    """
    there = list(others)
    if len(there) >= SENSORS:
        raise CallError(f"there are {SENSORS} sensors, the most that Town takes: destroy some")
    pixels = _pixels(attributes) + sum(_pixels(sensor.attributes) for sensor in there)
    if _pixels(attributes) and pixels > ALL_PIXELS:
        raise CallError(
            f"the images of all cameras would have {pixels} pixels, Town takes at most {ALL_PIXELS}: "
            "take smaller ones, or destroy some"
        )
