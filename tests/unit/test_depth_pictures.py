"""Pictures of depth: steady colours, and layouts that videos can hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mtdrive.depth_pictures import LARGEST, MEMORY, SteadySpan, paint, side_by_side


def test_the_colours_of_a_video_do_not_follow_one_odd_frame() -> None:
    span = SteadySpan()
    usual = torch.linspace(1, 2, 101).expand(4, 101)
    for _ in range(200):
        before = span(usual)
    assert before == pytest.approx((1.05, 1.95))
    low, high = span(10 * usual)
    assert low - before[0] == pytest.approx(9 * 1.05 / MEMORY, rel=1e-3)
    assert high - before[1] == pytest.approx(9 * 1.95 / MEMORY, rel=1e-3)


def test_the_colours_of_the_first_frame_are_its_own() -> None:
    assert SteadySpan()(torch.linspace(3, 5, 101).expand(4, 101)) == pytest.approx((3.1, 4.9))


def test_near_is_bright_at_the_size_of_the_input() -> None:
    disparity = torch.linspace(0, 1, 8).expand(4, 8)
    picture = np.asarray(paint(disparity, (0.0, 1.0), (30, 50))).astype(int).sum(-1)
    assert picture.shape == (30, 50)
    assert (np.diff(picture[15, 3:-3]) > 0).all()
    assert picture[0, 0] < 30


@pytest.mark.parametrize(
    ("size", "expected"),
    [((96, 64), (96, 128)), ((64, 96), (128, 96)), ((3000, 4000), (2 * LARGEST * 3 // 4, LARGEST))],
)
def test_wide_pictures_lie_above_each_other_and_upright_ones_stand_side_by_side(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    both = side_by_side(Image.new("RGB", (size[1], size[0]), "white"), torch.rand(8, 8), (0.0, 1.0))
    assert (both.height, both.width) == expected
    assert both.getpixel((0, 0)) == (255, 255, 255)
    assert both.getpixel((both.width - 1, both.height - 1)) != (255, 255, 255)
