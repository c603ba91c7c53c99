"""The shared backbone: images in, a pyramid of features out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Literal

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.errors import ConfigError
from mtdrive.pretrained import load_weights


class Encoder(nn.Module):
    """Any backbone of timm whose levels halve their size from one to the next.

    It owns normalisation: callers hand over images in [0, 1].

    Args:
        name: timm's name, for example `resnet18`, `convnext_tiny` or `tf_efficientnet_lite0`.
        weights: `none` draws them; `timm` fetches the backbone's own from its hub; `package` takes
            EfficientNet-Lite0's from its package on the index, without a hub; anything else is a file of the
            classifier or of the features (.safetensors, .pth, .pt, .bin).
        images: how many images are stacked along the channels of one input.
        normalisation: `timm` is the mean and deviation of the backbone's training; `monodepth2` is 0.45 and
            0.225 for every channel (Godard et al., ICCV 2019, https://arxiv.org/abs/1806.01260).

    Raises:
        ConfigError: if timm has no such backbone, its levels do not double their stride, or the weights
            cannot be had.
        CheckpointError: if the file of weights is damaged or belongs to another architecture.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "resnet18",
        weights: str = "none",
        images: int = 1,
        normalisation: Literal["timm", "monodepth2"] = "timm",
    ) -> None:
        super().__init__()
        if images < 1:
            raise ConfigError(f"images is {images}; an encoder takes 1 image or more stacked ones")
        self.name = name
        self.images = images
        self.net = _backbone(name, 3 * images)
        details: Any = self.net
        self.channels: list[int] = list(details.feature_info.channels())
        """Of each level, fine to coarse."""
        self.strides: list[int] = list(details.feature_info.reduction())
        """Of each level, fine to coarse, in pixels of the image."""
        _check_strides(name, self.strides)
        self._channels_come_last = getattr(details, "output_fmt", "NCHW") == "NHWC"
        self._only_size = _only_size(details.pretrained_cfg)
        self._normalise_by(*_statistics(details.pretrained_cfg)[normalisation])
        if weights != "none":
            load_weights(self.net, name, weights)

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Return the pyramid, fine to coarse, of images in [0, 1]; `c` is 3 times `self.images`.

        Raises:
            ConfigError: if the size does not fit, see `check_size`, or the backbone breaks its own strides.
        """
        height, width = images.shape[-2:]
        self.check_size(height, width)
        levels = self.net((images - self.mean) / self.std)
        if self._channels_come_last:
            levels = [x.permute(0, 3, 1, 2) for x in levels]
        found = tuple(levels[-1].shape[-2:])
        promised = (height // self.strides[-1], width // self.strides[-1])
        if found != promised:  # the Inception family does not pad
            raise ConfigError(
                f"{self.name} gives a level of {_by(*found)}, expected {_by(*promised)}; {_ADVICE}"
            )
        return list(levels)

    def check_size(self, height: int, width: int) -> None:
        """Refuse images whose size the backbone does not take.

        Raises:
            ConfigError: which names sizes that fit.
        """
        if self._only_size and self._only_size != (height, width):
            raise ConfigError(
                f"{self.name} takes images of {_by(*self._only_size)} only, found {_by(height, width)}; "
                "resize them or choose a convolutional backbone"
            )
        step = self.strides[-1]
        if height % step or width % step:
            low = _by(max(height // step, 1) * step, max(width // step, 1) * step)
            high = _by(-(-height // step) * step, -(-width // step) * step)
            raise ConfigError(
                f"{self.name} takes images whose height and width are multiples of {step}, found "
                f"{_by(height, width)}; {low} and {high} fit"
            )

    def _normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        # Not persistent: they follow from the settings, which a checkpoint keeps beside the weights.
        for key, values in (("mean", mean), ("std", std)):
            tensor = torch.tensor([*values] * self.images).view(-1, 1, 1)
            self.register_buffer(key, tensor, persistent=False)


def _backbone(name: str, channels: int) -> nn.Module:
    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=3) or ["resnet18"]
        raise ConfigError(f"timm has no backbone {name!r}; did you mean {' or '.join(close)}?")
    try:
        net: nn.Module = timm.create_model(name, features_only=True, in_chans=channels)
    except (RuntimeError, AttributeError, TypeError, AssertionError) as error:
        # timm's architectures refuse what they lack in as many ways.
        raise ConfigError(f"timm cannot give the feature levels of {name}: {error}; {_ADVICE}") from error
    return net


_ADVICE = "choose a backbone whose strides double, such as resnet18, convnext_tiny or tf_efficientnet_lite0"


def _check_strides(name: str, strides: list[int]) -> None:
    doubling = all(b == 2 * a for a, b in pairwise(strides))
    if len(strides) < 2 or not doubling or strides[0] & (strides[0] - 1):
        raise ConfigError(f"the levels of {name} have strides {strides}; {_ADVICE}")


def _only_size(cfg: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the height and width that attention with learned positions is tied to."""
    _, height, width = cfg["input_size"]
    return (height, width) if cfg.get("fixed_input_size") else None


def _statistics(cfg: Mapping[str, Any]) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """Return mean and deviation of the three channels for every choice of `normalisation`."""
    return {"timm": (cfg["mean"], cfg["std"]), "monodepth2": ((0.45,) * 3, (0.225,) * 3)}


def _by(height: int, width: int) -> str:
    return f"{height}x{width}"
