from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from mtdrive.decoders import WIDTHS, Decoder, DisparityDecoder, Trunk
from mtdrive.encoder import Encoder

RESNET18 = ([64, 64, 128, 256, 512], [2, 4, 8, 16, 32])
PYRAMIDS = {
    "resnet": ([4, 6, 8, 10, 12], [2, 4, 8, 16, 32]),
    "convnext": ([6, 8, 10, 12], [4, 8, 16, 32]),
    "from stride 1": ([3, 4, 6, 8], [1, 2, 4, 8]),
    "gap": ([4, 8, 10], [2, 16, 32]),
    "deep": ([4, 5, 6, 7, 8, 9], [2, 4, 8, 16, 32, 64]),
}
WIDTHS_SMALL = (3, 4, 5, 6, 7)


def pyramid(
    channels: Sequence[int], strides: Sequence[int], dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, c, 128 // s, 192 // s, generator=generator, dtype=dtype)
        for c, s in zip(channels, strides, strict=True)
    ]


def reflected_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3, the border mirrored without repeating the edge, as a sum over the nine shifts."""
    height, width = x.shape[-2:]
    rows = torch.tensor([1, *range(height), height - 2])
    columns = torch.tensor([1, *range(width), width - 2])
    padded = x[:, :, rows][:, :, :, columns]
    shifts = itertools.product(range(3), range(3))
    terms = [
        torch.einsum("oi,bihw->bohw", weight[:, :, i, j], padded[:, :, i : i + height, j : j + width])
        for i, j in shifts
    ]
    return torch.stack(terms).sum(0) + bias[:, None, None]


def elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x.exp() - 1)


def from_the_paper(
    parameters: list[Tensor], levels: list[Tensor], strides: Sequence[int], scales: int
) -> list[Tensor]:
    """The published decoder over its parameters in order: upconv(i, 0), upconv(i, 1), ..., dispconv(s)."""
    queue = iter(parameters)

    def convolve(x: Tensor) -> Tensor:
        return reflected_convolution(x, next(queue), next(queue))

    skips = dict(zip(strides, levels, strict=True))
    stride, x, features = strides[-1], levels[-1], {}
    while stride > 1:
        stride //= 2
        x = elu(convolve(x)).repeat_interleave(2, -1).repeat_interleave(2, -2)
        x = elu(convolve(torch.cat([x, skips[stride]], 1) if stride in skips else x))
        features[stride] = x
    return [1 / (1 + torch.exp(-convolve(features[2**s]))) for s in range(scales)]


@pytest.mark.parametrize("name", PYRAMIDS)
def test_equals_the_paper(name: str) -> None:
    channels, strides = PYRAMIDS[name]
    scales = min(4, strides[-1].bit_length() - 1)
    decoder = DisparityDecoder(channels, strides, scales, WIDTHS_SMALL).double()
    levels = pyramid(channels, strides, torch.float64)
    expected = from_the_paper(list(decoder.parameters()), levels, strides, scales)
    torch.testing.assert_close(decoder(levels), expected, rtol=1e-12, atol=1e-12)


def test_size_of_the_published_network() -> None:
    decoder = DisparityDecoder(*RESNET18)
    # upconv(i, 0) and upconv(i, 1) from coarse to fine, then dispconv(0) to dispconv(3)
    inputs = [512, 256 + 256, 256, 128 + 128, 128, 64 + 64, 64, 32 + 64, 32, 16, 16, 32, 64, 128]
    outputs = [256, 256, 128, 128, 64, 64, 32, 32, 16, 16, 1, 1, 1, 1]
    shapes = [(o, i, 3, 3) for i, o in zip(inputs, outputs, strict=True)]
    assert [tuple(p.shape) for p in decoder.parameters() if p.ndim == 4] == shapes
    assert sum(p.numel() for p in decoder.parameters()) == sum(
        9 * i * o + o for i, o in zip(inputs, outputs, strict=True)
    )
    assert sum(p.numel() for p in decoder.parameters()) == 3_152_724


def test_takes_an_encoder() -> None:
    encoder = Encoder("test_convnext")
    maps = DisparityDecoder(encoder.channels, encoder.strides)(encoder(torch.rand(2, 3, 64, 96)))
    assert [tuple(x.shape) for x in maps] == [(2, 1, 64 >> s, 96 >> s) for s in range(4)]
    assert all(x.min() > 0 and x.max() < 1 for x in maps)


def test_trunk_tells_what_it_returns() -> None:
    trunk = Trunk(*RESNET18)
    features = trunk(pyramid(*RESNET18))
    assert [x.shape[1] for x in features] == trunk.channels == list(WIDTHS)
    assert [128 // x.shape[2] for x in features] == trunk.strides == [1, 2, 4, 8, 16]


def test_deeper_pyramid_repeats_the_last_width() -> None:
    assert Trunk(*PYRAMIDS["deep"], WIDTHS_SMALL).channels == [3, 4, 5, 6, 7, 7]


@pytest.mark.parametrize("outputs", [1, 2, 19])
def test_output_channels(outputs: int) -> None:
    maps = Decoder(*PYRAMIDS["resnet"], outputs, scales=2)(pyramid(*PYRAMIDS["resnet"]))
    assert [x.shape[1] for x in maps] == [outputs] * 2
    assert min(x.min().item() for x in maps) < 0  # no activation


@pytest.mark.parametrize("name", PYRAMIDS)
def test_gradient_reaches_every_parameter_and_level(name: str) -> None:
    channels, strides = PYRAMIDS[name]
    decoder = DisparityDecoder(channels, strides, 3)
    levels = [x.requires_grad_() for x in pyramid(channels, strides)]
    torch.autograd.backward(torch.stack([x.mean() for x in decoder(levels)]).sum())
    for tensor in (*decoder.parameters(), *levels):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_initial_weights_are_torch_defaults_from_the_global_generator() -> None:
    torch.manual_seed(2)
    decoder = Decoder([5], [2], scales=1)
    torch.manual_seed(2)
    layers = [nn.Conv2d(5, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 1, 3)]
    expected = [p for layer in layers for p in layer.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(decoder.parameters(), expected, strict=True))


def test_channels_last_is_kept() -> None:
    trunk = Trunk(*PYRAMIDS["resnet"]).to(memory_format=torch.channels_last)
    levels = pyramid(*PYRAMIDS["resnet"])
    last = [x.contiguous(memory_format=torch.channels_last) for x in levels]
    for plain, fast in zip(trunk(levels), trunk(last), strict=True):
        assert fast.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(fast, plain)


def test_disparity_is_full_precision_under_autocast() -> None:
    decoder = DisparityDecoder(*PYRAMIDS["resnet"])
    levels = pyramid(*PYRAMIDS["resnet"])
    with torch.autocast("cpu", torch.bfloat16):
        maps = decoder([x.bfloat16() for x in levels])
    for half, full in zip(maps, decoder(levels), strict=True):
        assert half.dtype == torch.float32
        assert half.unique().numel() > 0.9 * half.numel()  # bfloat16 would leave a few hundred values
        torch.testing.assert_close(half, full, rtol=0.02, atol=0.02)


def test_too_small_an_image_says_so() -> None:
    levels = [x[..., : max(32 // s, 1), :] for x, s in zip(pyramid(*RESNET18), RESNET18[1], strict=True)]
    with pytest.raises(ValueError, match="must be at least 64x64 pixels; the coarsest level is 1x6"):
        Trunk(*RESNET18)(levels)


@pytest.mark.parametrize(
    ("channels", "strides"), [([4, 4], [4, 2]), ([4, 4], [7, 14]), ([4], [2, 4]), ([], []), ([4], [1])]
)
def test_unusable_pyramid_is_refused(channels: list[int], strides: list[int]) -> None:
    with pytest.raises(ValueError, match="rising strides, powers of two; found channels"):
        Trunk(channels, strides)


@pytest.mark.parametrize("scales", [0, 4])
def test_scales_that_the_pyramid_lacks_are_refused(scales: int) -> None:
    with pytest.raises(ValueError, match=f"scales must be 1 to 3 for strides .*, not {scales}"):
        Decoder([4, 4], [4, 8], scales=scales)
