"""Ways to turn the losses of several tasks into one update; a method is a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

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
