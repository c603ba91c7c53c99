"""How often a frame is trained on: rare situations more often than others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mtdrive.data.recording import Target
from mtdrive.errors import ConfigError
from mtdrive.randomness import generator


def weigh(targets: Sequence[Target], balance: Mapping[str, float]) -> Float64[Tensor, " n"]:
    """Return a weight for each target: the product of the factors of all that goes on in it.

    Raises:
        ConfigError: if a situation does not occur, or no target has a weight.
    """
    situations = [target.recording.situations(target.frame) for target in targets]
    known = frozenset[str]().union(*situations)
    if unknown := sorted(balance.keys() - known):
        raise ConfigError(
            f"balance: no frame is {unknown[0]!r}; what occurs: {', '.join(sorted(known)) or 'nothing known'}"
        )
    factors = torch.ones(len(targets), dtype=torch.float64)
    for name, factor in balance.items():
        factors[torch.tensor([name in found for found in situations])] *= factor
    if not factors.any():
        raise ConfigError(f"balance leaves no frame: {dict(balance)}; make a factor greater than 0")
    return factors


def balanced_order(weights: Float64[Tensor, " n"], seed: int, epoch: int) -> Int64[Tensor, " n"]:
    """Return as many positions as there are weights, in random order.

    Each comes as often as its share says, rounded up or down at random: equal weights give a permutation.
    """
    draws = generator(seed, "balance", epoch)
    length = len(weights)
    ends = weights.cumsum(0) * (length / weights.sum())
    marks = torch.arange(length, dtype=torch.float64) + torch.rand((), dtype=torch.float64, generator=draws)
    # The end of the last one that has a weight may be rounded to less than the last mark.
    picked = torch.searchsorted(ends, marks, right=True).clamp(max=int(weights.nonzero().max()))
    return picked[torch.randperm(length, generator=draws)]
