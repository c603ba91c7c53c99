"""Pinhole cameras, rigid motion, inverse warping and rigid flow.

Camera frame: x right, y down, z forward, metres. `T_ab` maps points of b into a. Intrinsics are in pixels
and the centre of the first pixel is (0, 0). Depth is metres along the optical axis. Leading axes broadcast.

Everything runs in float32, or float64 where given it, whatever autocast says: half a pixel is already lost
when a coordinate of 640 pixels is rounded to bfloat16 or multiplied in TF32. So products are sums of
elementwise products, which neither autocast nor TF32 touches.
"""

from __future__ import annotations

from typing import NamedTuple

import roma
import torch
from einops import pack, rearrange, unpack
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mtdrive.sight import Sight

FAR = 1e9
"""Metres, in place of infinity."""
NEAR = 1e-3
"""Metres; what is nearer than this, or behind the camera, has no image."""
SLACK = 1e-2
"""Pixels that a coordinate may lie outside the image and count as inside: the rounding of float32."""


class Projection(NamedTuple):
    """Where points are seen in an image."""

    pixels: Float[Tensor, "*b 2 h w"]
    """(x, y); finite, though meaningless, for points that are not in front of the camera."""
    front: Bool[Tensor, "*b h w"]
    """True for points at least `NEAR` in front; False where a depth is unknown (NaN)."""


class Warp(NamedTuple):
    """Source images as the target camera would see them."""

    images: Float[Tensor, "s n b c h w"]
    """One for each of `s` depth maps and `n` sources."""
    valid: Bool[Tensor, "s n b h w"]
    """True where the source sees the point: in front of it and inside its image."""


def upcast(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Return float64 as it is and everything less as float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def pixel_grid(like: Float[Tensor, "*b h w"]) -> Float[Tensor, "3 h w"]:
    """Return the homogeneous coordinates (x, y, 1) of the pixels' centres of an image or map."""
    height, width = like.shape[-2:]
    dtype = torch.promote_types(like.dtype, torch.float32)
    x = torch.arange(width, dtype=dtype, device=like.device).expand(height, width)
    y = torch.arange(height, dtype=dtype, device=like.device)[:, None].expand(height, width)
    return torch.stack([x, y, torch.ones_like(x)])


def invert_intrinsics(intrinsics: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return the inverse of pinhole matrices, in closed form; they may have a skew."""
    k = upcast(intrinsics)
    fx, skew, cx, fy, cy = k[..., 0, 0], k[..., 0, 1], k[..., 0, 2], k[..., 1, 1], k[..., 1, 2]
    one, zero = torch.ones_like(fx), torch.zeros_like(fx)
    first = [1 / fx, -skew / (fx * fy), (skew * cy / fy - cx) / fx]
    entries = torch.stack([*first, zero, 1 / fy, -cy / fy, zero, zero, one], dim=-1)
    return rearrange(entries, "... (row column) -> ... row column", row=3)


def backproject(
    depth: Float[Tensor, "*#b 1 h w"], intrinsics: Float[Tensor, "*#b 3 3"]
) -> Float[Tensor, "*#b 3 h w"]:
    """Return the points, in metres, that the pixels of a depth map show."""
    depth = upcast(depth)
    return depth * _apply(invert_intrinsics(intrinsics), pixel_grid(depth))


def transform(
    pose: Float[Tensor, "*#b 4 4"], points: Float[Tensor, "*#b 3 h w"]
) -> Float[Tensor, "*#b 3 h w"]:
    """Map points of b into a by the pose `T_ab`."""
    pose = upcast(pose)
    return _apply(pose[..., :3, :3], upcast(points)) + pose[..., :3, 3, None, None]


def project(points: Float[Tensor, "*#b 3 h w"], intrinsics: Float[Tensor, "*#b 3 3"]) -> Projection:
    """Return the pixels at which a camera sees points of its frame."""
    return _perspective(_apply(upcast(intrinsics), upcast(points)))


def reproject(
    depth: Float[Tensor, "*#b 1 h w"],
    intrinsics: Float[Tensor, "*#b 3 3"],
    source_intrinsics: Float[Tensor, "*#b 3 3"],
    pose: Float[Tensor, "*#b 4 4"],
) -> Projection:
    """Return where the source camera sees what each pixel of the target shows; `pose` is `T_source,target`.

    `project(transform(pose, backproject(depth, intrinsics)), source_intrinsics)`, except that a pixel's ray
    is rotated and projected once for all depth maps: the depth only scales it.
    """
    seen, front = _see(depth, intrinsics, upcast(source_intrinsics), pose)
    return Projection(rearrange(seen, "... h w xy -> ... xy h w"), front)


def inside(pixels: Float[Tensor, "*b 2 i j"], height: int, width: int) -> Bool[Tensor, "*b i j"]:
    """Tell which coordinates lie within an image of that size, from first to last pixel's centre."""
    x, y = pixels.unbind(-3)
    return (x >= -SLACK) & (x <= width - 1 + SLACK) & (y >= -SLACK) & (y <= height - 1 + SLACK)


def warp(
    source: Float[Tensor, "*b c h w"], pixels: Float[Tensor, "s *b 2 i j"]
) -> Float[Tensor, "s *b c i j"]:
    """Sample images at `s` sets of coordinates bilinearly; outside, the nearest border pixel counts.

    Max Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015, https://arxiv.org/abs/1506.02025
    """
    grid = _normalise(rearrange(upcast(pixels), "s ... xy i j -> ... s i j xy"), *source.shape[-2:])
    return _sample(upcast(source), grid)


def inverse_warp(
    sources: Float[Tensor, "n b c h w"],
    depths: Float[Tensor, "s b 1 i j"],
    intrinsics: Float[Tensor, "b 3 3"],
    source_intrinsics: Float[Tensor, "n b 3 3"],
    poses: Float[Tensor, "n b 4 4"],
) -> Warp:
    """Synthesise the target from `n` sources by each of `s` depth maps of it; `poses` are `T_source,target`.

    The result is (s n b c i j): as large as the depth maps, all sampled at once. Tinghui Zhou et al.,
    "Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017, https://arxiv.org/abs/1704.07813

    Depth and poses that are not finite give some image, which is not valid and has no gradient.
    """
    height, width = sources.shape[-2:]
    # On CPUs the gradient of `grid_sample` reads out of bounds at NaN, and ends the process.
    known = depths.isfinite()[:, :, 0] & poses.isfinite().all(-1).all(-1)[:, None, :, None, None]
    depths, poses = (x.nan_to_num(1.0, FAR, -FAR) for x in (depths, poses))
    # A camera that measures in half images, as `grid_sample` does, spares a pass over all coordinates.
    x, y, z = upcast(source_intrinsics).unbind(-2)
    lens = torch.stack([x * (2 / (width - 1)) - z, y * (2 / (height - 1)) - z, z], dim=-2)
    depth = rearrange(depths, "s b one i j -> b s one i j")
    grid, front = _see(depth, intrinsics[:, None], lens[:, :, None], poses[:, :, None])
    across, down = grid.detach().abs().unbind(-1)
    within = (across <= 1 + SLACK * 2 / (width - 1)) & (down <= 1 + SLACK * 2 / (height - 1))
    valid = rearrange(front & within, "n b s i j -> s n b i j") & rearrange(known, "n s b i j -> s n b i j")
    return Warp(_sample(upcast(sources), grid), valid)


def rigid_flow(
    depth: Float[Tensor, "*#b 1 h w"],
    intrinsics: Float[Tensor, "*#b 3 3"],
    source_intrinsics: Float[Tensor, "*#b 3 3"],
    pose: Float[Tensor, "*#b 4 4"],
) -> Projection:
    """Return the optical flow, in pixels from target to source, of a scene in which only the camera moves.

    `pose` is `T_source,target`. Zhichao Yin and Jianping Shi, "GeoNet: Unsupervised Learning of Dense Depth,
    Optical Flow and Camera Pose", CVPR 2018, https://arxiv.org/abs/1803.02276
    """
    pixels, front = reproject(depth, intrinsics, source_intrinsics, pose)
    return Projection(pixels - pixel_grid(pixels)[:2], front)


def pose_matrix(
    axis_angle: Float[Tensor, "*b 3"], translation: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 4 4"]:
    """Return the pose that first rotates by `axis_angle`, in radians, and then moves by `translation`."""
    rotation = roma.rotvec_to_rotmat(upcast(axis_angle))
    column = functional.pad(upcast(translation)[..., None], (0, 0, 0, 1), value=1.0)
    return torch.cat([functional.pad(rotation, (0, 0, 0, 1)), column], dim=-1)


def invert(pose: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Return `T_ba` of the pose `T_ab`."""
    pose = upcast(pose)
    rotation = pose[..., :3, :3].mT
    top = torch.cat([rotation, -_product(rotation, pose[..., :3, 3:])], dim=-1)
    return torch.cat([top, pose[..., 3:, :]], dim=-2)


def euler_angles(pose: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 3"]:
    """Return the angles about x, y and z, in radians, of a rotation R = R_y R_x R_z.

    The second is the yaw: positive where `T_source,target` turns the target's forward axis to the right.
    """
    r = upcast(pose)
    pitch = torch.atan2(-r[..., 1, 2], torch.hypot(r[..., 0, 2], r[..., 2, 2]))
    yaw = torch.atan2(r[..., 0, 2], r[..., 2, 2])
    roll = torch.atan2(r[..., 1, 0], r[..., 1, 1])
    return torch.stack([pitch, yaw, roll], dim=-1)


def mirror_pose(pose: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Return the pose between left-right mirrored images: F T F with F = diag(-1, 1, 1, 1)."""
    lateral = torch.arange(4, device=pose.device) == 0
    return torch.where(lateral ^ lateral[:, None], -pose, pose)


def mirror_intrinsics(intrinsics: Float[Tensor, "*b 3 3"], width: int) -> Float[Tensor, "*b 3 3"]:
    """Return the intrinsics of a left-right mirrored image of that width."""
    mirrored = intrinsics.clone()
    mirrored[..., 0, 1] = -intrinsics[..., 0, 1]
    mirrored[..., 0, 2] = width - 1 - intrinsics[..., 0, 2]
    return mirrored


def shrink_intrinsics(intrinsics: Float[Tensor, "*b 3 3"], factor: int) -> Float[Tensor, "*b 3 3"]:
    """Return the intrinsics of the image whose pixels are the means of `factor` x `factor` blocks."""
    shrunk = upcast(intrinsics).clone()
    shrunk[..., :2, :] /= factor
    shrunk[..., :2, 2] += 0.5 / factor - 0.5
    return shrunk


def disparity_to_depth(
    disparity: Float[Tensor, "*b"], min_depth: float, max_depth: float
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Return disparity in 1/m and depth in metres of a sigmoid's output, where 1 is `min_depth`.

    Clément Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019,
    https://arxiv.org/abs/1806.01260
    """
    scaled = 1 / max_depth + (1 / min_depth - 1 / max_depth) * upcast(disparity)
    return scaled, 1 / scaled


def _product(a: Float[Tensor, "*#b i j"], b: Float[Tensor, "*#b j k"]) -> Float[Tensor, "*#b i k"]:
    """Return the matrix product, in full precision (see the module)."""
    total = a[..., :, :1] * b[..., :1, :]
    for j in range(1, a.shape[-1]):
        total = torch.addcmul(total, a[..., :, j : j + 1], b[..., j : j + 1, :])
    return total


def _apply(
    matrix: Float[Tensor, "*#b 3 3"], vectors: Float[Tensor, "*#b 3 h w"]
) -> Float[Tensor, "*#b 3 h w"]:
    """Multiply the vector of each pixel."""
    product = _product(matrix, rearrange(vectors, "... xyz h w -> ... xyz (h w)"))
    return rearrange(product, "... xyz (h w) -> ... xyz h w", w=vectors.shape[-1])


def _perspective(homogeneous: Float[Tensor, "*b 3 h w"]) -> Projection:
    """Divide by the last coordinate; a clamp keeps value and gradient finite behind the camera."""
    xy, z = torch.split(homogeneous, [2, 1], dim=-3)
    return Projection(xy * z.clamp(min=NEAR).reciprocal(), (z >= NEAR).squeeze(-3))


def _see(
    depth: Float[Tensor, "*#b 1 h w"],
    intrinsics: Float[Tensor, "*#b 3 3"],
    lens: Float[Tensor, "*#b 3 3"],
    pose: Float[Tensor, "*#b 4 4"],
) -> tuple[Float[Tensor, "*#b h w 2"], Bool[Tensor, "*#b h w"]]:
    """Return what `reproject` does, (x, y) last and in the unit of the source's intrinsics."""
    depth, pose = upcast(depth), upcast(pose)
    rotation = _product(_product(lens, pose[..., :3, :3]), invert_intrinsics(intrinsics))
    epipole = _product(lens, pose[..., :3, 3:])
    rays = _apply(rotation, pixel_grid(depth))
    seen: tuple[Tensor, Tensor] = Sight.apply(depth.squeeze(-3), rays, epipole[..., None], NEAR)
    return seen


def _normalise(pixels: Float[Tensor, "*b 2"], height: int, width: int) -> Float[Tensor, "*b 2"]:
    """Map pixels to the square from -1 to 1 between the centres of the corner pixels."""
    x, y = pixels.unbind(-1)
    return torch.stack([x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1], dim=-1)


def _sample(
    source: Float[Tensor, "*b c h w"], grid: Float[Tensor, "*b s i j 2"]
) -> Float[Tensor, "s *b c i j"]:
    flat, leading = pack([source], "* c h w")
    # Below one another the sets share one image each: stacked as a batch, they would copy it.
    below, _ = pack([rearrange(grid, "... s i j xy -> ... (s i) j xy")], "* i j xy")
    sampled = functional.grid_sample(flat, below, padding_mode="border", align_corners=True)
    (sampled,) = unpack(sampled, leading, "* c i j")
    return rearrange(sampled, "... c (s i) j -> s ... c i j", s=grid.shape[-4])
