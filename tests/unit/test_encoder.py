from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError
from tests.backbones import FAMILIES


def image(height: int = 64, width: int = 96, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", FAMILIES)
def test_levels_have_the_promised_channels_and_strides(name: str) -> None:
    encoder = Encoder(name)
    levels = encoder(image())
    sizes = [(2, c, 64 // s, 96 // s) for c, s in zip(encoder.channels, encoder.strides, strict=True)]
    assert [tuple(level.shape) for level in levels] == sizes
    assert encoder.strides[-1] == 32


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_reaches_every_parameter(name: str) -> None:
    encoder = Encoder(name)
    torch.autograd.backward([level.square().mean() for level in encoder(image())])
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("name", "normalisation", "mean", "std"),
    [
        ("test_mambaout", "timm", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("test_resnet", "timm", (0.5,) * 3, (0.5,) * 3),
        ("tf_efficientnet_lite0", "timm", (0.5,) * 3, (0.5,) * 3),
        ("test_resnet", "monodepth2", (0.45,) * 3, (0.225,) * 3),
    ],
)
@pytest.mark.parametrize("images", [1, 2])
def test_normalisation(
    name: str,
    normalisation: Literal["timm", "monodepth2"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    images: int,
) -> None:
    encoder = Encoder(name, images=images, normalisation=normalisation)
    seen = []
    encoder.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = image(channels=3 * images)
    encoder(x)
    for channel in range(3 * images):
        by_hand = (x[:, channel] - mean[channel % 3]) / std[channel % 3]
        torch.testing.assert_close(seen[0][:, channel], by_hand)


def test_initial_weights_are_a_function_of_the_global_generator(tmp_path: Path) -> None:
    states, after = [], []
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    for source in ("none", "none", str(tmp_path / "w.safetensors")):
        torch.manual_seed(11)
        states.append(Encoder("test_resnet", source).state_dict())
        after.append(torch.rand(1))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert after[0] == after[1] == after[2]  # a file of weights changes no later draw


def test_settings_stay_out_of_the_weights() -> None:
    assert all(key.startswith("net.") for key in Encoder("test_resnet").state_dict())


def test_unknown_backbone_names_close_ones() -> None:
    with pytest.raises(ConfigError, match=r"no backbone 'resnet81'; did you mean .*resnet18"):
        Encoder("resnet81")


@pytest.mark.parametrize("name", ["test_vit", "convmixer_768_32"])
def test_backbone_of_constant_stride_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"levels of {name} have strides .*; choose .* such as resnet18"):
        Encoder(name)


def test_backbone_without_levels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> nn.Module:
        raise RuntimeError("features_only not implemented")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ConfigError, match="cannot give the feature levels of resnet18: features_only not"):
        Encoder("resnet18")


def test_size_that_does_not_fit_names_sizes_that_do() -> None:
    with pytest.raises(ConfigError, match="multiples of 32, found 200x640; 192x640 and 224x640 fit"):
        Encoder("test_resnet")(image(200, 640))
    with pytest.raises(ConfigError, match="32x32 and 32x64 fit"):
        Encoder("test_resnet").check_size(20, 40)


def test_backbone_that_does_not_pad_is_refused() -> None:
    with pytest.raises(ConfigError, match="inception_v3 gives a level of 1x1, expected 3x3; choose"):
        Encoder("inception_v3")(image(96, 96))


def test_backbone_of_one_size_says_so() -> None:
    encoder = Encoder("test_maxvit")
    with pytest.raises(ConfigError, match="takes images of 160x160 only, found 64x96"):
        encoder(image())
    assert len(encoder(image(160, 160))) == len(encoder.strides)


def test_no_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="images is 0"):
        Encoder("test_resnet", images=0)
