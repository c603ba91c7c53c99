"""Photometric terms: how well the neighbours, warped by depth and motion, explain the target."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mtdrive.geometry import upcast
from mtdrive.losses import Reprojection, min_reprojection, photometric_error, ssim_statistics
from mtdrive.tasks.depth.scene import Scene, Term


class Photometric(Term):
    """Full-resolution minimum reprojection with auto-masking, mean over scales (Godard et al., Eq. 2-5).

    The settings are the switches of their ablation, and of SfMLearner. Where the network gives masks of
    explainability, they multiply the error of the warped sources (Zhou et al., Eq. 3).
    """

    compares = True

    def __init__(
        self,
        weight: float = 1.0,
        ssim_weight: float = 0.85,
        shrink: int = 1,
        reprojection: Literal["minimum", "mean"] = "minimum",
        automask: bool = True,
        multiscale: Literal["full", "native"] = "full",
        compiled: bool = False,
    ) -> None:
        """Set the weights.

        Args:
            weight: of the term.
            ssim_weight: of structural similarity against absolute distance; 0 compares colours alone.
            shrink: 1 compares images at full size, as published; n compares means over blocks of n x n
                pixels. Beside a term at full size, a shrunk one shows the way where the motion is still
                wrong by more than a few pixels.
            reprojection: whether the best source of a pixel counts, or the mean over them.
            automask: whether pixels count only where a warped source is better than the unwarped ones.
            multiscale: `full` brings the depth of every scale to the size of the image; `native` compares
                at the size of the scale.
            compiled: whether torch.compile fuses the arithmetic of the photometric error, which needs a C++
                compiler and, for each size of image, half a minute. The figures change by rounding.
        """
        self.weight, self.ssim_weight, self.shrink = weight, ssim_weight, shrink
        self.reprojection, self.automask, self.multiscale = reprojection, automask, multiscale
        self.compiled = compiled

    def __call__(self, scene: Scene) -> Float[Tensor, ""]:
        """Return the mean error over scales and pixels."""
        means = torch.stack([x.error.mean() for x in self.errors(scene)])
        return self.weight * means.mean() + scene.soundness

    def errors(self, scene: Scene) -> list[Reprojection]:
        """Return the error of each pixel, (s b h w), of all scales at once or of each by itself."""
        scene = scene.shrunk(self.shrink)
        scenes = [scene] if self.multiscale == "full" else scene.scales()
        return [self._errors(each) for each in scenes]

    def _errors(self, scene: Scene) -> Reprojection:
        target = ssim_statistics(scene.target)
        error = partial(
            photometric_error, target=target, ssim_weight=self.ssim_weight, compiled=self.compiled
        )
        reprojection = error(scene.warped.images)
        if scene.explainable is not None:
            reprojection = reprojection * scene.explainable
        if self.reprojection == "mean":
            reprojection = reprojection.mean(dim=1, keepdim=True)
        if not self.automask:
            best = reprojection.amin(dim=1)
            return Reprojection(best, torch.ones_like(best, dtype=torch.bool))
        with torch.no_grad():
            identity = error(scene.images)
            if self.reprojection == "mean":
                identity = identity.mean(dim=0, keepdim=True)
        return min_reprojection(reprojection, identity)


class Explainability(Term):
    """Keeps the masks from explaining everything away: cross entropy with masks of ones.

    Tinghui Zhou et al., "Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017,
    https://arxiv.org/abs/1704.07813, section 3.3.
    """

    def __init__(self, weight: float = 0.2) -> None:
        """Set the weight.

        Args:
            weight: of the mean over pixels, sources and scales.
        """
        self.weight = weight

    def __call__(self, scene: Scene) -> Float[Tensor, ""]:
        """Return the mean of -log(mask)."""
        scales = [functional.softplus(-upcast(mask)).mean() for mask in scene.geometry.masks]
        return self.weight * torch.stack(scales).mean()
