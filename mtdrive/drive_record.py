"""What became of one route in closed loop: a JSON file, there whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from mtdrive.drive_plan import Assignment
from mtdrive.envs.scoring import (
    Infraction,
    Score,
    Version,
    nocrash_success,
    score,
)
from mtdrive.errors import DataError
from mtdrive.files import write_atomically

FOLDER = "routes"
AGENT = "agent"
"""How a drive ended whose agent failed."""
VERSIONS: tuple[Version, ...] = get_args(Version)


@dataclass(frozen=True)
class Mistake:
    """An infraction, and what the car was to do there."""

    infraction: Infraction
    command: str
    """Of the guide at that time."""


@dataclass(frozen=True)
class Verdict:
    """What Bench2Drive's rules say, which end a drive after 60 s at rest or 200 s in all."""

    ended: str | None
    success: bool
    """Completed without an infraction."""
    speeds: tuple[tuple[int, float], ...]
    """Checkpoints of the minimum speed: number, and percent of the traffic's."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A drive; places are CARLA's, in metres."""

    plan: Assignment
    agent: str
    versions: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    """Why the agent could not go on."""
    ended: str
    """`completed`, `deviation`, `blocked`, `timeout` or `agent`."""
    completion: float
    """Driven share of the route, in [0, 1]."""
    length: float = 0.0
    """Metres of the route."""
    metres: float = 0.0
    """Driven along it."""
    seconds: float = 0.0
    """Simulated."""
    mistakes: tuple[Mistake, ...] = ()
    speeds: tuple[tuple[int, float], ...] = ()
    bench2drive: Verdict = Verdict(None, False, ())
    comfort: float | None = None
    """Share of windows without violent motion; None of a drive that was over at once."""
    manoeuvres: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By command: how many the route has, and how many were driven to their end."""
    line: tuple[tuple[float, float], ...] = ()
    """The route."""
    track: tuple[tuple[float, float, float, float], ...] = ()
    """Where the car was: seconds, x, y, m/s."""
    video: str = ""
    """Relative to the folder of the evaluation."""
    wall: dict[str, Any] = field(default_factory=dict)
    """What another run of the same drive would have otherwise: times, and crashes of the simulator."""

    @property
    def infractions(self) -> tuple[Infraction, ...]:
        """What scores are made of."""
        return tuple(mistake.infraction for mistake in self.mistakes)

    @property
    def failed(self) -> bool:
        """Whether it is worth a look: not completed, or a rule was broken."""
        return self.ended != "completed" or bool(self.mistakes)

    @cached_property
    def scores(self) -> dict[Version, Score]:
        """By the version of the Leaderboard's rules."""
        return {v: score(v, self.completion, self.infractions, self.speeds) for v in VERSIONS}

    @property
    def nocrash(self) -> bool:
        """Whether it is a success by NoCrash's rules."""
        return nocrash_success(self.ended, self.infractions, self.seconds, self.length)


def record_path(out: Path, name: str) -> Path:
    """Return where a record is."""
    return out / FOLDER / f"{name}.json"


def write_record(out: Path, record: Record) -> None:
    """Write a record, with its scores for those who look at the file."""
    content = asdict(record)
    content["scores"] = {version: asdict(found) for version, found in record.scores.items()}
    content["success"] = {"nocrash": record.nocrash, "bench2drive": record.bench2drive.success}
    path = record_path(out, record.plan.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f" {json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in content.items())
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_record(out: Path, plan: Assignment) -> Record | None:
    """Return the record of a drive; None if there is none, it is damaged, or of another drive."""
    try:
        content = json.loads(record_path(out, plan.name).read_text())
        found = _parse(content)
        return found if found.plan == plan and found.scores else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, DataError):
        return None


def _parse(content: dict[str, Any]) -> Record:
    del content["scores"], content["success"]
    content["plan"] = Assignment(**content["plan"])
    content["mistakes"] = tuple(
        Mistake(Infraction(**{**m["infraction"], "xyz": tuple(m["infraction"]["xyz"])}), m["command"])
        for m in content["mistakes"]
    )
    verdict = content["bench2drive"]
    content["bench2drive"] = Verdict(**{**verdict, "speeds": _pairs(verdict["speeds"])})
    for name in ("speeds", "line", "track"):
        content[name] = _pairs(content[name])
    content["manoeuvres"] = {name: tuple(counts) for name, counts in content["manoeuvres"].items()}
    return Record(**content)


def _pairs(values: list[list[float]]) -> tuple[Any, ...]:
    return tuple(tuple(value) for value in values)
