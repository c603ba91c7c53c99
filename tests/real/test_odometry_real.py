"""Figures of KITTI's true trajectories under noise whose effect is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtdrive.odometry import SEGMENTS, odometry_errors, segment_errors, snippet_ate
from mtdrive.score_odometry import score_odometry
from mtdrive.trajectory import Alignment, read_poses
from tests.trajectories import jittered, plain_segment_errors, plain_snippet_ate

pytestmark = pytest.mark.real

NORM = np.sqrt(8 / np.pi)
"""Mean length of a vector of three standard normal numbers."""


@pytest.mark.parametrize("sequence", ["00", "03"])
@pytest.mark.parametrize("align", ["none", "scale", "similarity"])
def test_the_truth_is_its_own_perfect_prediction(kitti: Path, sequence: str, align: Alignment) -> None:
    path = kitti / "odometry" / "poses" / f"{sequence}.txt"
    found = score_odometry(path, path, align).summary()
    errors = {name: x for name, x in found.items() if name not in ("frames", "segments", "scale")}
    assert list(errors.values()) == pytest.approx([0] * len(errors), abs=1e-6)
    assert found["scale"] == pytest.approx(1)
    assert found["frames"] == {"00": 4541, "03": 801}[sequence]


def test_noise_on_a_real_drive_gives_the_figures_of_theory(kitti: Path) -> None:
    truth = read_poses(kitti / "odometry" / "poses" / "00.txt")
    found = odometry_errors(jittered(truth, 0.2), truth, "none")[0].figures()
    # both ends of a segment or step are noisy: the noise of a difference is the square root of 2 larger
    lengths = np.array([n for n in SEGMENTS for _ in range(_count(truth, n))])
    assert found["segments"] == len(lengths)
    assert found["t_err"] == pytest.approx(100 * np.mean(NORM * np.sqrt(2) * 0.2 / lengths), rel=0.03)
    assert found["r_err"] == pytest.approx(0, abs=1e-4)
    assert found["rpe_translation"] == pytest.approx(np.sqrt(6) * 0.2, rel=0.03)
    assert found["ate"] == pytest.approx(np.sqrt(3) * 0.2, rel=0.03)
    turned = odometry_errors(jittered(truth, 0.0, np.radians(0.5)), truth, "none")[0].figures()
    assert turned["r_err"] == pytest.approx(100 * np.mean(NORM * np.sqrt(2) * 0.5 / lengths), rel=0.03)
    assert turned["rpe_rotation"] == pytest.approx(np.sqrt(6) * 0.5, rel=0.03)


def _count(truth: np.ndarray, length: int) -> int:
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1))])
    return int(sum(way[-1] > start + length for start in way[::10]))


def test_errors_of_a_real_drive_are_those_of_the_plain_definitions(kitti: Path) -> None:
    truth = read_poses(kitti / "odometry" / "poses" / "03.txt")
    pred = jittered(truth, 0.1, 0.01)
    np.testing.assert_allclose(snippet_ate(pred, truth), plain_snippet_ate(pred, truth), rtol=1e-9)
    np.testing.assert_allclose(segment_errors(pred, truth), plain_segment_errors(pred, truth), rtol=1e-4)
