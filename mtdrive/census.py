"""The census distance: how differently two images order the brightness around a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from einops import pack, unpack
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from mtdrive.errors import ConfigError
from mtdrive.geometry import upcast

LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue, by ITU-R BT.601."""
SOFTNESS, TOLERANCE = 0.81, 0.1
"""The published constants, for greys from 0 to 255: what a difference of brightness and a difference between
two of them must exceed to count."""


def census_distance(
    prediction: Float[Tensor, "*n b 3 h w"], target: Float[Tensor, "b 3 h w"], window: int = 7
) -> Float[Tensor, "*n b i j"]:
    """Return the distance, in [0, 1), of each pixel whose window lies in the image: i = h - window + 1.

    Brightness and contrast hardly change it. The mean over the neighbours of the soft Hamming distance of
    Simon Meister, Junhwa Hur and Stefan Roth, "UnFlow: Unsupervised Learning of Optical Flow with a
    Bidirectional Census Loss", AAAI 2018, https://arxiv.org/abs/1711.07837. The target has no gradient.

    Raises:
        ConfigError: if the window is even, or larger than the image.
    """
    if window < 3 or window % 2 == 0 or window > min(target.shape[-2:]):
        raise ConfigError(
            f"the census window is an odd number from 3 to the size of the image, "
            f"{target.shape[-2]}x{target.shape[-1]}; found {window}"
        )
    predicted, leading = pack([_grey(prediction)], "* b h w")
    distance = _Census.apply(predicted, _grey(target), window)
    return unpack(distance, leading, "* b i j")[0]  # type: ignore[no-any-return]


def _grey(image: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b h w"]:
    """Return brightness from 0 to 255."""
    red, green, blue = upcast(image).unbind(-3)
    return 255 * (LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue)


def _pairs(window: int) -> Iterator[tuple[int, int]]:
    """Yield half of the offsets (down, right) in a window: the others are the same pairs of pixels."""
    reach = window // 2
    for down in range(reach + 1):
        for right in range(-reach, reach + 1):
            if (down, right) > (0, 0):
                yield down, right


def _ends(x: Tensor, down: int, right: int) -> tuple[Tensor, Tensor]:
    """Return the first and the second pixel of all pairs that are so far apart, as views."""
    height, width = x.shape[-2:]
    rows = slice(0, height - down), slice(down, height)
    columns = slice(max(-right, 0), width - max(right, 0)), slice(max(right, 0), width - max(-right, 0))
    return x[..., rows[0], columns[0]], x[..., rows[1], columns[1]]


def _step(x: Tensor, down: int, right: int) -> tuple[Tensor, Tensor]:
    """Return the soft sign of how much brighter the second pixel is, and 1 / the softened difference."""
    first, second = _ends(x, down, right)
    difference = second - first
    inverse = (difference.square() + SOFTNESS).rsqrt()
    return difference * inverse, inverse


class _Census(torch.autograd.Function):
    """The gradient by hand: it recomputes the pairs, of which there are dozens, rather than keep them."""

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor, window: int) -> Tensor:
        ctx.save_for_backward(prediction, target)
        ctx.window = window
        total = torch.zeros_like(prediction)
        for offset in _pairs(window):
            square = (_step(prediction, *offset)[0] - _step(target, *offset)[0]).square()
            distance = square / (TOLERANCE + square)
            for end in _ends(total, *offset):
                end += distance
        reach = window // 2
        return total[..., reach:-reach, reach:-reach] / (window**2 - 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        prediction, target = ctx.saved_tensors
        reach = ctx.window // 2
        wanted = torch.zeros_like(prediction)
        wanted[..., reach:-reach, reach:-reach] = gradient / (ctx.window**2 - 1)
        result = torch.zeros_like(prediction)
        for offset in _pairs(ctx.window):
            sign, inverse = _step(prediction, *offset)
            apart = sign - _step(target, *offset)[0]
            slope = 2 * TOLERANCE * apart / (TOLERANCE + apart.square()).square()
            first, second = _ends(wanted, *offset)
            slope *= (first + second) * SOFTNESS * inverse * inverse * inverse
            first, second = _ends(result, *offset)
            first -= slope
            second += slope
        return result, None, None
