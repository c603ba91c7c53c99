"""The objective of self-supervised depth as Godard et al. wrote it down, a scale and a source at a time.

Godard et al.: Clément Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019,
https://arxiv.org/abs/1806.01260. It is what the library's objective is timed against in `objective.py` and
`training_step.py`, and what the tests hold it to in float64. Nothing is shared between scales or sources.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def objective(
    disparities: Sequence[Tensor],
    target: Tensor,
    sources: Sequence[Tensor],
    camera: Tensor,
    source_cameras: Sequence[Tensor],
    poses: Sequence[Tensor],
    depth_range: tuple[float, float],
    smooth: bool = True,
) -> dict[str, Tensor]:
    """Return the terms of Monodepth2's loss; that of smoothness only where `smooth` asks for it.

    Disparities are sigmoid outputs, fine to coarse; `poses` are `T_source,target`.
    """
    low, high = depth_range
    depths = []
    for sigmoid in disparities:
        full = functional.interpolate(sigmoid, target.shape[-2:], mode="bilinear", align_corners=False)
        depths.append(1 / (1 / high + (1 / low - 1 / high) * full))
    terms = {"photometric": photometric(depths, target, sources, camera, source_cameras, poses)}
    return terms | {"smoothness": smoothness(disparities, target)} if smooth else terms


def photometric(
    depths: Sequence[Tensor],
    target: Tensor,
    sources: Sequence[Tensor],
    camera: Tensor,
    source_cameras: Sequence[Tensor],
    poses: Sequence[Tensor],
) -> Tensor:
    """Return the minimum reprojection error with auto-masking, mean over pixels and scales (Eq. 2-5)."""
    losses = []
    for depth in depths:
        warped, unwarped = [], []
        for source, source_camera, pose in zip(sources, source_cameras, poses, strict=True):
            warped.append(error(warp(source, depth, camera, source_camera, pose), target))
            unwarped.append(error(source, target))
        best, rest = torch.stack(warped).amin(0), torch.stack(unwarped).amin(0)
        losses.append(torch.where(best < rest, best, rest).mean())
    return torch.stack(losses).mean()


def warp(source: Tensor, depth: Tensor, camera: Tensor, source_camera: Tensor, pose: Tensor) -> Tensor:
    """Return the source as the target camera would see it."""
    batch, _, height, width = depth.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1).to(depth)
    points = torch.linalg.inv(camera) @ pixels * depth.reshape(batch, 1, -1)
    seen = source_camera @ (pose[:, :3, :3] @ points + pose[:, :3, 3:])
    u, v = seen[:, 0] / seen[:, 2], seen[:, 1] / seen[:, 2]
    grid = torch.stack([2 * u / (width - 1) - 1, 2 * v / (height - 1) - 1], -1)
    grid = grid.reshape(batch, height, width, 2)
    return functional.grid_sample(source, grid, padding_mode="border", align_corners=True)


def error(x: Tensor, y: Tensor, weight: float = 0.85) -> Tensor:
    """Return the photometric error of each pixel."""
    return (weight * ssim_distance(x, y) + (1 - weight) * (x - y).abs()).mean(1)


def ssim_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return (1 - SSIM) / 2 over 3x3 windows; Zhou Wang et al., https://doi.org/10.1109/TIP.2003.819861."""
    x, y = (functional.pad(image, (1, 1, 1, 1), mode="reflect") for image in (x, y))

    def mean(image: Tensor) -> Tensor:
        return functional.avg_pool2d(image, 3, stride=1)

    mu_x, mu_y = mean(x), mean(y)
    var_x, var_y, cov = mean(x * x) - mu_x**2, mean(y * y) - mu_y**2, mean(x * y) - mu_x * mu_y
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mu_x * mu_y + c1) * (2 * cov + c2) / ((mu_x**2 + mu_y**2 + c1) * (var_x + var_y + c2))
    return ((1 - ssim) / 2).clamp(0, 1)


def smoothness(disparities: Sequence[Tensor], target: Tensor, weight: float = 1e-3) -> Tensor:
    """Return the edge-aware slope of the relative disparity (Eq. 3), halved from scale to scale."""
    terms = []
    for scale, disparity in enumerate(disparities):
        relative = disparity / (disparity.mean((2, 3), keepdim=True) + 1e-7)
        colour = functional.avg_pool2d(target, 2**scale) if scale else target
        for axis in (2, 3):
            edge = colour.diff(dim=axis).abs().mean(1, keepdim=True)
            terms.append((relative.diff(dim=axis).abs() * torch.exp(-edge)).mean() / 2**scale)
    return weight * torch.stack(terms).sum() / len(disparities)
