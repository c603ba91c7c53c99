"""The census distance against the published formula, pixel by pixel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtdrive.census import census_distance
from mtdrive.errors import ConfigError


def images(seed: int, *leading: int, contrast: float = 0.02) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 0.4 + contrast * torch.rand(*leading, 3, 8, 9, generator=draw, dtype=torch.float64)


def transform(image: Tensor, window: int) -> Tensor:
    """UnFlow's ternary transform: soft signs of the differences to all neighbours, by a convolution."""
    grey = 255 * torch.einsum("bchw,c->bhw", image, torch.tensor([0.299, 0.587, 0.114]).double())[:, None]
    patches = functional.unfold(grey, window).unflatten(2, (8 - window + 1, 9 - window + 1))
    reach = window // 2
    difference = patches - grey[..., reach:-reach, reach:-reach]
    signs: Tensor = difference / (0.81 + difference.square()).sqrt()
    return signs


@pytest.mark.parametrize("window", [3, 5])
def test_it_is_the_published_formula_for_every_prediction(window: int) -> None:
    prediction, target = images(0, 2, 3), images(1, 3)
    found = census_distance(prediction, target, window)
    for i in range(2):
        square = (transform(prediction[i], window) - transform(target, window)).square()
        expected = (square / (0.1 + square)).sum(1) / (window**2 - 1)
        torch.testing.assert_close(found[i], expected)


def test_the_gradient_is_that_of_the_value() -> None:
    prediction, target = images(2, 1, 1).requires_grad_(), images(3, 1)
    assert torch.autograd.gradcheck(lambda x: census_distance(x, target, 5), prediction)


def test_brightness_does_not_matter_and_texture_does() -> None:
    target = images(4, 2, contrast=0.5)
    assert census_distance(target + 0.05, target).max() < 1e-9
    assert census_distance(0.9 * target, target, 5).mean() < 0.05
    assert census_distance(target.flip(0), target, 5).mean() > 0.25


@pytest.mark.parametrize("window", [1, 4, 9])
def test_windows_that_have_no_middle_or_do_not_fit_are_refused(window: int) -> None:
    with pytest.raises(ConfigError, match="odd number from 3 to the size of the image, 8x9"):
        census_distance(images(0, 1), images(1, 1), window)
