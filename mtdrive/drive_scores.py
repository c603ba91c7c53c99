"""Figures of an evaluation in closed loop, all of them from the records of its drives."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtdrive.drive_plan import Assignment
from mtdrive.drive_record import AGENT, VERSIONS, Record
from mtdrive.envs.scoring import (
    COLLISIONS,
    COSTS,
    NAME,
    Interval,
    Version,
    bench2drive_efficiency,
    interval,
    mean_score,
    success_rate,
)
from mtdrive.files import write_atomically, write_csv


def score_name(version: Version) -> str:
    """Return what the driving score by a version of the rules is called."""
    return NAME.replace("2.0", version)


TITLES = {
    **{f"score_{version}": score_name(version) for version in VERSIONS},
    "completion": "route completion, %",
    "done": "routes done, %",
    "nocrash": "success by NoCrash's rules, %",
    "bench2drive": "success by Bench2Drive's rules, %",
    "efficiency": "efficiency as in Bench2Drive, % of the traffic's speed",
    "comfort": "comfort as in Bench2Drive, % of the time",
    "collisions_per_km": "collisions per km",
    "red_lights_per_km": "red lights run per km",
    "stop_signs_per_km": "stop signs run per km",
}
"""Of the figures, by their key."""
GROUPS = ("town", "weather", "density")
"""What figures are split by."""


class Row(NamedTuple):
    """The figures of a part of an evaluation."""

    group: str
    """`all`, or what the evaluation is split by."""
    value: str
    planned: int
    recorded: int
    agent_failures: int
    figures: dict[str, Interval]
    """Means over the seeds; NaN where nothing is known."""


def rows(planned: Sequence[Assignment], records: Sequence[Record]) -> list[Row]:
    """Return the figures of all drives, then by town, weather and density.

    Every figure is taken for each seed; its mean and interval are over the seeds. Shares and scores are
    divided by the planned drives.
    """
    found = [_row("all", "", planned, records)]
    for group in GROUPS:
        for value in dict.fromkeys(str(getattr(plan, group)) for plan in planned):
            plans = [plan for plan in planned if getattr(plan, group) == value]
            found.append(_row(group, value, plans, [r for r in records if getattr(r.plan, group) == value]))
    return found


def _row(group: str, value: str, planned: Sequence[Assignment], records: Sequence[Record]) -> Row:
    by_seed = _by_seed(planned, records)
    means = {key: over_seeds([found[key] for found in by_seed]) for key in TITLES}
    failures = sum(r.ended == AGENT for r in records)
    return Row(group, value, len(planned), len(records), failures, means)


def _by_seed(planned: Sequence[Assignment], records: Sequence[Record]) -> list[dict[str, float]]:
    return [
        figures(sum(plan.seed == seed for plan in planned), [r for r in records if r.plan.seed == seed])
        for seed in dict.fromkeys(plan.seed for plan in planned)
    ]


def differences(
    planned: Sequence[Assignment], ours: Sequence[Record], theirs: Sequence[Record]
) -> dict[str, Interval]:
    """Return by how much the figures of one agent exceed another's in the same drives, with intervals.

    The differences are taken for each seed, whose routes and traffic both agents share.
    """
    pairs = list(zip(_by_seed(planned, ours), _by_seed(planned, theirs), strict=True))
    return {key: over_seeds([our[key] - their[key] for our, their in pairs]) for key in TITLES}


def over_seeds(values: Iterable[float]) -> Interval:
    """Return the mean and t interval of what is known; NaN if nothing is."""
    known = [value for value in values if math.isfinite(value)]
    return interval(known) if known else Interval(math.nan, math.nan)


def figures(planned: int, records: Sequence[Record]) -> dict[str, float]:
    """Return the figures of one seed, NaN where nothing is known; `planned` is the number of drives."""
    scores = {v: mean_score(v, [r.scores[v] for r in records], planned) for v in VERSIONS}
    kinds = Counter(i.kind for r in records for i in r.infractions)
    kilometres = sum(r.metres for r in records) / 1000
    calm = [r.comfort for r in records if r.comfort is not None]

    def rate(count: int) -> float:
        return count / kilometres if kilometres else math.nan

    def share(successes: list[bool]) -> float:
        return 100 * success_rate(successes, planned)

    return {
        **{f"score_{version}": found.driving_score for version, found in scores.items()},
        "completion": scores["2.0"].completion,
        "done": share([r.ended == "completed" for r in records]),
        "nocrash": share([r.nocrash for r in records]),
        "bench2drive": share([r.bench2drive.success for r in records]),
        "efficiency": bench2drive_efficiency(r.bench2drive.speeds for r in records),
        "comfort": 100 * math.fsum(calm) / len(calm) if calm else math.nan,
        "collisions_per_km": rate(sum(kinds[kind] for kind in kinds if kind in COLLISIONS)),
        "red_lights_per_km": rate(kinds["red_light"]),
        "stop_signs_per_km": rate(kinds["stop_sign"]),
    }


def manoeuvres(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Return for each command how many manoeuvres there were, how many were done, and what went wrong."""
    found: dict[str, Counter[str]] = {}
    for record in records:
        for name, (total, passed) in record.manoeuvres.items():
            found.setdefault(name, Counter()).update({"planned": total, "done": passed})
        for mistake in record.mistakes:
            found.setdefault(mistake.command, Counter())[mistake.infraction.kind] += 1
    kinds = [str(kind) for kind in COSTS if any(counts[kind] > 0 for counts in found.values())]
    return {name: {key: found[name][key] for key in ("planned", "done", *kinds)} for name in sorted(found)}


def summary(
    planned: Sequence[Assignment], records: Sequence[Record], crashes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return all figures as JSON takes them; what depends on the run is under `simulator`."""
    back = [r.wall["back"] for r in records if "back" in r.wall]
    return {
        "name": NAME,
        "agent": records[0].agent if records else "the agent",
        "drives": {
            "planned": len(planned),
            "recorded": len(records),
            "ended": dict(sorted(Counter(r.ended for r in records).items())),
        },
        "titles": TITLES,
        "rows": [_plain(row) for row in rows(planned, records)],
        "manoeuvres": manoeuvres(records),
        "simulator": {
            "failures": sum(line["by"] == "simulator" for line in crashes),
            "longest_back_seconds": max(back, default=None),
        },
    }


def _plain(row: Row) -> dict[str, Any]:
    values = {
        key: {"mean": _known(found.mean), "half": _known(found.half)} for key, found in row.figures.items()
    }
    return {**row._asdict(), "figures": values}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_tables(
    out: Path,
    planned: Sequence[Assignment],
    records: Sequence[Record],
    crashes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Write `scores.json`, `scores.csv` and `routes.csv`, and return what is in the first."""
    found = summary(planned, records, crashes)
    write_atomically(out / "scores.json", (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    header = ["group", "value", "planned", "recorded", "agent_failures"]
    figures = [f"{key}{part}" for key in TITLES for part in ("", "_half")]
    write_csv(
        out / "scores.csv",
        header + figures,
        (
            [
                *(row[name] for name in header),
                *(row["figures"][k][p] for k in TITLES for p in ("mean", "half")),
            ]
            for row in found["rows"]
        ),
    )
    by_name = {record.plan.name: record for record in records}
    write_csv(out / "routes.csv", COLUMNS, (_line(plan, by_name.get(plan.name)) for plan in planned))
    return found


PLAN = ("name", "town", "route", "weather", "density", "seed", "repetition")
COLUMNS = [
    *PLAN, "ended", *(f"score_{v}" for v in VERSIONS), "completion", "nocrash", "bench2drive", "length",
    "metres", "seconds", "comfort", *COSTS, "failure", "video",
]  # fmt: skip
"""Of the table of drives; infractions are counts."""


def _line(plan: Assignment, record: Record | None) -> list[object]:
    known: list[object] = [getattr(plan, name) for name in PLAN]
    if record is None:
        return known + [""] * (len(COLUMNS) - len(PLAN))
    kinds = Counter(i.kind for i in record.infractions)
    scores = [record.scores[v].driving_score for v in VERSIONS]
    done = [100 * record.completion, int(record.nocrash), int(record.bench2drive.success)]
    way = [record.length, record.metres, record.seconds, record.comfort]
    counts = [kinds[kind] for kind in COSTS]
    return [*known, record.ended, *scores, *done, *way, *counts, record.failure, record.video]
