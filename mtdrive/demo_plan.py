"""What a demonstration consists of, how its time is split, and the file by which it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mtdrive.drive_plan import DriveSettings
from mtdrive.errors import ConfigError, DataError
from mtdrive.files import write_atomically
from mtdrive.record_plan import RecordSettings

FILE = "demo.json"
SHARES = {"test": 0.04, "record": 0.26, "train": 0.35, "blind": 0.06, "drive": 0.27, "report": 0.02}
"""Of the time, by phase, in their order."""
TITLES = {
    "test": "recording drives to test on",
    "record": "recording drives to train on",
    "train": "training the policy with depth beside it",
    "blind": "training the policy that sees nothing",
    "drive": "driving new routes",
    "report": "writing the report",
}
OVERHEAD = 15.0
"""Seconds that a training run needs besides its steps: to start, and to be evaluated."""
RATE = 10.0
"""Frames per second."""
TESTED = 5
"""Every so many frames of the test drives are looked at."""
EFFORT = {
    "policy": 1200.0, "expert": 200.0, "blind": 500.0, "constant_velocity": 500.0, "stand_still": 600.0,
}  # fmt: skip
"""What a route costs with each agent, in frames of recording: one that stands is watched for 180 s, but needs
no images."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What is recorded and driven, and in which time."""

    minutes: float = 15.0
    seed: int = 0
    workers: int = 2
    towns: tuple[str, ...] = ("Grid", "Large")
    """Where drives are recorded."""
    new_towns: tuple[str, ...] = ("Grid", "Large")
    """Where routes are driven in the end."""
    weathers: tuple[str, ...] = ("ClearNoon", "CloudyNoon")
    seconds: float = 45.0
    """The longest drive to train on."""
    test_seconds: float = 20.0
    """The longest drive to test on."""
    size: tuple[int, int] = (96, 192)
    """Height and width of the images."""
    batch: int = 64
    video_batch: int = 6
    """Items of a step for the policy, and for depth."""
    length: tuple[float, float] = (200.0, 300.0)
    """Metres of a route that is driven in the end."""
    routes: tuple[int, int] = (1, 8)
    """Least and most routes in each town; the time decides."""
    densities: tuple[str, ...] = ("regular",)
    """Of the traffic on them."""

    def __post_init__(self) -> None:
        if not self.minutes > 0 or self.workers < 1:
            raise ConfigError(
                f"minutes must be positive and workers at least 1, found {self.minutes:g} and {self.workers}"
            )

    def recorded(self, drives: int) -> RecordSettings:
        """Return what is recorded to train on: half of it with pushed steering, no labels of pixels."""
        return self._record(drives, self.towns, self.seconds, self.seed, labels=(), noisy=0.6)

    def tested(self) -> RecordSettings:
        """Return what is recorded to test on: a drive in each town, with the true depth."""
        seed = self.seed + 1_000_000
        return self._record(len(self.towns), self.towns, self.test_seconds, seed, labels=("depth",), noisy=0)

    def _record(
        self, drives: int, towns: tuple[str, ...], seconds: float, seed: int, **changes: Any
    ) -> RecordSettings:
        return RecordSettings(
            towns=towns, drives=drives, seconds=seconds, seed=seed, weathers=self.weathers, rate=RATE,
            densities=("empty", "regular", "dense"), width=self.size[1], height=self.size[0], **changes,
        )  # fmt: skip

    def driven(self, agent: str, routes: int) -> DriveSettings:
        """Return what an agent drives: all of them the same routes in the same traffic."""
        return DriveSettings(
            agent=agent,
            towns=self.new_towns,
            routes=routes,
            routes_seed=self.seed + 1_000_000,
            length=self.length,
            turns=1,
            weathers=self.weathers[:1],
            densities=self.densities,
            seeds=(self.seed,),
        )


def allowance(minutes: float, spent: Mapping[str, float], phase: str) -> float:
    """Return the seconds that a phase may take in all: its part of what the phases before it have left."""
    names = list(SHARES)
    at = names.index(phase)
    left = 60 * minutes - sum(spent.get(name, 0.0) for name in names[:at])
    return max(left, 0.0) * SHARES[phase] / sum(SHARES[name] for name in names[at:])


def affordable(seconds: float, each: float, workers: int) -> int:
    """Return how many jobs of `each` seconds fit, of which so many are done at once."""
    count = int(max(seconds, 0.0) / each)
    return count - count % workers


def affordable_routes(settings: DemoSettings, seconds: float, frames_per_second: float) -> int:
    """Return how many routes a town fit with all agents, by the speed at which drives were recorded."""
    each = sum(EFFORT.values()) * len(settings.densities) * len(settings.new_towns) / frames_per_second
    least, most = settings.routes
    return min(max(int(seconds / each), least), most)


@dataclass
class Book:
    """What was decided and how long it took."""

    path: Path
    settings: DemoSettings
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds by phase, that of an interrupted one included."""
    done: list[str] = field(default_factory=list)
    chosen: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, out: Path, settings: DemoSettings) -> Book:
        """Open the book of a folder, or begin one.

        Raises:
            ConfigError: the folder holds another demonstration.
            DataError: the file is damaged.
        """
        book = cls(out / FILE, settings)
        out.mkdir(parents=True, exist_ok=True)
        if book.path.exists():
            book._read()
        elif any(out.iterdir()):
            raise ConfigError(f"{out} holds something else than a demonstration; give another folder")
        book.write()
        return book

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text())
            there, now = dict(content["settings"]), _plain(self.settings)
            self.spent, self.done = dict(content["spent"]), list(content["done"])
            self.chosen = dict(content["chosen"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: cannot be read ({error}); give another folder") from None
        for name, value in now.items():
            if name != "workers" and there.get(name) != value:
                raise ConfigError(
                    f"{self.path.parent} holds a demonstration with {name} {there.get(name)}, now {value}; "
                    "give the same to go on, or another folder"
                )

    def write(self) -> None:
        """Write it down."""
        content = {
            "settings": _plain(self.settings), "spent": self.spent, "done": self.done, "chosen": self.chosen,
        }  # fmt: skip
        write_atomically(self.path, (json.dumps(content, indent=1) + "\n").encode())

    def allowed(self, phase: str) -> float:
        """Return the seconds that a phase may take in all."""
        return allowance(self.settings.minutes, self.spent, phase)

    def left(self) -> float:
        """Return the seconds that are left of all."""
        return 60 * self.settings.minutes - sum(self.spent.values())

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Take the time of a phase, and note that it is done if nothing stops it."""
        begun, before = time.monotonic(), self.spent.get(name, 0.0)
        try:
            yield
            if name not in self.done:
                self.done.append(name)
        finally:
            self.spent[name] = before + time.monotonic() - begun
            self.write()


def _plain(settings: DemoSettings) -> dict[str, Any]:
    """Return settings as JSON reads them."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return content
