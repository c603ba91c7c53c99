from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtdrive.batch import LABELS, TARGET, Batch, Label, View, collate, declare_label
from mtdrive.check import example_batch
from mtdrive.data.windows import Windows
from mtdrive.errors import ConfigError, DataError
from tests.toys import ToySource

NEXT = View("front", 1)


def items(labels: tuple[str, ...] = ("toy_grade",), size: tuple[int, int] = (32, 64)) -> list[Batch]:
    windows = Windows(ToySource(labels=labels), (TARGET, NEXT), size)
    return [windows[i] for i in range(3)]


@given(st.sampled_from(["front", "stereo", "left_side"]), st.integers(-9, 9))
def test_a_view_reads_back_as_it_prints(camera: str, offset: int) -> None:
    assert View.parse(str(View(camera, offset))) == View(camera, offset)


@pytest.mark.parametrize("text", ["", "front+", "Front", "front 1", "front+1+2"])
def test_a_misspelt_view_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="a view is written like front, front-1"):
        View.parse(text)


def test_collate_stacks_every_part_in_order() -> None:
    batch = collate(items())
    assert batch.size == 3
    assert batch.names == ("toy/front/0", "toy/front/1", "toy/front/2")
    for i, item in enumerate(items()):
        torch.testing.assert_close(batch.inputs.images[i], item.inputs.images)
        torch.testing.assert_close(batch.labels["toy_grade"][i], item.labels["toy_grade"], equal_nan=True)
        torch.testing.assert_close(batch.poses[i], item.poses)


@pytest.mark.parametrize("other", [items(labels=()), items(size=(32, 96))])
def test_items_that_disagree_are_refused_by_name(other: list[Batch]) -> None:
    with pytest.raises(DataError, match=r"toy/front/0.*give each data set a loader of its own"):
        collate([*items(), *other])


def test_a_missing_view_is_named_with_those_that_are_there() -> None:
    with pytest.raises(DataError, match=r"view stereo is not in the batch, which has front, front\+1"):
        collate(items()).inputs.image(View("stereo"))


def test_views_select_their_image_camera_and_pose() -> None:
    batch = collate(items())
    torch.testing.assert_close(batch.reference(NEXT), batch.clean[:, 1])
    torch.testing.assert_close(batch.inputs.camera(NEXT), batch.inputs.intrinsics[:, 1])
    torch.testing.assert_close(batch.pose(TARGET), torch.eye(4).expand(3, 4, 4))
    # Driving forward by 0.8 m a frame, the next camera sees points 0.8 m closer.
    assert batch.pose(NEXT)[:, 2, 3].tolist() == pytest.approx([-0.8] * 3)


def test_to_moves_every_tensor() -> None:
    moved = example_batch((TARGET, NEXT), frozenset({"depth", "semantics"}), (32, 64)).to("meta")
    tensors = [moved.clean, moved.poses, *moved.labels.values(), moved.inputs.images, moved.inputs.intrinsics]
    tensors += [
        x for x in (moved.inputs.speed, moved.inputs.command, moved.inputs.target_point) if x is not None
    ]
    assert len(tensors) == 9
    assert {x.device.type for x in tensors} == {"meta"}


def test_a_label_cannot_change_its_meaning() -> None:
    declare_label("depth", LABELS["depth"])
    with pytest.raises(ValueError, match="already declared"):
        declare_label("depth", Label(shape="1", meaning="something else", mirror="none"))
