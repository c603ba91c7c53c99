"""Broken maps for scripts.fuzz_town."""

from __future__ import annotations

import random
import re
import struct
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from typing import Any

from scripts.fuzz_caller import Caller, Ear, Refused, world_stream

NUMBER = re.compile(r"-?[\d.]+(?:e-?\d+)?", re.IGNORECASE)
PATIENCE = 30.0
"""Seconds in which a map is there, or a sensor sends."""
EXTREME = (
    "0", "-0", "-1", "1", "2", "0.0001", "1e-300", "1000", "-1000", "5e4", "1e6", "1e9", "-1e9", "1e15",
    "1e308", "1e999", "nan", "inf", "", " ", "x", "9" * 400, "\u0663",
)  # fmt: skip


def broken(text: str, draw: random.Random) -> str:
    """Return a map with damages: most of them in its numbers and elements, some in its text."""
    root = ElementTree.fromstring(text)
    for _ in range(draw.choice((1, 1, 2, 4, 20))):
        _damage(root, draw)
    out = ElementTree.tostring(root, "unicode")
    if draw.random() < 0.2:
        place = draw.randrange(len(out))
        out = (
            out[:place]
            + draw.choice(("", "<", "&a;", "\0", "\udc80", '"'))
            + out[place + draw.choice((0, 1, 999)) :]
        )
    if draw.random() < 0.03:
        out = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">]>' + out
    return out


def _damage(root: ElementTree.Element, draw: random.Random) -> None:
    element = draw.choice(list(root.iter()))
    numbers = [key for key, value in element.attrib.items() if NUMBER.fullmatch(value)]
    kind = draw.randrange(10)
    if kind == 0 and len(element):
        element.remove(draw.choice(element))
    elif kind == 1 and len(element):
        element.extend([draw.choice(element)] * draw.choice((1, 1, 40)))
    elif kind == 2:
        element.tag = draw.choice([other.tag for other in root.iter()])
    elif kind == 3 and element.attrib:
        del element.attrib[draw.choice(list(element.attrib))]
    elif numbers:
        element.set(draw.choice(numbers), draw.choice(EXTREME))


def load_broken(port: int, count: int, seed: int) -> dict[str, Any]:
    """Load broken maps and look around in those that can be loaded; return what came of them."""
    caller, draw = Caller(port), random.Random(seed)
    whole = caller.call("get_map_data")
    found: Counter[str] = Counter()
    slowest, reasons = 0.0, Counter[str]()
    for _ in range(count):
        begun = time.monotonic()
        try:
            caller.call("copy_opendrive_to_file", broken(whole, draw), [])
            caller.call("load_new_episode", "OpenDriveMap", True, 0)
            found["loaded"] += 1
            _look_around(caller)
        except TimeoutError as late:
            found[f"failed: {late}"] += 1
        except Refused as no:
            found["refused"] += 1
            reasons[re.sub(r"-?\d[\d.e+-]*", "#", str(no))[:90]] += 1
        slowest = max(slowest, time.monotonic() - begun)
    caller.call("load_new_episode", "Small", True, 0)
    _look_around(caller)
    caller.close()
    return {**found, "slowest s": slowest, "reasons": dict(reasons.most_common(12))}


def _look_around(caller: Caller) -> None:
    """Wait for the episode, put a car and sensors on the map, and wait for their messages."""
    ear = Ear(caller, world_stream(caller))
    old, deadline = struct.unpack_from("<Q", ear.message(), 48)[0], time.monotonic() + PATIENCE
    while struct.unpack_from("<Q", ear.message(), 48)[0] == old:
        if time.monotonic() > deadline:
            raise TimeoutError("the episode does not begin")
    ear.close()
    caller.call("get_required_files", "Nav")
    spots = caller.call("get_map_info")[1]
    place = spots[0] if spots else [[0.0] * 3, [0.0] * 3]
    size = [["image_size_x", 2, "32"], ["image_size_y", 2, "16"]]
    car = caller.call("spawn_actor", [0, "vehicle.audi.tt", []], place)[0]
    for kind, attributes in (("sensor.camera.rgb", size), ("sensor.other.gnss", [])):
        sensor = caller.call(
            "spawn_actor_with_parent", [0, kind, attributes], [[0.0, 0.0, 2.0], [0.0] * 3], car
        )
        hearing = Ear(caller, struct.unpack_from("<I", sensor[5])[0], PATIENCE)
        hearing.message()
        hearing.close()
