"""Trajectories: KITTI's files of poses, motions between frames, and alignment with a true trajectory.

A trajectory holds `T_world,camera` of every frame: x right, y down, z forward, in metres where the scale is
known. Importing this file does not import torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from mtdrive.errors import DataError
from mtdrive.files import parse_numbers, write_atomically

Poses = Float64[np.ndarray, "n 4 4"]
"""`T_world,camera` of n frames."""

Alignment = Literal["none", "scale", "similarity"]
"""How a prediction is brought onto the truth: `none` puts the first pose onto the first, `scale` does so and
scales by least squares over the positions, `similarity` fits scale, rotation and translation (7 numbers)."""

TOLERANCE = 1e-2
"""How far R Rᵀ may be from the identity: single precision and few decimals pass, a scale in R does not."""


def read_poses(path: Path, remedy: str = "check the path") -> Poses:
    """Read KITTI's format: a line a frame, the upper three rows of `T_world,camera` row by row.

    Raises:
        DataError: if the file cannot be read, or a line does not hold a finite pose; `remedy` ends the
            message in the first case.
    """
    try:
        lines = path.read_text(encoding="ascii").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the poses cannot be read ({error}); {remedy}") from None
    if not lines:
        raise DataError(f"{path}: holds no pose; expected 12 numbers a line, a line a frame")
    return np.stack([_parse_pose(line, f"{path}:{n}") for n, line in enumerate(lines, start=1)])


def _parse_pose(line: str, where: str) -> Float64[np.ndarray, "4 4"]:
    pose = np.vstack([parse_numbers(line, 12, where).reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
    rotation = pose[:3, :3]
    off = float(abs(rotation @ rotation.T - np.eye(3)).max())
    if off > TOLERANCE or np.linalg.det(rotation) < 0:
        raise DataError(
            f"{where}: expected a rotation R in columns 1-3, 5-7 and 9-11, found R Rᵀ up to {off:.2g} from "
            f"the identity and det R = {np.linalg.det(rotation):.3g}; write [R t] row by row, scaling t alone"
        )
    return pose


def write_poses(path: Path, poses: Poses) -> None:
    """Write KITTI's format; the file appears whole or not at all."""
    lines = [" ".join(f"{value:.9e}" for value in pose[:3].ravel()) + "\n" for pose in poses]
    write_atomically(path, "".join(lines).encode())


def relative(first: Poses, second: Poses) -> Poses:
    """Return `T_first,second` of each pair."""
    motion: Poses = np.linalg.inv(first) @ second
    return motion


def chain(motions: Float64[np.ndarray, "m 4 4"]) -> Poses:
    """Return the trajectory of motions `T_next,current`; it starts at the identity and is one pose longer."""
    poses = [np.eye(4)]
    for back in np.linalg.inv(motions):
        poses.append(poses[-1] @ back)
    return np.stack(poses)


class Similarity(NamedTuple):
    """Maps x to scale * rotation @ x + translation."""

    scale: float
    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, " 3"]

    def move(self, poses: Poses) -> Poses:
        """Return the trajectory in the frame and the unit that this maps into."""
        moved = poses.copy()
        moved[:, :3, :3] = self.rotation @ poses[:, :3, :3]
        moved[:, :3, 3] = self.scale * poses[:, :3, 3] @ self.rotation.T + self.translation
        return moved


def fit(pred: Poses, truth: Poses, align: Alignment) -> Similarity:
    """Return what brings `pred` onto `truth`.

    Raises:
        DataError: if `pred` stands still, so that no scale fits.
    """
    if align == "similarity":
        return umeyama(pred[:, :3, 3], truth[:, :3, 3])
    rotation = truth[0, :3, :3] @ np.linalg.inv(pred[0, :3, :3])
    scale = 1.0
    if align == "scale":
        moved, wanted = ((np.linalg.inv(poses[0]) @ poses)[:, :3, 3] for poses in (pred, truth))
        _check_moves(float((moved**2).sum()))
        scale = float((moved * wanted).sum() / (moved**2).sum())
    return Similarity(scale, rotation, truth[0, :3, 3] - scale * rotation @ pred[0, :3, 3])


def umeyama(points: Float64[np.ndarray, "n 3"], onto: Float64[np.ndarray, "n 3"]) -> Similarity:
    """Return the similarity that maps `points` onto others with the least squared distance.

    Shinji Umeyama, "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", PAMI
    1991, https://doi.org/10.1109/34.88573. Of points on a line, any turn about the line fits equally.

    Raises:
        DataError: if all points are the same.
    """
    mean, mean_onto = points.mean(axis=0), onto.mean(axis=0)
    centred = points - mean
    _check_moves(float((centred**2).sum()))
    left, singular, right = np.linalg.svd((onto - mean_onto).T @ centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * signs) @ right
    scale = float((singular * signs).sum() / (centred**2).sum())
    return Similarity(scale, rotation, mean_onto - scale * rotation @ mean)


def _check_moves(squares: float) -> None:
    if squares == 0:
        raise DataError("the predicted trajectory stands still, so that no scale fits it; align by 'none'")
