"""What a task is, what ties two of them, and what one forward pass gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.rig import Rig

Pyramid = Sequence[Tensor]
"""Features of one view, fine to coarse; level i is (b, c_i, h / s_i, w / s_i)."""

Kind = Literal["regression", "classification"]

Output = TypeVar("Output")


class Task(nn.Module, ABC, Generic[Output]):
    """A head on the shared features, with the losses that train it and the metrics that judge it.

    A subclass is one file. `mtdrive.check.check_task` tests that it keeps the contract.
    """

    views: tuple[View, ...] = (TARGET,)
    """What a batch must have for training."""
    reads: tuple[View, ...] = (TARGET,)
    """Whose features `forward` reads. At test time only some may be there."""
    needs: frozenset[str] = frozenset()
    """Labels of the batch without which the loss is undefined."""
    poses: tuple[View, ...] = ()
    """Views whose pose the data must know, since the loss uses it."""
    classes: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Names of the classes, by their ids, that it takes labels to have; data with others are refused."""
    kind: Kind = "regression"
    """The likelihood behind the loss, which uncertainty weighting asks for."""
    acts: bool = False
    """Whether it drives: then checkpoints keep the rig of the cars that its data come from."""
    rig: Rig | None = None
    """That rig, as far as training knows it; for pictures."""

    @abstractmethod
    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Output:
        """Predict from the features of those of `reads` that `inputs` has.

        The output is a tensor or a NamedTuple (of mappings) of tensors whose leading axis is the item.
        """

    @abstractmethod
    def loss(self, output: Output, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Return the weighted terms by name; their sum is the task's loss.

        Means over labelled pixels go through `mtdrive.losses.valid_mean`, which makes them means over
        all processes.
        """

    def metrics(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Return columns with one row an item, (b, ...), NaN where undefined; none by default."""
        return {}

    def summarise(self, columns: Mapping[str, Tensor]) -> dict[str, float]:
        """Reduce the columns of many batches to figures; the mean over the defined rows by default."""
        return {name: float(column.nanmean()) for name, column in columns.items()}

    def picture(self, output: Output, batch: Batch) -> Float[Tensor, "3 h w"] | None:
        """Draw the first item in [0, 1]; nothing by default."""
        return None


class Coupling(nn.Module, ABC):
    """A loss that ties tasks which know nothing of each other, such as rigid flow against optical flow."""

    between: tuple[str, ...]
    """Names of the tasks whose outputs it compares."""
    views: tuple[View, ...] = (TARGET,)
    """What a batch must have."""
    needs: frozenset[str] = frozenset()
    """Labels that it reads."""
    poses: tuple[View, ...] = ()
    """Views whose pose the data must know."""
    kind: Kind = "regression"

    @abstractmethod
    def forward(self, outputs: Mapping[str, Any], batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Return the weighted terms by name, from the outputs of the tasks in `between`."""


@dataclass(frozen=True)
class Pass:
    """What a forward pass over a batch of one data set gives, or several of them merged."""

    losses: dict[str, Float[Tensor, ""]]
    """One a task or coupling: the sum of its terms."""
    terms: dict[str, Float[Tensor, ""]]
    """The same in detail, named `task/term`."""
    shared: list[Tensor]
    """The encoder's outputs, where the gradients of the tasks meet; each level is a view, so that none
    depends on another."""
    size: int
    """Number of items."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """What each task predicted; empty once merged."""
    coupled: bool = False
    """Whether some losses share the graph above the features, so that it must be retained."""


def merge(passes: Sequence[Pass]) -> Pass:
    """Join the passes of one step, so that the weighting sees every task once.

    A task present in several has the mean of its losses weighted by their sizes.
    """
    if len(passes) == 1:
        return passes[0]
    return Pass(
        losses=_weighted_means([(p.losses, p.size) for p in passes]),
        terms=_weighted_means([(p.terms, p.size) for p in passes]),
        shared=[level for p in passes for level in p.shared],
        size=sum(p.size for p in passes),
        coupled=any(p.coupled for p in passes),
    )


def _weighted_means(scalars: Sequence[tuple[Mapping[str, Tensor], int]]) -> dict[str, Tensor]:
    present: dict[str, list[tuple[Tensor, int]]] = {}
    for values, size in scalars:
        for name, value in values.items():
            present.setdefault(name, []).append((value, size))
    return {
        name: torch.stack([x * (n / sum(m for _, m in rows)) for x, n in rows]).sum()
        for name, rows in present.items()
    }
