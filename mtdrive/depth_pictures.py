"""Pictures of predicted depth, of which many make a video."""

from __future__ import annotations

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mtdrive.show import HIGH, coloured

Size = tuple[int, int]
"""Height and width in pixels."""

LARGEST = 960
"""Pixels of the longer side of each of the two pictures in a video."""
MEMORY = 50
"""Frames over which the colour scale of a folder or video follows what is predicted."""


class SteadySpan:
    """The disparities that get the first and the last colour: a running mean, lest videos flicker.

    It is the mean over all frames so far up to `MEMORY`, and then forgets at that rate.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(2)

    def __call__(self, disparity: Float[Tensor, "h w"]) -> tuple[float, float]:
        """Take a frame into account, and return the span for it."""
        self.count += 1
        now = disparity.quantile(torch.tensor([1 - HIGH, HIGH]))
        self.mean += (now - self.mean) / min(self.count, MEMORY)
        low, high = self.mean.tolist()
        return low, high


def paint(disparity: Float[Tensor, "h w"], span: tuple[float, float], size: Size) -> Image.Image:
    """Return disparity in colours at another size: near is bright."""
    full = functional.interpolate(disparity[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    pixels = (coloured(full, span) * 255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def side_by_side(
    image: Image.Image, disparity: Float[Tensor, "h w"], span: tuple[float, float]
) -> Image.Image:
    """Return the image and its depth, one above the other, or beside each other if they are upright."""
    share = min(LARGEST / max(image.size), 1.0)
    width, height = (max(round(side * share), 2) for side in image.size)
    depth = paint(disparity, span, (height, width))
    across = (0, height) if width >= height else (width, 0)
    both = Image.new("RGB", (width + across[0], height + across[1]))
    both.paste(image.resize((width, height), Image.Resampling.LANCZOS), (0, 0))
    both.paste(depth, across)
    return both
