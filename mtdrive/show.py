"""Pictures of what networks see and predict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

HIGH = 0.95
"""Quantile of a map that gets the last colour: a few extreme pixels must not darken the rest."""


def coloured(values: Float[Tensor, "h w"], span: tuple[float, float] | None = None) -> Float[Tensor, "3 h w"]:
    """Return a map in magma: dark and bright at the ends of `span`; NaN black.

    Without a span, it goes from the least value to the 95 % quantile.
    """
    values = values.detach().float().cpu()
    known = values[values.isfinite()]
    if not known.numel():
        return torch.zeros(3, *values.shape)
    low, high = span or (float(known.min()), float(known.quantile(HIGH)))
    share = ((values - low) / max(high - low, 1e-12)).clamp(0, 1).nan_to_num(0)
    return _magma()[(share * 255).round().long()].permute(2, 0, 1)


def grey(mask: Tensor) -> Float[Tensor, "3 h w"]:
    """Return a mask or a map in [0, 1] in grey."""
    return mask.detach().float().cpu().clamp(0, 1).expand(3, *mask.shape[-2:])


def stacked(pictures: Sequence[Float[Tensor, "3 _h _w"]]) -> Float[Tensor, "3 h w"]:
    """Return pictures below one another, each as large as the first."""
    size = pictures[0].shape[-2:]
    same = [functional.interpolate(p.detach().float().cpu()[None], size)[0] for p in pictures]
    return torch.cat(same, dim=-2).clamp(0, 1)


@cache
def _magma() -> Float[Tensor, "256 3"]:
    from matplotlib import colormaps  # slow to import

    return torch.tensor(colormaps["magma"].resampled(256)(range(256))[:, :3], dtype=torch.float32)
