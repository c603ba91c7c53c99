"""Photometric terms: how well the neighbours, warped by depth and motion, explain the target."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.losses import Reprojection, min_reprojection, photometric_error, ssim_statistics
from mtdrive.tasks.depth.scene import Scene, Term


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
