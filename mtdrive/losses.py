"""The photometric objective of self-supervised depth, and means over valid values.

Godard et al. below is Clément Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation",
ICCV 2019, https://arxiv.org/abs/1806.01260. Everything runs in float32, or float64 where given it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from einops import pack, unpack
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mtdrive.geometry import upcast

AREA = 9  # of SSIM's 3x3 window
C1 = AREA**2 * 0.01**2  # SSIM's constants for colours in [0, 1] and sums in place of means
C2 = AREA**2 * 0.03**2


class Statistics(NamedTuple):
    """An image with what SSIM needs of it, so that many predictions of it share the work."""

    image: Float[Tensor, "*b c h w"]
    padded: Float[Tensor, "*b c h+2 w+2"]
    """Reflected by one pixel."""
    total: Float[Tensor, "*b c h w"]
    """Sum over each 3x3 window."""
    squares: Float[Tensor, "*b c h w"]
    """Sum of squares over each 3x3 window."""


class Reprojection(NamedTuple):
    """The error of each target pixel and whether it trains."""

    error: Float[Tensor, "*s b h w"]
    """Its mean is the loss."""
    mask: Bool[Tensor, "*s b h w"]
    """True where a warped source explains the pixel better than every unwarped one."""


def ssim_statistics(image: Float[Tensor, "*b c h w"]) -> Statistics:
    """Return what `ssim_distance` and `photometric_error` need of a target in [0, 1]."""
    image = upcast(image)
    padded = _reflect(image)
    return Statistics(image, padded, _box(padded), _box(padded.square()))


def ssim_distance(prediction: Float[Tensor, "*n b c h w"], target: Statistics) -> Float[Tensor, "*n b c h w"]:
    """Return (1 - SSIM) / 2 of each pixel and channel, within [0, 1], over 3x3 windows.

    Zhou Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP
    2004, https://doi.org/10.1109/TIP.2003.819861
    """
    return _ssim_distance(ssim_statistics(prediction), target)


def photometric_error(
    prediction: Float[Tensor, "*n b c h w"], target: Statistics, ssim_weight: float = 0.85
) -> Float[Tensor, "*n b h w"]:
    """Return SSIM and absolute distance of each pixel, weighted and averaged over channels.

    As in Godard et al. Any leading axes, such as scales and sources, share the one target (b c h w).
    """
    predicted = ssim_statistics(prediction)
    difference = (predicted.image - target.image).abs().mean(dim=-3)
    structure = _ssim_distance(predicted, target).mean(dim=-3)
    return ssim_weight * structure + (1 - ssim_weight) * difference


def min_reprojection(
    reprojection: Float[Tensor, "*s n b h w"], identity: Float[Tensor, "m b h w"]
) -> Reprojection:
    """Take the best of `n` warped sources, where it beats the best of `m` unwarped ones.

    The mask is Eq. 5 of Godard et al.: a tie does not train. Other pixels count with their identity error,
    which has no gradient, as in the authors' minimum over both.
    """
    best = reprojection.amin(dim=-4)
    rest = identity.detach().amin(dim=0)
    mask = best < rest
    return Reprojection(torch.where(mask, best, rest), mask)


def smoothness(disparity: Float[Tensor, "b 1 h w"], image: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Return the slope of the disparity relative to its mean, less where the image has edges.

    As in Godard et al.; disparity in any unit, image in [0, 1] of the same size.
    """
    disparity, image = upcast(disparity), upcast(image)
    relative = disparity / (disparity.mean(dim=(-2, -1), keepdim=True) + 1e-7)
    return _slope(relative, image, axis=-1) + _slope(relative, image, axis=-2)


def valid_mean(values: Float[Tensor, "*#s"], mask: Bool[Tensor, "*#s"]) -> Float[Tensor, ""]:
    """Return the mean of the values where `mask` holds, and 0 with zero gradient where it never does.

    What is masked may be NaN, but what made it may not: the slope of (prediction - NaN)**2 is NaN, and so is
    0 times that. Give unknown labels any number before they meet a prediction.

    In a process group every rank must call this the same number of times. Only the count is shared: a rank
    returns its sum over the mean count of a rank, so that the average over ranks, of values as of gradients,
    is that of one process with all the data.
    """
    kept = torch.where(mask, upcast(values), 0.0)
    count = mask.expand(kept.shape).sum()
    if not (dist.is_available() and dist.is_initialized()):
        return kept.sum() / count.clamp(min=1)
    dist.all_reduce(count)
    return kept.sum() * dist.get_world_size() / count.clamp(min=1)


def _reflect(image: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b c h+2 w+2"]:
    flat, leading = pack([image], "* c h w")
    (padded,) = unpack(functional.pad(flat, (1, 1, 1, 1), mode="reflect"), leading, "* c h w")
    return padded


def _box(padded: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h-2 w-2"]:
    """Sum over 3x3 windows by shifted additions, which are cheaper than pooling."""
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]


def _ssim_distance(a: Statistics, b: Statistics) -> Float[Tensor, "*#n c h w"]:
    """SSIM with window sums for means: numerator and denominator are `AREA**4` times those of the paper."""
    products = a.total * b.total
    squares = a.total.square() + b.total.square()
    covariance = AREA * _box(a.padded * b.padded) - products
    variance = AREA * (a.squares + b.squares) - squares
    ssim = (2 * products + C1) * (2 * covariance + C2) / ((squares + C1) * (variance + C2))
    return ((1 - ssim) / 2).clamp(0, 1)


def _slope(x: Float[Tensor, "b 1 h w"], image: Float[Tensor, "b c h w"], axis: int) -> Float[Tensor, ""]:
    edges = image.diff(dim=axis).abs().mean(dim=-3, keepdim=True)
    return (x.diff(dim=axis).abs() * torch.exp(-edges)).mean()
