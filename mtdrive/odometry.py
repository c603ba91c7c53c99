"""Errors of predicted trajectories. Importing this file does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float64

from mtdrive.trajectory import Alignment, Poses, fit, relative

SNIPPET = 5
"""Frames of a window of the published absolute trajectory error."""

SEGMENTS = (100, 200, 300, 400, 500, 600, 700, 800)
"""Metres of the segments that KITTI measures drift over."""

SEGMENT_EVERY = 10
"""Frames from the start of a segment to the start of the next."""


@dataclass(frozen=True)
class OdometryErrors:
    """Every single error of one trajectory, or of several one after the other."""

    snippets: Float64[np.ndarray, " s"]
    """`snippet_ate` in metres."""
    segments: Float64[np.ndarray, "k 2"]
    """`segment_errors`."""
    steps: Float64[np.ndarray, "m 2"]
    """`step_errors` in metres and radians."""
    positions: Float64[np.ndarray, " n"]
    """Distances from the truth in metres, a frame each."""

    def figures(self) -> dict[str, float | None]:
        """Return means; None for KITTI's drift where no segment is long enough."""
        drift, turn = self.segments.mean(axis=0) if len(self.segments) else (None, None)
        translation, rotation = self.steps[:, 0], np.degrees(self.steps[:, 1])
        return {
            "ate5_mean": float(self.snippets.mean()),
            "ate5_std": float(self.snippets.std()),
            "t_err": None if drift is None else float(100 * drift),
            "r_err": None if turn is None else float(100 * np.degrees(turn)),
            "rpe_translation": _rms(translation),
            "rpe_translation_mean": float(translation.mean()),
            "rpe_rotation": _rms(rotation),
            "rpe_rotation_mean": float(rotation.mean()),
            "ate": _rms(self.positions),
            "segments": len(self.segments),
            "frames": len(self.positions),
        }


def pooled(errors: Sequence[OdometryErrors]) -> OdometryErrors:
    """Return the errors of all trajectories together, each error counting the same."""
    names = [field.name for field in fields(OdometryErrors)]
    return OdometryErrors(*(np.concatenate([getattr(e, name) for e in errors]) for name in names))


def odometry_errors(pred: Poses, truth: Poses, align: Alignment) -> tuple[OdometryErrors, float]:
    """Return the errors of a trajectory of two frames or more, and the scale that the alignment gave it.

    Raises:
        DataError: if it stands still and is to be scaled.
    """
    similarity = fit(pred, truth, align)
    aligned = similarity.move(pred)
    errors = OdometryErrors(
        snippets=snippet_ate(pred, truth),
        segments=segment_errors(aligned, truth),
        steps=step_errors(aligned, truth),
        positions=np.linalg.norm(aligned[:, :3, 3] - truth[:, :3, 3], axis=1),
    )
    return errors, similarity.scale


def snippet_ate(pred: Poses, truth: Poses, length: int = SNIPPET) -> Float64[np.ndarray, " s"]:
    """Return the absolute trajectory error of the window that starts at each frame but the last, in metres.

    The published one, of Zhou et al., CVPR 2017 (https://arxiv.org/abs/1704.07813), as Monodepth2 (Godard et
    al., ICCV 2019, https://arxiv.org/abs/1806.01260) computes it, oddities included: the points of a window
    are chained from the motions `T_next,current` rather than from their inverses; the last windows are
    shorter; each window has a scale of its own by least squares; and the root of the summed squares is
    divided by the number of points, rather than the sum before the root.
    """
    moved, wanted = _windows(pred, length), _windows(truth, length)
    squares = (moved**2).sum(axis=(1, 2))
    products = (moved * wanted).sum(axis=(1, 2))
    scale = np.divide(products, squares, out=np.zeros_like(squares), where=squares > 0)
    distance = np.sqrt(((scale[:, None, None] * moved - wanted) ** 2).sum(axis=(1, 2)))
    points = np.minimum(length, len(pred) - np.arange(len(pred) - 1))
    errors: Float64[np.ndarray, " s"] = distance / points
    return errors


def _windows(poses: Poses, length: int) -> Float64[np.ndarray, "s _ 3"]:
    """Return the chained points of each window from the origin on; 0, which no sum sees, after its end."""
    count = len(poses)
    steps = relative(poses[1:], poses[:-1])
    points = np.zeros((count - 1, length, 3))
    reached = np.broadcast_to(np.eye(4), (count - 1, 4, 4))
    for k in range(1, min(length, count)):
        reached = reached[: count - k] @ steps[k - 1 :]
        points[: count - k, k] = reached[:, :3, 3]
    return points


def segment_errors(pred: Poses, truth: Poses) -> Float64[np.ndarray, "k 2"]:
    """Return the drift over each of KITTI's segments: metres a metre, and radians a metre.

    Andreas Geiger, Philip Lenz and Raquel Urtasun, "Are we ready for Autonomous Driving? The KITTI Vision
    Benchmark Suite", CVPR 2012, https://doi.org/10.1109/CVPR.2012.6248074: a segment starts at every tenth
    frame for each length of `SEGMENTS`, and ends at the first frame that is farther away along the true path.
    """
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1))])
    starts, lengths = np.meshgrid(np.arange(0, len(way), SEGMENT_EVERY), SEGMENTS, indexing="ij")
    ends = np.searchsorted(way, way[starts] + lengths, side="right")
    exists = ends < len(way)
    first, last = starts[exists], ends[exists]
    moved, wanted = relative(pred[first], pred[last]), relative(truth[first], truth[last])
    errors: Float64[np.ndarray, "k 2"] = motion_errors(moved, wanted) / lengths[exists][:, None]
    return errors


def step_errors(pred: Poses, truth: Poses) -> Float64[np.ndarray, "m 2"]:
    """Return the relative pose error from each frame to the next, in metres and radians.

    Jürgen Sturm et al., "A Benchmark for the Evaluation of RGB-D SLAM Systems", IROS 2012,
    https://doi.org/10.1109/IROS.2012.6385773.
    """
    return motion_errors(relative(pred[:-1], pred[1:]), relative(truth[:-1], truth[1:]))


def motion_errors(pred: Poses, truth: Poses) -> Float64[np.ndarray, "n 2"]:
    """Return the distance and the angle in radians between motions."""
    difference = relative(pred, truth)
    return np.stack([np.linalg.norm(difference[:, :3, 3], axis=1), angles(difference[:, :3, :3])], axis=1)


def angles(rotations: Float64[np.ndarray, "n 3 3"]) -> Float64[np.ndarray, " n"]:
    """Return the angle of each rotation in radians.

    By sine and cosine: the arc cosine of the trace alone turns the 7 digits of KITTI's files into 0.02°.
    """
    skew = rotations - rotations.transpose(0, 2, 1)
    sine = np.linalg.norm(skew[:, [2, 0, 1], [1, 2, 0]], axis=1) / 2
    cosine = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
    angle: Float64[np.ndarray, " n"] = np.arctan2(sine, cosine)
    return angle


def _rms(values: Float64[np.ndarray, " n"]) -> float:
    return float(np.sqrt((values**2).mean()))
