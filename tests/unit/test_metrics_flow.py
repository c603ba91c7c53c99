"""Flow errors against the definition, pixel by pixel."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.errors import DataError
from mtdrive.metrics_flow import flow_errors, flow_metrics, pooled, pooled_columns


def fields(seed: int, images: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Random predictions near random flow of all lengths, some of it unknown."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, (images, 2, 5, 7)) * 10 ** rng.uniform(-1, 2.3, (images, 1, 5, 7))
    flow = truth + rng.normal(0, 4, truth.shape)
    truth[:, :, rng.random((5, 7)) < 0.3] = np.nan
    return flow, truth


def plain(flow: np.ndarray, truth: np.ndarray) -> tuple[int, float, int]:
    """KITTI's definition: further than 3 pixels and 5 percent of the true flow."""
    pixels, distance, outliers = 0, 0.0, 0
    for (u, v), (x, y) in zip(flow.reshape(2, -1).T.tolist(), truth.reshape(2, -1).T.tolist(), strict=True):
        if not math.isnan(x):
            away, length = math.hypot(u - x, v - y), math.hypot(x, y)
            pixels, distance = pixels + 1, distance + away
            outliers += away > 3.0 and (length == 0 or away / length > 0.05)
    return pixels, distance, outliers


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_errors_are_those_of_the_definition(seed: int) -> None:
    flow, truth = fields(seed)
    found = flow_errors(flow[0], truth[0])
    pixels, distance, outliers = plain(flow[0], truth[0])
    assert (found.pixels, found.outliers) == (pixels, outliers)
    assert found.distance == pytest.approx(distance, rel=1e-12)
    if pixels:
        assert found.epe == pytest.approx(distance / pixels)
        assert found.fl == pytest.approx(100 * outliers / pixels)
        assert found.still == pytest.approx(flow_errors(0 * flow[0], truth[0]).epe)


def test_three_pixels_and_five_percent_are_no_outliers_and_both_must_be_exceeded() -> None:
    truth = np.array([[0.0, 0.0, 100.0, 100.0, 100.0, 40.0]])[None].repeat(2, 0)
    truth[1] = 0
    flow = truth.copy()
    flow[0, 0] += [3.0, 3.01, 4.9, 5.0, 5.01, 2.9]
    assert flow_errors(flow, truth).outliers == 2


@pytest.mark.parametrize("seed", range(3))
def test_batches_score_as_images_and_data_sets_by_pixel_not_by_image(seed: int) -> None:
    flow, truth = fields(seed, images=3)
    truth[1, :, :4] = np.nan
    truth[2] = np.nan
    images = [flow_errors(f, t) for f, t in zip(flow, truth, strict=True)]
    columns = flow_metrics(torch.tensor(flow), torch.tensor(truth))
    assert columns["pixels"].tolist() == [x.pixels for x in images]
    for i in range(2):
        assert columns["epe"][i].item() == pytest.approx(images[i].epe)
        assert columns["fl"][i].item() == pytest.approx(images[i].fl)
    assert columns["epe"][2].isnan()
    everything = plain(np.concatenate(list(flow), axis=1), np.concatenate(list(truth), axis=1))
    total = pooled(images)
    assert (total.pixels, total.outliers) == everything[::2]
    assert pooled_columns(columns) == pytest.approx({"epe": total.epe, "fl": total.fl})


def test_no_known_pixel_gives_nan_and_no_gradient_is_kept() -> None:
    nothing = torch.full((1, 2, 3, 3), torch.nan)
    flow = torch.zeros(1, 2, 3, 3, requires_grad=True)
    columns = flow_metrics(flow, nothing)
    assert not any(x.requires_grad for x in columns.values())
    assert math.isnan(pooled_columns(columns)["epe"])
    assert math.isnan(flow_errors(np.zeros((2, 3, 3)), nothing[0].numpy()).fl)


def test_pixels_without_a_prediction_and_other_sizes_are_refused() -> None:
    truth = np.zeros((2, 3, 4))
    truth[:, 0, 0] = np.nan
    flow = np.zeros((2, 3, 4))
    flow[0, :2, 0] = np.nan
    with pytest.raises(DataError, match="1 of the 11 evaluated pixels have no prediction"):
        flow_errors(flow, truth)
    with pytest.raises(DataError, match=r"is \(4, 3\), the ground truth's \(3, 4\)"):
        flow_errors(np.zeros((2, 4, 3)), truth)


def test_the_measures_import_without_torch() -> None:
    code = "import sys, mtdrive.metrics_flow; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
