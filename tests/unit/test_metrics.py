"""Each measure against a plain loop over pixels, written from the published definition."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.errors import DataError
from mtdrive.metrics import (
    BENCHMARK,
    DEPTH_ERRORS,
    EIGEN,
    PROTOCOLS,
    DepthProtocol,
    Scaling,
    depth_errors,
    depth_metrics,
    flip_average,
    garg_bounds,
    pearson,
    resize_bilinear,
    score_depth_map,
    score_image,
)

GOLDEN = Path(__file__).parents[1] / "golden"
SCALINGS: tuple[Scaling, ...] = ("median", "none", "stereo")


def image(seed: int, height: int, width: int, low: float, high: float) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, (height, width))


def sparse_truth(seed: int, height: int, width: int) -> np.ndarray:
    """Depth up to 120 m, so beyond the cap too, unknown in a third of the pixels in both spellings."""
    depth = image(seed, height, width, 0.5, 120)
    unknown = image(seed + 1, height, width, 0, 1)
    depth[unknown < 1 / 3] = 0
    depth[unknown < 1 / 6] = np.nan
    return depth


def bilinear_oracle(source: np.ndarray, height: int, width: int) -> np.ndarray:
    h, w = source.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            v, u = (y + 0.5) * h / height - 0.5, (x + 0.5) * w / width - 0.5
            y0, x0 = math.floor(v), math.floor(u)
            for yy, wy in ((y0, y0 + 1 - v), (y0 + 1, v - y0)):
                for xx, wx in ((x0, x0 + 1 - u), (x0 + 1, u - x0)):
                    out[y, x] += wy * wx * source[min(max(yy, 0), h - 1), min(max(xx, 0), w - 1)]
    return out


def middle(values: list[float]) -> float:
    values, half = sorted(values), len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def evaluated(truth: np.ndarray, crop: bool, cap: bool) -> list[tuple[int, int]]:
    h, w = truth.shape
    rows, columns = range(h), range(w)
    if crop:
        rows = range(int(0.40810811 * h), int(0.99189189 * h))
        columns = range(int(0.03594771 * w), int(0.96405229 * w))
    inside = [(y, x) for y in rows for x in columns if truth[y, x] > 0]
    return [(y, x) for y, x in inside if 1e-3 < truth[y, x] < 80] if cap else inside


def score_oracle(
    disparity: np.ndarray, truth: np.ndarray, crop: bool, cap: bool, scaling: Scaling
) -> dict[str, float]:
    """Return the errors as Eigen et al. (NIPS 2014) define them, a pixel at a time."""
    resized = bilinear_oracle(disparity, *truth.shape)
    where = evaluated(truth, crop, cap)
    z, d = [float(truth[at]) for at in where], [1 / float(resized[at]) for at in where]
    ratio = {"median": middle(z) / middle(d), "none": 1.0, "stereo": 5.4}[scaling]
    pairs = [(min(max(x * ratio, 1e-3), 80.0), y) for x, y in zip(d, z, strict=True)]
    n, worst = len(pairs), [max(x / y, y / x) for x, y in pairs]
    errors = {
        "abs_rel": sum(abs(x - y) / y for x, y in pairs) / n,
        "sq_rel": sum((x - y) ** 2 / y for x, y in pairs) / n,
        "rmse": math.sqrt(sum((x - y) ** 2 for x, y in pairs) / n),
        "rmse_log": math.sqrt(sum((math.log(x) - math.log(y)) ** 2 for x, y in pairs) / n),
        **{f"a{i}": sum(x < 1.25**i for x in worst) / n for i in (1, 2, 3)},
    }
    return {**errors, "ratio": ratio} if scaling == "median" else errors


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_errors_are_the_published_ones(protocol: DepthProtocol, scaling: Scaling) -> None:
    disparity, truth = image(0, 6, 20, 0.004, 0.5), sparse_truth(1, 15, 49)
    expected = score_oracle(disparity, truth, protocol.crop, protocol.cap_truth, scaling)
    assert score_image(disparity, truth, protocol, scaling) == pytest.approx(expected, rel=1e-12)


def test_protocols_are_the_published_ones() -> None:
    for protocol in (EIGEN, BENCHMARK):
        assert (protocol.min_depth, protocol.max_depth) == (1e-3, 80.0)
    assert (EIGEN.crop, EIGEN.cap_truth) == (True, True)
    assert (BENCHMARK.crop, BENCHMARK.cap_truth) == (False, False)


@pytest.mark.parametrize(
    ("size", "bounds"),
    [
        ((375, 1242), (153, 371, 44, 1197)),
        ((370, 1224), (151, 366, 43, 1180)),
        ((370, 1226), (151, 366, 44, 1181)),
        ((376, 1241), (153, 372, 44, 1196)),
        ((374, 1238), (152, 370, 44, 1193)),
    ],
)
def test_crop_of_every_kitti_size(size: tuple[int, int], bounds: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = bounds
    expected = np.zeros(size, dtype=bool)
    expected[top:bottom, left:right] = True
    assert garg_bounds(*size) == bounds
    assert np.array_equal(EIGEN.mask(np.ones(size)), expected)


def test_range_of_the_ground_truth_is_open() -> None:
    truth = np.array([[0, 1e-3, 2e-3, 79.9, 80, 300, np.nan, -1]])
    capped = DepthProtocol(name="no crop", crop=False, cap_truth=True)
    assert capped.mask(truth).tolist() == [[False, False, True, True, False, False, False, False]]
    assert BENCHMARK.mask(truth).tolist() == [[False, True, True, True, True, True, False, False]]


def test_predictions_are_clamped_after_scaling() -> None:
    truth = np.array([[10.0, 10.0, 100.0]])
    errors = score_depth_map(np.array([[1.0, 1.0, 20.0]]), truth, BENCHMARK, "median")
    assert errors["ratio"] == 10
    assert errors["rmse"] == pytest.approx(math.sqrt(20**2 / 3))


@pytest.mark.parametrize("source", [(6, 20), (1, 1), (15, 49), (40, 100), (30, 98), (1, 60)])
def test_resize_is_the_plain_loop_and_torch(source: tuple[int, int]) -> None:
    small = image(3, *source, 0.01, 1)
    resized = resize_bilinear(small, 15, 49)
    torchs = torch.nn.functional.interpolate(torch.tensor(small)[None, None], (15, 49), mode="bilinear")
    np.testing.assert_allclose(resized, bilinear_oracle(small, 15, 49), rtol=1e-12)
    np.testing.assert_allclose(resized, torchs[0, 0].numpy(), rtol=1e-12)


def test_resize_is_opencvs() -> None:
    golden = json.loads((GOLDEN / "opencv_resize.json").read_text())
    for case in golden["cases"]:
        expected = np.array(case["resized"])
        resized = resize_bilinear(np.array(case["image"]), *expected.shape)
        np.testing.assert_allclose(resized, expected, rtol=1e-6)


def test_golden_numbers_stay() -> None:
    golden = json.loads((GOLDEN / "depth_scores.json").read_text())
    disparity, truth = image(4, 12, 40, 0.01, 0.4).astype(np.float32), sparse_truth(5, 37, 124)
    found = {
        f"{protocol.name} {scaling}": score_image(disparity, truth, protocol, scaling)
        for protocol in (EIGEN, BENCHMARK)
        for scaling in SCALINGS
    }
    assert found.keys() == golden.keys()
    for name, scores in found.items():
        assert scores == pytest.approx(golden[name], rel=1e-9), name


relaxed = settings(deadline=None)  # a busy machine is no failure
seeds = st.integers(0, 2**16)
factors = st.floats(0.05, 20)


@relaxed
@given(seeds, factors)
def test_perfect_up_to_scale_is_perfect_under_the_median(seed: int, factor: float) -> None:
    truth = image(seed, 8, 20, 1, 79)
    errors = score_image(factor / truth, truth, EIGEN, "median")
    assert errors["ratio"] == pytest.approx(factor)
    assert all(errors[name] < 1e-10 for name in ("abs_rel", "sq_rel", "rmse", "rmse_log"))
    assert errors["a1"] == errors["a2"] == errors["a3"] == 1


@relaxed
@given(seeds, factors)
def test_relative_errors_do_not_depend_on_the_unit(seed: int, factor: float) -> None:
    depth, truth = image(seed, 1, 30, 1, 50)[0], image(seed + 1, 1, 30, 1, 50)[0]
    errors, scaled = depth_errors(depth, truth), depth_errors(factor * depth, factor * truth)
    for name in ("abs_rel", "rmse_log"):
        assert scaled[name] == pytest.approx(errors[name])
    for name in ("sq_rel", "rmse"):
        assert scaled[name] == pytest.approx(factor * errors[name])


@relaxed
@given(seeds)
def test_wider_thresholds_accept_more(seed: int) -> None:
    errors = depth_errors(image(seed, 1, 30, 1, 9)[0], image(seed + 1, 1, 30, 1, 9)[0])
    assert 0 <= errors["a1"] <= errors["a2"] <= errors["a3"] <= 1


@relaxed
@given(seeds)
def test_what_is_outside_the_mask_does_not_count(seed: int) -> None:
    depth, truth = image(seed, 15, 49, 1, 60), sparse_truth(seed, 15, 49)
    spoilt = np.where(EIGEN.mask(truth), depth, np.nan)
    assert score_depth_map(spoilt, truth, EIGEN, "median") == score_depth_map(depth, truth, EIGEN, "median")


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_batches_score_as_images(protocol: DepthProtocol, scaling: Scaling) -> None:
    depth = np.stack([image(i, 15, 49, 0.5, 60) for i in range(3)])
    truth = np.stack([sparse_truth(10 + i, 15, 49) for i in range(3)])
    found = depth_metrics(torch.tensor(depth), torch.tensor(truth), protocol, scaling)
    for i in range(3):
        expected = score_depth_map(depth[i], truth[i], protocol, scaling)
        assert {name: x[i].item() for name, x in found.items()} == pytest.approx(expected, rel=1e-12)


def test_items_without_labels_are_nan_and_leave_the_others() -> None:
    depth, truth = torch.full((2, 15, 49), 3.0), torch.full((2, 15, 49), 3.0)
    truth[0] = torch.nan
    depth[1, 0, 0] = torch.inf
    for scaling in SCALINGS:
        found = depth_metrics(depth, truth, EIGEN, scaling)
        assert all(x.shape == (2,) and x[0].isnan() and x[1].isfinite() for x in found.values())
    assert set(depth_metrics(depth, truth)) == {*DEPTH_ERRORS, "ratio"}


def test_logging_leaves_no_graph() -> None:
    depth = torch.full((1, 15, 49), 3.0, requires_grad=True)
    assert not any(x.requires_grad for x in depth_metrics(depth, torch.ones(1, 15, 49)).values())


def test_unusable_images_are_refused() -> None:
    ones = np.ones((15, 49))
    for truth in (0 * ones, np.nan * ones, 90 * ones):
        with pytest.raises(DataError, match="no pixel of the ground truth"):
            score_image(ones, truth, EIGEN, "median")
    with pytest.raises(DataError, match="735 pixels of the ground truth are infinite"):
        score_image(ones, np.inf * ones, BENCHMARK, "median")


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, -np.inf, 1e-310])
@pytest.mark.parametrize("size", [(15, 49), (5, 7)])
def test_disparity_without_a_depth_is_refused_where_evaluated(bad: float, size: tuple[int, int]) -> None:
    disparity = np.ones(size)
    disparity[-3:, 3] = bad
    with pytest.raises(DataError, match="of the 368 evaluated pixels have no prediction"):
        score_image(disparity, np.ones((15, 49)), EIGEN, "median")
    disparity = np.ones((15, 49))
    disparity[0, :] = bad
    assert score_image(disparity, np.ones((15, 49)), EIGEN, "median")["abs_rel"] == 0


@relaxed
@given(seeds, st.integers(1, 60))
def test_flip_average_keeps_equal_predictions(seed: int, width: int) -> None:
    disparity = image(seed, 3, width, 0.01, 1)
    np.testing.assert_allclose(flip_average(disparity, disparity), disparity, rtol=1e-12)


@relaxed
@given(seeds)
def test_flip_average_is_the_published_blend(seed: int) -> None:
    one, two, w = image(seed, 2, 41, 0.01, 1), image(seed + 1, 2, 41, 0.01, 1), 41
    for x in range(w):
        left = 1 - min(max(20 * (x / (w - 1) - 0.05), 0), 1)
        right = 1 - min(max(20 * ((w - 1 - x) / (w - 1) - 0.05), 0), 1)
        expected = right * one[:, x] + left * two[:, x] + (1 - left - right) * (one[:, x] + two[:, x]) / 2
        np.testing.assert_allclose(flip_average(one, two)[:, x], expected, rtol=1e-12)
    np.testing.assert_array_equal(flip_average(one, two)[:, 0], two[:, 0])
    np.testing.assert_array_equal(flip_average(one, two)[:, -1], one[:, -1])


@relaxed
@given(seeds, st.floats(-3, 3), st.floats(-5, 5))
def test_correlation_is_numpys_and_follows_the_sign(seed: int, slope: float, offset: float) -> None:
    x, y = torch.tensor(image(seed, 3, 12, -1, 1)), torch.tensor(image(seed + 1, 3, 12, -1, 1))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    torch.testing.assert_close(pearson(x, y), torch.tensor(expected, dtype=torch.float64))
    if abs(slope) > 1e-3:
        torch.testing.assert_close(pearson(x, slope * x + offset), torch.full((3,), slope).sign().double())


def test_correlation_leaves_unknown_entries_out_and_may_be_undefined() -> None:
    x = torch.tensor(
        [[1.0, 2.0, torch.nan, 4.0], [0.1, 0.1, 0.1, 0.1], [1.0, torch.nan, torch.nan, torch.nan]]
    )
    y = torch.tensor([[1.0, 2.0, 9.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    found = pearson(x.reshape(3, 2, 2), y.reshape(3, 2, 2))
    torch.testing.assert_close(found, torch.tensor([1.0, torch.nan, torch.nan]).double(), equal_nan=True)
