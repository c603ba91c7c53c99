"""Learned weights from homoscedastic uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mtdrive.errors import ConfigError
from mtdrive.task import Kind
from mtdrive.weighting import Scalarization


class Uncertainty(Scalarization):
    r"""Homoscedastic uncertainty weighting with the likelihood of each task's kind.

    With :math:`s = \log \sigma^2` learned, a regression contributes
    :math:`\tfrac12 e^{-s} L + \tfrac12 s`, a classification :math:`e^{-s} L + \tfrac12 s`. The sum runs
    over the losses of the step only, so the s of an absent task stays put. The value may be negative;
    choose checkpoints by metrics, never by it. For a photometric loss, which is no log-likelihood, the
    method is a heuristic.

    Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry
    and Semantics", CVPR 2018, https://arxiv.org/abs/1705.07115.
    """

    def __init__(
        self, kinds: Mapping[str, Kind], initial: float = 0.0, bounds: tuple[float, float] = (-5.0, 5.0)
    ) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            initial: log-variance at the start.
            bounds: log-variances are kept in this range after each step, since a loss that nears zero
                would let its weight grow without limit.

        Raises:
            ConfigError: if `initial` lies outside `bounds`.
        """
        super().__init__(kinds)
        if not bounds[0] <= initial <= bounds[1]:
            raise ConfigError(f"initial log-variance {initial} lies outside the bounds {bounds}")
        self.bounds = bounds
        self.log_variance = nn.ParameterDict({n: nn.Parameter(torch.tensor(initial)) for n in kinds})

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the negative log-likelihood."""
        s = self.log_variance
        return torch.stack([self._weight(n) * loss + 0.5 * s[n] for n, loss in losses.items()]).sum()

    def _weight(self, name: str) -> Tensor:
        precision: Tensor = (-self.log_variance[name]).exp()
        return precision if self.kinds[name] == "classification" else 0.5 * precision

    def weights(self) -> dict[str, Tensor]:
        """Return the factors of the losses."""
        return {name: self._weight(name).detach() for name in self.kinds}

    @torch.no_grad()
    def after_step(self, relosses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Bring the log-variances back into their bounds."""
        for value in self.log_variance.values():
            value.clamp_(*self.bounds)
