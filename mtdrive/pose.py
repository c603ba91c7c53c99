"""Networks that see two frames of a video and say how the camera moved between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mtdrive.decoders import in_full
from mtdrive.encoder import Encoder

SCALE = 0.01
"""Of the published head's output, so that training starts near the identity."""
FORWARD = 5
"""Which of a pose's six numbers is the translation along the optical axis."""


class Frame(NamedTuple):
    """What a pose network may read of one image."""

    image: Float[Tensor, "b 3 h w"]
    """Colour in [0, 1], as the networks see it."""
    pyramid: Sequence[Float[Tensor, "b _c _h _w"]] = ()
    """Features of the shared encoder, fine to coarse; empty unless the network reads them."""


class Motion(NamedTuple):
    """`T_later,earlier`: maps points of the earlier camera into the later one's, rotation first.

    A camera that drives forward sees points come closer: its translation has a negative z.
    """

    axis_angle: Float[Tensor, "b 3"]
    """Axis times angle in radians."""
    translation: Float[Tensor, "b 3"]
    """In the unit of the depth network."""


class PoseNetwork(nn.Module, ABC):
    """Predicts the motion between two frames of one camera, given in the order of time.

    The order never changes: whoever needs `T_earlier,later` inverts the result (Godard et al., ICCV 2019,
    https://arxiv.org/abs/1806.01260). A constructor takes the run's shared encoder first, whether it reads
    it or not, so that every network is built the same way.
    """

    reads_features: ClassVar[bool]
    """Whether `forward` needs the frames' pyramids, so that the caller encodes them."""

    @abstractmethod
    def forward(self, earlier: Frame, later: Frame) -> Motion:
        """Return `T_later,earlier`."""


class PoseHead(nn.Module):
    """The published pose decoder: squeeze each input, join them, two convolutions, mean over the image.

    Args:
        channels: of each input, the encoder's coarsest level.
        inputs: how many feature maps are joined.
        poses: how many poses are predicted, of which the first is used; the published separate network has
            two, the shared one has one.
        forward_start: the forward motion, in depth units per pair, that is added to the first prediction.
            From rest, translation creeps up and depth goes wrong while the loss falls.
    """

    def __init__(self, channels: int, inputs: int = 1, poses: int = 1, forward_start: float = 0.0) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, 256, 1)
        self.join = nn.Conv2d(256 * inputs, 256, 3, padding=1)
        self.refine = nn.Conv2d(256, 256, 3, padding=1)
        self.out = nn.Conv2d(256, 6 * poses, 1)
        assert self.out.bias is not None
        with torch.no_grad():
            self.out.bias[FORWARD] -= forward_start / SCALE

    def forward(self, features: Sequence[Float[Tensor, "b _c h w"]]) -> Motion:
        """Return the first pose."""
        x = torch.cat([functional.relu(self.squeeze(level)) for level in features], 1)
        x = functional.relu(self.refine(functional.relu(self.join(x))))
        poses = reduce(in_full(self.out, x), "b (poses six) h w -> b poses six", "mean", six=6)
        first = rearrange(SCALE * poses[:, 0], "b (part three) -> part b three", three=3)
        return Motion(axis_angle=first[0], translation=first[1])


class SeparatePose(PoseNetwork):
    """An encoder of its own on both images stacked: the published network, and the more accurate.

    Args:
        shared: the run's encoder, which this network does not read.
        name: timm's name of its own encoder; see `Encoder`, as for the next two.
        weights: of its own encoder.
        normalisation: of its own encoder.
        poses: see `PoseHead`.
        forward_start: see `PoseHead`.
    """

    reads_features = False

    def __init__(
        self,
        shared: Encoder | None = None,
        name: str = "resnet18",
        weights: str = "none",
        normalisation: Literal["timm", "monodepth2"] = "timm",
        poses: int = 2,
        forward_start: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(name, weights, images=2, normalisation=normalisation)
        self.head = PoseHead(self.encoder.channels[-1], 1, poses, forward_start)

    def forward(self, earlier: Frame, later: Frame) -> Motion:
        """Return `T_later,earlier` from the images."""
        pair = torch.cat([earlier.image, later.image], 1)
        motion: Motion = self.head(self.encoder(pair)[-1:])
        return motion


class SharedPose(PoseNetwork):
    """A head on the shared encoder's features of both frames: a fraction of the work.

    Args:
        shared: the run's encoder, whose coarsest level is read.
        forward_start: see `PoseHead`.
    """

    reads_features = True

    def __init__(self, shared: Encoder, forward_start: float = 0.0) -> None:
        super().__init__()
        self.head = PoseHead(shared.channels[-1], 2, 1, forward_start)

    def forward(self, earlier: Frame, later: Frame) -> Motion:
        """Return `T_later,earlier` from the pyramids."""
        motion: Motion = self.head([earlier.pyramid[-1], later.pyramid[-1]])
        return motion
