"""The photometric objective of self-supervised depth, and means over valid values.

Godard et al. below is Clément Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation",
ICCV 2019, https://arxiv.org/abs/1806.01260. Everything runs in float32, or float64 where given it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from mtdrive.geometry import upcast
from mtdrive.ssim import EAGER, PhotometricError, Statistics, box_sum, compiled_kernels, reflect


class Reprojection(NamedTuple):
    """The error of each target pixel and whether it trains."""

    error: Float[Tensor, "*s b h w"]
    """Its mean is the loss."""
    mask: Bool[Tensor, "*s b h w"]
    """True where a warped source explains the pixel better than every unwarped one."""


def ssim_statistics(image: Float[Tensor, "b c h w"]) -> Statistics:
    """Return what `ssim_distance` and `photometric_error` need of a target in [0, 1]."""
    padded = reflect(upcast(image))
    row = image.shape[-1] + 2
    total = box_sum(padded, row)
    return Statistics(padded, 2 * total, total.square(), box_sum(padded.square(), row))


def ssim_distance(prediction: Float[Tensor, "*n b c h w"], target: Statistics) -> Float[Tensor, "*n b c h w"]:
    """Return (1 - SSIM) / 2 of each pixel and channel, within [0, 1], over 3x3 windows.

    Zhou Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP
    2004, https://doi.org/10.1109/TIP.2003.819861. The target has no gradient.
    """
    channels = Statistics(*(rearrange(x, "b c m -> (b c) 1 m") for x in target))
    alone = rearrange(prediction, "... b c h w -> ... (b c) 1 h w")
    return photometric_error(alone, channels, 1.0).reshape(prediction.shape)


def photometric_error(
    prediction: Float[Tensor, "*n b c h w"],
    target: Statistics,
    ssim_weight: float = 0.85,
    compiled: bool = False,
) -> Float[Tensor, "*n b h w"]:
    """Return SSIM and absolute distance of each pixel, weighted and averaged over channels.

    As in Godard et al. Any leading axes, such as scales and sources, share the one target (b c h w), which
    has no gradient. `compiled` has torch.compile fuse the arithmetic of an image, which takes the first
    batch of each size about half a minute longer; values change by rounding.

    Raises:
        ConfigError: if `compiled` is set and there is no compiler.
    """
    kernels = compiled_kernels() if compiled else EAGER
    error: Tensor = PhotometricError.apply(upcast(prediction), ssim_weight, kernels, *target)
    return error


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


def curvature(values: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """Return the sum of the mean absolute second differences along x, along y and, twice, across both.

    As in Zhou et al., CVPR 2017, https://arxiv.org/abs/1704.07813.
    """
    dx, dy = upcast(values).diff(dim=-1), upcast(values).diff(dim=-2)
    second = [dx.diff(dim=-1), dx.diff(dim=-2), dy.diff(dim=-1), dy.diff(dim=-2)]
    return torch.stack([x.abs().mean() for x in second]).sum()


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


def _slope(x: Float[Tensor, "b 1 h w"], image: Float[Tensor, "b c h w"], axis: int) -> Float[Tensor, ""]:
    edges = image.diff(dim=axis).abs().mean(dim=-3, keepdim=True)
    return (x.diff(dim=axis).abs() * torch.exp(-edges)).mean()
