"""Scoring of saved predictions: every format, the matching, and what bad input is told."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mtdrive.depth_maps import open_maps
from mtdrive.errors import DataError
from mtdrive.metrics import BENCHMARK, DEPTH_ERRORS, EIGEN, DepthProtocol, Scaling, score_image
from mtdrive.score import DepthScore, score_depth
from tests.map_files import Images, ragged_npy, ragged_npz, stack_npy, stack_npz

SIZES = ((20, 40), (18, 44), (20, 40))
STEMS = ("8", "9", "10")


def disparities() -> Images:
    return [np.random.default_rng(i).uniform(0.02, 0.5, (6, 12)).astype(np.float32) for i in range(3)]


def truths() -> Images:
    """Return depth of several sizes in steps of 1/256 m, so that a PNG holds it exactly."""
    rngs = [np.random.default_rng(10 + i) for i in range(3)]
    steps = [rng.integers(256, 100 * 256, size) for rng, size in zip(rngs, SIZES, strict=True)]
    known = [rng.uniform(size=size) < 0.5 for rng, size in zip(rngs, SIZES, strict=True)]
    return [(x * k / 256).astype(np.float32) for x, k in zip(steps, known, strict=True)]


def npy_folder(path: Path, images: Images, stems: Sequence[str] = STEMS) -> Path:
    path.mkdir()
    for stem, image in zip(stems, images, strict=True):
        np.save(path / f"{stem}.npy", image)
    return path


def png_folder(path: Path, images: Images, stems: Sequence[str] = STEMS) -> Path:
    path.mkdir()
    for stem, image in zip(stems, images, strict=True):
        Image.fromarray((image * 256).astype(np.uint16)).save(path / f"{stem}.png")
    return path


def expected(protocol: DepthProtocol = EIGEN, scaling: Scaling = "median") -> list[dict[str, float]]:
    return [
        score_image(d.astype(np.float64), t.astype(np.float64), protocol, scaling)
        for d, t in zip(disparities(), truths(), strict=True)
    ]


@pytest.mark.parametrize("write_truth", [npy_folder, png_folder, ragged_npz, ragged_npy])
@pytest.mark.parametrize("write_pred", [npy_folder, ragged_npz, stack_npz, stack_npy])
def test_every_format_gives_the_same_score(
    tmp_path: Path, write_pred: Callable[..., Path], write_truth: Callable[..., Path]
) -> None:
    pred, truth = write_pred(tmp_path / "pred", disparities()), write_truth(tmp_path / "truth", truths())
    for protocol, scaling in ((EIGEN, "median"), (BENCHMARK, "none"), (EIGEN, "stereo")):
        score = score_depth(pred, truth, protocol, scaling)  # type: ignore[arg-type]
        assert list(score.rows) == expected(protocol, scaling)  # type: ignore[arg-type]


def test_truth_as_a_plain_stack(tmp_path: Path) -> None:
    depth = [truths()[0], truths()[2]]
    score = score_depth(
        stack_npy(tmp_path / "pred", disparities()[::2]),
        stack_npz(tmp_path / "truth", depth),
        EIGEN,
        "median",
    )
    assert list(score.rows) == expected()[::2]
    assert score.names == ("pred.npy[0]", "pred.npy[1]")


def test_unknown_truth_may_be_nan_or_zero(tmp_path: Path) -> None:
    nans = [np.where(t == 0, np.nan, t) for t in truths()]
    score = score_depth(
        npy_folder(tmp_path / "pred", disparities()), npy_folder(tmp_path / "truth", nans), EIGEN, "median"
    )
    assert list(score.rows) == expected()


def test_kitti_pngs_hold_depth(tmp_path: Path) -> None:
    depth = [np.maximum(t, 1) for t in truths()]
    truth = png_folder(tmp_path / "truth", truths())
    score = score_depth(png_folder(tmp_path / "pred", depth), truth, BENCHMARK, "none")
    clipped = [np.minimum(t[t > 0], 80) - t[t > 0] for t in truths()]
    assert [row["rmse"] for row in score.rows] == pytest.approx([np.sqrt(np.mean(c**2)) for c in clipped])
    assert score_depth(truth.parent / "pred", truth, EIGEN, "none").summary()["abs_rel"] == 0


def test_stacks_follow_the_numbers_in_file_names(tmp_path: Path) -> None:
    truth = png_folder(tmp_path / "truth", truths())
    assert open_maps(truth).names == ("8", "9", "10")
    score = score_depth(stack_npy(tmp_path / "pred", disparities()), truth, EIGEN, "median")
    assert score.names == ("8", "9", "10")
    assert list(score.rows) == expected()


def test_summary_is_the_mean_over_images() -> None:
    rows = expected()
    summary = DepthScore(STEMS, tuple(rows)).summary()
    ratios = np.array([row["ratio"] for row in rows])
    assert list(summary) == [*DEPTH_ERRORS, "images", "ratio_median", "ratio_std"]
    assert summary["images"] == 3
    for name in DEPTH_ERRORS:
        assert summary[name] == pytest.approx(sum(row[name] for row in rows) / 3)
    assert summary["ratio_median"] == sorted(ratios)[1]
    centred = ratios / sorted(ratios)[1] - np.mean(ratios / sorted(ratios)[1])
    assert summary["ratio_std"] == pytest.approx(np.sqrt(np.mean(centred**2)))
    assert list(DepthScore(STEMS, tuple(expected(scaling="none"))).summary()) == [*DEPTH_ERRORS, "images"]


@given(st.permutations(range(3)))
def test_order_of_the_images_does_not_matter(order: list[int]) -> None:
    rows = expected()
    shuffled = DepthScore(STEMS, tuple(rows[i] for i in order)).summary()
    assert shuffled == pytest.approx(DepthScore(STEMS, tuple(rows)).summary(), rel=1e-12)


def test_table_of_images(tmp_path: Path) -> None:
    score = DepthScore(STEMS, tuple(expected()))
    path = tmp_path / "new" / "scores.csv"
    score.write_csv(path)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row.pop("image") for row in rows] == list(STEMS)
    assert [{name: float(x) for name, x in row.items()} for row in rows] == expected()
    assert os.listdir(path.parent) == ["scores.csv"]


def test_table_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="zip"):
        DepthScore(STEMS[:2], tuple(expected())).write_csv(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores.csv"]


def refused(pred: Path, truth: Path, match: str, protocol: DepthProtocol = EIGEN) -> None:
    with pytest.raises(DataError, match=match):
        score_depth(pred, truth, protocol, "median")


@pytest.fixture
def good_truth(tmp_path: Path) -> Path:
    return png_folder(tmp_path / "truth", truths())


@pytest.fixture
def good_pred(tmp_path: Path) -> Path:
    return npy_folder(tmp_path / "pred", disparities())


def test_other_files_do_not_matter(good_pred: Path, good_truth: Path) -> None:
    (good_pred / "README.txt").touch()
    assert list(score_depth(good_pred, good_truth, EIGEN, "median").rows) == expected()


def test_counts_differ(tmp_path: Path, good_truth: Path) -> None:
    pred = stack_npy(tmp_path / "pred", disparities()[:2])
    refused(pred, good_truth, r"pred\.npy has 2 images and .*truth 3; images matched by order")


def test_missing_counterparts(tmp_path: Path, good_pred: Path, good_truth: Path) -> None:
    (good_pred / "9.npy").unlink()
    refused(good_pred, good_truth, r"pred lacks 1 of the 3 images of .*truth: 9; both folders")
    refused(
        npy_folder(tmp_path / "more", [np.ones((2, 2))] * 8, [*STEMS, "1", "2", "3", "4", "5"]),
        good_truth,
        r"truth lacks 5 of the 8 images of .*more: 1, 2, 3, \.\.\.; both folders",
    )


@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf])
def test_disparity_without_a_depth(good_pred: Path, good_truth: Path, bad: float) -> None:
    disparity = disparities()[1].copy()
    disparity[3:, 3:6] = bad
    np.save(good_pred / "9.npy", disparity)
    refused(
        good_pred, good_truth, r"pred/9\.npy against .*truth/9\.png: [0-9]+ of the [0-9]+ evaluated pixels"
    )


def test_png_without_a_prediction_where_evaluated(tmp_path: Path, good_truth: Path) -> None:
    depth = [np.maximum(t, 1) for t in truths()]
    evaluated = np.argwhere(truths()[1] > 0)[:2]
    depth[1][tuple(evaluated.T)] = 0
    pred = png_folder(tmp_path / "pred", depth)
    refused(pred, good_truth, r"pred/9\.png against .*: 2 of the [0-9]+ evaluated pixels", BENCHMARK)


def test_png_of_another_size(tmp_path: Path, good_truth: Path) -> None:
    pred = png_folder(tmp_path / "pred", [np.ones((20, 40))] * 3)
    refused(pred, good_truth, r"pred/9\.png .*\(height, width\) is \(20, 40\), the ground truth's \(18, 44\)")


def test_image_without_ground_truth(tmp_path: Path, good_pred: Path) -> None:
    truth = npy_folder(tmp_path / "truth", [truths()[0], np.zeros((5, 5)), truths()[2]])
    refused(good_pred, truth, r"truth/9\.npy: no pixel of the ground truth is inside the mask .* 'eigen'")


def test_scoring_starts_without_torch() -> None:
    code = "import sys, mtdrive.metrics, mtdrive.score; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
