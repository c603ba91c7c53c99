"""What a recording is to consist of, and what of it is written down so that it can be gone on with."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

from mtdrive.data.drive_header import SHIFTED
from mtdrive.envs.cameras import CameraSettings, LabelName
from mtdrive.envs.driving_settings import Density, DrivingSettings, check_weathers
from mtdrive.envs.health import ServerSettings
from mtdrive.envs.recorder import Plan
from mtdrive.errors import ConfigError, DataError
from mtdrive.files import write_atomically
from mtdrive.randomness import derive

FILE = "recording.json"
WISHES = ("standing", "braking", "leader", "red_light", "stop_sign")
"""Situations that a recording can be asked to have more of."""


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """What is recorded."""

    towns: tuple[str, ...] = ("Grid", "Large")
    drives: int = 20
    seconds: float = 60.0
    """The longest drive."""
    weathers: tuple[str, ...] = ("ClearNoon", "WetNoon", "HardRainNoon", "ClearSunset")
    densities: tuple[str, ...] = ("regular", "dense")
    seed: int = 0
    width: int = 320
    height: int = 160
    fov: float = 90.0
    rate: float = 10.0
    """Frames per second."""
    labels: tuple[str, ...] = ("depth", "semantics")
    """Of the front camera; its pose is always there."""
    shifted: bool = False
    """Whether there is a second camera, moved aside and turned in each drive."""
    noisy: float = 0.5
    """The share of drives whose steering is pushed."""
    length: tuple[float, float] = (200.0, 800.0)
    """Metres of a route."""
    turns: int = 1
    """Fewest turns of a route."""
    wishes: Mapping[str, float] = field(default_factory=dict)
    """Least share of the frames in a situation of `WISHES`; further drives follow until all are met."""
    most: int = 0
    """How many further drives there may be; 0 for as many as `drives`."""

    def __post_init__(self) -> None:
        check_weathers(self.weathers)
        if self.drives < 1 or not self.seconds > 0 or not 0 <= self.noisy <= 1:
            raise ConfigError(
                "drives must be at least 1, seconds positive and noisy from 0 to 1, found "
                f"{self.drives}, {self.seconds} and {self.noisy}"
            )
        if not self.towns or not self.weathers or not self.densities:
            raise ConfigError("towns, weathers and densities must name at least one each")
        for name, values, all_ in (
            ("densities", self.densities, get_args(Density)),
            ("labels", self.labels, ("depth", "semantics", "flow")),
        ):
            if not set(values) <= set(all_):
                raise ConfigError(f"{name} are {', '.join(all_)}; found {', '.join(values)}")
        for name, share in self.wishes.items():
            if name not in WISHES or not 0 < share < 1:
                raise ConfigError(
                    f"a wish is one of {', '.join(WISHES)} and a share between 0 and 1, "
                    f"found {name}={share:g}"
                )
        self.driving()

    def driving(self, server: ServerSettings | None = None) -> DrivingSettings:
        """Return the environment's settings."""
        front = CameraSettings("front", self.width, self.height, self.fov)
        cameras = (front, replace(front, name=SHIFTED)) if self.shifted else (front,)
        return DrivingSettings(
            server=server or ServerSettings(),
            towns=self.towns,
            weathers=self.weathers,
            densities=cast(tuple[Density, ...], self.densities),
            length=self.length,
            turns=self.turns,
            cameras=cameras,
            labels=cast(tuple[LabelName, ...], (*self.labels, "pose")),
            rate=self.rate,
        )


def plans(settings: RecordSettings) -> list[Plan]:
    """Return the drives to record: towns take turns, and so do weathers and densities in each of them."""
    return [_plan(settings, i) for i in range(settings.drives)]


def further_plans(settings: RecordSettings, present: int, shares: Mapping[str, float]) -> list[Plan]:
    """Return drives to add to `present` many, for the wish that `shares` of the frames fall short of most.

    They are in the densest traffic, and where a light or stop sign is wished for, on routes that have many.
    """
    lacking = {name: shares.get(name, 0.0) / share for name, share in settings.wishes.items()}
    lacking = {name: met for name, met in lacking.items() if met < 1}
    room = settings.drives + (settings.most or settings.drives) - present
    if not lacking or room < 1:
        return []
    wish = min(lacking, key=lambda name: lacking[name])
    count = min(room, max(1, settings.drives // 4))
    crowded = max(settings.densities, key=get_args(Density).index)
    return [
        replace(_plan(settings, present + i), density=cast(Density, crowded), prefers=wish)
        for i in range(count)
    ]


def _plan(settings: RecordSettings, i: int) -> Plan:
    turn, town = divmod(i, len(settings.towns))
    draw = random.Random(f"{settings.seed} drive {i}")
    weather, density = _pair(settings, town, turn)
    return Plan(
        name=f"{settings.towns[town]}_{turn:04d}",
        town=settings.towns[town],
        weather=weather,
        density=density,
        seed=derive(settings.seed, "drive", i) % 2**31,
        noise=draw.uniform(0.5, 1.0) if draw.random() < settings.noisy else 0.0,
    )


def _pair(settings: RecordSettings, town: int, turn: int) -> tuple[str, Density]:
    """Return weather and density: all pairs, in an order by chance, before one comes again."""
    pairs = [(w, d) for w in settings.weathers for d in settings.densities]
    random.Random(f"{settings.seed} {town} pairs {turn // len(pairs)}").shuffle(pairs)
    weather, density = pairs[turn % len(pairs)]
    return weather, cast(Density, density)


class Ledger:
    """The file in the folder of a recording that says what it consists of."""

    def __init__(self, out: Path, settings: RecordSettings) -> None:
        """Open it, or begin one.

        Raises:
            ConfigError: the folder holds drives of other settings.
            DataError: the file is damaged.
        """
        self.path, self._settings = out / FILE, settings
        self._given = json.loads(json.dumps(asdict(settings)))
        self.further: list[Plan] = []
        """Drives that were added to those of the settings."""
        out.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._read()
        self._write()

    @property
    def plans(self) -> list[Plan]:
        """Return all drives."""
        return [*plans(self._settings), *self.further]

    def add(self, more: Sequence[Plan]) -> None:
        """Write down further drives before they are recorded."""
        self.further += more
        self._write()

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text())
            there: Mapping[str, Any] = content["settings"]
            further = [Plan(**plan) for plan in content["further"]]
            differing = [name for name in self._given if there.get(name) != self._given[name]]
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}: cannot be read ({error}); delete it, or record into another folder"
            ) from None
        free = {"wishes", "most"} if further else {"wishes", "most", "drives"}
        name = next((name for name in differing if name not in free), None)
        if name:
            raise ConfigError(
                f"{self.path.parent} holds drives recorded with {name} {there.get(name)!r}, now "
                f"{self._given[name]!r}; give the same settings to go on, or another folder"
            )
        self.further = further

    def _write(self) -> None:
        content = {"settings": self._given, "further": [asdict(plan) for plan in self.further]}
        write_atomically(self.path, (json.dumps(content, indent=1) + "\n").encode())
