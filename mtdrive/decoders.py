"""From a pyramid of features back to images: the U-Net decoder of self-supervised depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64, 128, 256)
"""Channels of the decoder at strides 1, 2, 4, 8 and 16, as published."""


class Trunk(nn.Module):
    """Climb from the coarsest level to the size of the image, a step for each halving of the stride.

    The decoder of Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation" (ICCV 2019,
    https://arxiv.org/abs/1806.01260), for any pyramid whose strides are powers of two; a stride at which the
    encoder has no level gets no skip connection. Parameters come in the order of the published network:
    upconv(4, 0), upconv(4, 1), ..., upconv(0, 1), each weight then bias.

    Args:
        channels: of the encoder's levels, fine to coarse.
        strides: of the encoder's levels, fine to coarse.
        widths: channels of the output at strides 1, 2, 4, ...; a deeper pyramid repeats the last.

    Raises:
        ValueError: if the strides do not rise or are no powers of two.
    """

    def __init__(
        self, channels: Sequence[int], strides: Sequence[int], widths: Sequence[int] = WIDTHS
    ) -> None:
        super().__init__()
        _check_pyramid(channels, strides)
        skips = dict(zip(strides[:-1], channels[:-1], strict=True))
        depth = strides[-1].bit_length() - 1
        self.encoder_strides = list(strides)
        self.strides = [2**i for i in range(depth)]
        """Of what `forward` returns, fine to coarse."""
        self.channels = [widths[min(i, len(widths) - 1)] for i in range(depth)]
        """Of what `forward` returns, fine to coarse."""
        below = [*self.channels[1:], channels[-1]]
        levels = list(zip(below, self.channels, self.strides, strict=True))
        self.steps = nn.ModuleList(Step(a, b, skips.get(stride, 0)) for a, b, stride in reversed(levels))

    def forward(self, pyramid: Sequence[Float[Tensor, "b _c _h _w"]]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Return features at strides 1, 2, 4, ..., fine to coarse.

        Raises:
            ValueError: if the coarsest level is a single pixel high or wide, which cannot be reflected.
        """
        x = pyramid[-1]
        if min(x.shape[-2:]) < 2:
            least = 2 * self.encoder_strides[-1]
            raise ValueError(
                f"images must be at least {least}x{least} pixels; the coarsest level is {_size(x)}"
            )
        skips = dict(zip(self.encoder_strides[:-1], pyramid[:-1], strict=True))
        out = []
        for stride, step in zip(reversed(self.strides), self.steps, strict=True):
            x = step(x, skips.get(stride))
            out.append(x)
        return out[::-1]


class Decoder(nn.Module):
    """A trunk with an output convolution at each of the finest scales, without activation.

    Args:
        channels: of the encoder's levels, fine to coarse.
        strides: of the encoder's levels, fine to coarse.
        outputs: channels of each map.
        scales: how many maps; scale s has stride 2^s.
        widths: see `Trunk`.

    Raises:
        ValueError: if the pyramid is unusable or too shallow for `scales`.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        outputs: int = 1,
        scales: int = 4,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        self.trunk = Trunk(channels, strides, widths)
        if not 1 <= scales <= len(self.trunk.channels):
            raise ValueError(
                f"scales must be 1 to {len(self.trunk.channels)} for strides {list(strides)}, not {scales}"
            )
        self.heads = nn.ModuleList(_convolution(width, outputs) for width in self.trunk.channels[:scales])

    def forward(
        self, pyramid: Sequence[Float[Tensor, "b _c _h _w"]]
    ) -> list[Float[Tensor, "b outputs _h _w"]]:
        """Return a map a scale, fine to coarse, in the precision of the weights even under autocast."""
        features = self.trunk(pyramid)
        return [in_full(head, x) for head, x in zip(self.heads, features, strict=False)]


class DisparityDecoder(Decoder):
    """Disparity in (0, 1) at each scale: the depth network's second half; see `Trunk` for the paper."""

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        scales: int = 4,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__(channels, strides, 1, scales, widths)

    def forward(self, pyramid: Sequence[Float[Tensor, "b _c _h _w"]]) -> list[Float[Tensor, "b 1 _h _w"]]:
        """Return disparities, fine to coarse; 0 is the farthest depth."""
        return [torch.sigmoid(x) for x in super().forward(pyramid)]


class Step(nn.Module):
    """One halving of the stride: convolve, double by nearest neighbour, join the skip, convolve."""

    def __init__(self, inputs: int, outputs: int, skip: int) -> None:
        super().__init__()
        self.before = _convolution(inputs, outputs)
        self.after = _convolution(outputs + skip, outputs)

    def forward(
        self, x: Float[Tensor, "b _c h w"], skip: Float[Tensor, "b _s 2*h 2*w"] | None
    ) -> Float[Tensor, "b _d 2*h 2*w"]:
        """Return the next finer features."""
        x = functional.elu(self.before(x), inplace=True)
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        joined = x if skip is None else torch.cat([x, skip], 1)
        return functional.elu(self.after(joined), inplace=True)


def in_full(layer: nn.Module, x: Float[Tensor, "b _c _h _w"]) -> Float[Tensor, "b _d _h _w"]:
    """Apply `layer` in its own precision, outside any autocast.

    bfloat16 has 8 significant bits: disparities and motions would come in steps of up to 0.8 percent.
    """
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(x.to(next(layer.parameters()).dtype))
    return result


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")


def _check_pyramid(channels: Sequence[int], strides: Sequence[int]) -> None:
    rising = list(strides) == sorted(set(strides))
    powers = all(s > 0 and s & (s - 1) == 0 for s in strides)
    if not (strides and rising and powers and strides[-1] > 1 and len(channels) == len(strides)):
        raise ValueError(
            f"expected one channel number for each of some rising strides, powers of two; found channels "
            f"{list(channels)} and strides {list(strides)}"
        )


def _size(x: Tensor) -> str:
    return "x".join(map(str, x.shape[-2:]))
