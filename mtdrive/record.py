"""Recording drives: what is planned, and workers that make it so.

A drive is there whole or not at all, so that a recording that was stopped goes on where it ended.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast, get_args

from mtdrive.data.drive_header import FILE as HEADER
from mtdrive.data.drive_header import SHIFTED
from mtdrive.envs.cameras import CameraSettings, LabelName
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.driving_settings import Density, DrivingSettings
from mtdrive.envs.health import ServerSettings
from mtdrive.envs.recorder import Plan, Recorded, Unfit, record_drive, weather_names
from mtdrive.errors import ConfigError, DataError, MtdriveError, SimulatorError
from mtdrive.files import write_atomically
from mtdrive.log import progress
from mtdrive.randomness import derive

FILE = "recording.json"
ATTEMPTS = 4
"""Tries at a drive: the server may die, and the expert err."""
SILENCE = 300.0
"""Seconds after which a worker that says nothing is ended."""
LEAVE = 20.0
"""Seconds that it gets to end by itself."""


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

    def __post_init__(self) -> None:
        known = weather_names()
        for name in self.weathers:
            if name not in known:
                raise ConfigError(f"weathers are {', '.join(known)}; found {name!r}")
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
    found = []
    for i in range(settings.drives):
        turn, town = divmod(i, len(settings.towns))
        draw = random.Random(f"{settings.seed} drive {i}")
        weather, density = _pair(settings, town, turn)
        found.append(
            Plan(
                name=f"{settings.towns[town]}_{turn:04d}",
                town=settings.towns[town],
                weather=weather,
                density=density,
                seed=derive(settings.seed, "drive", i) % 2**31,
                noise=draw.uniform(0.5, 1.0) if draw.random() < settings.noisy else 0.0,
            )
        )
    return found


def _pair(settings: RecordSettings, town: int, turn: int) -> tuple[str, Density]:
    """Return weather and density: all pairs, in an order by chance, before one comes again."""
    pairs = [(w, d) for w in settings.weathers for d in settings.densities]
    random.Random(f"{settings.seed} {town} pairs {turn // len(pairs)}").shuffle(pairs)
    weather, density = pairs[turn % len(pairs)]
    return weather, cast(Density, density)


@dataclass
class Outcome:
    """What became of a recording."""

    recorded: dict[str, Recorded] = field(default_factory=dict)
    present: list[str] = field(default_factory=list)
    """Drives that were there before."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by the drive's name."""
    seconds: float = 0.0
    interrupted: bool = False


def record(
    out: Path, settings: RecordSettings, workers: int = 1, server: ServerSettings | None = None
) -> Outcome:
    """Record what is missing of the planned drives in `out`, with a server a worker.

    Raises:
        ConfigError: `out` holds the drives of other settings.
    """
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, found {workers}")
    _claim(out, settings)
    wanted = plans(settings)
    present = [plan.name for plan in wanted if (out / plan.name / HEADER).is_file()]
    missing = [plan for plan in wanted if plan.name not in present]
    begun = time.monotonic()
    crew = _Crew(out, settings, server or ServerSettings(), missing)
    crew.work(min(workers, len(missing)))
    crew.outcome.present += present
    crew.outcome.seconds = time.monotonic() - begun
    return crew.outcome


def _claim(out: Path, settings: RecordSettings) -> None:
    """Write down the settings, or check that they are those of the drives that are there."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / FILE
    given = json.loads(json.dumps(asdict(settings)))
    if not path.exists():
        write_atomically(path, (json.dumps(given, indent=1) + "\n").encode())
        return
    try:
        there = json.loads(path.read_text())
        differing = [name for name in given if there.get(name) != given[name]]
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); delete it, or record into another folder"
        ) from None
    if any(name != "drives" for name in differing):
        name = next(name for name in differing if name != "drives")
        raise ConfigError(
            f"{out} holds drives recorded with {name} {there.get(name)!r}, now {given[name]!r}; give the "
            "same settings to go on, or another folder"
        )
    if differing:
        write_atomically(path, (json.dumps(given, indent=1) + "\n").encode())


@dataclass
class _Worker:
    process: BaseProcess
    line: Connection
    plan: Plan
    attempt: int
    heard: float
    """When it last said something."""
    frames: int = 0
    """Of its drive, so far."""


class _Crew:
    """Processes that record; one that dies or is silent for long is replaced, and its drive tried again."""

    def __init__(
        self, out: Path, settings: RecordSettings, server: ServerSettings, plans: Sequence[Plan]
    ) -> None:
        self.out, self.settings, self.server = out, settings, server
        self.outcome = Outcome()
        self._missing = deque((plan, 0) for plan in plans)
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def work(self, count: int) -> None:
        """Record all that is missing with so many processes."""
        each = round(self.settings.seconds * self.settings.rate)
        total = each * len(self._missing)
        with progress("frames", total) as report, _ended_by_signals():
            try:
                while self._missing or self._workers:
                    while self._missing and len(self._workers) < count:
                        self._hire()
                    self._listen()
                    # A drive may be over early: what is left says more than what is done.
                    left = each * (len(self._missing) + len(self._workers))
                    report(total - left + sum(worker.frames for worker in self._workers))
            except KeyboardInterrupt:
                self.outcome.interrupted = True
            finally:
                self._dismiss()

    def _hire(self) -> None:
        plan, attempt = self._missing.popleft()
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self.out, self.settings, self.server))
        process.start()
        there.close()
        here.send((plan, attempt))
        self._workers.append(_Worker(process, here, plan, attempt, time.monotonic()))

    def _listen(self) -> None:
        ready = wait([worker.line for worker in self._workers], timeout=1.0)
        for worker in list(self._workers):
            if worker.line in ready:
                self._hear(worker)
            elif time.monotonic() - worker.heard > SILENCE:
                worker.process.kill()
                self._lose(worker, f"no sign of life for {SILENCE:g} s")

    def _hear(self, worker: _Worker) -> None:
        worker.heard = time.monotonic()
        try:
            kind, value = worker.line.recv()
        except (EOFError, OSError):
            self._lose(worker, "its process died")
            return
        if kind == "frames":
            worker.frames = value
            return
        if kind == "recorded":
            self.outcome.recorded[worker.plan.name] = value
        else:
            self._retry(worker, str(value), last=kind == "fatal")
        self._next(worker)

    def _next(self, worker: _Worker) -> None:
        """Give a worker the next drive, or its leave."""
        worker.frames = 0
        if self._missing:
            worker.plan, worker.attempt = self._missing.popleft()
            worker.line.send((worker.plan, worker.attempt))
            return
        worker.line.send(None)
        self._workers.remove(worker)
        worker.process.join(LEAVE)
        worker.process.kill()

    def _lose(self, worker: _Worker, why: str) -> None:
        self._workers.remove(worker)
        self._retry(worker, why)

    def _retry(self, worker: _Worker, why: str, last: bool = False) -> None:
        if last or worker.attempt + 1 >= ATTEMPTS:
            self.outcome.failed[worker.plan.name] = why
        else:
            self._missing.append((worker.plan, worker.attempt + 1))

    def _dismiss(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(LEAVE)
            worker.process.kill()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end a block as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve(line: Connection, out: Path, settings: RecordSettings, server: ServerSettings) -> None:
    """Record what is asked for until nothing is: the body of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the process above, which ends this one
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    env = DrivingEnv(settings.driving(server))
    try:
        while (asked := line.recv()) is not None:
            plan, attempt = asked
            line.send(_record(env, replace(plan, seed=plan.seed + attempt), out, settings, line))
    except (EOFError, OSError):
        pass  # the process above is gone
    finally:
        env.close()


def _record(
    env: DrivingEnv, plan: Plan, out: Path, settings: RecordSettings, line: Connection
) -> tuple[str, Any]:
    def tell(frames: int) -> None:
        if frames % 10 == 0:
            line.send(("frames", frames))

    least = min(10.0, settings.seconds / 2)
    try:
        done = record_drive(env, plan, out / plan.name, settings.seconds, least, tell)
    except (SimulatorError, Unfit) as error:
        return "again", str(error)
    except MtdriveError as error:
        return "fatal", str(error)
    return "recorded", done
