"""The hot part of reprojection: rays of many pixels, scaled by depth and divided by their last coordinate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Sight(torch.autograd.Function):
    """Where points epipole + depth * ray are seen, (x, y) last, and which are at least `near` in front.

    What is nearer is seen as if it were at `near`, which keeps value and gradient finite. Depth is (*b h w),
    rays are (*b 3 h w), the epipole is (*b 3 1 1); they broadcast. The gradient by hand: autograd would pass
    over all maps about three times as often.
    """

    @staticmethod
    def forward(ctx: Any, depth: Tensor, rays: Tensor, epipole: Tensor, near: float) -> tuple[Tensor, Tensor]:
        """Return what is seen, and what is in front."""
        x, y, z = (
            torch.addcmul(e, depth, r) for e, r in zip(epipole.unbind(-3), rays.unbind(-3), strict=True)
        )
        front = z >= near
        inverse = z.clamp_(min=near).reciprocal_()
        seen = torch.stack([x.mul_(inverse), y.mul_(inverse)], dim=-1)
        ctx.save_for_backward(depth, rays, epipole, inverse, seen, front)
        ctx.mark_non_differentiable(front)
        return seen, front

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the slopes of depth, rays and epipole."""
        depth, rays, epipole, inverse, seen, front = ctx.saved_tensors
        x, y = (xy * inverse for xy in slope.unbind(-1))
        z = (x * seen[..., 0]).addcmul_(y, seen[..., 1]).neg_().masked_fill_(~front, 0)
        of_epipole = [xyz.sum_to_size(epipole[..., 0, :, :].shape) for xyz in (x, y, z)]
        of_depth = torch.zeros_like(z)
        for xyz, ray in zip((x, y, z), rays.unbind(-3), strict=True):
            of_depth.addcmul_(xyz, ray)
        of_rays = [xyz.mul_(depth).sum_to_size(rays[..., 0, :, :].shape) for xyz in (x, y, z)]
        of_depth = of_depth.sum_to_size(depth.shape)
        return of_depth, torch.stack(of_rays, -3), torch.stack(of_epipole, -3), None
