"""The whole way once: record, train, drive, compare; in a given time, and resumable at any point."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mtdrive.coverage import coverage, read_drives, write_coverage
from mtdrive.data.drives import Drives, find_drives
from mtdrive.demo_depth import look_at_depth
from mtdrive.demo_plan import (
    OVERHEAD,
    RATE,
    SHARES,
    TESTED,
    TITLES,
    Book,
    DemoSettings,
    affordable,
    affordable_routes,
)
from mtdrive.demo_report import Driven, write_demo
from mtdrive.drive import crashes, evaluate
from mtdrive.drive_report import write_report
from mtdrive.drive_scores import write_tables
from mtdrive.errors import SimulatorError
from mtdrive.experiment import train
from mtdrive.record import record
from mtdrive.record_plan import RecordSettings

SPEED, START = 25.0, 15.0
"""Frames that are recorded in a second, and seconds before the first one, where nobody measured them."""
BALANCE = {"turning": 2.5, "braking": 3.0, "standing": 0.5, "starting": 8.0}
"""How many times as often the policy learns from a situation, if it occurs."""
FEWEST = 4
"""Drives to train on, whatever the time."""
Told = Callable[[str], None]


def demo(out: Path, settings: DemoSettings, told: Told = lambda line: None) -> Path:
    """Do what is missing of a demonstration in the folder `out`, and return its page.

    Args:
        out: gets drives, checkpoints, records, videos, and `report.html`, which opens from disk.
        settings: once begun, a folder keeps to them.
        told: gets a line about each phase.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM ended it; the same call goes on.
        MtdriveError: a phase cannot be done.
    """
    out = out.absolute()
    return _Demo(out, Book.open(out, settings), told).run()


class _Demo:
    def __init__(self, out: Path, book: Book, told: Told) -> None:
        self.out, self.book, self.settings, self.told = out, book, book.settings, told
        self.drives = out / "drives"

    def run(self) -> Path:
        """Do what is missing, and return the page."""
        phases = {"test": self.test, "record": self.record, "train": self.train, "blind": self.blind}
        for name, work in phases.items():
            if name not in self.book.done:
                with self._phase(name):
                    work()
        with self._phase("drive"):
            driven = self.drive()
        with self._phase("report"):
            return self.report(driven)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        number = list(SHARES).index(name) + 1
        left, may = self.book.left() / 60, self.book.allowed(name) / 60
        self.told(f"{number}/{len(SHARES)} {TITLES[name]}: {may:.1f} of the {left:.1f} minutes that are left")
        with self.book.phase(name):
            yield

    def test(self) -> None:
        """Record the drives to test on; how long they take says how many drives to train on can be had."""
        self._record("test", self.settings.tested())

    def record(self) -> None:
        """Record as many drives as the time allows."""
        settings, folder, chosen = self.settings, self.drives / "train", self.book.chosen
        end = time.monotonic() + self.book.allowed("record") - self.book.spent.get("record", 0.0)
        while True:
            each = settings.seconds * RATE / chosen.get("frames_per_second", SPEED)
            left = end - time.monotonic() - chosen.get("start", START)
            more = affordable(left, each, settings.workers)
            have = len(find_drives(folder)) if folder.exists() else 0
            if have >= FEWEST and more < settings.workers:
                break
            self._record("train", settings.recorded(max(have + more, FEWEST)))
        found, _ = read_drives(folder)
        write_coverage(folder, coverage(found))

    def _record(self, name: str, settings: RecordSettings) -> None:
        """Record drives, and take down how fast that went."""
        outcome = record(self.drives / name, settings, self.settings.workers)
        if outcome.interrupted:
            raise KeyboardInterrupt
        if outcome.recorded:
            frames = sum(done.frames for done in outcome.recorded.values())
            self.book.chosen["start"] = outcome.start
            self.book.chosen["frames_per_second"] = frames / (outcome.seconds - outcome.start)
        if not outcome.recorded and not outcome.present:
            raise SimulatorError(f"no drive could be recorded: {next(iter(outcome.failed.values()))}")

    def train(self) -> None:
        """Train the policy and depth on one encoder."""
        more = {
            "data.video.source.init_args.root": str(self.drives / "train"),
            "data.video.batch_size": self.settings.video_batch,
            "data.video.size": self.settings.size,
            "training.share_every": 50,
        }
        self._train("train", "policy", ["policy_depth"], more)

    def blind(self) -> None:
        """Train the policy that knows speed and command alone."""
        self._train("blind", "blind", ["policy", "policy_blind"], {})

    def _train(self, phase: str, folder: str, configs: list[str], more: dict[str, Any]) -> None:
        allowed = self.book.allowed(phase)
        seconds = max(allowed - OVERHEAD, allowed / 3, 1.0)
        given = {**training(self.settings, self.drives), "training.minutes": seconds / 60, **more}
        arguments = [text for name in configs for text in ("--config", name)]
        arguments += [f"--{name}={_said(value)}" for name, value in given.items()]
        if train(arguments, self.out / folder, resume=True).stopped_by is not None:
            raise KeyboardInterrupt

    def drive(self) -> dict[str, Driven]:
        """Drive the new routes with all agents."""
        chosen, settings = self.book.chosen, self.settings
        if "routes" not in chosen:
            start = chosen.get("start", START) * len(agents(self.out))
            speed = chosen.get("frames_per_second", SPEED)
            chosen["routes"] = affordable_routes(settings, self.book.allowed("drive") - start, speed)
            self.book.write()
        return {name: self._drive(name, agent) for name, agent in agents(self.out).items()}

    def _drive(self, name: str, agent: str) -> Driven:
        folder, settings = self.out / "driven" / name, self.settings
        routes = int(self.book.chosen["routes"])
        self.told(f"driving with {name.replace('_', ' ')}")
        videos = "all" if name == "policy" else "none"
        outcome = evaluate(folder, settings.driven(agent, routes), settings.workers, videos=videos)
        if outcome.interrupted:
            raise KeyboardInterrupt
        found = write_tables(folder, outcome.planned, outcome.records, crashes(folder))
        write_report(folder, outcome.planned, outcome.records, found)
        for drive, why in outcome.failed.items():
            self.told(f"{name}: {drive} could not be driven and counts as zero: {why}")
        return Driven(outcome.planned, outcome.records, found)

    def report(self, driven: dict[str, Driven]) -> Path:
        """Write the page."""
        depth = look_at_depth(self.out / "policy" / "checkpoints" / "last", self.drives / "test", TESTED)
        return write_demo(self.out, self.book, driven, depth)


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def agents(out: Path) -> dict[str, str]:
    """Return what is driven with, by name."""
    trained = {name: str(out / name / "checkpoints" / "last") for name in ("policy", "blind")}
    return {**trained, **{name: name for name in ("expert", "constant_velocity", "stand_still")}}


def training(settings: DemoSettings, drives: Path) -> dict[str, Any]:
    """Return the settings that both training runs have besides their configurations."""
    targets = Drives(drives / "train").targets()
    known = frozenset[str]().union(*(target.recording.situations(target.frame) for target in targets))
    return {
        "seed": settings.seed,
        "data.drives.balance": {name: factor for name, factor in BALANCE.items() if name in known},
        "data.drives.source.init_args.root": str(drives / "train"),
        "data.drives.batch_size": settings.batch,
        "data.drives.size": settings.size,
        "validation.test.source.init_args.root": str(drives / "test"),
        "validation.test.source.init_args.every": TESTED,
        "validation.test.size": settings.size,
        "training.epochs": 10**6,  # the time ends it
        "training.threads": settings.workers,
        "training.log_every": 10,
        "training.picture_every": 0,
        "training.save_every": 50,
        "training.evaluate_every": 100,
    }
