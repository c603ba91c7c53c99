"""The arithmetic of SSIM and absolute distance, for many predictions of one target.

What makes it fast on CPUs: sums over windows are shifts of one contiguous axis, an image is finished before
the next so that its temporaries stay in the cache, and the gradient by hand recomputes rather than keeps.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch
from einops import pack, unpack
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mtdrive.errors import ConfigError

AREA = 9  # of SSIM's 3x3 window
C1 = AREA**2 * 0.01**2  # SSIM's constants for colours in [0, 1] and sums in place of means
C2 = AREA**2 * 0.03**2


class Statistics(NamedTuple):
    """A target with what SSIM needs of it, so that many predictions of it share the work.

    `p` are the pixels of the padded image in one row, and window `m` is the 3x3 one whose first pixel is the
    m-th of that row. So windows at the right edge wrap around: they count for nothing, but a shift by a pixel
    or a row is a slice of one contiguous axis, which is what makes sums over windows cheap.
    """

    padded: Float[Tensor, "*b c p"]
    """Reflected by one pixel."""
    twice: Float[Tensor, "*b c m"]
    """Twice the sum over each window."""
    power: Float[Tensor, "*b c m"]
    """The square of the sum."""
    squares: Float[Tensor, "*b c m"]
    """The sum of squares."""


class Kernels(NamedTuple):
    """The arithmetic of an image between paddings, each of which reads its inputs once."""

    error: Callable[..., Tensor]
    slopes: Callable[..., list[Tensor]]
    gradient: Callable[..., Tensor]


@cache
def compiled_kernels() -> Kernels:
    """Return the kernels as torch.compile makes them at their first call.

    Raises:
        ConfigError: if there is no compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        raise ConfigError(
            f"compiling the photometric error needs a C++ compiler, but there is no {compiler!r}; "
            "install g++, name another in the variable CXX, or leave compiled out"
        )
    kernels: list[Any] = [torch.compile(kernel, dynamic=False) for kernel in EAGER]
    return Kernels(*kernels)


class PhotometricError(torch.autograd.Function):
    """The gradient by hand: it recomputes the windows, so that only the prediction is kept until then."""

    @staticmethod
    def forward(
        ctx: Any, prediction: Tensor, ssim_weight: float, kernels: Kernels, *target: Tensor
    ) -> Tensor:
        """Return the photometric error of predictions (*n b c h w) of one target (b c h w)."""
        ctx.save_for_backward(prediction, *target)
        ctx.ssim_weight, ctx.kernels = ssim_weight, kernels
        width = prediction.shape[-1]
        result = prediction.new_empty(prediction.shape[:-3] + prediction.shape[-2:])
        for block in _blocks(prediction):
            padded, near = reflect(prediction[block]), _of(target, block)
            error = kernels.error(padded, near, width + 2, ssim_weight)
            result[block] = functional.pad(error, (0, 2)).unflatten(-1, (-1, width + 2))[..., :width]
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """Return the slope of the prediction."""
        prediction, *target = ctx.saved_tensors
        row = prediction.shape[-1] + 2
        result = torch.empty_like(prediction)  # in the layout of the prediction, which spares a copy
        for block in _blocks(prediction):
            padded, near = reflect(prediction[block]), _of(target, block)
            of_error = functional.pad(slope[block], (0, 2)).flatten(-2)[..., None, :-2]
            slopes = ctx.kernels.slopes(of_error, padded, near, row, ctx.ssim_weight)
            around = [functional.pad(x, (2 * row + 2, 2 * row + 2)) for x in slopes]
            gradient = ctx.kernels.gradient(around, of_error, padded, near, row, ctx.ssim_weight)
            result[block] = _reflect_gradient(gradient.unflatten(-1, (-1, row)))
        return (result, *[None] * (2 + len(target)))


def _blocks(prediction: Float[Tensor, "*n c h w"]) -> Iterable[tuple[Any, ...]]:
    """Return what to compute at a time: on CPUs an image, whose temporaries fit into the cache."""
    if prediction.device.type != "cpu":
        return [(slice(None),) * (prediction.ndim - 3)]
    return product(*map(range, prediction.shape[:-3]))


def _of(target: Sequence[Tensor], block: tuple[Any, ...]) -> Statistics:
    return Statistics(*(x[block[-1]] for x in target))


def reflect(image: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b c p"]:
    """Pad by one pixel on each side as in a mirror, and put the pixels in one row."""
    flat, leading = pack([image], "* c h w")
    (padded,) = unpack(functional.pad(flat, (1, 1, 1, 1), mode="reflect"), leading, "* c h w")
    return padded.flatten(-2)


def box_sum(padded: Float[Tensor, "*b p"], row: int) -> Float[Tensor, "*b m"]:
    """Sum over 3x3 windows by shifted additions, which are cheaper than pooling.

    Of slopes of windows with zeros around, `2 * row + 2` on both sides, it gives the slopes of pixels.
    """
    columns = padded[..., : -2 * row] + padded[..., row:-row]
    columns += padded[..., 2 * row :]
    total = columns[..., :-2] + columns[..., 1:-1]
    total += columns[..., 2:]
    return total


def _factors(padded: Float[Tensor, "*b c p"], target: Statistics, row: int) -> list[Tensor]:
    """Return the sum over each window of the prediction, then a, b, c, d of SSIM = a b / (c d).

    With sums for means, numerator and denominator are `AREA**4` times those of the paper.
    """
    total = box_sum(padded, row)
    squares = box_sum(padded.square(), row).add_(target.squares)
    products = box_sum(padded * target.padded, row)
    a, c = total * target.twice, total.square().add_(target.power)
    b = torch.rsub(a, C2).add_(products, alpha=2 * AREA)
    d = torch.rsub(c, C2).add_(squares, alpha=AREA)
    return [total, a.add_(C1), b, c.add_(C1), d]


def _error(padded: Float[Tensor, "*b c p"], target: Statistics, row: int, weight: float) -> Tensor:
    """Return the photometric error of each window, (*b m)."""
    _, a, b, c, d = _factors(padded, target, row)
    ssim = a.mul_(b).div_(c.mul_(d)).clamp_(-1, 1)
    centre = slice(row + 1, -row - 1)
    distance = (padded[..., centre] - target.padded[..., centre]).abs_()
    error = torch.rsub(ssim, 1).mul_(weight / 2).add_(distance, alpha=1 - weight)
    return error.sum(-2).div_(padded.shape[-2])


def _slopes(
    slope: Float[Tensor, "*b one m"],
    padded: Float[Tensor, "*b c p"],
    target: Statistics,
    row: int,
    weight: float,
) -> list[Tensor]:
    """Return what the slope of the error gives that of the window's sum, squares and products.

    The latter two lack a factor of -AREA and of 2 AREA. SSIM leaves [-1, 1] by rounding alone, so the slope
    of its clamp is left out.
    """
    total, a, b, c, d = _factors(padded, target, row)
    denominator = c * d
    upper = (slope * (-weight / 2 / padded.shape[-2])).div(denominator)  # a has b times this slope, b has a
    lower = (a * b).div_(denominator).mul_(upper)  # c has -d times this slope, d has -c
    of_b, less_of_d = a.mul_(upper), c.mul_(lower)
    of_total = b.mul_(upper).sub_(of_b).mul_(target.twice)
    of_total.sub_(d.mul_(lower).sub_(less_of_d).mul_(total), alpha=2)
    return [of_total, less_of_d, of_b]


def _gradient(
    slopes: Sequence[Float[Tensor, "*b c q"]],
    of_error: Float[Tensor, "*b one m"],
    padded: Float[Tensor, "*b c p"],
    target: Statistics,
    row: int,
    weight: float,
) -> Float[Tensor, "*b c p"]:
    """Return the slope of each padded pixel from the slopes of windows, with zeros around."""
    of_total, less_of_d, of_b = (box_sum(x, row) for x in slopes)
    gradient = of_total.addcmul_(less_of_d, padded, value=-2 * AREA)
    gradient.addcmul_(of_b, target.padded, value=2 * AREA)
    centre = slice(row + 1, -row - 1)
    sign = (padded[..., centre] - target.padded[..., centre]).sign_()
    gradient[..., centre].addcmul_(sign, of_error, value=(1 - weight) / padded.shape[-2])
    return gradient


def _reflect_gradient(slope: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h-2 w-2"]:
    """Give what reached the padding to the pixels it came from, in place."""
    for inner, outer in ((2, 0), (-3, -1)):
        slope[..., inner, :] += slope[..., outer, :]
    for inner, outer in ((2, 0), (-3, -1)):
        slope[..., inner] += slope[..., outer]
    return slope[..., 1:-1, 1:-1]


EAGER = Kernels(_error, _slopes, _gradient)
