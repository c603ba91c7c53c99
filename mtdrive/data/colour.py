"""Colour jitter in place and in few passes over memory; each step is torchvision's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in a grey value."""


@dataclass(frozen=True)
class Jitter:
    """One draw of colour jitter."""

    amounts: tuple[float, float, float, float]
    """Factors of brightness, contrast and saturation, and the shift of the hue in full circles."""
    order: tuple[int, ...]
    """In which the four act."""

    def apply_(self, images: Float[Tensor, "*v 3 h w"]) -> None:
        """Jitter images in [0, 1]; they stay in [0, 1]."""
        for step in self.order:
            _STEPS[step](images, self.amounts[step])


def brighten_(images: Float[Tensor, "*v 3 h w"], factor: float) -> None:
    """Scale every value."""
    images.mul_(factor).clamp_(0, 1)


def contrast_(images: Float[Tensor, "*v 3 h w"], factor: float) -> None:
    """Scale the distance of every value from the mean grey of its image."""
    mean = _grey(images.mean((-2, -1), keepdim=True))
    images.lerp_(mean, 1 - factor).clamp_(0, 1)


def saturate_(images: Float[Tensor, "*v 3 h w"], factor: float) -> None:
    """Scale the distance of every value from the grey of its pixel."""
    images.lerp_(_grey(images), 1 - factor).clamp_(0, 1)


def rotate_hue_(images: Float[Tensor, "*v 3 h w"], circles: float) -> None:
    """Turn the hue, keeping the largest and the smallest value of every pixel.

    With hues as numbers of sixths of the circle, a channel is at the pixel's maximum up to 1 from its own
    hue, at the minimum beyond 2, and linear between. Of a pixel, t is the depth of red below the maximum
    and e the distance of green and blue, both as a share of the range. One of the three channels is the
    maximum and one the minimum, so the hue's distance from red is e where red is the maximum (t = 0),
    1 + t where it lies between (e = 1) and 3 - e where it is the minimum (t = 1): t (3 - 2e) + e each time.
    """
    red, green, blue = images.unbind(-3)
    top = torch.maximum(red, green)
    torch.maximum(top, blue, out=top)
    spread = torch.minimum(red, green)
    torch.sub(top, torch.minimum(spread, blue, out=spread), out=spread)
    scale = spread.clamp_min(torch.finfo(images.dtype).tiny).reciprocal_()
    below = (top - red).mul_(scale)
    side = torch.sub(green, blue, out=red).mul_(scale)  # red itself is not read again
    apart = torch.abs(side, out=scale)
    hue = torch.addcmul(apart, below, torch.rsub(apart, 3, alpha=2), out=below)
    hue.copysign_(side).add_(6 * circles)
    for channel, own in ((red, 0), (green, 2), (blue, -2)):
        away = torch.sub(hue, own, out=channel).abs_().sub_(3).abs_().sub_(3).abs_()  # around the circle
        torch.addcmul(top, away.sub_(1).clamp_(0, 1), spread, value=-1, out=channel)


def _grey(images: Float[Tensor, "*v 3 h w"]) -> Float[Tensor, "*v 1 h w"]:
    red, green, blue = images.split(1, -3)
    grey: Tensor = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return grey


_STEPS = (brighten_, contrast_, saturate_, rotate_hue_)
