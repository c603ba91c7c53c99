from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.geometry.depth import depth_to_3d_v2, warp_frame_depth
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from mtdrive.geometry import (
    NEAR,
    backproject,
    disparity_to_depth,
    euler_angles,
    inside,
    inverse_warp,
    invert,
    invert_intrinsics,
    mirror_intrinsics,
    mirror_pose,
    pixel_grid,
    pose_matrix,
    project,
    reproject,
    rigid_flow,
    transform,
    warp,
)

HEIGHT, WIDTH = 12, 20
few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(seed: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator(seed), dtype=torch.float64)


def cameras(seed: int, *batch: int) -> Tensor:
    k = torch.zeros(*batch, 3, 3, dtype=torch.float64)
    k[..., 0, 0] = uniform(seed, *batch, low=12, high=20)
    k[..., 1, 1] = uniform(seed + 1, *batch, low=12, high=20)
    k[..., 0, 2] = uniform(seed + 2, *batch, low=7, high=12)
    k[..., 1, 2] = uniform(seed + 3, *batch, low=4, high=7)
    k[..., 2, 2] = 1
    return k


def poses(seed: int, *batch: int, size: float = 0.2) -> Tensor:
    return pose_matrix(
        uniform(seed, *batch, 3, low=-size, high=size), uniform(seed + 1, *batch, 3, low=-size, high=size)
    )


def depths(seed: int, *batch: int) -> Tensor:
    return uniform(seed, *batch, 1, HEIGHT, WIDTH, low=2, high=20)


def smooth_image(seed: int, *batch: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    coarse = uniform(seed, math.prod(batch), 3, 4, 6)
    image = torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=True)
    return image.clamp(0, 1).reshape(*batch, 3, *size)


def forward_motion(metres: float) -> Tensor:
    """`T_source,target` of a camera that has driven straight on."""
    return pose_matrix(torch.zeros(1, 3).double(), torch.tensor([[0, 0, -metres]]).double())


# Against other implementations


def test_reproject_is_the_textbook_formula_at_each_pixel() -> None:
    depth, k, k_source, pose = depths(0, 1), cameras(1, 1), cameras(5, 1), poses(9, 1)
    pixels, _ = reproject(depth, k, k_source, pose)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            ray = torch.linalg.inv(k[0]) @ torch.tensor([x, y, 1.0]).double()
            point = pose[0] @ torch.cat([ray * depth[0, 0, y, x], torch.ones(1).double()])
            seen = k_source[0] @ point[:3]
            assert_close(pixels[0, :, y, x], seen[:2] / seen[2])


def test_reproject_is_backproject_transform_project() -> None:
    depth, k, k_source, pose = depths(0, 2), cameras(1, 2), cameras(5, 2), poses(9, 2)
    expected = project(transform(pose, backproject(depth, k)), k_source)
    found = reproject(depth, k, k_source, pose)
    assert_close(found.pixels, expected.pixels)
    assert torch.equal(found.front, expected.front)


def test_backproject_agrees_with_kornia() -> None:
    depth, k = depths(0, 2), cameras(1, 2)
    assert_close(backproject(depth, k), depth_to_3d_v2(depth.squeeze(1), k).permute(0, 3, 1, 2))


def test_inverse_warp_agrees_with_kornia_inside_the_image() -> None:
    source, depth, k, pose = smooth_image(0, 2), depths(1, 2), cameras(2, 2), poses(6, 2)
    images, valid = inverse_warp(source[None], depth[None], k, k[None], pose[None])
    expected = warp_frame_depth(source, depth, pose, k)  # pads with zeros, so only the inside is alike
    mask = valid[0, 0, :, None].expand_as(expected)
    assert mask.float().mean() > 0.5
    assert_close(images[0, 0][mask], expected[mask])


def test_invert_intrinsics_agrees_with_linear_algebra_even_with_skew() -> None:
    k = cameras(0, 2, 3)
    k[..., 0, 1] = 0.7
    assert_close(invert_intrinsics(k), torch.linalg.inv(k))


def test_pose_matrix_agrees_with_scipy() -> None:
    vectors = uniform(0, 50, 3, low=-3, high=3)
    found = pose_matrix(vectors, vectors + 1)
    assert_close(found[:, :3, :3], torch.from_numpy(Rotation.from_rotvec(vectors.numpy()).as_matrix()))
    assert_close(found[:, :3, 3], vectors + 1)
    assert_close(found[:, 3], torch.tensor([0.0, 0, 0, 1]).double().expand(50, 4))


def test_euler_angles_agree_with_roma() -> None:
    angles = uniform(0, 50, 3, low=-1.5, high=1.5)
    rotation = roma.euler_to_rotmat("YXZ", angles[:, [1, 0, 2]])
    pose = torch.eye(4).double().repeat(50, 1, 1)
    pose[:, :3, :3] = rotation
    assert_close(euler_angles(pose), angles)


def test_a_plane_seen_from_two_poses_is_warped_onto_itself() -> None:
    size, k = (48, 80), torch.tensor([[60.0, 0, 37.3], [0, 55.0, 25.1], [0, 0, 1]]).double()
    pose = pose_matrix(torch.tensor([0.03, -0.05, 0.04]).double(), torch.tensor([0.4, -0.1, -0.5]).double())
    normal, distance = torch.tensor([0.2, -0.3, 1.0]).double(), 8.0
    target, depth = render_plane(k, torch.eye(4).double(), normal, distance, size)
    source, _ = render_plane(k, pose, normal, distance, size)
    k, pose = k[None], pose[None]
    images, valid = inverse_warp(source[None, None], depth[None, None], k, k[None], pose[None])
    error = (images[0, 0, 0] - target).abs()[:, valid[0, 0, 0]]
    assert valid.float().mean() > 0.7
    assert error.max() < 2e-3
    unmoved = (source - target).abs()[:, valid[0, 0, 0]]
    assert unmoved.mean() > 50 * error.mean()


def render_plane(
    k: Tensor, pose: Tensor, normal: Tensor, distance: float, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Image and depth at `pose` (T_camera,world) of the textured plane `normal . x = distance`."""
    y, x = torch.meshgrid(*(torch.arange(n).double() for n in size), indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], -1) @ torch.linalg.inv(k).T
    rotation, translation = pose[:3, :3], pose[:3, 3]
    tilted = rotation @ normal
    depth = (distance + tilted @ translation) / (rays @ tilted)
    world = (rays * depth[..., None] - translation) @ rotation
    texture = torch.stack([torch.sin(world @ torch.tensor(v).double()) for v in TEXTURE])
    return 0.5 + 0.3 * texture, depth[None]


TEXTURE = [[0.6, 0.4, 0.0], [-0.3, 0.7, 0.1], [0.5, -0.5, 0.2]]  # radians a metre


# Gradients


def test_reproject_has_exact_gradients() -> None:
    inputs = [depths(0, 1)[..., :3, :4], cameras(1, 1), cameras(5, 1), poses(9, 1)]
    assert gradcheck(lambda *x: reproject(*x).pixels, [x.requires_grad_() for x in inputs])


def test_reproject_has_exact_gradients_where_depths_and_sources_broadcast_even_behind_the_camera() -> None:
    depth = depths(0, 2, 1, 2)[..., :2, :3].requires_grad_()
    pose = torch.cat([poses(9, 1, 2), forward_motion(30).expand(1, 2, 4, 4)]).requires_grad_()
    k = cameras(1, 2)
    assert gradcheck(lambda d, t: reproject(d, k, k, t).pixels, (depth, pose))
    front = reproject(depth, k, k, pose).front
    assert front[:, 0].all()
    assert not front[:, 1].any()


def test_project_has_exact_gradients_in_front_and_behind() -> None:
    points = uniform(0, 1, 3, 4, 5, low=-2, high=2).requires_grad_()
    assert gradcheck(lambda x, k: project(x, k).pixels, (points, cameras(1, 1).requires_grad_()))


def test_inverse_warp_has_exact_gradients() -> None:
    source, depth, k, pose = smooth_image(0, 1, 1), depths(1, 1, 1), cameras(2, 1), poses(6, 1, 1)
    inputs = [source[..., :1, :5, :6], depth[..., :3, :4], pose]
    assert gradcheck(
        lambda s, d, t: inverse_warp(s, d, k, k[None], t).images, [x.requires_grad_() for x in inputs]
    )


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-3, 1.0, 3.0])
def test_pose_matrix_has_exact_gradients(size: float) -> None:
    vector = (size * torch.tensor([[0.6, -0.64, 0.48]]).double()).requires_grad_()
    assert gradcheck(pose_matrix, (vector, uniform(0, 1, 3).requires_grad_()))


def test_rotation_has_a_finite_useful_gradient_at_zero_in_float32() -> None:
    vector = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(pose_matrix(vector, torch.zeros(1, 3))[0, 2, 1], vector)
    assert_close(gradient, torch.tensor([[1.0, 0, 0]]))


@pytest.mark.parametrize("z", [-5.0, -1e-9, 0.0, NEAR / 2, NEAR])
def test_a_point_behind_the_camera_keeps_value_and_gradient_finite(z: float) -> None:
    points = torch.tensor([3.0, -2, z]).reshape(1, 3, 1, 1).requires_grad_()
    pixels, front = project(points, cameras(0, 1).float())
    (gradient,) = torch.autograd.grad(pixels.sum(), points)
    assert pixels.isfinite().all()
    assert gradient.isfinite().all()
    assert front.item() == (z >= NEAR)


def test_driving_through_the_scene_gives_no_gradient_where_nothing_is_seen() -> None:
    source, k = smooth_image(0, 1, 1), cameras(1, 1)
    depth = depths(5, 1, 1).requires_grad_()
    images, valid = inverse_warp(source, depth, k, k[None], forward_motion(30)[None])
    (gradient,) = torch.autograd.grad(images.sum(), depth)
    assert not valid.any()
    assert (gradient == 0).all()


# Properties


@few
@given(seeds)
def test_identity_pose_is_identity_warp_whatever_the_depth(seed: int) -> None:
    source, depth, k = smooth_image(seed, 1, 1).float(), depths(seed, 3, 1).float(), cameras(seed, 1).float()
    images, valid = inverse_warp(source, depth, k, k[None], torch.eye(4)[None, None])
    assert_close(images, source.expand_as(images[:, 0])[:, None], atol=1e-4, rtol=0)
    assert valid.all()


@few
@given(seeds, st.floats(0.1, 1.5))
def test_driving_forward_moves_pixels_away_from_the_principal_point(seed: int, metres: float) -> None:
    depth, k = depths(seed, 1), cameras(seed, 1)
    flow, front = rigid_flow(depth, k, k, forward_motion(metres))
    away = pixel_grid(depth)[:2] - k[:, :2, 2, None, None]
    assert front.all()
    assert ((flow * away).sum(1) > 0).all()
    assert_close(flow[:, 0] * away[:, 1], flow[:, 1] * away[:, 0])


@few
@given(seeds)
def test_rigid_flow_leads_to_the_pixels_that_the_warp_samples(seed: int) -> None:
    depth, k, k_source, pose = depths(seed, 2), cameras(seed, 2), cameras(seed + 9, 2), poses(seed, 2)
    flow, _ = rigid_flow(depth, k, k_source, pose)
    assert_close(flow + pixel_grid(depth)[:2], reproject(depth, k, k_source, pose).pixels)


@few
@given(seeds)
def test_inverse_undoes_a_pose_on_either_side(seed: int) -> None:
    pose = poses(seed, 4, size=3)
    identity = torch.eye(4).double().expand(4, 4, 4)
    assert_close(invert(pose) @ pose, identity)
    assert_close(pose @ invert(pose), identity)


@few
@given(seeds)
def test_mirroring_twice_changes_nothing(seed: int) -> None:
    k, pose = cameras(seed, 3), poses(seed, 3)
    assert_close(mirror_intrinsics(mirror_intrinsics(k, WIDTH), WIDTH), k)
    assert torch.equal(mirror_pose(mirror_pose(pose)), pose)


@few
@given(seeds)
def test_warping_commutes_with_mirroring(seed: int) -> None:
    source, depth = smooth_image(seed, 1, 2), depths(seed, 1, 2)
    k, pose = cameras(seed, 2), poses(seed, 1, 2)
    k[..., 0, 1] = 0.3
    images, valid = inverse_warp(source, depth, k, k[None], pose)
    k = mirror_intrinsics(k, WIDTH)
    mirrored = inverse_warp(source.flip(-1), depth.flip(-1), k, k[None], mirror_pose(pose))
    assert_close(mirrored.images, images.flip(-1))
    assert torch.equal(mirrored.valid, valid.flip(-1))


@few
@given(seeds)
def test_mirror_pose_is_conjugation_by_the_reflection(seed: int) -> None:
    pose, reflection = poses(seed, 3), torch.diag(torch.tensor([-1.0, 1, 1, 1]).double())
    assert_close(mirror_pose(pose), reflection @ pose @ reflection)


@pytest.mark.parametrize("angle", [-0.5, 0.2])
def test_yaw_is_positive_where_the_forward_axis_turns_right(angle: float) -> None:
    pose = pose_matrix(torch.tensor([0, angle, 0]), torch.zeros(3))
    forward = pose[:3, :3] @ torch.tensor([0.0, 0, 1])
    assert_close(euler_angles(pose), torch.tensor([0, angle, 0]))
    assert forward[0] * angle > 0


# Shapes and edges


def test_many_depths_and_sources_at_once_equal_each_alone() -> None:
    sources, depth = smooth_image(0, 2, 3), depths(1, 4, 3)
    k, k_sources, pose = cameras(2, 3), cameras(6, 2, 3), poses(10, 2, 3)
    images, valid = inverse_warp(sources, depth, k, k_sources, pose)
    for s in range(4):
        for n in range(2):
            for b in range(3):
                pixels, front = reproject(depth[s, b], k[b], k_sources[n, b], pose[n, b])
                assert_close(images[s, n, b], warp(sources[n, b], pixels[None])[0])
                assert torch.equal(valid[s, n, b], front & inside(pixels, HEIGHT, WIDTH))


def test_depth_maps_may_have_another_size_than_the_source() -> None:
    source, k, pose = smooth_image(0, 1, 1, size=(30, 40)), cameras(1, 1), poses(5, 1, 1)
    images, valid = inverse_warp(source, depths(6, 2, 1), k, k[None], pose)
    assert images.shape == (2, 1, 1, 3, HEIGHT, WIDTH)
    assert valid.shape == (2, 1, 1, HEIGHT, WIDTH)


def test_warp_samples_pixel_centres_and_repeats_the_border() -> None:
    source = torch.arange(12.0).reshape(1, 3, 4)
    pixels = torch.tensor([[0.0, 0], [3, 2], [1.5, 1], [-9, 0], [99, 99]]).T.reshape(1, 2, 1, 5)
    assert_close(warp(source, pixels).flatten(), torch.tensor([0.0, 11, 5.5, 0, 11]))


def test_inside_ends_at_the_centres_of_the_border_pixels() -> None:
    x = torch.tensor([-0.5, -1e-4, 0, 3.0001, 3.5])
    pixels = torch.stack([x, torch.zeros(5)]).reshape(2, 1, 5)
    assert inside(pixels, 1, 4).flatten().tolist() == [False, True, True, True, False]
    assert inside(pixels.flip(0), 4, 1).flatten().tolist() == [False, True, True, True, False]


def test_unknown_depth_is_not_valid() -> None:
    depth, k = depths(0, 1, 1), cameras(1, 1)
    depth[..., 3, 5] = torch.nan
    _, valid = inverse_warp(smooth_image(2, 1, 1), depth, k, k[None], torch.eye(4).double()[None, None])
    assert not valid[..., 3, 5].any()
    assert valid.sum() == HEIGHT * WIDTH - 1


def test_nothing_is_valid_under_an_unknown_pose() -> None:
    k, unknown = cameras(1, 1), torch.full((1, 1, 4, 4), torch.nan)
    _, valid = inverse_warp(smooth_image(2, 1, 1), depths(0, 1, 1), k, k[None], unknown)
    assert not valid.any()


def test_disparity_to_depth_spans_the_range() -> None:
    scaled, depth = disparity_to_depth(torch.tensor([0.0, 0.5, 1.0]), min_depth=0.1, max_depth=100)
    assert_close(depth[[0, 2]], torch.tensor([100, 0.1]))
    assert_close(scaled, torch.tensor([0.01, 5.005, 10]))
    assert_close(scaled * depth, torch.ones(3))


# Precision


def wide_scene() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As wide as a training image, where bfloat16 would round a coordinate by two pixels."""
    k = torch.tensor([[[371.0, 0, 320], [0, 368.0, 96], [0, 0, 1]]])
    return (
        smooth_image(0, 1, 1, size=(192, 640)),
        uniform(1, 2, 1, 1, 192, 640, low=2, high=40),
        k,
        poses(2, 1, 1),
    )


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_inputs_are_computed_in_float32(autocast: bool) -> None:
    inputs = [x.bfloat16() for x in wide_scene()]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        source, depth, k, pose = inputs
        images, _ = inverse_warp(source, depth, k, k[None], pose)
        points = transform(pose[0], backproject(depth[0], k))
    source, depth, k, pose = (x.double() for x in inputs)
    assert images.dtype == points.dtype == torch.float32
    expected, _ = inverse_warp(source, depth, k, k[None], pose)
    assert_close(images.double(), expected, atol=1e-4, rtol=0)
    assert_close(points.double(), transform(pose[0], backproject(depth[0], k)), atol=1e-4, rtol=1e-5)


def test_autocast_changes_nothing() -> None:
    source, depth, k, pose = (x.float() for x in wide_scene())
    plain = inverse_warp(source, depth, k, k[None], invert(pose))
    with torch.autocast("cpu", torch.bfloat16):
        cast = inverse_warp(source, depth, k, k[None], invert(pose))
    assert torch.equal(plain.images, cast.images)
    assert torch.equal(plain.valid, cast.valid)


@pytest.mark.parametrize(
    "function", [invert, euler_angles, lambda x: pose_matrix(x[..., 0, :3], x[..., 1, :3])]
)
def test_poses_of_bfloat16_become_float32(function: Callable[[Tensor], Tensor]) -> None:
    assert function(poses(0, 2).bfloat16()).dtype == torch.float32
