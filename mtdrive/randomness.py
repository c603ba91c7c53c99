"""Stateless randomness: a draw is a function of the run's seed, its purpose and what it is for.

Nothing is carried from one draw to the next, so the number of workers, a resumed run or one more task
change no other draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *key: str | int) -> int:
    """Return a 63-bit seed for `key`, for example `derive(seed, "flip", epoch, item)`."""
    digest = hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *key: str | int) -> torch.Generator:
    """Return a CPU generator for `key`."""
    return torch.Generator().manual_seed(derive(seed, *key))


@contextmanager
def seeded(seed: int, *key: str | int) -> Iterator[None]:
    """Run a block under the global CPU generator seeded for `key`; it is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, *key))
        yield
