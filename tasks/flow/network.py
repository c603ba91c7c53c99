"""From the pyramids of two images to flow, from the coarsest level to finer ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.decoders import in_full
from mtdrive.errors import ConfigError
from mtdrive.flow_fields import displace, enlarge
from mtdrive.geometry import pixel_grid
from mtdrive.pose import correlation
from mtdrive.task import Pyramid

START = 0.1
"""Factor on the first weights of the correction, so that training starts from what matches best."""
SHARPNESS = 10.0
"""Of the choice among the shifts, by their cosines, at first: it is learned."""
RESERVE = 1.0
"""How much less likely a shift is by its square, in cells: far motion is the business of coarser levels."""


class FlowDecoder(nn.Module):
    """Correlates, level by level, one image with the other one warped by the flow so far, and corrects it.

    The correction is the mean of the shifts that match (a softmax over them), and what convolutions make of
    the matches. With the convolutions alone, which have to learn first what a shift is, flow stays near zero
    for hundreds of steps.

    One estimator serves all levels, whose features are brought to the same width: Junhwa Hur and Stefan Roth,
    "Iterative Residual Refinement for Joint Optical Flow and Occlusion Estimation", CVPR 2019,
    https://arxiv.org/abs/1904.05290. It learns from every level at once.

    Args:
        channels: of the encoder's levels, fine to coarse.
        strides: of the encoder's levels, fine to coarse.
        finest: stride of the finest flow; a pyramid that begins at a coarser one ends there.
        reach: largest correction in cells of a level, (down and up, right and left).
        width: channels of the features that are compared.
        widths: channels of the estimator's convolutions.

    Raises:
        ConfigError: if the pyramid has no level of the finest stride or a coarser one.
    """

    shifts: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        finest: int = 4,
        reach: tuple[int, int] = (3, 4),
        width: int = 32,
        widths: Sequence[int] = (64, 48, 32),
    ) -> None:
        super().__init__()
        self.levels = [i for i, stride in enumerate(strides) if stride >= finest]
        if not self.levels:
            raise ConfigError(f"finest is {finest}, but the encoder's strides are {list(strides)}")
        self.strides = [strides[i] for i in self.levels]
        """Of what `forward` returns, fine to coarse."""
        self.reach = (reach[0], reach[1])
        self.describe = nn.ModuleList(nn.Conv2d(channels[i], width, 1) for i in self.levels)
        shifts = (2 * reach[0] + 1) * (2 * reach[1] + 1)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(SHARPNESS)))
        self.register_buffer("shifts", _shifts(self.reach), persistent=False)
        steps = [shifts + width + 4, *widths]
        self.estimate = nn.Sequential(*(_Convolution(a, b) for a, b in pairwise(steps)))
        self.correct = nn.Conv2d(steps[-1], 2, 3, padding=1)
        with torch.no_grad():
            for parameter in self.correct.parameters():
                parameter.mul_(START)

    def forward(self, here: Pyramid, there: Pyramid) -> list[Float[Tensor, "b 2 _h _w"]]:
        """Return the flow from the one image to the other at each level, fine to coarse, in image pixels."""
        flows: list[Tensor] = []
        for level, stride, describe in list(zip(self.levels, self.strides, self.describe, strict=True))[::-1]:
            a, b = describe(here[level]), describe(there[level])
            flows.append(self._refine(a, b, flows[-1] / stride if flows else None) * stride)
        return flows[::-1]

    def _refine(
        self, a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"], coarse: Tensor | None
    ) -> Float[Tensor, "b 2 h w"]:
        """Return the flow at a level in its own cells, given that of the next coarser level."""
        height, width = a.shape[-2:]
        if coarse is None:
            flow = a.new_zeros(len(a), 2, height, width, dtype=torch.float32)
        else:
            flow = enlarge(coarse, (height, width))
            b = displace(b, flow[None]).images[0]
        b = b.to(a.dtype)
        # What all pixels share tells nothing apart (Jonschkowski et al., ECCV 2020, section 4.2).
        mean = (a + b).mean((2, 3), keepdim=True) / 2
        match = correlation(a - mean, b - mean, self.reach)
        shift = self._likeliest(match.float())
        joined = torch.cat([match, a, flow.to(a.dtype), shift.to(a.dtype)], 1)
        return flow + shift + in_full(self.correct, self.estimate(joined))

    def _likeliest(self, match: Float[Tensor, "b s h w"]) -> Float[Tensor, "b 2 h w"]:
        """Return the mean of the shifts that match and do not lead out of the image, in cells."""
        ends = pixel_grid(match)[:2] + self.shifts[:, :, None, None]
        limits = ends.new_tensor([match.shape[-1] - 1, match.shape[-2] - 1])[:, None, None]
        inside = ((ends >= 0) & (ends <= limits)).all(1)
        likely = self.log_sharpness.exp() * match - RESERVE * self.shifts.square().sum(1)[:, None, None]
        chosen = torch.softmax(likely.where(inside, -torch.inf), 1)
        # No matrix product: autocast would round it.
        return torch.stack([(chosen * way[:, None, None]).sum(1) for way in self.shifts.unbind(1)], 1)


def _shifts(reach: tuple[int, int]) -> Float[Tensor, "s 2"]:
    """Return (right, down) of each channel of `correlation`, in cells."""
    rows, columns = (torch.arange(-far, far + 1.0) for far in reach)
    down, right = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([right.flatten(), down.flatten()], 1)


class _Convolution(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.1, inplace=True))
