"""Recording drives: what is planned, and workers that make it so.

A drive is there whole or not at all, so that a recording that was stopped goes on where it ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mtdrive.coverage import coverage, read_drives, wished
from mtdrive.crew import Answer, Crew, Desk, Worker
from mtdrive.data.drive_header import FILE as HEADER
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.health import ServerSettings
from mtdrive.envs.recorder import Plan, Recorded, Unfit, record_drive
from mtdrive.errors import ConfigError, MtdriveError, SimulatorError
from mtdrive.log import progress
from mtdrive.record_plan import Ledger, RecordSettings, further_plans


@dataclass
class Outcome:
    """What became of a recording."""

    recorded: dict[str, Recorded] = field(default_factory=dict)
    present: list[str] = field(default_factory=list)
    """Drives that were there before."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by the drive's name."""
    seconds: float = 0.0
    start: float = 0.0
    """Those of them before the first frame."""
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
            _Recording(out, settings, server or ServerSettings(), missing, outcome).work(workers)
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


class _Recording(Crew[Plan]):
    """Processes that record, with a server each."""

    def __init__(
        self,
        out: Path,
        settings: RecordSettings,
        server: ServerSettings,
        plans: Sequence[Plan],
        outcome: Outcome,
    ) -> None:
        super().__init__(plans, _serve, out, settings, server)
        self.outcome, self._each = outcome, round(settings.seconds * settings.rate)
        self._begun = time.monotonic()
        self._total = self._each * len(plans)

    def work(self, count: int) -> None:
        """Record all that is missing with so many processes."""
        with progress("frames", self._total) as self._report:
            self.outcome.interrupted = not self.run(count)

    def done(self, worker: Worker[Plan], result: Recorded) -> None:
        """Take note of a drive."""
        self.outcome.recorded[worker.job.name] = result

    def lost(self, worker: Worker[Plan], why: str) -> None:
        """Take note of one that cannot be recorded."""
        self.outcome.failed[worker.job.name] = why

    def look(self) -> None:
        """Show how far it is; a drive may be over early: what is left says more than what is done."""
        if not self.outcome.start and any(worker.said for worker in self.workers):
            self.outcome.start = time.monotonic() - self._begun
        left = self._each * (len(self.missing) + len(self.workers))
        self._report(self._total - left + sum(worker.said or 0 for worker in self.workers))


def _serve(desk: Desk, out: Path, settings: RecordSettings, server: ServerSettings) -> None:
    """Record what is asked for until nothing is: the body of a worker."""
    env = DrivingEnv(settings.driving(server))
    try:
        desk.work(lambda plan, attempt: _record(env, _varied(plan, attempt), out, settings, desk))
    finally:
        env.close()


def _varied(plan: Plan, attempt: int) -> Plan:
    """Return another drive for another attempt: the expert may have erred."""
    return replace(plan, seed=plan.seed + attempt)


def _record(env: DrivingEnv, plan: Plan, out: Path, settings: RecordSettings, desk: Desk) -> Answer:
    def tell(frames: int) -> None:
        if frames % 10 == 0:
            desk.say(frames)

    least = min(10.0, settings.seconds / 2)
    try:
        done = record_drive(env, plan, out / plan.name, settings.seconds, least, tell)
    except (SimulatorError, Unfit) as error:
        return "again", str(error)
    except MtdriveError as error:
        return "fatal", str(error)
    return "done", done
