"""Auxiliary tasks that may help the main one, and not hinder it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.errors import ConfigError
from mtdrive.gradients import cosines
from mtdrive.task import Kind
from mtdrive.weighting import GradientWeighting, check_factors


class PolicyFirst(GradientWeighting):
    """An auxiliary loss changes the encoder only where its gradient does not point against the main one's.

    That is, where the cosine between both is at least 0. Heads learn at every step. In a step without the
    main loss, or where its gradient is 0, nothing is known of a conflict, and every loss takes part.

    Du et al., "Adapting Auxiliary Losses Using Gradient Similarity", 2018, https://arxiv.org/abs/1812.02224.
    """

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        main: str = "policy",
        weighted: bool = False,
        weights: Mapping[str, float] | None = None,
        at: Literal["features", "parameters"] = "features",
    ) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            main: the loss that counts.
            weighted: multiply by the cosine where it is positive, rather than by 1.
            weights: of the losses by name, at least 0; 1 where none is given.
            at: where gradients are compared; see `mtdrive.weighting.GradientWeighting`.

        Raises:
            ConfigError: if `main` or a weight names no loss, or a weight is negative.
        """
        super().__init__(kinds, at)
        if main not in kinds:
            raise ConfigError(f"the main loss {main!r} is none of the losses, which are {sorted(kinds)}")
        check_factors("weights", weights or {}, kinds)
        self.main, self.weighted = main, weighted
        self.factors = dict.fromkeys(kinds, 1.0) | dict(weights or {})

    def own(self, name: str) -> float:
        """Return the weight of a loss."""
        return self.factors[name]

    def weigh(self, names: Sequence[str], gramian: Float[Tensor, "k k"]) -> Float[Tensor, " k"]:
        """Return the weights of the losses, 0 for those that conflict."""
        factors = gramian.new_tensor([self.factors[name] for name in names])
        if self.main not in names:
            return factors
        main = names.index(self.main)
        cosine = cosines(gramian)[main]
        allowed = cosine.clamp(min=0) if self.weighted else (cosine >= 0).to(gramian)
        allowed = allowed.where(gramian.diagonal() > 0, 1.0).where(gramian[main, main] > 0, 1.0)
        return factors * allowed.where(torch.arange(len(names), device=gramian.device) != main, 1.0)
