"""The score of a constant prediction on KITTI's projected LiDAR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtdrive.metrics import BENCHMARK, EIGEN
from mtdrive.score import score_depth

DEPTH = "raw/2011_09_26/2011_09_26_drive_0060_sync/proj_depth/single_scan/image_02"

pytestmark = pytest.mark.real


def test_constant_prediction_on_a_drive(kitti: Path, tmp_path: Path) -> None:
    truth = kitti / DEPTH
    count = len(list(truth.glob("*.png")))
    np.save(tmp_path / "constant.npy", np.full((count, 2, 2), 0.1))
    score = score_depth(tmp_path / "constant.npy", truth, EIGEN, "median")
    summary = score.summary()
    assert summary["images"] == count
    assert summary["abs_rel"] == pytest.approx(0.346, abs=0.01)  # an independent evaluation gave 0.345
    assert 0.3 < summary["a1"] < summary["a2"] < summary["a3"] < 1


def test_the_ground_truth_is_its_own_perfect_prediction(kitti: Path) -> None:
    truth = kitti / DEPTH
    summary = score_depth(truth, truth, BENCHMARK, "none").summary()
    assert summary["abs_rel"] < 0.01  # not 0, since predictions alone are capped at 80 m
    assert summary["a1"] > 0.99
