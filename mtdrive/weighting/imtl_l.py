"""Learned scales that make all losses equally large."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mtdrive.errors import ConfigError
from mtdrive.task import Kind
from mtdrive.weighting import Scalarization


class IMTLL(Scalarization):
    r"""IMTL-L: each loss contributes :math:`e^s L - s` with its scale s learned.

    At rest every scaled loss is 1. Uncertainty weighting of regressions is half of it, with the sign of s
    turned. The sum runs over the losses of the step only, so the s of an absent task stays put.

    Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021,
    https://openreview.net/forum?id=IMPnRXEWpvr.
    """

    def __init__(self, kinds: Mapping[str, Kind], bounds: tuple[float, float] = (-5.0, 5.0)) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            bounds: the scales s, which start at 0, are kept in this range after each step, since a loss
                that nears zero would let its weight grow without limit.

        Raises:
            ConfigError: if 0 lies outside `bounds`.
        """
        from torchjd.scalarization import IMTLL as Rule  # slow to import

        super().__init__(kinds)
        if not bounds[0] <= 0 <= bounds[1]:
            raise ConfigError(f"the scales of IMTL-L start at 0, which lies outside the bounds {bounds}")
        self.bounds = bounds
        self.rules = nn.ModuleDict({name: Rule(()) for name in kinds})

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the scaled losses and what keeps the scales up."""
        return torch.stack([self.rules[name](loss) for name, loss in losses.items()]).sum()

    def weights(self) -> dict[str, Tensor]:
        """Return the scales."""
        return {name: self._scale(name).detach().exp() for name in self.kinds}

    def _scale(self, name: str) -> nn.Parameter:
        return next(self.rules[name].parameters())

    @torch.no_grad()
    def after_step(self, relosses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Bring the scales back into their bounds."""
        for name in self.kinds:
            self._scale(name).clamp_(*self.bounds)
