"""Trajectories to test on, and plain versions of the published errors to compare with."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from mtdrive.trajectory import Poses


def drive(frames: int, seed: int = 0) -> Poses:
    """About a metre a frame along a road that winds and climbs, from somewhere in the world."""
    random = np.random.default_rng(seed)
    turns = np.cumsum(random.normal(0, 0.01, (frames, 3)), axis=0)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(turns).as_matrix()
    steps = random.uniform(0.5, 1.5, frames)[:, None] * poses[:, :3, 2]
    poses[:, :3, 3] = np.array([5.0, -2.0, 3.0]) + np.cumsum(steps, axis=0)
    return poses


def jittered(poses: Poses, metres: float, radians: float = 0.0, seed: int = 1) -> Poses:
    """Independent Gaussian noise on each coordinate and turn, except on the first pose."""
    random = np.random.default_rng(seed)
    noisy = poses.copy()
    noisy[1:, :3, 3] += random.normal(0, metres, (len(poses) - 1, 3))
    turns = Rotation.from_rotvec(random.normal(0, radians, (len(poses) - 1, 3))).as_matrix()
    noisy[1:, :3, :3] = noisy[1:, :3, :3] @ turns
    return noisy


def straight(frames: int, step: float = 1.0, yaw: float = 0.0) -> Poses:
    """A level road, `yaw` radians to the right a frame."""
    poses = [np.eye(4)]
    forward = np.eye(4)
    forward[:3, :3] = Rotation.from_euler("y", yaw).as_matrix()
    forward[2, 3] = step
    for _ in range(frames - 1):
        poses.append(poses[-1] @ forward)
    return np.array(poses)


def plain_snippet_ate(pred: Poses, truth: Poses) -> list[float]:
    """Monodepth2's published 5-frame error, a window at a time."""

    def points(poses: Poses, first: int) -> list[Float64[np.ndarray, " 3"]]:
        reached, found = np.eye(4), [np.zeros(3)]
        for k in range(first, min(first + 4, len(poses) - 1)):
            reached = reached @ np.linalg.solve(poses[k + 1], poses[k])
            found.append(reached[:3, 3])
        return found

    errors = []
    for first in range(len(truth) - 1):
        p, t = np.array(points(pred, first)), np.array(points(truth, first))
        scale = np.vdot(t, p) / np.vdot(p, p)
        errors.append(math.sqrt(np.sum((scale * p - t) ** 2)) / len(t))
    return errors


def plain_segment_errors(pred: Poses, truth: Poses) -> list[tuple[float, float]]:
    """KITTI's errors a metre, a segment at a time."""
    way = [0.0]
    for a, b in pairwise(truth):
        way.append(way[-1] + math.dist(a[:3, 3], b[:3, 3]))
    errors = []
    for first in range(0, len(truth), 10):
        for length in range(100, 801, 100):
            last = next((i for i in range(first, len(way)) if way[i] > way[first] + length), None)
            if last is not None:
                moved, wanted = (np.linalg.inv(x[first]) @ x[last] for x in (pred, truth))
                wrong = np.linalg.inv(moved) @ wanted
                angle = math.acos(max(-1.0, min(1.0, (np.trace(wrong[:3, :3]) - 1) / 2)))
                errors.append((math.hypot(*wrong[:3, 3]) / length, angle / length))
    return errors
