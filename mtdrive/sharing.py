"""How much a task may say in what the encoder learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """The gradient that a task sends into the encoder."""

    gradient: float = 1.0
    """It is multiplied by this on its way; 0 detaches the task, which then reads what others make."""
    start: int = 0
    """Steps for which the task is detached first, so that its fresh head does not shake the encoder."""

    def __post_init__(self) -> None:
        if self.gradient < 0 or self.start < 0:
            raise ConfigError(
                f"sharing needs a gradient and a start of at least 0, found {self.gradient} and {self.start}"
            )

    def factor(self, step: int) -> float:
        """Return the factor on the gradient after `step` finished steps."""
        return self.gradient if step >= self.start else 0.0


def weaken(level: Float[Tensor, "*s"], factor: float) -> Float[Tensor, "*s"]:
    """Return the same values, whose gradient is multiplied by `factor`."""
    if factor == 1.0:
        return level
    if factor == 0.0:
        return level.detach()
    weakened: Tensor = _Weakened.apply(level, factor)
    return weakened


class _Weakened(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, level: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return level.view_as(level)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None
