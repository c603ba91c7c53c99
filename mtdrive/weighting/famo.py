"""Weights that let all losses fall equally fast, from their values alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.errors import check_least
from mtdrive.ranks import average
from mtdrive.task import Kind
from mtdrive.weighting import LossWeighting, check_lowest, raised, stacked

EPSILON = 1e-8


class FAMO(LossWeighting):
    """Fast adaptive multitask optimization: a loss that fell less in a step gets more weight in the next.

    It computes the losses of each step anew after it, which costs a forward pass. That torchjd's class asks
    for the same losses at each step, and keeps its state where no checkpoint sees it, is why this is our own;
    where every task is present both do the same.

    Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, https://arxiv.org/abs/2306.03792.
    """

    logits: Tensor
    first: Tensor
    second: Tensor
    counts: Tensor

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        learning_rate: float = 0.025,
        weight_decay: float = 1e-3,
        lowest: Mapping[str, float] | None = None,
    ) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            learning_rate: of the weights' own Adam.
            weight_decay: draws the weights towards each other.
            lowest: what losses never reach, by their names, if it is not 0; it is subtracted from them.

        Raises:
            ConfigError: if a rate is negative, or `lowest` names no loss.
        """
        super().__init__(kinds)
        self.learning_rate, self.weight_decay, self.names = learning_rate, weight_decay, list(kinds)
        check_least("FAMO", self, {"learning_rate": 0, "weight_decay": 0})
        self.lowest = check_lowest(lowest, kinds)
        for name in ("logits", "first", "second", "counts"):
            self.register_buffer(name, torch.zeros(len(kinds), dtype=torch.float64))
        self.before: tuple[list[str], Tensor] | None = None

    def weigh(self, names: Sequence[str], losses: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Return the factors, which sum to 1 over the losses."""
        above = raised(names, losses, self.lowest, "FAMO") + EPSILON
        self.before = list(names), above
        factors = self._shares(names).to(losses) / above
        return factors / factors.sum()

    def _index(self, names: Sequence[str]) -> Tensor:
        return torch.tensor([self.names.index(name) for name in names], device=self.logits.device)

    def _shares(self, names: Sequence[str]) -> Tensor:
        return self.logits[self._index(names)].softmax(0)

    @torch.no_grad()
    def after_step(self, relosses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Move the weights by how much the losses of the step fell; those of absent tasks stay put."""
        if self.before is None:
            return
        names, before = self.before
        found = relosses()
        values = stacked({name: found[name] for name in names})
        average([values])
        after = raised(names, values, self.lowest, "FAMO") + EPSILON
        fall = (before.log() - after.log()).to(self.logits)
        shares = self._shares(names)
        self._adam(self._index(names), shares * (fall - (shares * fall).sum()))
        self.before = None

    def _adam(self, index: Tensor, slope: Tensor) -> None:
        slope = slope + self.weight_decay * self.logits[index]
        self.counts[index] += 1
        self.first[index] = 0.9 * self.first[index] + 0.1 * slope
        self.second[index] = 0.999 * self.second[index] + 0.001 * slope.square()
        mean = self.first[index] / (1 - 0.9 ** self.counts[index])
        spread = (self.second[index] / (1 - 0.999 ** self.counts[index])).sqrt()
        self.logits[index] -= self.learning_rate * mean / (spread + 1e-8)
