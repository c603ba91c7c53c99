from __future__ import annotations

import pytest
import torch

from mtdrive.compact import Compact
from mtdrive.errors import ConfigError


def test_levels_have_the_promised_channels_and_strides() -> None:
    encoder = Compact([4, 6, 8, 10, 12])
    levels = encoder(torch.rand(2, 3, 64, 96))
    assert [tuple(x.shape) for x in levels] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(encoder.channels, encoder.strides, strict=True)
    ]
    assert encoder.strides == [2, 4, 8, 16, 32]


def test_images_are_normalised() -> None:
    """The first convolution sees 0 where the image has the mean."""
    encoder = Compact().eval()
    seen: list[torch.Tensor] = []
    encoder.net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoder(torch.full((1, 3, 32, 32), 0.45))
    assert seen[0].abs().max() < 1e-6


def test_sizes_and_levels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="64x96 and 96x96 fit"):
        Compact().check_size(65, 96)
    with pytest.raises(ConfigError, match="two levels"):
        Compact([8])
