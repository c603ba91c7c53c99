"""The geometric mean of the losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.task import Kind
from mtdrive.weighting import LossWeighting, check_lowest, raised


class GeometricMean(LossWeighting):
    """The geometric mean of the losses, whose gradient does not depend on their units.

    The factor of a loss is the mean over the number of losses and the loss: one that nears 0 dominates.

    Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for
    Multi-Task Learning", CVPR workshops 2019, https://arxiv.org/abs/1904.08492.
    """

    def __init__(self, kinds: Mapping[str, Kind], lowest: Mapping[str, float] | None = None) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            lowest: what losses never reach, by their names, if it is not 0; it is subtracted from them.

        Raises:
            ConfigError: if `lowest` names no loss.
        """
        super().__init__(kinds)
        self.lowest = check_lowest(lowest, kinds)

    def weigh(self, names: Sequence[str], losses: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Return the factors."""
        from torchjd.scalarization import GeometricMean as Rule  # slow to import

        values = raised(names, losses, self.lowest, "the geometric mean").requires_grad_()
        return torch.autograd.grad(Rule()(values), values)[0]
