from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from torch.multiprocessing.spawn import spawn
from torch.testing import assert_close

from benchmarks import plain
from mtdrive import ssim
from mtdrive.errors import ConfigError
from mtdrive.geometry import inverse_warp, pose_matrix
from mtdrive.losses import (
    min_reprojection,
    photometric_error,
    smoothness,
    ssim_distance,
    ssim_statistics,
    valid_mean,
)

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Straight from the papers


def plain_smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    terms: dict[str, list[Tensor]] = {"x": [], "y": []}
    batch, _, height, width = image.shape
    for b in range(batch):
        d = disparity[b, 0] / (disparity[b, 0].mean() + 1e-7)
        for i in range(height):
            for j in range(width):
                for axis, (k, m) in {"x": (i, j + 1), "y": (i + 1, j)}.items():
                    if k < height and m < width:
                        edge = (image[b, :, k, m] - image[b, :, i, j]).abs().mean()
                        terms[axis].append((d[k, m] - d[i, j]).abs() * torch.exp(-edge))
    return torch.stack(terms["x"]).mean() + torch.stack(terms["y"]).mean()


# SSIM and the photometric error


def test_ssim_distance_is_that_of_the_paper() -> None:
    x, y = uniform(0, 2, 3, 7, 9), uniform(1, 2, 3, 7, 9)
    assert_close(ssim_distance(x, ssim_statistics(y)), plain.ssim_distance(x, y))


def test_ssim_distance_keeps_its_digits_in_float32_on_flat_images() -> None:
    x = 0.9 + 0.02 * uniform(0, 1, 3, 16, 16)
    y = x + 0.002 * uniform(1, 1, 3, 16, 16)
    found = ssim_distance(x.float(), ssim_statistics(y.float()))
    assert_close(found.double(), plain.ssim_distance(x, y), atol=1e-3, rtol=0)


@few
@given(seeds)
def test_ssim_distance_of_equal_images_is_exactly_zero(seed: int) -> None:
    image = uniform(seed, 1, 3, 5, 6).float()
    assert (ssim_distance(image, ssim_statistics(image)) == 0).all()


@few
@given(seeds)
def test_ssim_distance_is_symmetric_and_within_0_and_1(seed: int) -> None:
    x, y = uniform(seed, 1, 3, 5, 6), uniform(seed + 1, 1, 3, 5, 6)
    distance = ssim_distance(x, ssim_statistics(y))
    assert_close(distance, ssim_distance(y, ssim_statistics(x)))
    assert ((distance >= 0) & (distance <= 1)).all()


@pytest.mark.parametrize("weight", [0.0, 0.85, 1.0])
def test_photometric_error_is_that_of_the_paper(weight: float) -> None:
    x, y = uniform(0, 2, 3, 7, 9), uniform(1, 2, 3, 7, 9)
    assert_close(photometric_error(x, ssim_statistics(y), weight), plain.error(x, y, weight))


def test_many_predictions_at_once_equal_each_alone() -> None:
    predictions, image = uniform(0, 4, 2, 3, 3, 6, 7), uniform(1, 3, 3, 6, 7)
    target = ssim_statistics(image)
    errors = photometric_error(predictions, target)
    assert errors.shape == (4, 2, 3, 6, 7)
    for s in range(4):
        for n in range(2):
            assert_close(errors[s, n], photometric_error(predictions[s, n], target))


def test_photometric_error_has_exact_gradients() -> None:
    target = ssim_statistics(uniform(0, 1, 2, 4, 5))
    prediction = uniform(1, 2, 1, 2, 4, 5).requires_grad_()
    assert gradcheck(lambda x: ssim_distance(x, target), prediction)
    assert gradcheck(lambda x: photometric_error(x, target), prediction)


def value_and_gradient(prediction: Tensor, target: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    prediction = prediction.detach().requires_grad_()
    error = photometric_error(prediction, ssim_statistics(target))
    return error, torch.autograd.grad(error, prediction, slope)[0]


@pytest.mark.parametrize("size", [(7, 9), (2, 5), (6, 2)])
def test_the_gradient_by_hand_is_that_of_the_plain_error_up_to_the_edges(size: tuple[int, int]) -> None:
    x, y, slope = uniform(0, 2, 3, *size).requires_grad_(), uniform(1, 2, 3, *size), uniform(2, 2, *size)
    _, found = value_and_gradient(x, y, slope)
    assert_close(found, torch.autograd.grad(plain.error(x, y), x, slope)[0])


def test_accelerators_which_take_all_images_at_once_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, slope = uniform(0, 4, 2, 2, 3, 6, 7), uniform(1, 2, 3, 6, 7), uniform(2, 4, 2, 2, 6, 7)
    each = value_and_gradient(x, y, slope)
    monkeypatch.setattr(ssim, "_blocks", lambda images: [(slice(None),) * (images.ndim - 3)])
    assert_close(value_and_gradient(x, y, slope), each, rtol=1e-13, atol=1e-13)


def test_the_layout_of_the_prediction_changes_nothing_and_its_gradient_has_it() -> None:
    """The warp gives scales inside channels; a copy to another order would cost as much as the warp."""
    x, y, slope = uniform(0, 2, 3, 4, 6, 7), uniform(1, 2, 3, 6, 7), uniform(2, 4, 2, 6, 7)
    scales_first = x.permute(2, 0, 1, 3, 4)
    error, gradient = value_and_gradient(scales_first, y, slope)
    expected, plain_gradient = value_and_gradient(scales_first.contiguous(), y, slope)
    assert torch.equal(error, expected)
    assert torch.equal(gradient, plain_gradient)
    assert gradient.stride() == scales_first.stride()


TRACE = """
import torch
from mtdrive import ssim
from mtdrive.losses import photometric_error, ssim_statistics

trace = lambda kernel: torch.compile(kernel, backend="eager", dynamic=False, fullgraph=True)
traced = ssim.Kernels(*map(trace, ssim.EAGER))
prediction, target = torch.rand(2, 1, 3, 6, 7, requires_grad=True), ssim_statistics(torch.rand(1, 3, 6, 7))
results = []
for kernels in (ssim.EAGER, traced):
    error = ssim.PhotometricError.apply(prediction, 0.85, kernels, *target)
    results.append((error, *torch.autograd.grad(error.sum(), prediction)))
torch.testing.assert_close(*results)
"""


def test_each_kernel_is_one_graph_for_the_compiler() -> None:
    """In a process of its own: the shape checks of the tests would break the graphs."""
    subprocess.run([sys.executable, "-c", TRACE], check=True, timeout=300)


def test_a_machine_without_a_compiler_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    ssim.compiled_kernels.cache_clear()
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler, but there is no 'no-such-compiler'"):
        photometric_error(uniform(0, 1, 3, 6, 7), ssim_statistics(uniform(1, 1, 3, 6, 7)), compiled=True)


def test_bfloat16_images_are_compared_in_float32() -> None:
    x, y = uniform(0, 1, 3, 16, 16).bfloat16(), uniform(1, 1, 3, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = photometric_error(x, ssim_statistics(y))
    assert found.dtype == torch.float32
    assert_close(found.double(), plain.error(x.double(), y.double(), 0.85), atol=1e-5, rtol=1e-4)


# Minimum reprojection with auto-masking


def test_min_reprojection_takes_the_best_warp_where_it_beats_the_best_identity() -> None:
    warped, unwarped = uniform(0, 4, 2, 3, 5, 6), uniform(1, 2, 3, 5, 6)
    error, mask = min_reprojection(warped, unwarped)
    for s, b, i, j in torch.cartesian_prod(*map(torch.arange, (4, 3, 5, 6))).tolist():
        best, rest = min(warped[s, :, b, i, j].tolist()), min(unwarped[:, b, i, j].tolist())
        assert error[s, b, i, j] == min(best, rest)
        assert mask[s, b, i, j] == (best < rest)
    assert 0 < mask.float().mean() < 1


def test_min_reprojection_needs_no_scales_and_may_have_more_sources_than_identities() -> None:
    error, mask = min_reprojection(uniform(0, 3, 2, 5, 6), uniform(1, 1, 2, 5, 6))
    assert error.shape == mask.shape == (2, 5, 6)


def test_a_tie_does_not_train() -> None:
    warped = uniform(0, 2, 1, 5, 6).requires_grad_()
    error, mask = min_reprojection(warped, warped.detach())
    (gradient,) = torch.autograd.grad(error.sum(), warped)
    assert not mask.any()
    assert (gradient == 0).all()


def test_only_unmasked_pixels_have_a_gradient_and_identities_never() -> None:
    warped, unwarped = uniform(0, 2, 1, 5, 6).requires_grad_(), uniform(1, 2, 1, 5, 6).requires_grad_()
    error, mask = min_reprojection(warped, unwarped)
    gradient, nothing = torch.autograd.grad(error.sum(), (warped, unwarped), allow_unused=True)
    assert torch.equal(gradient.sum(0), mask.double())
    assert nothing is None


def test_min_reprojection_has_exact_gradients_away_from_ties() -> None:
    levels = torch.randperm(60, generator=torch.Generator().manual_seed(0)).double().reshape(3, 1, 4, 5) / 60
    identity = (levels[:1] + 1 / 120).detach()
    assert gradcheck(lambda x: min_reprojection(x, identity).error, levels[1:].clone().requires_grad_())


def test_a_standing_camera_with_identity_warp_teaches_nothing() -> None:
    sources, image = uniform(0, 2, 1, 3, 6, 7), uniform(1, 1, 3, 6, 7)
    target = ssim_statistics(image)
    warped = sources[None].clone().requires_grad_()
    error, mask = min_reprojection(photometric_error(warped, target), photometric_error(sources, target))
    (gradient,) = torch.autograd.grad(error.mean(), warped)
    assert not mask.any()
    assert (gradient == 0).all()


# The objective of view synthesis, as a depth task composes it


def test_all_scales_and_sources_at_once_give_the_loss_and_gradients_of_the_plain_objective() -> None:
    sources, image = uniform(0, 2, 2, 3, 8, 10), uniform(1, 2, 3, 8, 10)
    depth = (2 + 8 * uniform(2, 4, 2, 1, 8, 10)).requires_grad_()
    vectors = (0.1 * uniform(3, 2, 2, 2, 3) - 0.05).requires_grad_()
    k = torch.tensor([[8.0, 0, 4.2], [0, 7.0, 3.6], [0, 0, 1]]).double().expand(2, 3, 3)
    poses = pose_matrix(*vectors)
    target = ssim_statistics(image)
    images, _ = inverse_warp(sources, depth, k, k.expand(2, 2, 3, 3), poses)
    errors = min_reprojection(photometric_error(images, target), photometric_error(sources, target))
    found, expected = (
        errors.error.mean(),
        plain.photometric(list(depth), image, list(sources), k, [k, k], list(poses)),
    )
    assert 0 < errors.mask.float().mean() < 1
    assert_close(found, expected)
    gradients = torch.autograd.grad(found, (depth, vectors), retain_graph=True)
    assert_close(gradients, torch.autograd.grad(expected, (depth, vectors)))


# Smoothness


def test_smoothness_is_that_of_the_paper() -> None:
    disparity, image = uniform(0, 2, 1, 4, 5), uniform(1, 2, 3, 4, 5)
    assert_close(smoothness(disparity, image), plain_smoothness(disparity, image))


@few
@given(seeds, st.floats(0.1, 10))
def test_smoothness_does_not_depend_on_the_scale_of_the_disparity(seed: int, scale: float) -> None:
    disparity, image = uniform(seed, 2, 1, 4, 5) + 0.1, uniform(seed + 1, 2, 3, 4, 5)
    assert_close(smoothness(scale * disparity, image), smoothness(disparity, image), rtol=1e-5, atol=0)


def test_smoothness_of_a_constant_is_zero_and_an_edge_of_the_image_excuses_a_step() -> None:
    step = torch.ones(1, 1, 4, 6).double()
    assert smoothness(step, uniform(0, 1, 3, 4, 6)) == 0
    step[..., 3:] = 2
    plain, edge = torch.zeros(1, 3, 4, 6).double(), step.expand(1, 3, 4, 6) - 1
    assert_close(smoothness(step, edge), smoothness(step, plain) * torch.exp(torch.tensor(-1.0)).double())


def test_smoothness_has_exact_gradients() -> None:
    image = uniform(0, 1, 3, 4, 5)
    assert gradcheck(lambda x: smoothness(x, image), uniform(1, 1, 1, 4, 5).requires_grad_())


def test_smoothness_of_bfloat16_is_computed_in_float32() -> None:
    disparity, image = uniform(0, 1, 1, 4, 5).bfloat16(), uniform(1, 1, 3, 4, 5).bfloat16()
    found = smoothness(disparity, image)
    assert_close(found.double(), plain_smoothness(disparity.double(), image.double()), rtol=1e-5, atol=0)
    assert found.dtype == torch.float32


# Means over valid values


def test_valid_mean_is_the_mean_of_the_valid() -> None:
    values, mask = uniform(0, 4, 5), uniform(1, 4, 5) > 0.5
    assert_close(valid_mean(values, mask), values[mask].mean())


def test_valid_mean_counts_each_value_under_a_mask_that_broadcasts() -> None:
    values, mask = uniform(0, 2, 3, 4, 5), uniform(1, 2, 1, 4, 5) > 0.5
    assert_close(valid_mean(values, mask), values[mask.expand_as(values)].mean())


def test_valid_mean_of_nothing_is_zero_with_zero_gradient() -> None:
    values = torch.full((4,), torch.nan, requires_grad=True)
    mean = valid_mean(values, torch.zeros(4, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(mean, values)
    assert mean == 0
    assert (gradient == 0).all()


def test_what_is_masked_may_be_nan_or_infinite() -> None:
    values = torch.tensor([1.0, torch.nan, 3.0, torch.inf], requires_grad=True)
    mean = valid_mean(values, torch.tensor([True, False, True, False]))
    (gradient,) = torch.autograd.grad(mean, values)
    assert mean == 2
    assert_close(gradient, torch.tensor([0.5, 0, 0.5, 0]))


def test_valid_mean_has_exact_gradients_and_float32_for_bfloat16() -> None:
    mask = uniform(1, 4, 5) > 0.5
    assert gradcheck(lambda x: valid_mean(x, mask), uniform(0, 4, 5).requires_grad_())
    assert valid_mean(torch.ones(300, dtype=torch.bfloat16), torch.ones(300, dtype=torch.bool)) == 1
    assert valid_mean(uniform(0, 4, 5).bfloat16(), mask).dtype == torch.float32


SHARES = {
    "unequal": [[True, False, False], [True, True, True]],
    "one empty": [[False, False, False], [True, True, False]],
    "both empty": [[False, False, False], [False, False, False]],
}
DATA = torch.tensor([[1.0, 5.0, 3.0], [2.0, 7.0, 4.0]])


def check_rank(rank: int, folder: str) -> None:
    """What each of two processes runs: its gradient, averaged over both, is that of one process."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        for share in SHARES.values():
            mask, weight = torch.tensor(share), torch.ones((), requires_grad=True)
            mean = valid_mean(weight**2 * DATA[rank], mask[rank])
            both = torch.stack([mean.detach(), *torch.autograd.grad(mean, weight)])
            dist.all_reduce(both)
            expected = DATA[mask].mean() if mask.any() else torch.tensor(0.0)
            assert_close(both / 2, torch.stack([expected, 2 * expected]))
    finally:
        dist.destroy_process_group()


def test_two_processes_average_to_the_mean_of_one(tmp_path: Path) -> None:
    spawn(check_rank, args=(str(tmp_path),), nprocs=2)
