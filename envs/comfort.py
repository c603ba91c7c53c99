"""Comfort of a drive as Bench2Drive measures it: the share of short windows in which nothing is violent.

Jia et al., "Bench2Drive: Towards Multi-Ability Benchmarking of Closed-Loop End-To-End Autonomous Driving",
NeurIPS 2024, https://arxiv.org/abs/2406.03877; its limits are those of nuPlan.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mtdrive.errors import DataError

LIMITS = {
    "longitudinal acceleration": (-4.05, 2.40),
    "lateral acceleration": (-4.89, 4.89),
    "jerk": (-8.37, 8.37),
    "longitudinal jerk": (-4.13, 4.13),
    "yaw rate": (-0.95, 0.95),
    "yaw acceleration": (-1.93, 1.93),
}
"""m/s², m/s³, rad/s, rad/s²; a value on a limit is violent."""

FRAMES = 20
"""Of a window."""

_SMOOTHED = 7
_INTERVAL = 0.1

Vectors = Float[np.ndarray, "n 3"]


class Motion(NamedTuple):
    """How a car moved, as CARLA gives it at each tick."""

    acceleration: Vectors
    """m/s²."""
    angular_velocity: Vectors
    """Degrees a second."""
    forward: Vectors
    """The car's axes in the world."""
    right: Vectors


def comfort(motion: Motion, rate: float = 20.0, exact: bool = False) -> float:
    """Return the share of comfortable windows of a drive recorded `rate` times a second.

    `exact` gives the numbers of Bench2Drive 0.0.4's program, where degrees a second are held against radians
    a second, the yaw acceleration is the smoothed yaw rate, and frames count as 0.1 s apart at any rate.

    Raises:
        DataError: there are fewer than 3 frames, or the lengths differ.
    """
    n = len(motion.acceleration)
    if n < 3 or any(len(x) != n for x in motion):
        raise DataError(f"comfort needs at least 3 frames of each kind, found {[len(x) for x in motion]}")
    starts = range(0, n - FRAMES + 1, FRAMES) if n > FRAMES else (0,)
    windows = (Motion(*(x[i : i + FRAMES] for x in motion)) for i in starts)
    calm = [_calm(window, _INTERVAL if exact else 1 / rate, exact) for window in windows]
    return sum(calm) / len(calm)


def _calm(motion: Motion, dt: float, exact: bool) -> bool:
    flat, turn = motion.acceleration[:, :2], motion.angular_velocity[:, 2]
    along = _smooth((flat * motion.forward[:, :2]).sum(axis=1))
    force = _smooth(np.hypot(flat[:, 0], flat[:, 1]))
    spin = _unwrapped(turn) if exact else np.radians(turn)
    values = {
        "longitudinal acceleration": along,
        "lateral acceleration": _smooth((flat * motion.right[:, :2]).sum(axis=1)),
        "jerk": _smooth(force, dt),
        "longitudinal jerk": _smooth(along, dt),
        "yaw rate": _smooth(spin),
        "yaw acceleration": _smooth(spin) if exact else _smooth(spin, dt),
    }
    return all(bool(np.all((values[k] > low) & (values[k] < high))) for k, (low, high) in LIMITS.items())


def _smooth(values: Float[np.ndarray, " n"], dt: float | None = None) -> Float[np.ndarray, " n"]:
    """Return local parabolas' values, or their slopes if frames are `dt` apart."""
    from scipy.signal import savgol_filter

    length = min(_SMOOTHED, len(values))
    if dt is None:
        return np.asarray(savgol_filter(values, length, 2))
    return np.asarray(savgol_filter(values, length, 2, deriv=1, delta=dt))


def _unwrapped(rates: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return rates of turn treated as if they were angles, as Bench2Drive does."""
    turns = np.cumsum(np.round(np.diff(rates) / (2 * np.pi)))
    return rates - 2 * np.pi * np.concatenate([[0.0], turns])
