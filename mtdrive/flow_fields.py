"""Optical flow as a field of displacements: warping by it, and where it can be trusted.

Flow is in pixels of the image that it lies on, x then y, from a pixel to where the other image shows it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mtdrive.geometry import FAR, SLACK, pixel_grid, upcast, warp

RELATIVE, ABSOLUTE = 0.01, 0.5
"""Of the forward-backward check: square pixels that are allowed, by the squares of both flows and always."""


class Displaced(NamedTuple):
    """An image moved back along the flow that leads into it."""

    images: Float[Tensor, "s b c h w"]
    inside: Bool[Tensor, "s b h w"]
    """True where the flow leads to a place inside the image."""


def displace(source: Float[Tensor, "b c h w"], flows: Float[Tensor, "s b 2 h w"]) -> Displaced:
    """Sample an image at the ends of each of `s` flows; beyond its border, the nearest pixel counts.

    A flow that is not finite gives some image, which is not inside and has no gradient.
    """
    flows = upcast(flows)
    height, width = source.shape[-2:]
    grid = pixel_grid(source)[:2]
    ends = grid + flows.detach()
    x, y = ends.unbind(-3)
    inside = (x >= -SLACK) & (x <= width - 1 + SLACK) & (y >= -SLACK) & (y <= height - 1 + SLACK)
    # On CPUs the gradient of `grid_sample` reads out of bounds at NaN, and ends the process.
    return Displaced(warp(source, grid + flows.nan_to_num(0.0, FAR, -FAR)), inside)


def visible(forward: Float[Tensor, "b 2 h w"], backward: Float[Tensor, "b 2 h w"]) -> Bool[Tensor, "b h w"]:
    """Return where the other image shows a pixel, too: there the flow back undoes the flow.

    The check of Narayanan Sundaram, Thomas Brox and Kurt Keutzer, "Dense Point Trajectories by
    GPU-Accelerated Large Displacement Optical Flow", ECCV 2010,
    https://doi.org/10.1007/978-3-642-15549-9_32, with the numbers of UnFlow.
    What leaves the image is not visible.
    """
    forward, backward = forward.detach(), backward.detach()
    back = displace(backward, forward[None])
    lengths = forward.square().sum(1) + back.images[0].square().sum(1)
    return back.inside[0] & ((forward + back.images[0]).square().sum(1) < RELATIVE * lengths + ABSOLUTE)


def enlarge(flow: Float[Tensor, "b 2 h w"], size: tuple[int, int]) -> Float[Tensor, "b 2 i j"]:
    """Return a flow at another size, bilinearly; its unit stays."""
    flow = upcast(flow)
    if flow.shape[-2:] == size:
        return flow
    return functional.interpolate(flow, size, mode="bilinear", align_corners=False)


def rescale(flow: Float[Tensor, "b 2 h w"], size: tuple[int, int]) -> Float[Tensor, "b 2 i j"]:
    """Return a flow at the size of another image, and in its pixels."""
    (height, width), (old_height, old_width) = size, flow.shape[-2:]
    factors = torch.tensor([width / old_width, height / old_height], dtype=flow.dtype, device=flow.device)
    return enlarge(flow, size) * factors[:, None, None]
