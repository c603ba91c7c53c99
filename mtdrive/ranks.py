"""What the processes of a training tell each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace every tensor by its mean over the processes, in one reduction."""
    if processes() == 1 or not tensors:
        return
    flat = torch.cat([x.flatten() for x in tensors])
    dist.all_reduce(flat)
    for tensor, mean in zip(tensors, flat.split([x.numel() for x in tensors]), strict=True):
        tensor.copy_((mean / processes()).view(tensor.shape))


@torch.no_grad()
def agree(tensor: Tensor) -> Tensor:
    """Replace a tensor by that of the first process, for draws that all must share; return it."""
    if processes() > 1:
        dist.broadcast(tensor, 0)
    return tensor
