"""Monodepth2's networks as published, and the files that its program writes: an oracle.

Written from the paper (Godard et al., ICCV 2019, https://arxiv.org/abs/1806.01260, supplementary tables) on
torchvision's ResNet and plain functions, with the names of tensors that its files have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64, 128, 256)
State = dict[str, Tensor]


class Resnet(nn.Module):
    """Five levels of features; its tensors are called `encoder.*`, the classifier among them."""

    def __init__(self, layers: int, images: int = 1) -> None:
        super().__init__()
        self.encoder: Any = getattr(torchvision.models, f"resnet{layers}")()
        self.encoder.conv1 = nn.Conv2d(3 * images, 64, 7, 2, 3, bias=False)
        self.channels = [64, *(self.encoder.fc.in_features // 2**i for i in (3, 2, 1, 0))]

    def forward(self, images: Tensor) -> list[Tensor]:
        net = self.encoder
        # The constants are rounded to float32, as they are in a network of that precision.
        mean, deviation = (torch.tensor(x).to(images) for x in (0.45, 0.225))
        levels = [functional.relu(net.bn1(net.conv1((images - mean) / deviation)))]
        levels.append(net.layer1(net.maxpool(levels[0])))
        for layer in (net.layer2, net.layer3, net.layer4):
            levels.append(layer(levels[-1]))
        return levels

    def settle(self, images: Tensor) -> None:
        """Draw scales and shifts, and take the statistics of these images."""
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)
            norm.momentum = 1.0
        with torch.no_grad():
            self.train()(images)
        self.eval()


def convolution(state: State, name: str, inputs: int, outputs: int, size: int) -> None:
    """Draw a convolution's tensors."""
    state[f"{name}.weight"] = torch.randn(outputs, inputs, size, size) * (2 / (inputs * size**2)) ** 0.5
    state[f"{name}.bias"] = 0.2 * torch.randn(outputs)


def decoder(channels: list[int]) -> State:
    """Draw the depth decoder."""
    state: State = {}
    inputs = channels[-1]
    for step, width in enumerate(reversed(WIDTHS)):
        convolution(state, f"decoder.{2 * step}.conv.conv", inputs, width, 3)
        skip = channels[3 - step] if step < 4 else 0
        convolution(state, f"decoder.{2 * step + 1}.conv.conv", width + skip, width, 3)
        inputs = width
    for scale in range(4):
        convolution(state, f"decoder.{10 + scale}.conv", WIDTHS[scale], 1, 3)
    return state


def reflected(state: State, name: str, x: Tensor) -> Tensor:
    """Convolve with the image mirrored at its border."""
    padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
    return functional.conv2d(padded, state[f"{name}.weight"], state[f"{name}.bias"])


def disparities(state: State, levels: list[Tensor]) -> list[Tensor]:
    """Return the four maps, fine to coarse."""
    x, maps = levels[4], []
    for step in range(5):
        x = functional.elu(reflected(state, f"decoder.{2 * step}.conv.conv", x))
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        if step < 4:
            x = torch.cat([x, levels[3 - step]], 1)
        x = functional.elu(reflected(state, f"decoder.{2 * step + 1}.conv.conv", x))
        if step > 0:
            maps.append(reflected(state, f"decoder.{14 - step}.conv", x).sigmoid())
    return maps[::-1]


def pose_decoder(channels: int, inputs: int, poses: int) -> State:
    """Draw the pose decoder."""
    state: State = {}
    convolution(state, "net.0", channels, 256, 1)
    convolution(state, "net.1", 256 * inputs, 256, 3)
    convolution(state, "net.2", 256, 256, 3)
    convolution(state, "net.3", 256, 6 * poses, 1)
    return state


def motion(state: State, encodings: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return axis-angle and translation of the first pose."""

    def convolved(name: str, x: Tensor, padding: int) -> Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    x = torch.cat([convolved("net.0", level, 0).relu() for level in encodings], 1)
    x = convolved("net.2", convolved("net.1", x, 1).relu(), 1).relu()
    first = 0.01 * convolved("net.3", x, 0).mean((2, 3))[:, :6]
    return first[:, :3], first[:, 3:]


@dataclass
class Published:
    """A trained network: `pose` is `separate` or `shared`."""

    layers: int
    pose: str
    size: tuple[int, int] = (64, 96)
    encoder: Resnet = field(init=False)
    pose_encoder: Resnet = field(init=False)
    depth: State = field(init=False)
    head: State = field(init=False)

    def __post_init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            self.encoder = Resnet(self.layers)
            images = torch.rand(4, 3, *self.size)
            self.encoder.settle(images)
            self.depth = decoder(self.encoder.channels)
            self._spread(images)
            separate = self.pose == "separate"
            if separate:
                self.pose_encoder = Resnet(self.layers, 2)
                self.pose_encoder.settle(torch.rand(4, 6, *self.size))
            self.head = pose_decoder(self.encoder.channels[-1], 1 if separate else 2, 2 if separate else 1)

    @torch.no_grad()
    def _spread(self, images: Tensor) -> None:
        """Bring every map to mean 0 and deviation 1 before the sigmoid, where it hides no difference."""
        for scale, disparity in enumerate(disparities(self.depth, self.encoder(images))):
            name, logit = f"decoder.{10 + scale}.conv", disparity.double().logit()
            self.depth[f"{name}.weight"] /= logit.std()
            self.depth[f"{name}.bias"] = ((self.depth[f"{name}.bias"] - logit.mean()) / logit.std()).float()

    def save(self, folder: Path, legacy: bool = False) -> Path:
        """Write the files; `legacy` is the format of torch 0.4.1, which the published ones have."""
        height, width = self.size
        about = {"height": height, "width": width, "use_stereo": False}
        files: dict[str, dict[str, Any]] = {
            "encoder": {**self.encoder.state_dict(), **about},
            "depth": self.depth,
            "pose": self.head,
            "adam": torch.optim.Adam([nn.Parameter(torch.zeros(1))]).state_dict(),
        }
        if self.pose == "separate":
            files["pose_encoder"] = self.pose_encoder.state_dict()
        folder.mkdir(parents=True)
        for name, state in files.items():
            torch.save(state, folder / f"{name}.pth", _use_new_zipfile_serialization=not legacy)
        return folder

    @torch.no_grad()
    def disparities(self, images: Tensor) -> list[Tensor]:
        """Return the four maps, fine to coarse, in the precision of the images."""
        return disparities(_as(self.depth, images), self.encoder.to(images.dtype)(images))

    @torch.no_grad()
    def motion(self, earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """Return axis-angle and translation between two frames, in their precision."""
        if self.pose == "separate":
            levels = [self.pose_encoder.to(earlier.dtype)(torch.cat([earlier, later], 1))[4]]
        else:
            levels = [self.encoder.to(earlier.dtype)(x)[4] for x in (earlier, later)]
        return motion(_as(self.head, earlier), levels)


def _as(state: State, like: Tensor) -> State:
    return {name: value.to(like.dtype) for name, value in state.items()}
