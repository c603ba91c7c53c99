"""Recording drives: what is planned, and workers that make it so.

A drive is there whole or not at all, so that a recording that was stopped goes on where it ended.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mtdrive.coverage import coverage, read_drives, wished
from mtdrive.data.drive_header import FILE as HEADER
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.health import ServerSettings
from mtdrive.envs.recorder import Plan, Recorded, Unfit, record_drive
from mtdrive.errors import ConfigError, MtdriveError, SimulatorError
from mtdrive.log import progress
from mtdrive.record_plan import Ledger, RecordSettings, further_plans

ATTEMPTS = 4
"""Tries at a drive: the server may die, and the expert err."""
SILENCE = 300.0
"""Seconds after which a worker that says nothing is ended."""
LEAVE = 20.0
"""Seconds that it gets to end by itself."""


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
    ledger, outcome, begun = Ledger(out, settings), Outcome(), time.monotonic()
    outcome.present = [plan.name for plan in ledger.plans if _is_there(out, plan)]
    while not outcome.interrupted:
        missing = [p for p in ledger.plans if not _is_there(out, p) and p.name not in outcome.failed]
        if missing:
            _Crew(out, settings, server or ServerSettings(), missing, outcome).work(
                min(workers, len(missing))
            )
        elif settings.wishes:
            more = further_plans(settings, len(ledger.plans), wished(coverage(read_drives(out)[0])))
            ledger.add(more)
            if not more:
                break
        else:
            break
    outcome.seconds = time.monotonic() - begun
    return outcome


def _is_there(out: Path, plan: Plan) -> bool:
    return (out / plan.name / HEADER).is_file()


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
        self,
        out: Path,
        settings: RecordSettings,
        server: ServerSettings,
        plans: Sequence[Plan],
        outcome: Outcome,
    ) -> None:
        self.out, self.settings, self.server, self.outcome = out, settings, server, outcome
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
