"""Figures of predicted motion along recorded drives, beside those of predictors that have learned nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from mtdrive.errors import ConfigError, DataError
from mtdrive.evaluate_odometry import OdometryEvaluation, evaluate_odometry
from mtdrive.geometry import euler_angles
from mtdrive.metrics import pearson
from mtdrive.odometry import SEGMENTS
from mtdrive.score_odometry import OdometryScore, Track
from mtdrive.score_tasks import NOT_BETTER, Figure, compared
from mtdrive.task_figures import Exam, Titles
from mtdrive.trajectory import chain, relative

# The drift comes first: it alone may be unknown.
MOTION: Titles = {
    "t_err": ("drift, % of the way", 0),
    "rpe_translation": ("error of a step, m", 0),
    "rpe_rotation": ("error of a turn, degrees", 0),
}
CORRELATIONS = {"speed_correlation": "correlation of steps", "yaw_correlation": "correlation of turns"}
"""Of how far each step leads forward, and of how far it turns."""
SHIFTS = 39
"""Other times that predictions are compared with: by chance the true time is the best in 1 of 40."""


def motion_figures(exam: Exam, name: str) -> list[Figure]:
    """Return how the motion that a depth task predicts follows the true one, along whole recordings.

    Steps are correlated with the true ones, and with those of other times. Errors are measured after one
    scale a trajectory, beside those of a car that goes straight on by the mean step.
    """
    task = f"{name}: motion"
    source = replace(exam.giving([]), every=1, baseline=None)
    evaluation = OdometryEvaluation(
        source=source, task=name, stride=exam.stride, batch_size=exam.batch_size, workers=exam.workers
    )
    try:
        score = evaluate_odometry(exam.model, evaluation, exam.size, exam.device)
    except ConfigError as error:
        return [Figure(task=task, note=f"not scored: {error}")]
    predicted, true = (_steps(score.tracks, of_truth) for of_truth in (False, True))
    over = f"{true.shape[1]} steps"
    lines = [
        _correlation(Figure(task=task, name=key, title=title, best=1, over=over), ours, known)
        for (key, title), ours, known in zip(CORRELATIONS.items(), predicted, true, strict=True)
    ]
    straight = OdometryScore(tuple(_straight(score.tracks, float(true[0].mean()))), score.align)
    found = _summary(score)
    if not found:
        return [*lines, Figure(task=task, note=f"{NOT_BETTER}: a predicted way stands still", over=over)]
    errors = compared(task, found, _summary(straight), MOTION, "straight on, mean step", over)
    if found["t_err"] is None:
        errors[0] = replace(errors[0], note=f"no way is longer than {SEGMENTS[0]} m")
    return lines + errors


def _summary(score: OdometryScore) -> Mapping[str, float | None]:
    """Return the figures, none if a trajectory stands still, so that no scale fits it."""
    try:
        return score.summary()
    except DataError:
        return {}


def _steps(tracks: Sequence[Track], of_truth: bool) -> Float64[Tensor, "2 n"]:
    """Return how far each step leads forward and turns, of all trajectories one after the other."""
    chosen = [track.truth if of_truth else track.pred for track in tracks]
    motions = [relative(poses[1:], poses[:-1]) for poses in chosen if poses is not None]
    moved = torch.from_numpy(np.concatenate(motions))
    return torch.stack([-moved[:, 2, 3], euler_angles(moved)[:, 1]])


def _straight(tracks: Sequence[Track], step: float) -> list[Track]:
    """Return trajectories of the same length that go straight on."""
    motion = np.eye(4)
    motion[2, 3] = -step
    steps = [np.broadcast_to(motion, (len(track.frames) - 1, 4, 4)) for track in tracks]
    return [replace(track, pred=chain(each)) for track, each in zip(tracks, steps, strict=True)]


def _correlation(figure: Figure, ours: Float64[Tensor, " n"], truth: Float64[Tensor, " n"]) -> Figure:
    """Return a correlation beside the highest one of the same predictions with other times.

    At least a quarter of all steps away: what a drive does in one moment, it also does in the next.
    """
    value = float(pearson(ours[None], truth[None]))
    if math.isnan(value):
        known = truth.min() < truth.max()
        note = f"{NOT_BETTER}: always the same" if known else "the true ones are all the same"
        return replace(figure, note=note)
    shifts = sorted({round(len(ours) * (0.25 + 0.5 * k / (SHIFTS - 1))) for k in range(SHIFTS)})
    shifted = torch.stack([ours.roll(shift) for shift in shifts])
    chance = float(pearson(shifted, truth.expand_as(shifted)).max())
    return replace(figure, value=value, trivial=max(chance, 0.0), predictor="the same at other times")
