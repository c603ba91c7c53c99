from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mtdrive.odometry import angles, odometry_errors, pooled, segment_errors, snippet_ate
from mtdrive.trajectory import Alignment, Poses, Similarity
from tests.trajectories import drive, jittered, plain_segment_errors, plain_snippet_ate, straight


def figures(pred: Poses, truth: Poses, align: Alignment = "none") -> dict[str, float | None]:
    return odometry_errors(pred, truth, align)[0].figures()


@pytest.mark.parametrize("frames", [2, 4, 5, 6, 300])
def test_snippet_errors_are_those_of_the_published_evaluation(frames: int) -> None:
    truth = drive(frames)
    pred = jittered(truth, 0.2, 0.02)
    expected = plain_snippet_ate(pred, truth)
    np.testing.assert_allclose(snippet_ate(pred, truth), expected, rtol=1e-9)
    assert figures(pred, truth)["ate5_mean"] == pytest.approx(np.mean(expected))
    assert figures(pred, truth)["ate5_std"] == pytest.approx(np.std(expected))


def test_snippet_error_divides_the_root_by_the_number_of_points() -> None:
    sideways = straight(2)
    sideways[1, :3, 3] = [1, 0, 0]  # the best scale is 0, so all of the metre is missing
    assert snippet_ate(sideways, straight(2)) == pytest.approx([1 / 2])


def test_snippet_errors_of_a_car_that_stands_are_numbers() -> None:
    still = np.tile(np.eye(4), (6, 1, 1))
    assert snippet_ate(still, still) == pytest.approx(np.zeros(5))
    assert np.isfinite(snippet_ate(still, straight(6))).all()


def test_segment_errors_are_those_of_kittis_definition() -> None:
    truth = drive(1200)
    pred = jittered(truth, 0.5, 0.05)
    np.testing.assert_allclose(segment_errors(pred, truth), plain_segment_errors(pred, truth), rtol=1e-9)


def test_constant_scale_error_is_the_drift_in_percent() -> None:
    # 120 m hold two segments of 100 m, each ending at the first metre after them
    found = figures(straight(121, step=1.03), straight(121))
    assert found["t_err"] == pytest.approx(3 * 101 / 100)
    assert found["r_err"] == pytest.approx(0, abs=1e-9)
    assert found["segments"] == 2
    assert found["rpe_translation"] == pytest.approx(0.03)
    assert found["ate"] == pytest.approx(0.03 * np.sqrt(np.mean(np.arange(121.0) ** 2)))


def test_constant_turn_a_metre_is_the_rotational_drift_and_a_chord_the_translational() -> None:
    # Steps of 2 m: segments of L metres end at L + 2. Half a polygon's way sideways, as on a circle.
    yaw, frames = np.radians(0.05), 401
    found = figures(straight(frames, step=2.0, yaw=yaw), straight(frames, step=2.0))
    lengths = [n for s in range(0, frames, 10) for n in range(100, 801, 100) if s + n / 2 + 1 < frames]
    steps = np.array(lengths) / 2 + 1
    assert found["segments"] == len(lengths)
    assert found["r_err"] == pytest.approx(np.mean(100 * 0.05 * steps / lengths))
    ends = np.exp(1j * yaw * np.arange(frames))  # heading of each step; cumulated, the polygon
    polygon = 2 * np.concatenate([[0], np.cumsum(ends)])
    gaps = [abs(polygon[int(n)] - 2 * n) for n in steps]
    assert found["t_err"] == pytest.approx(np.mean(100 * np.array(gaps) / lengths))
    assert found["rpe_rotation"] == pytest.approx(0.05)


def test_relative_pose_errors_give_root_mean_square_and_mean() -> None:
    truth = straight(5)
    pred = truth.copy()
    pred[3:, 2, 3] += 0.2  # one step of four is 0.2 m too long
    pred[4, :3, :3] = Rotation.from_euler("x", 2, degrees=True).as_matrix()
    found = figures(pred, truth)
    assert found["rpe_translation"] == pytest.approx(np.sqrt(0.2**2 / 4))
    assert found["rpe_translation_mean"] == pytest.approx(0.2 / 4)
    assert found["rpe_rotation"] == pytest.approx(np.sqrt(2**2 / 4))
    assert found["rpe_rotation_mean"] == pytest.approx(2 / 4)


@pytest.mark.parametrize("align", ["scale", "similarity"])
def test_the_unknown_scale_of_video_costs_nothing_once_aligned(align: Alignment) -> None:
    truth = drive(400)
    turn = Rotation.from_euler("xyz", [0.3, -1.0, 2.0]).as_matrix()
    pred = Similarity(0.03, turn, np.array([7.0, 0.0, 1.0])).move(truth)
    errors, scale = odometry_errors(pred, truth, align)
    found = errors.figures()
    assert scale == pytest.approx(1 / 0.03)
    names = [name for name in found if name not in ("segments", "frames")]
    assert [found[name] for name in names] == pytest.approx([0] * len(names), abs=1e-5)


def test_a_path_too_short_for_any_segment_has_no_drift() -> None:
    found = figures(straight(101), straight(101))
    assert (found["t_err"], found["r_err"], found["segments"]) == (None, None, 0)
    assert found["ate5_mean"] == pytest.approx(0)
    assert figures(straight(102), straight(102))["segments"] == 1


def test_pooled_errors_count_each_error_once() -> None:
    long, short = drive(900, 1), drive(150, 2)
    first, second = (odometry_errors(jittered(x, 0.3), x, "none")[0] for x in (long, short))
    together = pooled([first, second]).figures()
    assert together["frames"] == 1050
    a, b = first.figures(), second.figures()
    assert a["t_err"] is not None
    assert b["t_err"] is not None
    counts = len(first.segments), len(second.segments)
    assert together["t_err"] == pytest.approx((a["t_err"] * counts[0] + b["t_err"] * counts[1]) / sum(counts))
    assert pooled([first, replace(second, segments=np.zeros((0, 2)))]).figures()["t_err"] == a["t_err"]


def test_small_angles_survive_the_seven_digits_of_kittis_files() -> None:
    expected = np.array([1e-5, 1e-4, 1e-3, 0.1, 3.0])
    matrices = Rotation.from_rotvec(expected[:, None] * [0.6, 0.0, 0.8]).as_matrix()
    np.testing.assert_allclose(angles(np.round(matrices, 7)), expected, atol=1e-7)
