"""Batches in an order that is a function of the seed and the step."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mtdrive.data.balance import balanced_order
from mtdrive.data.packed import Packed, collate_packed
from mtdrive.data.windows import Key, Windows
from mtdrive.errors import ConfigError, DataError
from mtdrive.randomness import generator


class Order(Sampler[list[Key]]):
    """Endless batches of shuffled items from any step on, this process's share of each.

    Step k of all processes together takes the same items as step k of a single process with the whole
    batch. An epoch ends with its last whole batch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
        weights: Float64[Tensor, " length"] | None = None,
    ) -> None:
        """Start at step `start`.

        Args:
            length: number of items.
            batch_size: items per process and step.
            seed: of the order.
            start: the first step.
            rank: of this process.
            ranks: number of processes.
            weights: of the items, in any unit; all come once an epoch if none are given.

        Raises:
            ConfigError: if there are fewer items than a step takes.
        """
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start
        self.rank, self.ranks, self.weights = rank, ranks, weights
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
        keys = self._keys(epoch)
        whole = self.batch_size * self.ranks
        for k in range(step, self.steps):
            first = k * whole + self.rank * self.batch_size
            yield keys[first : first + self.batch_size]

    def _keys(self, epoch: int) -> list[Key]:
        if self.weights is None:
            order = torch.randperm(self.length, generator=generator(self.seed, "order", epoch)).tolist()
            return [(epoch, index) for index in order]
        before: Counter[int] = Counter()
        keys: list[Key] = []
        for index in balanced_order(self.weights, self.seed, epoch).tolist():
            keys.append((epoch, index, before[index]) if before[index] else (epoch, index))
            before[index] += 1
        return keys


class Batches:
    """What a data loader gives, with errors of the data as they were raised.

    A loader's own way to pass on an error from another process wraps it in that process's traceback.
    """

    def __init__(self, windows: Windows, **settings: Any) -> None:
        """Wrap a loader.

        Args:
            windows: what is loaded.
            settings: of torch's DataLoader.
        """
        self.loader = DataLoader(
            _Careful(windows), collate_fn=_collate, worker_init_fn=_init_worker, **settings
        )

    def __iter__(self) -> Iterator[Packed]:
        for batch in self.loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch


class _Careful(Dataset["Packed | DataError"]):
    """Hands errors of the data on as items."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: Key | int) -> Packed | DataError:
        try:
            return self.windows.packed(key)
        except DataError as error:
            return error


def _collate(items: Sequence[Packed | DataError]) -> Packed | DataError:
    for item in items:
        if isinstance(item, DataError):
            return item
    return collate_packed([item for item in items if isinstance(item, Packed)])


def _init_worker(_: int) -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def training_batches(windows: Windows, order: Order, workers: int, pin_memory: bool) -> Batches:
    """Return endless training batches in `order`."""
    return Batches(windows, batch_sampler=order, num_workers=workers, pin_memory=pin_memory)


def evaluation_batches(windows: Windows, batch_size: int, workers: int) -> Batches:
    """Return every item once, in the order of the targets."""
    return Batches(windows, batch_size=batch_size, num_workers=workers)
