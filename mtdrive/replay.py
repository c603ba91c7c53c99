"""The forward passes of a step, once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch

from mtdrive.batch import Batch
from mtdrive.model import Model
from mtdrive.task import Pass


@torch.no_grad()
def replay(
    model: Model, batches: Sequence[Batch], autocast: AbstractContextManager[None], seed: int
) -> list[Pass]:
    """Return what a step on these batches gives with the weights of now, without gradients.

    Args:
        model: in training mode; its batch statistics stay as they are.
        batches: one of each data set.
        autocast: entered for the forward passes.
        seed: that of the step, so that dropout and the like draw the same.
    """
    with torch.random.fork_rng(devices=[]), unmoved(model), autocast:
        torch.manual_seed(seed)
        return [model(batch) for batch in batches]


@contextmanager
def unmoved(model: Model) -> Iterator[None]:
    """Undo what the block does to the model's buffers, such as running means."""
    buffers = list(model.buffers())
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)
