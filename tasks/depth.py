"""Self-supervised depth and ego-motion from video.

Clément Godard, Oisin Mac Aodha, Michael Firman and Gabriel Brostow, "Digging Into Self-Supervised Monocular
Depth Estimation", ICCV 2019, https://arxiv.org/abs/1806.01260 (Monodepth2); Tinghui Zhou et al.,
"Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017, https://arxiv.org/abs/1704.07813.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.decoders import DisparityDecoder
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError
from mtdrive.geometry import (
    Warp,
    disparity_to_depth,
    euler_angles,
    inverse_warp,
    invert,
    pose_matrix,
    shrink_intrinsics,
    upcast,
)
from mtdrive.losses import Reprojection, min_reprojection, photometric_error, smoothness, ssim_statistics
from mtdrive.metrics import depth_metrics, pearson
from mtdrive.pose import Frame, PoseNetwork, SeparatePose
from mtdrive.show import coloured, grey, stacked
from mtdrive.task import Pyramid, Task


class Geometry(NamedTuple):
    """Depth of the target, and how the camera moved to its neighbours."""

    disparities: list[Float[Tensor, "b 1 _h _w"]]
    """Sigmoid outputs, fine to coarse: 0 is the farthest depth, 1 the nearest."""
    motions: dict[View, Float[Tensor, "b 4 4"]]
    """Predicted `T_view,target` of the views that were there."""


@dataclass(frozen=True)
class Scene:
    """A prediction beside the images that it has to explain: what the terms of the loss share."""

    geometry: Geometry
    batch: Batch
    sources: tuple[View, ...]
    """Views that the target is synthesised from."""
    min_depth: float
    max_depth: float

    @cached_property
    def target(self) -> Float[Tensor, "b 3 h w"]:
        """The clean target image."""
        return self.batch.reference(TARGET)

    @cached_property
    def depths(self) -> Float[Tensor, "s b 1 h w"]:
        """Depth from every scale, its disparity brought to the size of the image first."""
        size = self.target.shape[-2:]
        full = [
            functional.interpolate(upcast(x), size, mode="bilinear", align_corners=False)
            for x in self.geometry.disparities
        ]
        return disparity_to_depth(torch.stack(full), self.min_depth, self.max_depth)[1]

    def shrunk(self, factor: int) -> Scene:
        """Return the same prediction beside images whose pixels are the means of blocks.

        Raises:
            ConfigError: if blocks do not tile the images.
        """
        if factor == 1:
            return self
        height, width = self.target.shape[-2:]
        if factor < 1 or height % factor or width % factor:
            raise ConfigError(
                f"blocks of {factor} pixels do not tile images of {height}x{width}; "
                "choose a shrink that divides both, such as 2 or 4"
            )
        inputs = self.batch.inputs
        clean = torch.stack([functional.avg_pool2d(x, factor) for x in self.batch.clean.unbind(1)], 1)
        camera = replace(inputs, intrinsics=shrink_intrinsics(inputs.intrinsics, factor))
        return replace(self, batch=replace(self.batch, inputs=camera, clean=clean))

    def motion(self, view: View) -> Float[Tensor, "b 4 4"]:
        """Return `T_view,target`: predicted where a network did, else known."""
        return self.geometry.motions[view] if view in self.geometry.motions else self.batch.pose(view)

    @cached_property
    def images(self) -> Float[Tensor, "n b 3 h w"]:
        """The clean images of the sources."""
        return torch.stack([self.batch.reference(view) for view in self.sources])

    @cached_property
    def warped(self) -> Warp:
        """The sources as the target camera would see them, by the depth of every scale."""
        inputs = self.batch.inputs
        return inverse_warp(
            self.images,
            self.depths,
            inputs.camera(TARGET),
            torch.stack([inputs.camera(view) for view in self.sources]),
            torch.stack([self.motion(view) for view in self.sources]),
        )


class Term(ABC):
    """A part of the loss: a rule without parameters that a configuration can name."""

    @abstractmethod
    def __call__(self, scene: Scene) -> Float[Tensor, ""]:
        """Return the weighted term."""


class Photometric(Term):
    """Full-resolution minimum reprojection with auto-masking, mean over scales (Godard et al., Eq. 2-5)."""

    def __init__(self, weight: float = 1.0, ssim_weight: float = 0.85, shrink: int = 1) -> None:
        """Set the weights.

        Args:
            weight: of the term.
            ssim_weight: of structural similarity against absolute distance.
            shrink: 1 compares images at full size, as published; n compares means over blocks of n x n
                pixels. Beside a term at full size, a shrunk one shows the way where the motion is still
                wrong by more than a few pixels.
        """
        self.weight, self.ssim_weight, self.shrink = weight, ssim_weight, shrink

    def __call__(self, scene: Scene) -> Float[Tensor, ""]:
        """Return the mean error over scales and pixels."""
        return self.weight * self.errors(scene).error.mean()

    def errors(self, scene: Scene) -> Reprojection:
        """Return the error of each pixel, (s b h w), and whether it trains."""
        scene = scene.shrunk(self.shrink)
        target = ssim_statistics(scene.target)
        reprojection = photometric_error(scene.warped.images, target, self.ssim_weight)
        with torch.no_grad():
            identity = photometric_error(scene.images, target, self.ssim_weight)
        return min_reprojection(reprojection, identity)


class Smoothness(Term):
    """Edge-aware slope of mean-normalised disparity, halved from scale to scale (Godard et al., Eq. 3)."""

    def __init__(self, weight: float = 1e-3) -> None:
        """Set the weight.

        Args:
            weight: of the finest scale.
        """
        self.weight = weight

    def __call__(self, scene: Scene) -> Float[Tensor, ""]:
        """Return the mean over the scales."""
        disparities = scene.geometry.disparities
        slopes = [smoothness(x, _shrunk(scene.target, x)) / 2**scale for scale, x in enumerate(disparities)]
        return self.weight * torch.stack(slopes).mean()


def _shrunk(image: Float[Tensor, "b 3 h w"], like: Float[Tensor, "b 1 i j"]) -> Float[Tensor, "b 3 i j"]:
    """Return the image at the size of a coarser map, by the mean over areas."""
    size = (like.shape[-2], like.shape[-1])
    return image if image.shape[-2:] == size else functional.adaptive_avg_pool2d(image, size)


class Depth(Task[Geometry]):
    """Disparity from the shared features of the target, motion from pairs of frames.

    Depth is up to one unknown scale, which the motion shares.
    """

    def __init__(
        self,
        encoder: Encoder,
        pose: Callable[[Encoder], PoseNetwork] = SeparatePose,
        terms: dict[str, Term] | None = None,
        offsets: Sequence[int] = (-1, 1),
        scales: int = 4,
        min_depth: float = 0.1,
        max_depth: float = 100.0,
    ) -> None:
        """Build the heads; the defaults are Monodepth2's.

        Args:
            encoder: the shared one.
            pose: predicts motion from two frames.
            terms: of the loss by name; photometric and smoothness if none are given.
            offsets: of the frames that explain the target.
            scales: number of disparity maps, each half as large as the one before.
            min_depth: depth of a disparity of 1, in the unit of the motion.
            max_depth: depth of a disparity of 0.
        """
        super().__init__()
        self.decoder = DisparityDecoder(encoder.channels, encoder.strides, scales)
        self.pose = pose(encoder)
        self.terms = terms or {"photometric": Photometric(), "smoothness": Smoothness()}
        self.neighbours = tuple(View("front", offset) for offset in offsets)
        self.views = (TARGET, *self.neighbours)
        self.reads = self.views if self.pose.reads_features else (TARGET,)
        self.min_depth, self.max_depth = min_depth, max_depth

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Geometry:
        """Predict disparity, and the motion to those neighbours that are there."""
        present = [view for view in self.neighbours if view in inputs.views]
        motions = {view: self._motion(view, features, inputs) for view in present}
        return Geometry(self.decoder(features[TARGET]), motions)

    def _motion(self, view: View, features: Mapping[View, Pyramid], inputs: Inputs) -> Float[Tensor, "b 4 4"]:
        """Return `T_view,target`; the network sees the frames in the order of time."""
        earlier, later = sorted((view, TARGET), key=lambda v: v.offset)
        frames = [Frame(inputs.image(v), features.get(v, ())) for v in (earlier, later)]
        pose = pose_matrix(*self.pose(*frames))
        return pose if earlier == TARGET else invert(pose)

    def loss(self, output: Geometry, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Return every term."""
        scene = self.scene(output, batch)
        return {name: term(scene) for name, term in self.terms.items()}

    def scene(self, output: Geometry, batch: Batch) -> Scene:
        """Return a prediction beside what it has to explain."""
        return Scene(output, batch, self.neighbours, self.min_depth, self.max_depth)

    def disparity(self, output: Geometry) -> Float[Tensor, "b h w"]:
        """Return disparity in 1/m (up to the unknown scale) at the finest scale."""
        return disparity_to_depth(output.disparities[0][:, 0], self.min_depth, self.max_depth)[0]

    def metrics(self, output: Geometry, batch: Batch) -> dict[str, Tensor]:
        """Return depth errors after median scaling, and predicted beside known motion, as far as known."""
        columns: dict[str, Tensor] = {}
        if "depth" in batch.labels:
            columns |= depth_metrics(1 / self.disparity(output), batch.labels["depth"])
        for view, motion in output.motions.items():
            known = batch.pose(view)
            for name, pose in (("predicted", motion), ("known", known)):
                # Towards the later frame, so that the columns of both directions agree in sign.
                forward = pose.detach() if view.offset > 0 else invert(pose.detach())
                columns[f"yaw_{name}/{view}"] = euler_angles(forward)[:, 1]
                columns[f"speed_{name}/{view}"] = -forward[:, 2, 3]
        return columns

    def summarise(self, columns: Mapping[str, Tensor]) -> dict[str, float]:
        """Return mean depth errors, and how predicted yaw and forward motion correlate with known ones."""
        motions = {n: x for n, x in columns.items() if n.startswith(("yaw_", "speed_"))}
        figures = super().summarise({n: x for n, x in columns.items() if n not in motions})
        for kind in ("yaw", "speed"):
            predicted, known = (
                [x for name, x in sorted(motions.items()) if name.startswith(f"{kind}_{which}")]
                for which in ("predicted", "known")
            )
            if predicted and not torch.cat(known).isnan().all():
                pair = pearson(torch.cat(predicted)[None], torch.cat(known)[None])
                figures[f"{kind}_correlation"] = float(pair)
        return figures

    @torch.no_grad()
    def picture(self, output: Geometry, batch: Batch) -> Float[Tensor, "3 h w"]:
        """Draw, from top to bottom: input, disparity, each warped neighbour, the pixels that train."""
        rows = [batch.inputs.image(TARGET)[0], coloured(output.disparities[0][0, 0])]
        photometric = next((t for t in self.terms.values() if isinstance(t, Photometric)), None)
        if set(self.neighbours) <= set(output.motions) and photometric:
            scene = self.scene(output, batch)
            rows += [warped[0].cpu() for warped in scene.warped.images[0]]
            rows.append(grey(photometric.errors(scene).mask[0, 0]))
        return stacked([row.cpu() for row in rows])
