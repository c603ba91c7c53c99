"""An encoder for small images and small machines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError


class Compact(Encoder):
    """Plain convolutions of stride 2, one a level, with first weights drawn: for training without a GPU."""

    def __init__(self, channels: Sequence[int] = (24, 48, 64, 96, 128)) -> None:
        """Draw the weights.

        Args:
            channels: of each level, fine to coarse; the first is half as large as the image.

        Raises:
            ConfigError: if there are fewer than two levels.
        """
        nn.Module.__init__(self)  # that of `Encoder` builds a backbone of timm
        if len(channels) < 2 or min(channels) < 1:
            raise ConfigError(f"channels must name those of two levels or more, found {list(channels)}")
        self.name, self.images = "compact", 1
        self.channels = list(channels)
        self.strides = [2 ** (level + 1) for level in range(len(channels))]
        self._channels_come_last, self._only_size = False, None
        self._normalise_by((0.45,) * 3, (0.225,) * 3)
        self.net = _Levels([3, *channels])


class _Levels(nn.Module):
    """Returns every level."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(
                # The first one sees whole edges, at the size where that costs least by channels.
                nn.Conv2d(i, o, 5 if i == 3 else 3, stride=2, padding=2 if i == 3 else 1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
            )
            for i, o in pairwise(channels)
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        levels = []
        for level in self.levels:
            images = level(images)
            levels.append(images)
        return levels
