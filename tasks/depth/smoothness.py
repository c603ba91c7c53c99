"""Terms that ask for smooth depth."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mtdrive.geometry import disparity_to_depth
from mtdrive.losses import curvature, smoothness
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
        slopes = [smoothness(x, shrunk(scene.target, x)) / 2**scale for scale, x in enumerate(disparities)]
        return self.weight * torch.stack(slopes).mean()


class SecondOrderSmoothness(Term):
    """Curvature of disparity, halved from scale to scale.

    Tinghui Zhou et al., "Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017,
    https://arxiv.org/abs/1704.07813, section 3.4.
    """

    def __init__(self, weight: float = 0.5) -> None:
        """Set the weight.

        Args:
            weight: of the finest scale, for disparity in 1 / units of depth.
        """
        self.weight = weight

    def __call__(self, scene: Scene) -> Float[Tensor, ""]:
        """Return the mean over the scales."""
        bends = [
            curvature(disparity_to_depth(x, scene.min_depth, scene.max_depth)[0]) / 2**scale
            for scale, x in enumerate(scene.geometry.disparities)
        ]
        return self.weight * torch.stack(bends).mean()


def shrunk(image: Float[Tensor, "b 3 h w"], like: Float[Tensor, "b 1 i j"]) -> Float[Tensor, "b 3 i j"]:
    """Return the image at the size of a coarser map, by the mean over areas."""
    height, width = like.shape[-2:]
    while image.shape[-2] % (2 * height) == 0 and image.shape[-1] % (2 * width) == 0:
        rows = image[..., ::2, :] + image[..., 1::2, :]  # several times faster than pooling on a CPU
        image = (rows[..., ::2] + rows[..., 1::2]) / 4
    same = image.shape[-2:] == (height, width)
    return image if same else functional.adaptive_avg_pool2d(image, (height, width))
