"""The two losses of segmentation; pixels of no class count in neither."""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from mtdrive.classes import UNLABELLED
from mtdrive.losses import valid_mean


def cross_entropy(logits: Float[Tensor, "b c h w"], truth: Int64[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return the mean over the labelled pixels, in nats."""
    values = functional.cross_entropy(logits, truth, ignore_index=UNLABELLED, reduction="none")
    return valid_mean(values, truth != UNLABELLED)


def dice(logits: Float[Tensor, "b c h w"], truth: Int64[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return 1 minus the soft Dice coefficient, the mean over the classes that the labels show.

    Fausto Milletari et al., "V-Net", 3DV 2016, https://arxiv.org/abs/1606.04797, with plain sums in the
    denominator. Pixels are summed over the whole batch, and over the batches of all processes.
    """
    known = (truth != UNLABELLED)[:, None]
    shares = logits.softmax(1) * known
    shown = torch.zeros_like(shares).scatter_(1, truth.where(known[:, 0], 0)[:, None], known.to(shares.dtype))
    sums = [(shares * shown).sum((0, 2, 3)), shares.sum((0, 2, 3)), shown.sum((0, 2, 3))]
    common, predicted, true = (_over_processes(x) for x in sums)
    score = 2 * common / (predicted + true).clamp(min=1e-6)
    seen = true > 0
    return ((1 - score) * seen).sum() / seen.sum().clamp(min=1)


def _over_processes(local: Float[Tensor, " c"]) -> Float[Tensor, " c"]:
    """Return the sum over the processes, with the gradient that averaging over them makes that of the sum."""
    if not (dist.is_available() and dist.is_initialized()):
        return local
    total = local.detach().clone()
    dist.all_reduce(total)
    scaled = local * dist.get_world_size()
    return scaled + (total - scaled).detach()
