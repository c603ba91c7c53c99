"""The decoders of segmentation-models-pytorch on the shared pyramid.

They take the levels at strides 1, 2, 4, ... of the image. The first one is only looked at for its size, and
where the encoder has none at stride 2, it has no channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from segmentation_models_pytorch.base import initialization
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder, DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.linknet.decoder import LinknetDecoder
from segmentation_models_pytorch.decoders.manet.decoder import MAnetDecoder
from segmentation_models_pytorch.decoders.pan.decoder import PANDecoder
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import Tensor, nn

from mtdrive.decoders import in_full
from mtdrive.errors import ConfigError

DecoderName = Literal[
    "Unet",
    "UnetPlusPlus",
    "Linknet",
    "MAnet",
    "FPN",
    "PAN",
    "DeepLabV3",
    "DeepLabV3Plus",
    "UPerNet",
    "Segformer",
]

_NARROWEST = 16  # channels of those that halve them from level to level
_ANY = 99
_GROUPS = 32  # of FPN's normalisation, whose channels are a multiple

Built = tuple[nn.Module, int]
"""A decoder, and the channels that it gives."""


def _unet(channels: list[int], depth: int, width: int) -> Built:
    widths = _narrowing(width, depth)
    return UnetDecoder(channels, widths, depth), widths[-1]


def _unet_plus_plus(channels: list[int], depth: int, width: int) -> Built:
    widths = _narrowing(width, depth)
    return UnetPlusPlusDecoder(channels, widths, depth), widths[-1]


def _manet(channels: list[int], depth: int, width: int) -> Built:
    widths = _narrowing(width, depth)
    return MAnetDecoder(channels, widths, depth), widths[-1]


def _narrowing(width: int, depth: int) -> list[int]:
    return [max(width >> i, _NARROWEST) for i in range(depth)]


def _linknet(channels: list[int], depth: int, width: int) -> Built:
    return LinknetDecoder(channels, prefinal_channels=width, n_blocks=depth), width


def _fpn(channels: list[int], depth: int, width: int) -> Built:
    if width % (2 * _GROUPS):
        raise ConfigError(f"the width of FPN must be a multiple of {2 * _GROUPS}, found {width}")
    return FPNDecoder(channels, depth, pyramid_channels=width, segmentation_channels=width // 2), width // 2


def _pan(channels: list[int], depth: int, width: int) -> Built:
    return PANDecoder(channels, depth, width), width


def _deeplab(channels: list[int], depth: int, width: int) -> Built:
    decoder = DeepLabV3Decoder(channels[-1], width, _rates(depth), aspp_separable=False, aspp_dropout=0.5)
    return decoder, width


def _deeplab_plus(channels: list[int], depth: int, width: int) -> Built:
    decoder = DeepLabV3PlusDecoder(
        channels, depth, width, _rates(depth), output_stride=16, aspp_separable=True, aspp_dropout=0.5
    )
    # The library dilates its encoders, so that they end at stride 16; here the coarsest level is what it is.
    decoder.up = nn.Upsample(scale_factor=2 ** (depth - 2), mode="bilinear", align_corners=False)
    return decoder, width


def _rates(depth: int) -> tuple[int, int, int]:
    """Return the dilations that see as far as the published 6, 12 and 18 at stride 16."""
    rate = max(1, round(6 * 2 ** (4 - depth)))
    return rate, 2 * rate, 3 * rate


def _upernet(channels: list[int], depth: int, width: int) -> Built:
    return UPerNetDecoder(channels, depth, width), width


def _segformer(channels: list[int], depth: int, width: int) -> Built:
    return SegformerDecoder(channels, depth, width), width


@dataclass(frozen=True, kw_only=True)
class Design:
    """How one of them is built and what it takes."""

    build: Callable[[list[int], int, int], Built]
    """From the channels at strides 1, 2, 4, ..., the number of halvings, and the width."""
    width: int = 256
    """The usual one."""
    kernel: int = 1
    """Of the last convolution."""
    depths: tuple[int, int] = (3, _ANY)
    """Fewest and most halvings of the image."""
    least: int = 1
    """Pixels that the coarsest level must have along each side."""
    pools: bool = False
    """Whether it normalises by batch what it pools over the image, which takes two images."""


DESIGNS: dict[DecoderName, Design] = {
    "Unet": Design(build=_unet, kernel=3),
    "UnetPlusPlus": Design(build=_unet_plus_plus, kernel=3),
    "MAnet": Design(build=_manet, kernel=3),
    "Linknet": Design(build=_linknet, width=32),
    "FPN": Design(build=_fpn, depths=(4, _ANY)),
    # Its pyramid attention halves the coarsest level three times more.
    "PAN": Design(build=_pan, width=32, kernel=3, depths=(3, 5), least=8, pools=True),
    "DeepLabV3": Design(build=_deeplab, pools=True),
    "DeepLabV3Plus": Design(build=_deeplab_plus, pools=True),
    "UPerNet": Design(build=_upernet, pools=True),
    "Segformer": Design(build=_segformer),
}
"""How each is built, with the settings of its paper that the library has."""


class Decoder(nn.Module):
    """One of them with the convolution to the classes behind it."""

    def __init__(
        self,
        name: DecoderName,
        channels: Sequence[int],
        strides: Sequence[int],
        classes: int,
        width: int | None,
    ) -> None:
        """Draw the weights.

        Args:
            name: of `DESIGNS`.
            channels: of the encoder's levels, fine to coarse.
            strides: of the encoder's levels, fine to coarse.
            classes: how many.
            width: its channels, see `Segmentation`.

        Raises:
            ConfigError: if they do not fit.
        """
        super().__init__()
        self.name, self.design = name, DESIGNS[name]
        self.strides = list(strides)
        depth = int(math.log2(strides[-1]))
        self._check(depth)
        width = self.design.width if width is None else width
        if width < 1:
            raise ConfigError(f"width must be at least 1, found {width}")
        by_stride = dict(zip(strides, channels, strict=True)) | {1: 3}
        self.levels = [2**i for i in range(depth + 1)]
        self.decoder, outputs = self.design.build([by_stride.get(s, 0) for s in self.levels], depth, width)
        self.head = nn.Conv2d(outputs, classes, self.design.kernel, padding=self.design.kernel // 2)
        initialization.initialize_decoder(self.decoder)
        initialization.initialize_head(self.head)

    def _check(self, depth: int) -> None:
        fewest, most = self.design.depths
        if self.strides[0] > 4 or not fewest <= depth <= most:
            last = f"from {2**fewest} on" if most == _ANY else f"from {2**fewest} to {2**most}"
            raise ConfigError(
                f"{self.name} takes encoders whose strides begin with 1, 2 or 4 and end {last}, found "
                f"{self.strides}; choose another decoder or encoder"
            )

    def forward(self, pyramid: Sequence[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b classes _h2 _w2"]:
        """Return the scores of the classes at the decoder's size, in the precision of the weights.

        Raises:
            ConfigError: if the images are too small or too few for it.
        """
        self._check_images(pyramid[-1])
        count, _, height, width = pyramid[-1].shape
        present = dict(zip(self.strides, pyramid, strict=True))
        missing = {
            s: pyramid[-1].new_empty(count, 0, height * self.strides[-1] // s, width * self.strides[-1] // s)
            for s in self.levels
            if s not in present
        }
        features: Tensor = self.decoder([(present | missing)[s] for s in self.levels])
        return in_full(self.head, features)

    def _check_images(self, coarsest: Tensor) -> None:
        if min(coarsest.shape[-2:]) < self.design.least:
            least = self.design.least * self.strides[-1]
            raise ConfigError(
                f"{self.name} on this encoder takes images of {least}x{least} pixels or more; choose another "
                "decoder, or larger images"
            )
        if self.training and self.design.pools and len(coarsest) == 1:
            raise ConfigError(
                f"{self.name} normalises over a batch what it pools over images: set batch_size to 2 or more"
            )
