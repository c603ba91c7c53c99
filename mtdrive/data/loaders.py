"""Batches in an order that is a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

from mtdrive.batch import Batch, collate
from mtdrive.data.windows import Key, Windows
from mtdrive.errors import ConfigError
from mtdrive.randomness import generator


class Order(Sampler[list[Key]]):
    """Endless batches of shuffled items from any step on, this process's share of each.

    Step k of all processes together takes the same items as step k of a single process with the whole
    batch. An epoch ends with its last whole batch.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int, start: int = 0, rank: int = 0, ranks: int = 1
    ) -> None:
        """Start at step `start`.

        Args:
            length: number of items.
            batch_size: items per process and step.
            seed: of the order.
            start: the first step.
            rank: of this process.
            ranks: number of processes.

        Raises:
            ConfigError: if there are fewer items than a step takes.
        """
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start
        self.rank, self.ranks = rank, ranks
        if self.steps == 0:
            raise ConfigError(
                f"a step takes {batch_size} items in each of {ranks} processes, but there are only {length}; "
                "lower the batch size"
            )

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return self.length // (self.batch_size * self.ranks)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, step = divmod(self.start, self.steps)
        while True:
            yield from self._epoch(epoch, step)
            epoch, step = epoch + 1, 0

    def _epoch(self, epoch: int, step: int) -> Iterator[list[Key]]:
        order = torch.randperm(self.length, generator=generator(self.seed, "order", epoch)).tolist()
        whole = self.batch_size * self.ranks
        for k in range(step, self.steps):
            first = k * whole + self.rank * self.batch_size
            yield [(epoch, index) for index in order[first : first + self.batch_size]]


def training_loader(windows: Windows, order: Order, workers: int, pin_memory: bool) -> DataLoader[Batch]:
    """Return endless training batches in `order`."""
    return DataLoader(
        windows, batch_sampler=order, num_workers=workers, collate_fn=collate, pin_memory=pin_memory
    )


def evaluation_loader(windows: Windows, batch_size: int, workers: int) -> DataLoader[Batch]:
    """Return every item once, in the order of the targets."""
    return DataLoader(windows, batch_size=batch_size, num_workers=workers, collate_fn=collate)
