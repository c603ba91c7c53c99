"""Processes that do jobs; one that dies or is silent for long is replaced, and its job is tried again."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from mtdrive.errors import MtdriveError

LEAVE = 20.0
"""Seconds that a process gets to end by itself."""
LOOK = 1.0
"""Seconds between two looks at processes that say nothing."""

Job = TypeVar("Job")
Answer = tuple[str, Any]
"""`done` and the result; `again`, or `fatal` where another try would not help, and why."""


class Deserted(Exception):
    """The process that gives out the jobs is gone."""


class Desk:
    """A worker's end of the line; it is the first argument of the function that is a worker's body."""

    def __init__(self, line: Connection, busy: Any) -> None:
        self._line, self._busy = line, busy

    def work(self, work: Callable[[Any, int], Answer]) -> None:
        """Do jobs, given with the number of the try, until there are no more."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the process above, which ends this one
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        with suppress(Deserted):
            while (asked := self._asked()) is not None:
                self._send(work(*asked))

    def say(self, value: Any) -> None:
        """Tell how far the job is, and so that the process lives."""
        self._send(("said", value))

    def refuse(self, why: MtdriveError) -> None:
        """Tell that no job can be done at all."""
        self._send(("refuse", why))

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Mark a block so that one knows if the process died or hung in it."""
        self._busy.value = 1
        try:
            yield
        finally:
            self._busy.value = 0

    def _asked(self) -> tuple[Any, int] | None:
        try:
            asked: tuple[Any, int] | None = self._line.recv()
        except (EOFError, OSError):
            raise Deserted from None
        return asked

    def _send(self, what: Answer) -> None:
        try:
            self._line.send(what)
        except OSError:
            raise Deserted from None


@dataclass
class Worker(Generic[Job]):
    """A process and what it does."""

    process: BaseProcess
    line: Connection
    busy_flag: Any
    job: Job
    attempt: int
    heard: float
    """When it last said something."""
    said: Any = None
    """The last that it said of its job."""

    @property
    def busy(self) -> bool:
        """Whether it is, or died, in a block that it marked."""
        return bool(self.busy_flag.value)


class Crew(ABC, Generic[Job]):
    """Does jobs with several processes; subclasses say what comes of them."""

    attempts = 4
    """Tries at a job."""
    silence = 300.0
    """Seconds after which a worker that says nothing is ended."""

    def __init__(self, jobs: Iterable[Job], body: Callable[..., None], *given: Any) -> None:
        """Take jobs; each process runs `body(desk, *given)`."""
        self.missing = deque((job, 0) for job in jobs)
        self.workers: list[Worker[Job]] = []
        self._body, self._given = body, given
        self._context = multiprocessing.get_context("spawn")

    @abstractmethod
    def done(self, worker: Worker[Job], result: Any) -> None:
        """Take the result of a worker's job."""

    @abstractmethod
    def lost(self, worker: Worker[Job], why: str) -> None:
        """Take note that a worker's job is given up."""

    def tried(self, worker: Worker[Job], why: str) -> None:
        """Be told of a try that failed, where another may do better."""

    def look(self) -> None:
        """Be called now and then."""

    def run(self, count: int) -> bool:
        """Do all jobs with so many processes; return False if Ctrl-C or SIGTERM ended it.

        Raises:
            MtdriveError: a worker says that no job can be done.
        """
        with _ended_by_signals():
            try:
                while self.missing or self.workers:
                    while self.missing and len(self.workers) < count:
                        self._hire()
                    self._listen()
                    self.look()
            except KeyboardInterrupt:
                return False
            finally:
                self._dismiss()
        return True

    def _hire(self) -> None:
        job, attempt = self.missing.popleft()
        here, there = self._context.Pipe()
        flag = self._context.RawValue("b", 0)
        process = self._context.Process(target=self._body, args=(Desk(there, flag), *self._given))
        process.start()
        there.close()
        worker = Worker(process, here, flag, job, attempt, time.monotonic())
        self.workers.append(worker)
        _send(worker, (job, attempt))

    def _listen(self) -> None:
        ready = wait([worker.line for worker in self.workers], timeout=LOOK)
        for worker in list(self.workers):
            if worker.line in ready:
                self._hear(worker)
            elif time.monotonic() - worker.heard > self.silence:
                worker.process.kill()
                self._lose(worker, f"no sign of life for {self.silence:g} s")

    def _hear(self, worker: Worker[Job]) -> None:
        worker.heard = time.monotonic()
        try:
            kind, value = worker.line.recv()
        except (EOFError, OSError):
            worker.process.join(LEAVE)
            self._lose(worker, f"its process died ({_end_of(worker.process)})")
            return
        if kind == "refuse":
            raise value
        if kind == "said":
            worker.said = value
            return
        if kind == "done":
            self.done(worker, value)
        else:
            self._retry(worker, str(value), last=kind == "fatal")
        self._next(worker)

    def _next(self, worker: Worker[Job]) -> None:
        """Give a worker the next job, or its leave."""
        if self.missing:
            worker.job, worker.attempt = self.missing.popleft()
            worker.said = None
            _send(worker, (worker.job, worker.attempt))
            return
        _send(worker, None)
        self.workers.remove(worker)
        worker.process.join(LEAVE)
        worker.process.kill()

    def _lose(self, worker: Worker[Job], why: str) -> None:
        self.workers.remove(worker)
        self._retry(worker, why)

    def _retry(self, worker: Worker[Job], why: str, last: bool = False) -> None:
        if not last:
            self.tried(worker, why)
        if last or worker.attempt + 1 >= self.attempts:
            self.lost(worker, why)
        else:
            self.missing.append((worker.job, worker.attempt + 1))

    def _dismiss(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(LEAVE)
            worker.process.kill()


def _send(worker: Worker[Any], what: Any) -> None:
    with suppress(OSError):  # of one that has just died, its line will tell
        worker.line.send(what)


def _end_of(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


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
