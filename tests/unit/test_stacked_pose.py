from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import TARGET, View
from mtdrive.errors import ConfigError
from mtdrive.geometry import pose_matrix
from mtdrive.pose import Frame
from mtdrive.stacked_pose import StackedPose

PREVIOUS, NEXT = View("front", -1), View("front", 1)


def window(size: tuple[int, int] = (64, 96)) -> dict[View, Frame]:
    draw = torch.Generator().manual_seed(5)
    return {view: Frame(torch.rand(2, 3, *size, generator=draw)) for view in (TARGET, PREVIOUS, NEXT)}


def network(**settings: object) -> StackedPose:
    torch.manual_seed(1)
    return StackedPose(**settings).eval()  # type: ignore[arg-type]


def from_the_paper(parameters: list[Tensor], frames: dict[View, Frame]) -> tuple[Tensor, list[Tensor]]:
    """The published network over its parameters in order, before the sigmoid of the masks."""
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    x = torch.cat([2 * frames[v].image - 1 for v in (TARGET, PREVIOUS, NEXT)], 1)
    for weight, bias in layers[:5]:
        x = functional.relu(functional.conv2d(x, weight, bias, 2, weight.shape[-1] // 2))
    pose = x
    for weight, bias in layers[5:7]:
        pose = functional.relu(functional.conv2d(pose, weight, bias, 2, 1))
    pose = 0.01 * functional.conv2d(pose, *layers[7]).mean((2, 3)).view(-1, 2, 6)
    masks: list[Tensor] = []
    for i, (weight, bias) in enumerate(layers[8:13]):
        x = functional.relu(functional.conv_transpose2d(x, weight, bias, 2, weight.shape[-1] // 2, 1))
        if i:
            head = layers[13:17][4 - i]
            masks.insert(0, functional.conv2d(x, *head, padding=head[0].shape[-1] // 2))
    return pose, masks


def test_poses_and_masks_are_those_of_the_published_layers() -> None:
    net, frames = network(), window()
    pose, masks = from_the_paper(list(net.parameters()), frames)
    found = net.motions(frames)
    for i, view in enumerate((PREVIOUS, NEXT)):
        torch.testing.assert_close(found.poses[view], pose_matrix(pose[:, i, :3], pose[:, i, 3:]))
    assert [tuple(m.shape) for m in masks] == [(2, 2, 64 // 2**s, 96 // 2**s) for s in range(4)]
    for one, other in zip(found.masks, masks, strict=True):
        torch.testing.assert_close(one, other)


def test_at_the_start_time_runs_forward_in_both_directions() -> None:
    """The camera of the frame before sees points at a larger z, that of the next at a smaller one."""
    with torch.no_grad():
        slow, fast = (network(forward_start=x).motions(window()).poses for x in (0.0, 0.3))
    assert float((fast[NEXT] - slow[NEXT])[0, 2, 3]) == pytest.approx(-0.3, abs=1e-6)
    assert float((fast[PREVIOUS] - slow[PREVIOUS])[0, 2, 3]) == pytest.approx(0.3, abs=1e-6)


def test_an_incomplete_window_has_no_motion_and_a_larger_one_is_refused() -> None:
    frames = window()
    assert network().motions({v: frames[v] for v in (TARGET, NEXT)}).poses == {}
    with pytest.raises(ConfigError, match="set neighbours to their number"):
        network(neighbours=1, masks=False).motions(frames)


def test_without_masks_there_is_no_decoder_to_train() -> None:
    net = network(masks=False)
    assert net.motions(window()).masks == []
    assert not [name for name, _ in net.named_parameters() if name.startswith(("decoder", "masks"))]
