"""Terms of the loss: how well the other image, moved back by the flow, explains the target."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mtdrive.census import census_distance
from mtdrive.errors import ConfigError
from mtdrive.flow_fields import enlarge
from mtdrive.losses import photometric_error, ssim_statistics, valid_mean
from mtdrive.tasks.flow.pair import FlowTerm, Pair


class Census(FlowTerm):
    """Census distance of visible pixels, mean over both directions and all levels.

    To it comes how far the flow leads out of the image, a share of its size: there nothing is compared.
    """

    def __init__(self, weight: float = 1.0, window: int = 7, shrink: int = 1) -> None:
        """Set the weight.

        Args:
            weight: of the term.
            window: width and height, in pixels, of what is compared around each pixel.
            shrink: 1 compares images at full size; n compares means over blocks of n x n pixels. Beside a
                term at full size, a shrunk one shows the way where the flow is still wrong by many pixels.
        """
        self.weight, self.window, self.shrink = weight, window, shrink

    def __call__(self, pair: Pair) -> Float[Tensor, ""]:
        """Return the mean; pixels whose window leaves the image do not count."""
        pair = pair.shrunk(self.shrink)
        distance = census_distance(pair.warped.images, pair.images, self.window)
        reach = self.window // 2
        compared = pair.compared[..., reach:-reach, reach:-reach]
        return self.weight * (valid_mean(distance, compared) + pair.leaving) + pair.soundness


class FlowPhotometric(FlowTerm):
    """SSIM and absolute distance of visible pixels, mean over both directions and all levels, as `Census`.

    As in Zhichao Yin and Jianping Shi, "GeoNet: Unsupervised Learning of Dense Depth, Optical Flow and Camera
    Pose", CVPR 2018, https://arxiv.org/abs/1803.02276, Eq. 3.
    """

    def __init__(self, weight: float = 1.0, ssim_weight: float = 0.85, shrink: int = 1) -> None:
        """Set the weights.

        Args:
            weight: of the term.
            ssim_weight: of structural similarity against absolute distance; 0 compares colours alone.
            shrink: see `Census`.
        """
        self.weight, self.ssim_weight, self.shrink = weight, ssim_weight, shrink

    def __call__(self, pair: Pair) -> Float[Tensor, ""]:
        """Return the mean."""
        pair = pair.shrunk(self.shrink)
        error = photometric_error(pair.warped.images, ssim_statistics(pair.images), self.ssim_weight)
        return self.weight * (valid_mean(error, pair.compared) + pair.leaving) + pair.soundness


class FlowSmoothness(FlowTerm):
    """Slope or bend of the flow, less where the image has edges; mean over directions and levels.

    Each level is judged at its own size: Rico Jonschkowski et al., "What Matters in Unsupervised Optical
    Flow", ECCV 2020, https://arxiv.org/abs/2006.04902.
    """

    def __init__(self, weight: float = 0.1, order: int = 2, edges: float = 10.0) -> None:
        """Set the weights.

        Args:
            weight: of the term.
            order: 1 asks for equal flow, 2 for flow that changes steadily, as that of a road does.
            edges: how fast the weight falls where the colour, from 0 to 1, changes.

        Raises:
            ConfigError: if the order is neither 1 nor 2.
        """
        if order not in (1, 2):
            raise ConfigError(f"the order of smoothness is 1 or 2, found {order}")
        self.weight, self.order, self.edges = weight, order, edges

    def __call__(self, pair: Pair) -> Float[Tensor, ""]:
        """Return the mean."""
        scales = []
        for level in pair.levels:
            height, width = level.shape[-2:]
            # In pixels of the level, so that a slope is the same number at every size.
            cells = level.float() * (width / pair.size[1])
            image = functional.adaptive_avg_pool2d(pair.images, (height, width))
            scales.append(self._along(cells, image, -1) + self._along(cells, image, -2))
        return self.weight * torch.stack(scales).mean()

    def _along(
        self, flow: Float[Tensor, "p 2 h w"], image: Float[Tensor, "p 3 h w"], axis: int
    ) -> Float[Tensor, ""]:
        if flow.shape[axis] <= self.order:
            return 0 * flow.sum()
        # Of a bend, the edge is the larger one between three pixels.
        edge = image.diff(dim=axis).abs().mean(1, keepdim=True)
        if self.order == 2:
            length = edge.shape[axis] - 1
            edge = torch.maximum(edge.narrow(axis, 0, length), edge.narrow(axis, 1, length))
        bend = flow.diff(n=self.order, dim=axis)
        return (bend.abs() * torch.exp(-self.edges * edge)).mean()


class KnownFlow(FlowTerm):
    """Distance to the true flow at known pixels, nearly its length where it is large (Charbonnier).

    Weighted by level as in Zachary Teed and Jia Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical
    Flow", ECCV 2020, https://arxiv.org/abs/2003.12039.
    """

    supervised = True

    def __init__(self, weight: float = 0.1, decay: float = 0.8, softness: float = 0.1) -> None:
        """Set the weights.

        Args:
            weight: of the finest level, a pixel of error.
            decay: weight of each level relative to the next finer one.
            softness: pixels below which the distance is squared rather than counted.
        """
        self.weight, self.decay, self.softness = weight, decay, softness

    def __call__(self, pair: Pair) -> Float[Tensor, ""]:
        """Return the weighted sum over the levels of the mean over known pixels."""
        truth = pair.batch.labels[pair.label]
        known = truth.isfinite().all(1)
        # Any number will do where the truth is unknown, but NaN would reach the gradient.
        truth = truth.where(known[:, None], 0.0)
        terms = []
        for scale, level in enumerate(pair.fields.flows):
            square = (enlarge(level, pair.size) - truth).square().sum(1)
            distance = (square + self.softness**2).sqrt() - self.softness
            terms.append(self.decay**scale * valid_mean(distance, known))
        return self.weight * torch.stack(terms).sum()
