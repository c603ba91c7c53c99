"""Ways to turn the losses of several tasks into one update; a method is a file."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.errors import ConfigError, TrainingError
from mtdrive.gradients import Rows, at_features, at_parameters
from mtdrive.ranks import average
from mtdrive.task import Kind, Pass

Run = Callable[[Tensor], None]
"""Backpropagates a scalar (with the precision plugin's scaling, where there is one)."""


class Weighting(nn.Module, ABC):
    """Writes the gradients of a step from the losses of the tasks that are present in it.

    A method that learns weights holds them as parameters; the optimizer trains them in a group of their
    own, without weight decay.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
        """
        super().__init__()
        self.kinds = dict(kinds)

    @abstractmethod
    def backward(self, pass_: Pass, parameters: Sequence[nn.Parameter], run: Run) -> None:
        """Add to the `grad` of everything that the losses depend on.

        Args:
            pass_: the losses of the step.
            parameters: those shared by the tasks: the encoder's.
            run: backpropagates a scalar.
        """

    def weights(self) -> dict[str, Tensor]:
        """Return the factor that each loss has in the update at present, for the logs."""
        return {}

    def after_step(self, relosses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Adapt after the optimizer's step; `relosses` computes the losses of the step anew."""

    def epoch_end(self) -> None:
        """Adapt at the end of an epoch."""


class Scalarization(Weighting):
    """A weighting that backpropagates one combination of the losses."""

    @abstractmethod
    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the scalar to minimise, from float32 losses."""

    def backward(self, pass_: Pass, parameters: Sequence[nn.Parameter], run: Run) -> None:
        """Backpropagate the combination."""
        with torch.autocast(next(iter(pass_.losses.values())).device.type, enabled=False):
            total = self.combine({name: loss.float() for name, loss in pass_.losses.items()})
        if total.requires_grad:
            run(total)


class LossWeighting(Weighting):
    """A weighting whose factors follow from the values of the losses, averaged over the processes."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
        """
        super().__init__(kinds)
        self.latest: dict[str, Tensor] = {}

    @abstractmethod
    def weigh(self, names: Sequence[str], losses: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Return the factors of the losses that a step has, from their values."""

    def backward(self, pass_: Pass, parameters: Sequence[nn.Parameter], run: Run) -> None:
        """Backpropagate the weighted sum."""
        names = list(pass_.losses)
        losses = stacked(pass_.losses)
        with torch.autocast(losses.device.type, enabled=False):
            values = losses.detach().clone()
            average([values])
            factors = self.weigh(names, values).detach()
            self.latest = dict(zip(names, factors.unbind(), strict=True))
            total = (factors * losses).sum()
        if total.requires_grad:
            run(total)

    def weights(self) -> dict[str, Tensor]:
        """Return the factors of the latest step."""
        return self.latest


class GradientWeighting(Weighting):
    """A weighting that looks at the gradient of each loss where the tasks meet.

    Only losses that change what is shared take part; a head learns from its own losses as ever. Gradients
    are not scaled on their way, as float16 would ask for.
    """

    def __init__(self, kinds: Mapping[str, Kind], at: Literal["features", "parameters"] = "features") -> None:
        """Build for the named losses of a model.

        Args:
            kinds: the likelihood behind each loss.
            at: `features`: gradients are compared at the encoder's outputs, and their combination is
                backpropagated once. `parameters`: at the encoder's weights, which is exact, and takes a
                backward pass through the encoder for each loss.
        """
        super().__init__(kinds)
        self.at = at
        self.latest: dict[str, Tensor] = {}

    @abstractmethod
    def weigh(self, names: Sequence[str], gramian: Float[Tensor, "k k"]) -> Float[Tensor, " k"]:
        """Return the factors of the losses that take part, from the inner products of their gradients."""

    def own(self, name: str) -> Tensor | float:
        """Return the factor of a loss in what no other task shares: its head."""
        return 1.0

    def combine(self, rows: Rows) -> list[Tensor]:
        """Return the gradient at what is shared."""
        factors = self.weigh(rows.names, rows.gramian())
        self.latest = dict(zip(rows.names, factors.unbind(), strict=True))
        return rows.combine(factors)

    def backward(self, pass_: Pass, parameters: Sequence[nn.Parameter], run: Run) -> None:
        """Backpropagate the losses to their heads, and what they are combined to further down."""
        device = next(iter(pass_.losses.values())).device.type
        # In the order of the tasks, whichever data set of the step has them.
        pass_ = replace(pass_, losses={n: pass_.losses[n] for n in self.kinds if n in pass_.losses})
        with torch.autocast(device, enabled=False):
            rows = at_features(pass_, self.own)
            if rows.names and parameters and self.at == "parameters":
                rows = at_parameters(rows, parameters)
            if rows.names:
                rows.backward(self.combine(rows))

    def weights(self) -> dict[str, Tensor]:
        """Return the factors of the latest step; of the gradients at what is shared."""
        return self.latest


def stacked(losses: Mapping[str, Tensor]) -> Float[Tensor, " k"]:
    """Return the losses as a vector, at least in float32."""
    return torch.stack([x.to(torch.promote_types(x.dtype, torch.float32)) for x in losses.values()])


def check_factors(what: str, factors: Mapping[str, float], kinds: Mapping[str, Kind]) -> None:
    """Check that factors which a user gives name losses and are finite and not negative.

    Raises:
        ConfigError: if they do not.
    """
    if unknown := set(factors) - set(kinds):
        raise ConfigError(f"{what} name {sorted(unknown)}, but the losses are {sorted(kinds)}")
    for name, factor in factors.items():
        if not 0 <= factor < math.inf:
            raise ConfigError(
                f"{what} of {name!r} must be at least 0, found {factor}; 0 switches a loss off, a negative "
                "one would make it grow"
            )


def check_lowest(lowest: Mapping[str, float] | None, kinds: Mapping[str, Kind]) -> dict[str, float]:
    """Return the lowest values of losses that a user gives.

    Raises:
        ConfigError: if one names no loss.
    """
    if unknown := set(lowest or {}) - set(kinds):
        raise ConfigError(f"lowest names {sorted(unknown)}, but the losses are {sorted(kinds)}")
    return dict(lowest or {})


def raised(
    names: Sequence[str], losses: Float[Tensor, " k"], lowest: Mapping[str, float], method: str
) -> Float[Tensor, " k"]:
    """Return how far the losses lie above their lowest values, 0 where none is given.

    Raises:
        TrainingError: if one does not.
    """
    above = losses - losses.new_tensor([lowest.get(name, 0.0) for name in names])
    if bad := [name for name, positive in zip(names, (above > 0).tolist(), strict=True) if not positive]:
        value = losses[names.index(bad[0])].item()
        raise TrainingError(
            f"{method} needs losses above {lowest.get(bad[0], 0.0)}, but that of {bad[0]} is {value:.6g}; "
            "give weighting.init_args.lowest a smaller value for it, or choose another weighting"
        )
    return above
