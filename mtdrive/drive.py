"""Evaluates an agent in closed loop: workers with a server each drive what is planned.

Each drive has a record of its own, so that an evaluation that was stopped goes on where it ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtdrive.crew import Crew, Worker
from mtdrive.drive_plan import Assignment, DriveSettings, begin
from mtdrive.drive_record import AGENT, Record, read_record, write_record
from mtdrive.drive_route import START
from mtdrive.drive_worker import driving, make_agent, serve
from mtdrive.envs.health import ServerSettings
from mtdrive.envs.servers import OtherServer, open_server
from mtdrive.errors import ConfigError
from mtdrive.log import progress

VIDEOS = ("failures", "all", "none")
SILENT = 30.0
"""Seconds after which it is told how far the drives are, if none was finished."""
CRASHES = "crashes.jsonl"
"""A line for each time that a simulator failed."""


@dataclass
class Outcome:
    """What became of an evaluation."""

    planned: list[Assignment]
    driven: dict[str, Record] = field(default_factory=dict)
    """By name: those of this time."""
    present: dict[str, Record] = field(default_factory=dict)
    """Those that were there."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why a drive has no record: the simulator never lasted, or there is no such route."""
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def records(self) -> list[Record]:
        """All that there are, in the planned order."""
        found = {**self.present, **self.driven}
        return [found[plan.name] for plan in self.planned if plan.name in found]


def evaluate(
    out: Path,
    settings: DriveSettings,
    workers: int = 1,
    server: ServerSettings | None = None,
    videos: str = "failures",
    patience: float = 20.0,
) -> Outcome:
    """Drive what is missing of an evaluation in the folder `out`.

    Args:
        out: gets a record for each drive.
        settings: what is driven; once begun, a folder keeps to it.
        workers: processes, each with a server of its own.
        server: more about the server than its name in `settings`.
        videos: which to keep: `failures`, `all` or `none`.
        patience: seconds that the agent may need for a step.

    Raises:
        MtdriveError: there is no such agent, the settings ask for what there is not, the folder holds another
            evaluation, or no server starts.
    """
    if workers < 1 or not patience > 0 or videos not in VIDEOS:
        raise ConfigError(
            f"workers must be at least 1, the patience positive and videos one of {', '.join(VIDEOS)}; "
            f"found {workers}, {patience:g} and {videos}"
        )
    server = server or ServerSettings(settings.server)
    if workers > 1 and isinstance(open_server(server), OtherServer):
        raise ConfigError(f"one worker drives on a server that runs, found {workers}; start more by `carla`")
    driving(make_agent(settings.agent), settings)
    outcome, begun = Outcome(begin(out, settings)), time.monotonic()
    for plan in outcome.planned:
        if record := read_record(out, plan):
            outcome.present[plan.name] = record
    missing = [plan for plan in outcome.planned if plan.name not in outcome.present]
    if missing:
        _Evaluation(out, outcome, missing, settings, server, videos, patience).work(workers)
    outcome.seconds = time.monotonic() - begun
    return outcome


class _Evaluation(Crew[Assignment]):
    """The processes that drive."""

    attempts = 6

    def __init__(
        self,
        out: Path,
        outcome: Outcome,
        missing: Sequence[Assignment],
        settings: DriveSettings,
        server: ServerSettings,
        videos: str,
        patience: float,
    ) -> None:
        super().__init__(missing, serve, out, settings, server, videos, patience)
        self.out, self.outcome, self._agent = out, outcome, settings.agent
        self._told = time.monotonic()
        self.silence = server.start + START * patience + self.silence

    def work(self, count: int) -> None:
        """Drive all that is missing with so many processes."""
        there = len(self.outcome.present)
        with progress("routes", len(self.outcome.planned), there) as self._report:
            self.outcome.interrupted = not self.run(count)

    def done(self, worker: Worker[Assignment], result: Record) -> None:
        """Take note of a drive, whose record is written."""
        self.outcome.driven[worker.job.name] = result
        self._tell(f"{worker.job.name}: {result.ended}, score {result.scores['2.0'].driving_score:.1f}")

    def lost(self, worker: Worker[Assignment], why: str) -> None:
        """Take note of one without a result; if the agent was at work each time, this is its result."""
        if not worker.busy:
            self.outcome.failed[worker.job.name] = why
            return
        completion, seconds = worker.said or (0.0, 0.0)
        record = Record(
            plan=worker.job, agent=self._agent, failure=why, ended=AGENT,
            completion=completion, seconds=seconds, wall={"attempts": worker.attempt + 1},
        )  # fmt: skip
        write_record(self.out, record)
        self.done(worker, record)

    def tried(self, worker: Worker[Assignment], why: str) -> None:
        """Write down what the simulator did, or a process that died or hung at the agent's work."""
        by = "agent" if worker.busy else "simulator"
        line = {"route": worker.job.name, "attempt": worker.attempt + 1, "by": by, "why": why}
        with (self.out / CRASHES).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def look(self) -> None:
        """Show now and then how far the drives are that go on."""
        going = [worker for worker in self.workers if worker.said]
        if going and time.monotonic() - self._told > SILENT:
            said = ((worker.job.name, *worker.said) for worker in going)
            self._tell(", ".join(f"{name}: {part:.0%} after {seconds:.0f} s" for name, part, seconds in said))

    def _tell(self, note: str) -> None:
        self._told = time.monotonic()
        done = len(self.outcome.present) + len(self.outcome.driven) + len(self.outcome.failed)
        self._report(done, note)


def crashes(out: Path) -> list[dict[str, Any]]:
    """Return what the simulators did; a line that was cut short is left out."""
    path = out / CRASHES
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]
