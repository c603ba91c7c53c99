"""A weighted sum with weights chosen by hand."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtdrive.errors import ConfigError
from mtdrive.task import Kind
from mtdrive.weighting import Scalarization


class Fixed(Scalarization):
    """The sum of the losses, each times its weight.

    The baseline that every other method has to beat: Kurin et al., "In Defense of the Unitary
    Scalarization for Deep Multi-Task Learning", NeurIPS 2022, https://arxiv.org/abs/2201.04122.
    """

    def __init__(self, kinds: Mapping[str, Kind], weights: Mapping[str, float] | None = None) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            weights: of the losses by name; 1 where none is given.

        Raises:
            ConfigError: if a weight names no loss.
        """
        super().__init__(kinds)
        if unknown := set(weights or {}) - set(kinds):
            raise ConfigError(f"weights name {sorted(unknown)}, but the losses are {sorted(kinds)}")
        self.factors = dict.fromkeys(kinds, 1.0) | dict(weights or {})

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum."""
        return torch.stack([self.factors[name] * loss for name, loss in losses.items()]).sum()

    def weights(self) -> dict[str, Tensor]:
        """Return the weights."""
        return {name: torch.tensor(factor) for name, factor in self.factors.items()}
