from __future__ import annotations

import colorsys
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from mtdrive.data.colour import Jitter, rotate_hue_

EDGES = torch.tensor(list(product([0.0, 1 / 255, 0.5, 254 / 255, 1.0], repeat=3)), dtype=torch.float64)
"""Black, white, greys, pure and nearly pure colours, and every tie of two channels."""


def turned_plainly(pixels: Tensor, circles: float) -> Tensor:
    """Turn the hue of (n, 3) pixels with the standard library."""
    rows = []
    for pixel in pixels.tolist():
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        rows.append(colorsys.hsv_to_rgb((h + circles) % 1, s, v))
    return torch.tensor(rows, dtype=torch.float64)


def turned(pixels: Tensor, circles: float) -> Tensor:
    images = pixels.T.reshape(1, 3, 1, -1).clone()
    rotate_hue_(images, circles)
    return images[0, :, 0].T


@pytest.mark.parametrize("circles", [-0.5, -0.3, -0.1, -1e-4, 0.0, 0.05, 0.1, 1 / 6, 1 / 3, 0.45, 0.5])
def test_hue_turns_as_in_the_standard_library(circles: float) -> None:
    colours = torch.cat([EDGES, torch.rand(500, 3, generator=torch.Generator().manual_seed(0)).double()])
    torch.testing.assert_close(turned(colours, circles), turned_plainly(colours, circles), atol=1e-12, rtol=0)


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=8), st.floats(-0.5, 0.5))
def test_hue_of_bytes_turns_as_in_torchvision(pixels: list[tuple[int, int, int]], circles: float) -> None:
    colours = torch.tensor(pixels).float() / 255
    expected = F.adjust_hue(colours.T.reshape(3, 1, -1), circles)[:, 0].T
    torch.testing.assert_close(turned(colours, circles), expected, atol=1e-5, rtol=0)


def test_grey_has_no_hue_to_turn() -> None:
    greys = torch.linspace(0, 1, 256)[:, None].expand(-1, 3)
    assert torch.equal(turned(greys, 0.1), greys)


@settings(deadline=None)
@given(
    factors=st.tuples(*[st.floats(0, 2)] * 3),
    hue=st.floats(-0.5, 0.5),
    order=st.permutations(range(4)),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_jitter_is_the_composition_of_torchvisions_steps(
    factors: tuple[float, float, float], hue: float, order: list[int], seed: int, dtype: torch.dtype
) -> None:
    images = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(seed)).to(dtype)
    images[0] = images[0].round()  # saturated and grey pixels
    expected = images
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    amounts = (*factors, hue)
    for step in order:
        expected = adjust[step](expected, amounts[step])
    Jitter(amounts, tuple(order)).apply_(images)
    assert 0 <= images.min() <= images.max() <= 1
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)
