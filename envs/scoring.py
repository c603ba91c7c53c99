"""Scores of drives, as pure functions of what a judge saw.

The rules of CARLA's Leaderboard are applied here without its scenarios: such a number is `NAME`, never a
Leaderboard score. The same drive scores differently under each version of the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mtdrive.errors import DataError

NAME = "mtdrive score, 2.0 rules, no scenarios"
"""What tables and plots call the driving score."""

Version = Literal["1.0", "2.0", "2.1"]
Kind = Literal[
    "pedestrian", "vehicle", "static", "red_light", "stop_sign", "off_lane", "deviation", "blocked",
    "timeout", "scenario_timeout", "yield",
]  # fmt: skip

COLLISIONS = frozenset({"pedestrian", "vehicle", "static"})

_NONE: dict[Kind, float] = dict.fromkeys(("off_lane", "deviation", "blocked", "timeout"), 1.0)
_PRODUCT: dict[Kind, float] = {
    **_NONE, "pedestrian": 0.5, "vehicle": 0.6, "static": 0.65, "red_light": 0.7, "stop_sign": 0.8,
}  # fmt: skip
FACTORS: dict[Version, dict[Kind, float]] = {
    "1.0": {**_PRODUCT, "scenario_timeout": 1.0, "yield": 1.0},
    "2.0": {**_PRODUCT, "scenario_timeout": 0.7, "yield": 0.7},
}
"""What an infraction multiplies the score by; what leaves the lanes weighs as much as its fraction says."""

COSTS: dict[Kind, float] = {
    "pedestrian": 1.0, "vehicle": 0.7, "static": 0.6, "red_light": 0.4, "stop_sign": 0.25,
    "scenario_timeout": 0.4, "yield": 0.4, "off_lane": 0.0, "deviation": 0.0, "blocked": 0.0, "timeout": 0.0,
}  # fmt: skip
"""What an infraction adds to the divisor of 2.1."""

SLOWEST = {"2.0": 0.3, "2.1": 0.4}
"""What standing throughout a checkpoint of the minimum speed takes off the factor, or adds to the divisor."""


@dataclass(frozen=True)
class Infraction:
    """A rule broken; the names are the Leaderboard's. `xyz` is the place of the car, CARLA's frame."""

    kind: Kind
    time: float
    """Seconds since the episode began."""
    frame: int
    xyz: tuple[float, float, float]
    detail: str = ""
    """The other actor, or the signal's id."""
    fraction: float = 0.0
    """Of `off_lane` alone: the part of the driven route that was outside its lanes."""


@dataclass(frozen=True)
class Score:
    """How a drive, or the mean of several, scored."""

    version: Version
    completion: float
    """Percent of the route."""
    penalty: float
    """From 1, none, towards 0."""
    driving_score: float
    """Percent: completion times penalty, taken for each route."""


def score(
    version: Version,
    completion: float,
    infractions: Iterable[Infraction],
    speeds: Iterable[tuple[int, float]] = (),
) -> Score:
    """Return the score of one drive by the Leaderboard's rules of a version.

    `completion` is in [0, 1]. `speeds` has the checkpoints of the minimum speed: number, and the car's speed
    in percent of the traffic's; 1.0 knows none, and Bench2Drive's driving score is that of 2.0 without them.
    statistics_manager.py of each version in https://github.com/carla-simulator/leaderboard.

    Raises:
        DataError: a number is out of range.
    """
    given = list(infractions)
    for name, value in [("completion", completion), *((i.kind, i.fraction) for i in given)]:
        if not 0 <= value <= 1:
            raise DataError(f"expected a part of the route from 0 to 1, found {name} {value}")
    slow = [1 - min(_percent(p), 100.0) / 100 for _, p in speeds]
    outside = [1 - i.fraction for i in given if i.kind == "off_lane"]
    if version == "2.1":
        costs = [COSTS[i.kind] for i in given] + [SLOWEST["2.1"] * s for s in slow]
        factors = [1 / (1 + math.fsum(costs))]
    else:
        factors = [FACTORS[version][i.kind] for i in given]
        factors += [1 - SLOWEST["2.0"] * s for s in slow] if version == "2.0" else []
    # Sorted, so that the order of the infractions does not change the last digit.
    penalty = math.prod(sorted(factors + outside))
    return Score(version, 100 * completion, penalty, 100 * completion * penalty)


def _percent(value: float) -> float:
    if not value >= 0:
        raise DataError(f"expected a speed in percent of the traffic's, at least 0, found {value}")
    return value


def mean_score(version: Version, scores: Sequence[Score], planned: int) -> Score:
    """Return the mean over the planned routes; one without a score counts as zero.

    Raises:
        DataError: there are more scores than routes, none was planned, or a score is of another version.
    """
    _check_planned(len(scores), planned)
    others = {s.version for s in scores} - {version}
    if others:
        raise DataError(f"expected scores by the rules {version}, found {', '.join(sorted(others))}")
    completion, penalty, driving = (
        math.fsum(getattr(s, name) for s in scores) / planned
        for name in ("completion", "penalty", "driving_score")
    )
    return Score(version, completion, penalty, driving)


def success_rate(successes: Sequence[bool], planned: int) -> float:
    """Return successes over planned routes; one without a result failed.

    Raises:
        DataError: there are more results than routes, or none was planned.
    """
    _check_planned(len(successes), planned)
    return sum(successes) / planned


def _check_planned(found: int, planned: int) -> None:
    if not 0 < planned >= found:
        raise DataError(f"expected results of at most the {planned} planned routes, found {found}")


class Interval(NamedTuple):
    """A mean with its uncertainty."""

    mean: float
    half: float
    """Half the width of the confidence interval; NaN of a single value."""


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean over seeds with Student's t interval.

    Raises:
        DataError: there is no value, or one is not finite.
    """
    from scipy.special import stdtrit

    if not values or not all(map(math.isfinite, values)):
        raise DataError(f"expected a finite value for each seed, found {list(values)}")
    n = len(values)
    if n == 1:
        return Interval(float(values[0]), math.nan)
    spread = float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(math.fsum(values) / n, float(stdtrit(n - 1, (1 + level) / 2)) * spread)


def nocrash_timeout(length: float) -> float:
    """Return the seconds that NoCrash allows for a route of `length` metres: 5 km/h, and 20 s.

    Codevilla, Santana, López, Gaidon, "Exploring the Limitations of Behavior Cloning for Autonomous Driving",
    ICCV 2019, https://arxiv.org/abs/1904.08980.
    """
    return length / 1000 / 5 * 3600 + 20


def nocrash_success(
    ended: str | None, infractions: Iterable[Infraction], seconds: float, length: float
) -> bool:
    """Return whether a drive reached its goal in time and touched nothing; `length` in metres."""
    clean = not any(i.kind in COLLISIONS for i in infractions)
    return ended == "completed" and clean and seconds <= nocrash_timeout(length)


def bench2drive_success(ended: str | None, infractions: Iterable[Infraction]) -> bool:
    """Return whether a drive was completed with no infraction; the minimum speed is none.

    Jia et al., "Bench2Drive: Towards Multi-Ability Benchmarking of Closed-Loop End-To-End Autonomous
    Driving", NeurIPS 2024, https://arxiv.org/abs/2406.03877.
    """
    return ended == "completed" and not any(True for _ in infractions)


def bench2drive_efficiency(routes: Iterable[Iterable[tuple[int, float]]]) -> float:
    """Return the mean over routes of the mean speed, in percent of the traffic's.

    Each route has its checkpoints: number and percentage. Percentages over 1000 are dropped, and routes with
    none left are left out, as Bench2Drive 0.0.4 does. NaN if nothing is left.
    """
    kept = [[_percent(p) for _, p in route if p <= 1000] for route in routes]
    means = [math.fsum(values) / len(values) for values in kept if values]
    return math.fsum(means) / len(means) if means else math.nan
