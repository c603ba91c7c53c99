from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from safetensors.torch import save_file
from torch import Tensor

from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError
from mtdrive.pose import (
    CorrelationPose,
    Frame,
    Motion,
    PoseHead,
    PoseNetwork,
    SeparatePose,
    SharedPose,
    correlation,
)

NETWORKS: dict[str, Callable[[Encoder, float], PoseNetwork]] = {
    "separate": lambda encoder, start: SeparatePose(encoder, "test_resnet", forward_start=start),
    "shared": lambda encoder, start: SharedPose(encoder, start),
    "correlation": lambda encoder, start: CorrelationPose(encoder, forward_start=start),
}


def build(name: str, start: float = 0.0) -> tuple[Encoder, PoseNetwork]:
    torch.manual_seed(4)
    encoder = Encoder("test_resnet")
    return encoder, NETWORKS[name](encoder, start)


def frames(encoder: Encoder, batch: int = 2) -> tuple[Frame, Frame]:
    images = torch.rand(2, batch, 3, 64, 96, generator=torch.Generator().manual_seed(6))
    earlier, later = (Frame(x, encoder(x)) for x in images)
    return earlier, later


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Zero-padded convolution as a sum over shifts."""
    k, (height, width) = weight.shape[-1], x.shape[-2:]
    padded = x.new_zeros(*x.shape[:2], height + k - 1, width + k - 1)
    padded[:, :, k // 2 : k // 2 + height, k // 2 : k // 2 + width] = x
    out = bias[:, None, None].expand(x.shape[0], -1, height, width).clone()
    for i in range(k):
        for j in range(k):
            out += torch.einsum(
                "oi,bihw->bohw", weight[:, :, i, j], padded[:, :, i : i + height, j : j + width]
            )
    return out


def from_the_paper(parameters: list[Tensor], features: list[Tensor]) -> Tensor:
    """The published pose decoder over its parameters in order: squeeze, pose 0, pose 1, pose 2."""
    squeeze, first, second, last = zip(parameters[::2], parameters[1::2], strict=True)
    x = torch.cat([relu(convolve(level, *squeeze)) for level in features], 1)
    x = convolve(relu(convolve(relu(convolve(x, *first)), *second)), *last)
    return 0.01 * x.mean((2, 3))[:, :6]


@pytest.mark.parametrize(("inputs", "poses"), [(1, 2), (2, 1)])
def test_head_equals_the_paper(inputs: int, poses: int) -> None:
    head = PoseHead(5, inputs, poses, forward_start=0.3).double()
    features = [torch.randn(2, 5, 2, 3, dtype=torch.float64) for _ in range(inputs)]
    motion = head(features)
    expected = from_the_paper(list(head.parameters()), features)
    torch.testing.assert_close(torch.cat(motion, 1), expected, rtol=1e-12, atol=1e-14)


def test_size_of_the_published_heads() -> None:
    def size(*arguments: int) -> int:
        return sum(p.numel() for p in PoseHead(*arguments).parameters())

    squeeze, square, out = 512 * 256 + 256, 9 * 256 * 256 + 256, 256 * 6 + 6
    assert size(512, 1, 2) == squeeze + 2 * square + 2 * out == 1_314_572
    assert size(512, 2, 1) == squeeze + (square + 9 * 256 * 256) + square + out


@pytest.mark.parametrize("name", NETWORKS)
def test_returns_a_small_motion(name: str) -> None:
    encoder, network = build(name)
    motion = network(*frames(encoder))
    assert isinstance(motion, Motion)
    assert motion.axis_angle.shape == motion.translation.shape == (2, 3)
    assert torch.cat(motion).abs().max() < 0.02


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_start_is_the_motion_at_the_start(name: str) -> None:
    encoder, resting = build(name)
    _, driving = build(name, start=0.8)
    pair = frames(encoder)
    difference = torch.cat(driving(*pair), 1) - torch.cat(resting(*pair), 1)
    expected = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -0.8]).expand(2, 6)
    torch.testing.assert_close(difference, expected)
    assert (driving(*pair).translation - expected[:, 3:]).abs().max() < 0.02


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_start_brings_points_closer(name: str) -> None:
    encoder, network = build(name, start=0.8)
    point_ahead = torch.tensor([0.0, 0.0, 10.0])
    seen_later = point_ahead + network(*frames(encoder)).translation  # the rotation is next to none
    assert torch.allclose(seen_later, torch.tensor([0.0, 0.0, 9.2]), atol=0.02)


@pytest.mark.parametrize("name", NETWORKS)
def test_order_of_time_matters(name: str) -> None:
    encoder, network = build(name)
    earlier, later = frames(encoder)
    assert not torch.allclose(network(earlier, later).translation, network(later, earlier).translation)


@pytest.mark.parametrize("name", NETWORKS)
def test_items_are_independent(name: str) -> None:
    encoder, network = build(name)
    network.eval()
    earlier, later = frames(encoder.eval(), batch=3)
    second = [Frame(f.image[1:2], [x[1:2] for x in f.pyramid]) for f in (earlier, later)]
    torch.testing.assert_close(network(*second).translation, network(earlier, later).translation[1:2])


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_reaches_every_parameter(name: str) -> None:
    encoder, network = build(name)
    torch.autograd.backward(torch.cat(network(*frames(encoder)), 1).square().sum())
    assert [key for key, p in network.named_parameters() if p.grad is None] == []
    # Residual branches of the encoder start behind a scale of zero; nothing else does.
    own = [p for key, p in network.named_parameters() if not key.startswith("encoder.")]
    assert all(p.grad is not None and p.grad.any() for p in own)


@pytest.mark.parametrize("name", NETWORKS)
def test_initial_weights_are_a_function_of_the_global_generator(name: str) -> None:
    first, second = build(name)[1].state_dict(), build(name)[1].state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_shared_network_does_not_own_the_encoder() -> None:
    _, network = build("shared")
    assert all(key.startswith("head.") for key in network.state_dict())


def test_separate_network_needs_no_features() -> None:
    encoder, network = build("separate")
    earlier, later = frames(encoder)
    assert not network.reads_features
    assert torch.equal(
        network(Frame(earlier.image), Frame(later.image)).translation, network(earlier, later).translation
    )


def test_separate_network_starts_from_weights_for_one_image(tmp_path: Path) -> None:
    single = Encoder("test_resnet")
    save_file(single.net.state_dict(), tmp_path / "w.safetensors")
    network = SeparatePose(name="test_resnet", weights=str(tmp_path / "w.safetensors")).eval()
    x = torch.rand(1, 3, 64, 96)
    doubled = network.encoder(torch.cat([x, x], 1))[-1]
    torch.testing.assert_close(doubled, single.eval()(x)[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_motion_is_full_precision_under_autocast(name: str) -> None:
    encoder, network = build(name)
    pair = frames(encoder)
    with torch.autocast("cpu", torch.bfloat16):
        motion = network(*pair)
    assert motion.translation.dtype == torch.float32
    torch.testing.assert_close(motion.translation, network(*pair).translation, rtol=0.1, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (
            {"class_path": "SeparatePose", "init_args": {"name": "test_resnet", "forward_start": 0.5}},
            SeparatePose,
        ),
        ({"class_path": "SharedPose", "init_args": {"forward_start": 0.5}}, SharedPose),
    ],
)
def test_every_network_is_built_alike_from_a_configuration(
    settings: dict[str, object], kind: type[PoseNetwork]
) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--pose", type=Callable[[Encoder], PoseNetwork])
    build_one = parser.instantiate(parser.parse_object({"pose": settings})).pose
    assert isinstance(build_one(Encoder("test_resnet")), kind)


def test_correlation_peaks_at_the_shift_between_two_maps() -> None:
    """The order of the channels is a promise: rows first, from the upper left."""
    draw = torch.Generator().manual_seed(0)
    wide = torch.randn(1, 8, 12, 20, generator=draw)
    a = wide[..., 2:10, 4:16]
    for dy, dx in ((0, 0), (-2, 3), (1, -4), (2, 4)):
        b = wide[
            ..., 2 - dy : 10 - dy, 4 - dx : 16 - dx
        ]  # what a shows lies dy lower and dx to the right in b
        cosines = correlation(a, b, (2, 4))
        assert cosines.shape == (1, 5 * 9, 8, 12)
        inside = cosines[0, :, 2:6, 4:8]
        assert (inside.argmax(0) == (dy + 2) * 9 + dx + 4).all()
        torch.testing.assert_close(inside.amax(0), torch.ones(4, 4))


def test_correlation_is_the_plain_cosine_and_zero_beyond_the_border() -> None:
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.randn(2, 3, 4, 5, generator=draw).double() for _ in range(2))
    cosines = correlation(a, b, (1, 2))
    for y in range(4):
        for x in range(5):
            for k in range(15):
                i, j = y + k // 5 - 1, x + k % 5 - 2
                there = 0 <= i < 4 and 0 <= j < 5
                wanted = (
                    torch.cosine_similarity(a[..., y, x], b[..., i, j]) if there else torch.zeros(2).double()
                )
                torch.testing.assert_close(cosines[:, k, y, x], wanted)


def test_a_level_that_the_encoder_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match=r"none of 64"):
        CorrelationPose(Encoder("test_resnet"), stride=64)


def test_sideways_motion_has_the_scale_that_was_asked_for() -> None:
    encoder = Encoder("test_resnet")
    motions = []
    for sideways in (1.0, 0.25):
        torch.manual_seed(2)
        with torch.no_grad():
            motions.append(CorrelationPose(encoder, sideways=sideways)(*frames(encoder)))
    wide, narrow = motions
    torch.testing.assert_close(narrow.axis_angle, wide.axis_angle)
    torch.testing.assert_close(narrow.translation, wide.translation * torch.tensor([0.25, 0.25, 1.0]))
