"""Messages for scripts.fuzz_town: calls of the real client, and what becomes of them."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from mtdrive.envs.town.calls import CALLS

RECORDED = Path(__file__).parents[1] / "tests" / "golden" / "town_calls.json"
"""What `scripts.town_traffic` recorded."""

PLAIN = {
    "whole": 1, "number": 2.5, "flag": True, "word": "x", "array": [1], "anything": 1,
    "vector": [1.0, 2.0, 3.0], "point": [1.0, 2.0, 3.0], "pose": [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]],
}  # fmt: skip
"""Arguments of calls that were not recorded, by their readers."""

WILD: tuple[Any, ...] = (
    None, True, False, 0, -1, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 63) - 1, -(1 << 63), (1
    << 64) - 1, 0.0, -0.0, 5e-324, 1e-9, 0.5, 179.0, 1e6, -1e6, 1.1e6, 1e12, -1e12, 1.1e12, 1e38, 3.5e38,
    -1e300, 1.7e308, float("inf"), float("-inf"), float("nan"), "", " ", "x" * 300, "\0",
    "\u00e9\u6f22\U0001f600", "\udc80\udcff", "\u202e", "1e999", "nan", "inf", "\uff19", "1_0", "-1", "9"
    * 20, "0.00001", "1e-9", "true", "255,255,256", "1,2", "4096", "/etc/passwd", "../../x", "%s%n",
    "<?xml", "OpenDriveMap", "Grid", "sensor.camera.rgb", "sensor.other.gnss", "sensor.other.imu",
    "sensor.other.obstacle", "controller.ai.walker", "vehicle.audi.tt", "walker.pedestrian.0001",
    "static.prop.box01", b"", b"\xff" * 40, [], [[]], [[], [[]]], [1] * 300, [0.0] * 3, {}, {1: 2}, {"a":
    []}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2),
)  # fmt: skip
"""What arguments do not look like, or not often."""

BOMBS = tuple(bytes([kind]) + b"\xff" * size for kind, size in (
    (0xDD, 4), (0xDC, 2), (0xDB, 4), (0xDA, 2), (0xC6, 4), (0xDF, 4), (0xC9, 5), (0xDB, 3),
))  # fmt: skip
"""Marks of arrays, texts, bytes and maps that are longer than anything."""

COMMANDS = (
    [2, [0, [0.5, 0.1, 0.0, False, False, False, 0]]], [3, [0, [0.0, 0.0, 6.0, 0.0, 0.0]]], [4, [0, [[0,
    1, 0], 2.0, False]]], [6, [0, [[9.0, 9.0, 1.0], [0.0, 9.0, 0.0]]]], [7, [0, [[9.0, 9.0, 1.0], [0.0,
    9.0, 0.0]], 1.0]], [8, [0, [1.0, 2.0, 0.0]]], [9, [0, [0.0, 0.0, 9.0]]], [10, [0, [9.0, 0.0, 0.0]]],
    [11, [0, [9.0, 0.0, 0.0]]], [12, [0, [0.0, 0.0, 9.0]]], [13, [0, [0.0, 0.0, 9.0]]], [14, [0, True]],
    [15, [0, True]], [16, [0, True]], [17, [0, True]], [18, [0, 3]], [19, [0, [1.0, 2.0, 3.0]]], [20,
    ["quit"]], [21, [0, 2]], [1, [0]],
)  # fmt: skip
"""Of a batch, beside spawns."""


class Messages:
    """Draws messages; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.actors = range(1, 60)
        """Ids of actors, most of them of the fuzzer's own."""
        self.bait = 0
        """An actor of another client that may be spoken to."""
        recorded: dict[str, list[Any]] = json.loads(RECORDED.read_text())
        plain = {
            name: [[PLAIN[r.__name__] for r in call.readers]]
            for name, call in CALLS.items()
            if name not in recorded
        }
        self._calls = {**recorded, **plain}
        self._names = sorted(self._calls)
        self._commands = [
            [0, spawn[:1] + spawn[1:2] + [[False], 0, "", []]] for spawn in self._calls["spawn_actor"]
        ]

    def draw(self) -> tuple[str, bytes]:
        """Return a message and what kind it is of."""
        kinds = (
            self.plain,
            self.wild,
            self.bent,
            self.broken,
            self.odd,
            self.batch,
            self.garbage,
            self.large,
        )
        kind: Callable[[], bytes] = self.random.choices(kinds, (25, 27, 14, 20, 6, 4, 3.9, 0.1))[0]
        return kind.__name__, kind()

    def call(self) -> list[Any]:
        """Return a call with arguments that it could have."""
        name = self.random.choice(self._names)
        arguments = self._near(copy.deepcopy(self.random.choice(self._calls[name])))
        return [0, self.random.getrandbits(16), name, [[self.random.random() < 0.5], *arguments]]

    def _near(self, value: Any) -> Any:
        """Return a value with other actors, places and choices."""
        draw = self.random
        if isinstance(value, list):
            return [self._near(item) for item in value]
        if type(value) is int and draw.random() < 0.6:
            return self.bait if self.bait and draw.random() < 0.01 else draw.choice(self.actors)
        if isinstance(value, float) and draw.random() < 0.3:
            return draw.choice((draw.uniform(-250, 250), draw.gauss(0, 1), value))
        return value

    def plain(self) -> bytes:
        """Return a good call."""
        return pack(self.call())

    def wild(self) -> bytes:
        """Return a call with wrong values."""
        call = self.call()
        for _ in range(self.random.choice((1, 1, 2, 5))):
            holder, key = self._leaf(call[3])
            holder[key] = self._odd()
        return pack(call)

    def bent(self) -> bytes:
        """Return a call of the wrong shape."""
        call, draw = self.call(), self.random
        holder, key = self._leaf(call[3])
        match draw.randrange(6):
            case 0:
                del holder[key]
            case 1:
                holder.insert(key, self._odd())
            case 2:
                holder[key] = [holder[key]] * draw.choice((1, 2, 50))
            case 3:
                draw.shuffle(call[3])
            case 4:
                holder[key] = self.call()
            case _:
                holder[key] = "NEST"
                deep = b"\x91" * draw.choice((5, 50, 500, 1100, 4000))
                return pack(call).replace(b"\xa4NEST", deep + draw.choice((b"\xc0", b"\x01", b"")))
        return pack(call)

    def broken(self) -> bytes:
        """Return a call whose bytes are damaged."""
        draw, raw = self.random, bytearray(pack(self.call()))
        for _ in range(draw.choice((1, 1, 2, 8))):
            place = draw.randrange(len(raw) + 1)
            match draw.randrange(6):
                case 0:
                    del raw[place:]
                case 1:
                    raw[place:place] = draw.randbytes(draw.randrange(1, 9))
                case 2:
                    del raw[place : place + draw.randrange(1, 9)]
                case 3:
                    raw[place:place] = draw.choice(BOMBS)
                case 4:
                    raw[place:place] = raw[: draw.randrange(len(raw) + 1)]
                case _ if place < len(raw):
                    raw[place] ^= 1 << draw.randrange(8)
        return bytes(raw[:20000]) or b"\xc1"

    def odd(self) -> bytes:
        """Return what is no call, or one of an unknown name."""
        draw, call = self.random, self.call()
        call[draw.randrange(4)] = self._odd()
        name = draw.choice(("get_" + str(draw.random()), "\udcff", "x" * 5000, "__init__"))
        shapes: tuple[Any, ...] = (
            [1, 5, None, None], [2, "x", []], [], call[:2], [*call, 1], {"a": call}, [0, 1, name, [[False]]],
        )  # fmt: skip
        return pack(draw.choice(shapes) if draw.random() < 0.5 else call)

    def batch(self) -> bytes:
        """Return many commands at once, of which some are wrong."""
        draw = self.random
        count = draw.choice((1, 5, 20, 100)) if draw.random() > 0.01 else 6000
        commands = [
            [self._near(copy.deepcopy(draw.choice((*COMMANDS, *self._commands))))] for _ in range(count)
        ]
        for _ in range(draw.choice((0, 0, 1, 4))):
            holder, key = self._leaf(commands)
            holder[key] = self._odd()
        return pack([0, 1, "apply_batch", [[False], commands, False]])

    def garbage(self) -> bytes:
        """Return bytes of no meaning."""
        return self.random.randbytes(self.random.choice((1, 7, 60, 3000)))

    def large(self) -> bytes:
        """Return a message that is too large, or nearly."""
        draw, call = self.random, self.call()
        holder, key = self._leaf(call[3])
        size = draw.choice((60_000, 900_000, 1_100_000))
        holder[key] = draw.choice(
            ("a" * size, b"\0" * size, [0] * size, [[]] * size, [1.5] * (size // 9), ["ab"] * (size // 3))
        )
        if draw.random() < 0.2:
            call = [0, 1, "copy_opendrive_to_file", [[False], "<" * draw.choice((3_000_000, 17 << 20)), []]]
        return pack(call)

    def stream(self, known: list[int]) -> bytes:
        """Return what a listener says; some listen to what there is."""
        draw = self.random
        known_one = struct.pack("<I", draw.choice(known))
        strange = struct.pack("<I", draw.getrandbits(32))
        part, flood = draw.randbytes(draw.randrange(1, 4)), draw.randbytes(3000)
        return draw.choice((known_one, known_one, strange, part, flood, b""))

    def _odd(self) -> Any:
        return copy.deepcopy(self.random.choice(WILD))

    def _leaf(self, value: Any) -> tuple[list[Any], int]:
        """Return a list inside and the place of one of its items."""
        holder, key = value, self.random.randrange(len(value))
        while isinstance(holder[key], list) and holder[key] and self.random.random() < 0.8:
            holder = holder[key]
            key = self.random.randrange(len(holder))
        return holder, key


def pack(value: Any) -> bytes:
    """Return bytes, also of texts that are none."""
    return bytes(msgpack.packb(value, use_bin_type=True, unicode_errors="surrogateescape"))
