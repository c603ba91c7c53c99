"""Weights from how fast each loss falls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.errors import ConfigError
from mtdrive.task import Kind
from mtdrive.weighting import LossWeighting


class DWA(LossWeighting):
    """Dynamic weight average: a loss that fell less than others from one epoch to the next gets more weight.

    The weights are 1 for the first two epochs, and sum to the number of tasks afterwards. A task that was
    absent in one of the last two epochs, or whose loss was not above 0 there, has weight 1.

    Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019,
    https://arxiv.org/abs/1803.10704.
    """

    sums: Tensor
    counts: Tensor
    averages: Tensor
    steps: Tensor

    def __init__(
        self, kinds: Mapping[str, Kind], temperature: float = 2.0, period: int | None = None
    ) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            temperature: the larger, the more equal the weights.
            period: steps that count as an epoch; the epochs of the data if none is given.

        Raises:
            ConfigError: if the temperature or the period is not above 0.
        """
        super().__init__(kinds)
        if temperature <= 0 or (period is not None and period < 1):
            raise ConfigError(
                f"DWA needs a temperature above 0 and a period of at least 1, found {temperature} "
                f"and {period}"
            )
        self.temperature, self.period, self.names = temperature, period, list(kinds)
        self.register_buffer("sums", torch.zeros(len(kinds), dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(len(kinds), dtype=torch.float64))
        self.register_buffer("averages", torch.full((2, len(kinds)), torch.nan, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weigh(self, names: Sequence[str], losses: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Return the factors, and add the losses to those of the epoch."""
        index = torch.tensor([self.names.index(name) for name in names], device=losses.device)
        self.sums[index] += losses
        self.counts[index] += 1
        older, newer = self.averages[:, index]
        known = ((older > 0) & (newer > 0)).nonzero()[:, 0]
        factors = torch.ones_like(losses)
        if len(known):
            factors[known] = self._factors(older[known], newer[known]).to(losses)
        return factors

    def _factors(self, older: Tensor, newer: Tensor) -> Tensor:
        from torchjd.scalarization import DWA as Rule  # slow to import

        rule = Rule(self.temperature)  # it takes the same losses at each step, so it is told of them anew
        for epoch in (older, newer):
            rule(epoch)
            rule.step()
        losses = torch.ones_like(newer, requires_grad=True)
        return torch.autograd.grad(rule(losses), losses)[0]

    def after_step(self, relosses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Count the step; it may end a period."""
        self.steps += 1
        if self.period is not None and int(self.steps) % self.period == 0:
            self._roll()

    def epoch_end(self) -> None:
        """Finish the averages of the epoch, unless periods are set."""
        if self.period is None:
            self._roll()

    def _roll(self) -> None:
        self.averages = torch.stack([self.averages[1], self.sums / self.counts])  # NaN if it was absent
        self.sums.zero_()
        self.counts.zero_()
