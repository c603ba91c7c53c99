from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mtdrive.errors import DataError
from mtdrive.trajectory import Alignment, Similarity, chain, fit, read_poses, relative, umeyama, write_poses
from tests.trajectories import drive, jittered


def test_written_poses_are_read_back(tmp_path: Path) -> None:
    poses = drive(30)
    write_poses(tmp_path / "poses.txt", poses)
    lines = (tmp_path / "poses.txt").read_text().splitlines()
    assert {len(line.split()) for line in lines} == {12}
    assert [float(x) for x in lines[4].split()] == pytest.approx(poses[4, :3].ravel(), abs=1e-7)
    (tmp_path / "poses.txt").write_text("\n".join([*lines, "", "  ", ""]))
    np.testing.assert_allclose(read_poses(tmp_path / "poses.txt"), poses, atol=1e-7)


GOOD = "1 0 0 0 0 1 0 0 0 0 1 0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{GOOD}\n1 0 0 0 0 1 0 0 0 0 1\n", r"poses\.txt:2: expected 12 finite numbers, found '1 0 0"),
        (f"{GOOD}\n{GOOD}\n1 0 0 nan 0 1 0 0 0 0 1 0\n", r"poses\.txt:3: expected 12 finite numbers"),
        ("1 0 0 x 0 1 0 0 0 0 1 0\n", r"poses\.txt:1: expected 12 numbers \(.*'x'"),
        (f"{GOOD}\n\n{GOOD}\n", r"poses\.txt:2: expected 12 finite numbers, found ''"),
        (f"{GOOD}\n2 0 0 0 0 2 0 0 0 0 2 0\n", r"poses\.txt:2: expected a rotation .* scaling t alone"),
        ("-1 0 0 0 0 1 0 0 0 0 1 0\n", r"poses\.txt:1: expected a rotation .* det R = -1"),
        ("\n", r"poses\.txt: holds no pose"),
        ("\u00e9", r"poses\.txt: the poses cannot be read"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "poses.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_poses(path)
    assert "\n" not in str(caught.value)


def test_rotations_in_single_precision_or_few_decimals_are_accepted(tmp_path: Path) -> None:
    poses = drive(20)
    np.savetxt(tmp_path / "rough.txt", poses[:, :3].reshape(-1, 12), fmt="%.3f")
    np.testing.assert_allclose(read_poses(tmp_path / "rough.txt"), poses, atol=6e-4)


def test_chained_motions_are_the_trajectory_seen_from_its_first_pose() -> None:
    poses = drive(40)
    motions = relative(poses[1:], poses[:-1])
    np.testing.assert_allclose(chain(motions), np.linalg.inv(poses[0]) @ poses, atol=1e-9)


def similarity(seed: int) -> Similarity:
    random = np.random.default_rng(seed)
    rotation = Rotation.from_quat(random.normal(size=4)).as_matrix()
    return Similarity(float(random.uniform(0.01, 50)), rotation, random.normal(0, 100, 3))


@given(seed=st.integers(0, 10_000))
def test_alignment_undoes_any_similarity_of_the_true_trajectory(seed: int) -> None:
    truth = drive(25, seed)
    moved = similarity(seed).move(truth)
    for align in ("similarity", "scale"):
        found = fit(moved, truth, align)
        assert found.scale == pytest.approx(1 / similarity(seed).scale, rel=1e-6)
        np.testing.assert_allclose(found.move(moved), truth, atol=1e-6)


@pytest.mark.parametrize("align", ["scale", "similarity"])
def test_no_scale_near_the_fitted_one_fits_better(align: Alignment) -> None:
    truth = drive(60)
    pred = jittered(truth, 2.0)
    found = fit(pred, truth, align)

    def squares(scale: float) -> float:
        centre = truth[0, :3, 3] if align == "scale" else truth[:, :3, 3].mean(axis=0)
        points = found.move(pred)[:, :3, 3]
        return float(((centre + scale * (points - centre) - truth[:, :3, 3]) ** 2).sum())

    assert squares(1) < min(squares(0.999), squares(1.001))


def test_no_turn_near_the_fitted_one_fits_better() -> None:
    truth = drive(60)[:, :3, 3]
    points = jittered(drive(60), 2.0)[:, :3, 3] @ similarity(3).rotation
    found = umeyama(points, truth)
    centred = points - points.mean(axis=0)
    wanted = truth - truth.mean(axis=0)

    def squares(rotation: np.ndarray) -> float:
        return float(((found.scale * centred @ rotation.T - wanted) ** 2).sum())

    best = squares(found.rotation)
    for axis in np.vstack([np.eye(3), -np.eye(3)]):
        assert best < squares(Rotation.from_rotvec(1e-3 * axis).as_matrix() @ found.rotation)


def test_mirrored_points_are_not_mirrored_back() -> None:
    points = drive(30)[:, :3, 3]
    rotation = umeyama(points * [1, 1, -1], points).rotation
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_without_alignment_only_the_first_poses_meet() -> None:
    truth, pred = drive(20), similarity(1).move(drive(20))
    moved = fit(pred, truth, "none").move(pred)
    np.testing.assert_allclose(moved[0], truth[0], atol=1e-9)
    np.testing.assert_allclose(relative(moved[:-1], moved[1:]), relative(pred[:-1], pred[1:]), atol=1e-9)


@pytest.mark.parametrize("align", ["scale", "similarity"])
def test_a_prediction_that_stands_still_cannot_be_scaled(align: Alignment) -> None:
    still = np.tile(np.eye(4), (6, 1, 1))
    with pytest.raises(DataError, match="stands still"):
        fit(still, drive(6), align)
