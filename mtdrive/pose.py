"""Networks that see frames of a video and say how the camera moved between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar, Literal, NamedTuple

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mtdrive.batch import TARGET, View
from mtdrive.decoders import in_full
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError
from mtdrive.geometry import invert, pose_matrix

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


@dataclass(frozen=True)
class Motions:
    """What a motion network says of a window of frames."""

    poses: dict[View, Float[Tensor, "b 4 4"]]
    """`T_view,target` of the neighbours that were there."""
    masks: list[Float[Tensor, "b n _h _w"]] = field(default_factory=list)
    """How explainable each pixel of the target is from each neighbour, before the sigmoid, fine to coarse;
    empty for a network without such masks."""


class MotionNetwork(nn.Module, ABC):
    """Predicts the motion from the target to its neighbours in time.

    A constructor takes the run's shared encoder first, whether it reads it or not, so that every network is
    built the same way.
    """

    reads_features: ClassVar[bool]
    """Whether it needs the frames' pyramids, so that the caller encodes them."""
    sees_window: ClassVar[bool] = False
    """Whether it needs all the neighbours at once, or takes them one by one."""

    @abstractmethod
    def motions(self, frames: Mapping[View, Frame]) -> Motions:
        """Return the motion to each of `frames` but the target, which is one of them."""


class PoseNetwork(MotionNetwork):
    """Predicts the motion between two frames of one camera, given in the order of time.

    The order never changes: `T_earlier,later` is the inverse of the result (Godard et al., ICCV 2019,
    https://arxiv.org/abs/1806.01260).
    """

    @abstractmethod
    def forward(self, earlier: Frame, later: Frame) -> Motion:
        """Return `T_later,earlier`."""

    def motions(self, frames: Mapping[View, Frame]) -> Motions:
        """Return the motion to each of `frames`, pair by pair."""
        return Motions({view: self._motion(view, frames) for view in frames if view != TARGET})

    def _motion(self, view: View, frames: Mapping[View, Frame]) -> Float[Tensor, "b 4 4"]:
        earlier, later = sorted((view, TARGET), key=lambda v: v.offset)
        pose = pose_matrix(*self(frames[earlier], frames[later]))
        return pose if earlier == TARGET else invert(pose)


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
        _start_forward(self.out, forward_start)

    def forward(self, features: Sequence[Float[Tensor, "b _c h w"]]) -> Motion:
        """Return the first pose."""
        x = torch.cat([functional.relu(self.squeeze(level)) for level in features], 1)
        x = functional.relu(self.refine(functional.relu(self.join(x))))
        return _motion(in_full(self.out, x))


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


class CorrelationPose(PoseNetwork):
    """A head on how well the shared encoder's features of two frames match under small shifts.

    A network that sees two images stacked has to learn first what a shift is. Here the shifts are its input:
    the correlation layer of Alexey Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional
    Networks", ICCV 2015, https://arxiv.org/abs/1504.06852. It learns from few frames, if the features are
    worth matching: give the encoder pretrained weights.

    Args:
        shared: the run's encoder.
        stride: of the level that is matched.
        reach: largest shift in cells of that level, (down and up, right and left).
        width: channels of its convolutions.
        forward_start: see `PoseHead`.
        sideways: scale of the translation across the optical axis against that along it. A car hardly moves
            sideways; without a small scale, the network takes turns for sideways motion, which moves the
            image alike and, at the depth of the start, five times as far.

    Raises:
        ConfigError: if the encoder has no level of that stride.
    """

    reads_features = True

    def __init__(
        self,
        shared: Encoder,
        stride: int = 8,
        reach: tuple[int, int] = (2, 4),
        width: int = 128,
        forward_start: float = 0.0,
        sideways: float = 0.03,
    ) -> None:
        super().__init__()
        if stride not in shared.strides:
            raise ConfigError(f"{shared.name} has levels of strides {shared.strides}, none of {stride}")
        self.level, self.reach, self.sideways = shared.strides.index(stride), reach, sideways
        shifts = (2 * reach[0] + 1) * (2 * reach[1] + 1)
        self.describe = nn.Conv2d(shared.channels[self.level], 32, 1)
        self.join = nn.Conv2d(shifts, width, 3, stride=2, padding=1)
        self.refine = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 6, 1)
        _start_forward(self.out, forward_start)

    def forward(self, earlier: Frame, later: Frame) -> Motion:
        """Return `T_later,earlier` from the pyramids."""
        a, b = (self.describe(frame.pyramid[self.level]) for frame in (earlier, later))
        x = functional.relu(self.join(correlation(a, b, self.reach)))
        motion = _motion(in_full(self.out, functional.relu(self.refine(x))))
        scale = motion.translation.new_tensor([self.sideways, self.sideways, 1.0])
        return motion._replace(translation=motion.translation * scale)


def correlation(
    a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"], reach: tuple[int, int]
) -> Float[Tensor, "b _shifts h w"]:
    """Return the cosine between each pixel of `a` and the pixels of `b` up to `reach` rows and columns away.

    Channels run over the shifts row by row, from the upper left; beyond the border of `b` the cosine is 0.
    """
    a, b = functional.normalize(a, dim=1), functional.normalize(b, dim=1)
    rows, columns = reach
    height, width = a.shape[-2:]
    padded = functional.pad(b, (columns, columns, rows, rows))
    shifts = product(range(2 * rows + 1), range(2 * columns + 1))
    return torch.stack([(a * padded[..., y : y + height, x : x + width]).sum(1) for y, x in shifts], 1)


def _motion(poses: Float[Tensor, "b _poses h w"]) -> Motion:
    """Return the first pose of a map of poses: its mean over the image, scaled down."""
    mean = SCALE * reduce(poses[:, :6], "b six h w -> b six", "mean")
    first = rearrange(mean, "b (part three) -> part b three", three=3)
    return Motion(axis_angle=first[0], translation=first[1])


def _start_forward(out: nn.Conv2d, forward_start: float) -> None:
    """Add a forward motion, in depth units per pair, to the first prediction of a head."""
    assert out.bias is not None
    with torch.no_grad():
        out.bias[FORWARD::6] -= forward_start / SCALE
