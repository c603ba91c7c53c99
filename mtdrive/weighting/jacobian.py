"""Combinations of the gradients of the tasks, by the aggregators of torchjd."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.errors import ConfigError, TrainingError
from mtdrive.gradients import Rows
from mtdrive.ranks import agree
from mtdrive.task import Kind
from mtdrive.weighting import GradientWeighting, check_factors

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "CAGrad": {"c": 0.4},  # what its paper takes for its largest networks
    "GradVac": {"eps": 1e-30},  # torchjd's is as large as gradients at features
}
"""Options that torchjd asks for, or whose defaults do not fit."""

REFUSED = {
    "Constant": "mtdrive.weighting.fixed.Fixed does that",
    "ExcessMTL": "it keeps a number for each task and parameter, which checkpoints do not hold",
}

BY_ANGLES = ("ConFIG",)
"""Aggregators that are not made of weights, yet do the same in every system of axes."""


class Jacobian(GradientWeighting):
    """The gradients of the losses at what is shared, combined by an aggregator of torchjd.

    `UPGrad`, `PCGrad`, `CAGrad`, `MGDA`, `NashMTL`, `AlignedMTL`, `IMTLG`, `DualProj`, `GradVac`,
    `FairGrad`, `ConFIG`, `GradDrop`, `PCD`, ...; https://torchjd.org names the paper of each. Losses whose
    gradient is 0 do not take part. Aggregators that keep nothing from step to step see the gradients scaled
    to a mean squared length of 1, since some of torchjd's constants take small gradients for none. An
    aggregator that keeps a state starts anew in a step where a loss is absent, and its state waits.

    Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024,
    https://arxiv.org/abs/2406.16232.
    """

    start: Tensor

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        aggregator: str = "UPGrad",
        at: Literal["features", "parameters"] = "features",
        options: Mapping[str, float | int | str | bool] | None = None,
        preferences: Mapping[str, float] | None = None,
    ) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            aggregator: a class of `torchjd.aggregation`.
            at: where gradients are combined; see `mtdrive.weighting.GradientWeighting`.
            options: of the aggregator, such as `{c: 0.5}` of CAGrad.
            preferences: how much losses count by name, 1 where none is given; for aggregators with a
                preference vector, such as UPGrad.

        Raises:
            ConfigError: if there is no such aggregator, it needs a library that is not installed, or its
                options do not fit.
        """
        super().__init__(kinds, at)
        self.names, self.aggregator = list(kinds), aggregator
        self.make = _class(aggregator)
        self.options = {**DEFAULTS.get(aggregator, {}), **(options or {})}
        self.preferences = dict(preferences or {})
        check_factors("preferences", self.preferences, kinds)
        if self.options.get("update_weights_every", 1) != 1:
            raise ConfigError("update_weights_every is not supported: a resumed run would lose count")
        self.whole = _with_state(self._built(self.names), len(self.names))
        if aggregator == "NashMTL":
            self.register_buffer("start", torch.ones(len(self.names), dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Jacobian:
        return self  # aggregators work on the CPU, on a few numbers

    def _built(self, names: Sequence[str]) -> nn.Module:
        options = dict(self.options)
        if self.preferences:
            chosen = [self.preferences.get(name, 1.0) for name in names]
            options["pref_vector"] = torch.tensor(chosen, dtype=torch.float64)
        if self.aggregator == "NashMTL":
            options["n_tasks"] = len(names)
        try:
            return self.make(**options)
        except ImportError as error:
            needed = str(error).split(" to be installed")[0]
            raise ConfigError(
                f"aggregator {self.aggregator}: {needed}, which are not installed; "
                "pip install 'mtdrive[jacobian]'"
            ) from error
        except (TypeError, ValueError) as error:
            raise ConfigError(f"aggregator {self.aggregator}: its options do not fit: {error}") from error

    def combine(self, rows: Rows) -> list[Tensor]:
        """Return the gradient at what is shared."""
        if self._weighs:
            return super().combine(rows)
        matrix = torch.cat(rows.blocks, 1)
        alive = matrix[matrix.any(1)]
        vector = self._built(rows.names)(alive) if len(alive) else matrix.sum(0)
        if not rows.joined:
            agree(vector)  # all have the same gradient, of which a random part is dropped
        return rows.shaped(vector.split([block.shape[1] for block in rows.blocks]))

    @property
    def _weighs(self) -> bool:
        from torchjd.aggregation import WeightedAggregator

        return isinstance(self.whole, WeightedAggregator) or self.aggregator in BY_ANGLES

    def weigh(self, names: Sequence[str], gramian: Float[Tensor, "k k"]) -> Float[Tensor, " k"]:
        """Return what the rows are multiplied by."""
        exact = gramian.double().cpu()
        if not exact.isfinite().all():
            bad = [n for n, x in zip(names, exact.diagonal().isfinite().tolist(), strict=True) if not x]
            raise TrainingError(
                f"the gradients of {', '.join(bad or names)} are not finite; lower the learning rate or clip "
                "gradients"
            )
        alive = exact.diagonal() > 0
        factors = torch.zeros_like(exact[0])
        if alive.any():
            taking = [name for name, there in zip(names, alive.tolist(), strict=True) if there]
            factors[alive] = self._factors(taking, exact[alive][:, alive])
        return agree(factors.to(gramian))

    def _factors(self, names: list[str], gramian: Tensor) -> Tensor:
        from torchjd import Stateful

        if len(names) == 1:
            return torch.ones_like(gramian[0])
        aggregator = self.whole if names == self.names else self._built(names)
        if not isinstance(aggregator, Stateful):
            gramian = gramian / gramian.diagonal().mean()
        try:
            return self._warm(aggregator, gramian)
        except ValueError as error:
            raise TrainingError(f"aggregator {self.aggregator} failed: {error}") from error

    def _warm(self, aggregator: nn.Module, gramian: Tensor) -> Tensor:
        """Call an aggregator; Nash-MTL's search starts where it ended, which no checkpoint would see."""
        if self.aggregator != "NashMTL" or aggregator is not self.whole:
            return _weights(aggregator, gramian)
        weighting: Any = aggregator.weighting
        weighting.prvs_alpha = self.start.numpy().copy()
        factors = _weights(aggregator, gramian)
        self.start.copy_(torch.as_tensor(weighting.prvs_alpha))
        return factors


def _class(name: str) -> Callable[..., nn.Module]:
    """Return an aggregator's class by its name."""
    from torchjd import aggregation  # slow to import

    base = aggregation.Aggregator
    found = {key: x for key, x in vars(aggregation).items() if isinstance(x, type) and issubclass(x, base)}
    known = sorted(key for key in found if not key.endswith("Aggregator") and key not in REFUSED)
    if name in REFUSED:
        raise ConfigError(f"aggregator {name} is not supported: {REFUSED[name]}")
    if name not in known:
        raise ConfigError(f"torchjd has no aggregator {name!r}; choose one of {', '.join(known)}")
    make: Callable[..., nn.Module] = found[name]
    return make


def _with_state(aggregator: nn.Module, k: int) -> nn.Module:
    """Return it with the state that it would make at its first call, so that a checkpoint can fill it."""
    if any(buffer is None for part in aggregator.modules() for buffer in part._buffers.values()):
        with torch.random.fork_rng(devices=[]):
            aggregator(torch.eye(k, dtype=torch.float64))
        for buffer in aggregator.buffers():
            buffer.zero_()
    return aggregator


def _weights(aggregator: nn.Module, gramian: Float[Tensor, "k k"]) -> Float[Tensor, " k"]:
    """Return the weights that an aggregator gives rows with these inner products."""
    from torchjd.aggregation import GramianWeightedAggregator, WeightedAggregator

    if isinstance(aggregator, GramianWeightedAggregator):
        return aggregator.gramian_weighting(gramian)
    values, vectors = torch.linalg.eigh(gramian)
    rows = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T  # have the same inner products
    if isinstance(aggregator, WeightedAggregator):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cvxpy tells at each step what would make it faster
            return aggregator.weighting(rows)
    combined: Tensor = aggregator(rows) @ torch.linalg.pinv(rows)
    return combined
