"""Random weights: what a clever weighting has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.ranks import agree
from mtdrive.weighting import LossWeighting


class RLW(LossWeighting):
    """Weights drawn anew at each step: the softmax of normal numbers, which sums to 1.

    Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning", TMLR
    2022, https://arxiv.org/abs/2111.10603.
    """

    def weigh(self, names: Sequence[str], losses: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Draw the factors; all processes take those of the first."""
        from torchjd.scalarization import Random  # slow to import

        values = losses.requires_grad_()
        return agree(torch.autograd.grad(Random()(values), values)[0])
