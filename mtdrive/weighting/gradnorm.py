"""Learned weights that make the tasks train at one rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.errors import ConfigError
from mtdrive.gradients import accumulate
from mtdrive.ranks import average
from mtdrive.task import Kind, Pass
from mtdrive.weighting import GradientWeighting, Run, check_lowest, raised, stacked

LEAST = 1e-3
"""No weight gets smaller: a rate of learning that is too high would turn its sign."""


class GradNorm(GradientWeighting):
    """Weights under which the gradients of the losses are equally long, but for tasks that lag behind.

    The weighted gradient of a loss is to be as long as the mean of all, times its relative inverse training
    rate to the power of `alpha`; the weights learn that by gradient descent, with their sum kept. Lengths are
    taken at the features, where the paper takes the last shared layer, or at all shared parameters.

    Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks",
    ICML 2018, https://arxiv.org/abs/1711.02257.
    """

    initial: Tensor

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        alpha: float = 1.5,
        lowest: Mapping[str, float] | None = None,
        at: Literal["features", "parameters"] = "features",
    ) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            alpha: how strongly tasks that lag behind are pulled; 0 makes all gradients equally long.
            lowest: what losses never reach, by their names, if it is not 0; it is subtracted from them.
            at: where lengths are taken; see `mtdrive.weighting.GradientWeighting`.

        Raises:
            ConfigError: if `alpha` is negative, or `lowest` names no loss.
        """
        super().__init__(kinds, at)
        if alpha < 0:
            raise ConfigError(f"GradNorm needs an alpha of at least 0, found {alpha}")
        self.alpha, self.names, self.lowest = alpha, list(kinds), check_lowest(lowest, kinds)
        self.factor = nn.ParameterDict({name: nn.Parameter(torch.ones(())) for name in kinds})
        self.register_buffer("initial", torch.full((len(kinds),), torch.nan, dtype=torch.float64))
        self.ratios: dict[str, Tensor] = {}
        self.moved: tuple[list[str], Tensor] | None = None

    def backward(self, pass_: Pass, parameters: Sequence[nn.Parameter], run: Run) -> None:
        """Backpropagate the weighted sum, and what the weights learn."""
        names = list(pass_.losses)
        values = stacked(pass_.losses).detach().clone()
        average([values])
        above = raised(names, values, self.lowest, "GradNorm").to(self.initial)
        index = torch.tensor([self.names.index(name) for name in names], device=above.device)
        first = self.initial[index]
        self.initial[index] = first.where(~first.isnan(), above)
        self.ratios = dict(zip(names, (above / self.initial[index]).unbind(), strict=True))
        super().backward(pass_, parameters, run)

    def own(self, name: str) -> Tensor:
        """Return the weight of a loss."""
        factor: Tensor = self.factor[name]
        return factor.detach()

    def weigh(self, names: Sequence[str], gramian: Float[Tensor, "k k"]) -> Float[Tensor, " k"]:
        """Return the weights, and note in which direction they are to move."""
        factors = torch.stack([self.own(name) for name in names]).to(gramian)
        lengths = gramian.diagonal().clamp(min=0).sqrt()
        rates = torch.stack([self.ratios[name] for name in names]).to(gramian)
        wanted = (factors * lengths).mean() * (rates / rates.mean()) ** self.alpha
        slopes = lengths * (factors * lengths - wanted).sign()
        for name, slope in zip(names, slopes, strict=True):
            accumulate(self.factor[name], slope)
        self.moved = list(names), factors.sum()
        return factors

    def weights(self) -> dict[str, Tensor]:
        """Return the weights."""
        return {name: self.own(name).clone() for name in self.names}

    @torch.no_grad()
    def after_step(self, relosses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Keep the weights positive, and their sum as it was; those of absent tasks stay put."""
        if self.moved is None:
            return
        names, total = self.moved
        moved = torch.stack([self.factor[name] for name in names]).clamp(min=LEAST)
        for name, factor in zip(names, moved * (total / moved.sum()), strict=True):
            self.factor[name].copy_(factor)
        self.moved = None
