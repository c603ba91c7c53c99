"""What ties depth and motion to optical flow: where nothing but the camera moves, they say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mtdrive.batch import TARGET, Batch, View
from mtdrive.errors import ConfigError
from mtdrive.flow_fields import displace, enlarge, visible
from mtdrive.geometry import rigid_flow
from mtdrive.losses import photometric_error, ssim_statistics, valid_mean
from mtdrive.task import Coupling


@runtime_checkable
class DepthOutput(Protocol):
    """What the coupling reads of a depth task's output."""

    @property
    def depth(self) -> Float[Tensor, "b 1 _h _w"]:
        """Depth of the target, in the unit of the motions."""

    @property
    def motions(self) -> Mapping[View, Float[Tensor, "b 4 4"]]:
        """Predicted `T_view,target`."""


class RigidFlow(Coupling):
    """Distance between optical flow and the flow of depth and motion, on static, visible pixels.

    Visible is where the flow back undoes the flow. Static is where the rigid flow explains the image about
    as well as the optical flow does: on what moves by itself, it does not.

    Yuliang Zou, Zelun Luo and Jia-Bin Huang, "DF-Net: Unsupervised Joint Learning of Depth and Flow using
    Cross-Task Consistency", ECCV 2018, https://arxiv.org/abs/1809.01649; the choice of static pixels follows
    Anurag Ranjan et al., "Competitive Collaboration", CVPR 2019, https://arxiv.org/abs/1805.09806.
    """

    def __init__(
        self,
        to: int = -1,
        weight: float = 0.05,
        margin: float = 0.05,
        motion: Literal["predicted", "known"] = "predicted",
        depth: str = "depth",
        flow: str = "flow",
    ) -> None:
        """Set the weights.

        Args:
            to: where the flow leads, as that of the flow task: -1 is the frame before the target.
            weight: of the mean distance in pixels.
            margin: how much larger the photometric error of a static pixel may be, from 0 to 1, when the
                image is moved back by the rigid flow rather than by the optical flow.
            motion: `predicted` takes that of the depth task, `known` that of the data, for depth in metres.
            depth: name of the depth task.
            flow: name of the flow task.

        Raises:
            ConfigError: if `to` is neither -1 nor 1.
        """
        super().__init__()
        if to not in (-1, 1):
            raise ConfigError(f"flow leads to the frame before (to: -1) or the next one (to: 1), found {to}")
        self.other, self.weight, self.margin = View("front", to), weight, margin
        self.between, self.views = (depth, flow), (TARGET, self.other)
        self.poses = (self.other,) if motion == "known" else ()

    def forward(self, outputs: Mapping[str, Any], batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Return the mean distance."""
        size = (batch.clean.shape[-2], batch.clean.shape[-1])
        forward, backward = (enlarge(each, size) for each in self._optical(outputs[self.between[1]]))
        rigid, front = self._rigid(outputs[self.between[0]], batch, size)
        counts = front & visible(forward, backward) & self._static(rigid, forward, batch)
        # The slope of a length is infinite at 0.
        distance = ((forward - rigid).square().sum(1) + 1e-6).sqrt()
        return {"distance": self.weight * valid_mean(distance, counts) + 0 * forward.detach().sum()}

    def _optical(self, fields: Any) -> tuple[Tensor, Tensor]:
        """Return flow and flow back at their finest size.

        Raises:
            ConfigError: if the flow task predicts another flow.
        """
        if not fields.flows:
            raise ConfigError(
                f"task {self.between[1]!r} predicts no flow to {self.other}; give the task and the coupling "
                "the same setting `to`"
            )
        return fields.flows[0], fields.backward[0]

    def _rigid(
        self, geometry: DepthOutput, batch: Batch, size: tuple[int, int]
    ) -> tuple[Float[Tensor, "b 2 h w"], Bool[Tensor, "b h w"]]:
        """Return the flow of a world that stands still, and where it is defined.

        Raises:
            ConfigError: if the depth task predicts no motion to the other view.
        """
        if self.poses:
            pose = batch.pose(self.other)
        elif self.other in geometry.motions:
            pose = geometry.motions[self.other]
        else:
            raise ConfigError(
                f"task {self.between[0]!r} predicts no motion to {self.other}; add the offset to its offsets "
                "and a pose network, or set motion of the coupling to known"
            )
        depth = torch.nn.functional.interpolate(geometry.depth, size, mode="bilinear", align_corners=False)
        cameras = batch.inputs.camera(TARGET), batch.inputs.camera(self.other)
        flow, front = rigid_flow(depth, *cameras, pose)
        inside = displace(batch.reference(self.other), flow.detach()[None]).inside[0]
        return flow, front & inside

    @torch.no_grad()
    def _static(
        self, rigid: Float[Tensor, "b 2 h w"], optical: Float[Tensor, "b 2 h w"], batch: Batch
    ) -> Bool[Tensor, "b h w"]:
        """Return where the rigid flow explains the target at most `margin` worse."""
        moved = displace(batch.reference(self.other), torch.stack([rigid, optical])).images
        by_rigid, by_optical = photometric_error(moved, ssim_statistics(batch.reference(TARGET)))
        static: Tensor = by_rigid <= by_optical + self.margin
        return static
