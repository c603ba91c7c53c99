"""Terms that ask for smooth depth."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mtdrive.losses import smoothness
from mtdrive.tasks.depth.scene import Scene, Term


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
