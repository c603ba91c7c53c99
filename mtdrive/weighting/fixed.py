"""A weighted sum with weights chosen by hand."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtdrive.errors import ConfigError
from mtdrive.task import Kind
from mtdrive.weighting import Scalarization, check_factors


class Fixed(Scalarization):
    """The sum of the losses, each times its weight.

    The baseline that every other method has to beat: Kurin et al., "In Defense of the Unitary
    Scalarization for Deep Multi-Task Learning", NeurIPS 2022, https://arxiv.org/abs/2201.04122.
    """

    def __init__(self, kinds: Mapping[str, Kind], weights: Mapping[str, float] | None = None) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            weights: of the losses by name, at least 0; 1 where none is given. 0 switches a loss off: it is
                still computed and logged, and trains neither the encoder nor its head.

        Raises:
            ConfigError: if a weight names no loss or is negative, or all are 0.
        """
        super().__init__(kinds)
        check_factors("weights", weights or {}, kinds)
        self.factors = dict.fromkeys(kinds, 1.0) | dict(weights or {})
        if not any(self.factors.values()):
            raise ConfigError("every weight is 0, so that nothing would be trained; give one above 0")

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum."""
        terms = [self.factors[name] * loss for name, loss in losses.items() if self.factors[name]]
        return torch.stack(terms).sum() if terms else next(iter(losses.values())).new_zeros(())

    def weights(self) -> dict[str, Tensor]:
        """Return the weights."""
        return {name: torch.tensor(factor) for name, factor in self.factors.items()}
