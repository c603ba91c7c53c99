"""Terms for what is known in metres: depth from LiDAR or a simulator, and the speed of the car.

They give depth its scale, so that a network trained with one of them is evaluated without any scaling.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mtdrive.batch import TARGET, Batch
from mtdrive.errors import ConfigError
from mtdrive.losses import valid_mean
from mtdrive.tasks.depth.scene import Scene, Term


class _Supervised(Term):
    """Compares the depth of every scale with the label, and takes the mean over the scales."""

    needs = frozenset({"depth"})

    def __init__(self, weight: float = 1.0) -> None:
        """Set the weight.

        Args:
            weight: of the term.
        """
        self.weight = weight

    def __call__(self, scene: Scene) -> Float[Tensor, ""]:
        """Return the weighted term."""
        truth = scene.batch.labels["depth"]
        known = truth.isfinite() & (truth > 0)
        # Any number will do where the truth is unknown, but NaN would reach the gradient.
        return self.weight * self._compare(scene.depths[:, :, 0], truth.where(known, 1.0), known)

    @abstractmethod
    def _compare(
        self, depths: Float[Tensor, "s b h w"], truth: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        """Return the mean over images, scales and known pixels; the truth is 1 where it is not known."""


class L1Depth(_Supervised):
    """Absolute distance in metres, mean over known pixels."""

    def _compare(
        self, depths: Float[Tensor, "s b h w"], truth: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        return valid_mean((depths - truth).abs(), known.expand_as(depths))


class BerHu(_Supervised):
    """Absolute distance where it is small, its square beyond a fifth of the largest error of the batch.

    Iro Laina et al., "Deeper Depth Prediction with Fully Convolutional Residual Networks", 3DV 2016,
    https://arxiv.org/abs/1606.00373. In metres, mean over known pixels.
    """

    def _compare(
        self, depths: Float[Tensor, "s b h w"], truth: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        error = (depths - truth).abs()
        knee = (0.2 * error.detach().where(known, 0.0).amax()).clamp(min=1e-6)
        values = torch.where(error <= knee, error, (error.square() + knee.square()) / (2 * knee))
        return valid_mean(values, known.expand_as(depths))


class ScaleInvariantLog(_Supervised):
    """Variance of the error of log depth, plus a share of its squared mean; mean over the images.

    David Eigen, Christian Puhrsch and Rob Fergus, "Depth Map Prediction from a Single Image using a
    Multi-Scale Deep Network", NeurIPS 2014, https://arxiv.org/abs/1406.2283, Eq. 4.
    """

    def __init__(self, weight: float = 1.0, invariance: float = 0.5) -> None:
        """Set the weights.

        Args:
            weight: of the term.
            invariance: 0 is the squared error of log depth, 1 does not see the scale at all.

        Raises:
            ConfigError: if `invariance` is not in [0, 1].
        """
        super().__init__(weight)
        if not 0 <= invariance <= 1:
            raise ConfigError(f"invariance must be from 0 to 1, found {invariance}")
        self.invariance = invariance

    def _compare(
        self, depths: Float[Tensor, "s b h w"], truth: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        error = torch.where(known, depths.log() - truth.log(), 0.0)
        count = known.sum((-2, -1)).clamp(min=1)
        mean, square = error.sum((-2, -1)) / count, error.square().sum((-2, -1)) / count
        images = known.any(-1).any(-1)
        return valid_mean(square - self.invariance * mean.square(), images.expand_as(mean))


class Velocity(Term):
    """Distance between the predicted length of each motion and the way that the car drove.

    Vitor Guizilini et al., "3D Packing for Self-Supervised Monocular Depth Estimation", CVPR 2020,
    https://arxiv.org/abs/1905.02693, section 3.2. Left out of batches without speed.
    """

    compares = True

    def __init__(self, weight: float = 0.05, interval: float = 0.1) -> None:
        """Set the weight.

        Args:
            weight: of the term.
            interval: seconds between neighbouring views: 0.1 for KITTI at a stride of 1.
        """
        self.weight, self.interval = weight, interval

    def defined(self, batch: Batch) -> bool:
        """Return whether the batch knows the speed of the car."""
        return batch.inputs.speed is not None

    def __call__(self, scene: Scene) -> Float[Tensor, ""]:
        """Return the mean over items and predicted motions."""
        speed = scene.batch.inputs.speed
        assert speed is not None
        errors = [
            (motion[:, :3, 3].norm(dim=-1) - speed.abs() * self.interval * abs(view.offset)).abs()
            for view, motion in scene.geometry.motions.items()
            if view.camera == TARGET.camera
        ]
        return self.weight * torch.stack(errors).mean()
