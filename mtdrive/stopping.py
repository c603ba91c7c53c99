"""Ending in an orderly way when told to."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM while the block runs; a second one acts as ever."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[number])
        # A signal to the whole job also ends the loading processes, and torch would raise that in mid-step.
        previous.setdefault(signal.SIGCHLD, signal.signal(signal.SIGCHLD, signal.SIG_DFL))

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, receive)
    try:
        yield received
    finally:
        for caught, handler in previous.items():
            signal.signal(caught, handler)


def agreed(stop: list[int], now: bool, fabric: Fabric) -> bool:
    """Return whether to stop; several processes agree on it only when it is `now` the time to."""
    if fabric.world_size == 1:
        return bool(stop)
    if not now:
        return False
    anyone = fabric.all_reduce(torch.tensor(float(bool(stop)), device=fabric.device), reduce_op="sum")
    return bool(anyone)
