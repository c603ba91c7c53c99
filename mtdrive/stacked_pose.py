"""The motion network of SfMLearner: all frames of a window at once, with masks of explainability.

Tinghui Zhou et al., "Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017,
https://arxiv.org/abs/1704.07813.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mtdrive.batch import TARGET, View
from mtdrive.decoders import in_full
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError
from mtdrive.geometry import pose_matrix
from mtdrive.pose import SCALE, Frame, MotionNetwork, Motions

_ENCODER = ((16, 7), (32, 5), (64, 3), (128, 3), (256, 3))
"""Channels and kernel of the convolutions, each of stride 2, that pose and masks share."""
_DECODER = ((256, 3), (128, 3), (64, 3), (32, 5), (16, 7))
"""Those of the transposed convolutions of the masks, coarse to fine."""
MASKS = 4
"""Scales of the masks: those of the depth network."""


class StackedPose(MotionNetwork):
    """Sees the target and all its neighbours stacked, and says the motion to each of them.

    Images enter as the published network has them, from -1 to 1; it has no normalisation layers.

    Args:
        shared: the run's encoder, which this network does not read.
        neighbours: how many frames the window has beside the target.
        masks: whether it also predicts how explainable each pixel is from each neighbour.
        forward_start: see `mtdrive.pose.PoseHead`; per frame of distance.
    """

    reads_features = False
    sees_window = True

    def __init__(
        self,
        shared: Encoder | None = None,
        neighbours: int = 2,
        masks: bool = True,
        forward_start: float = 0.0,
    ) -> None:
        super().__init__()
        self.neighbours, self.forward_start = neighbours, forward_start
        self.encoder = nn.ModuleList()
        channels = 3 * (neighbours + 1)
        for width, kernel in _ENCODER:
            self.encoder.append(_halve(channels, width, kernel))
            channels = width
        self.pose = nn.Sequential(
            _halve(channels, 256, 3),
            nn.ReLU(),
            _halve(256, 256, 3),
            nn.ReLU(),
            nn.Conv2d(256, 6 * neighbours, 1),
        )
        self.decoder, self.masks = nn.ModuleList(), nn.ModuleList()
        for width, kernel in _DECODER if masks else ():
            self.decoder.append(_double(channels, width, kernel))
            channels = width
        for width, kernel in _DECODER[:0:-1] if masks else ():
            self.masks.append(nn.Conv2d(width, neighbours, kernel, padding=kernel // 2))

    def motions(self, frames: Mapping[View, Frame]) -> Motions:
        """Return the motion to every neighbour, and the masks; nothing unless the window is complete.

        Raises:
            ConfigError: if the window has more neighbours than the network was built for.
        """
        views = sorted(view for view in frames if view != TARGET)
        if len(views) > self.neighbours:
            raise ConfigError(
                f"StackedPose sees {self.neighbours} neighbours, found {', '.join(map(str, views))}; "
                "set neighbours to their number"
            )
        if len(views) < self.neighbours:
            return Motions({})
        x = 2 * torch.cat([frames[view].image for view in (TARGET, *views)], 1) - 1
        for layer in self.encoder:
            x = functional.relu(layer(x))
        return Motions(self._poses(x, views), self._masks(x))

    def _poses(self, x: Float[Tensor, "b c h w"], views: list[View]) -> dict[View, Float[Tensor, "b 4 4"]]:
        means = reduce(in_full(self.pose, x), "b (n six) h w -> n b six", "mean", six=6)
        starts = torch.tensor([[0.0, 0.0, -self.forward_start * view.offset] for view in views])
        poses: dict[View, Float[Tensor, "b 4 4"]] = {}
        for view, pose, start in zip(views, SCALE * means, starts.to(x.device), strict=True):
            axis_angle, translation = rearrange(pose, "b (part three) -> part b three", three=3)
            poses[view] = pose_matrix(axis_angle, translation + start)
        return poses

    def _masks(self, x: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b n _h _w"]]:
        fine_to_coarse: list[Float[Tensor, "b _c _h _w"]] = []
        for layer in self.decoder:
            x = functional.relu(layer(x))
            fine_to_coarse.insert(0, x)
        return [in_full(mask, level) for mask, level in zip(self.masks, fine_to_coarse, strict=False)]


def _halve(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2)


def _double(inputs: int, outputs: int, kernel: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, output_padding=1)
