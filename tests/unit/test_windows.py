from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mtdrive.batch import TARGET, View
from mtdrive.data.augment import Augment
from mtdrive.data.recording import Source, Target
from mtdrive.data.windows import Windows, resized
from mtdrive.errors import DataError
from tests.toys import ToyRecording, ToySource

PREVIOUS, NEXT = View("front", -1), View("front", 1)


class Listed(Source):
    """Targets as a list names them."""

    def __init__(self, *frames: int) -> None:
        self.recording = ToyRecording("listed", 12)
        self.frames = frames

    def targets(self) -> list[Target]:
        return [Target(self.recording, frame, required=True) for frame in self.frames]


@pytest.mark.parametrize(("stride", "expected"), [(1, range(1, 11)), (3, range(3, 9)), (5, range(5, 7))])
def test_targets_without_all_neighbours_are_left_out(stride: int, expected: range) -> None:
    windows = Windows(ToySource(12), (PREVIOUS, NEXT), (32, 64), stride)
    assert [t.frame for t in windows.targets] == list(expected)
    assert windows[0].inputs.views == (TARGET, PREVIOUS, NEXT)


def test_neighbours_are_stride_frames_away() -> None:
    source = ToySource(12)
    item = Windows(source, (PREVIOUS, NEXT), (40, 72), stride=2)[0]
    for view, frame in ((TARGET, 2), (PREVIOUS, 0), (NEXT, 4)):
        expected = resized(source.recording.image("front", frame), (40, 72))
        torch.testing.assert_close(item.inputs.image(view), expected)
    assert float(item.pose(NEXT)[2, 3]) == pytest.approx(-1.6)
    assert float(item.pose(PREVIOUS)[2, 3]) == pytest.approx(1.6)


def test_a_sequence_shorter_than_the_window_is_named() -> None:
    with pytest.raises(
        DataError, match=r"no frame of toy has all of the views front, front-1, front\+1 at stride 6"
    ):
        Windows(ToySource(12), (PREVIOUS, NEXT), (32, 64), stride=6)


def test_a_listed_frame_without_its_neighbour_is_an_error() -> None:
    Windows(Listed(1, 10), (PREVIOUS, NEXT), (32, 64))
    with pytest.raises(
        DataError, match=r"listed: frame 11 is listed, but its view front\+1 .* is not on disk"
    ):
        Windows(Listed(1, 11), (PREVIOUS, NEXT), (32, 64))


def test_the_stereo_partner_carries_the_rig_at_every_time() -> None:
    item = Windows(ToySource(), (NEXT, View("stereo"), View("stereo", 1)), (32, 64))[0]
    assert float(item.pose(View("stereo"))[0, 3]) == -0.5
    moved = item.pose(View("stereo", 1))
    assert (float(moved[0, 3]), float(moved[2, 3])) == pytest.approx((-0.5, -0.8))


def test_unknown_motion_is_nan_but_the_target_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyRecording, "pose", lambda self, frame: None)
    item = Windows(ToySource(), (NEXT,), (32, 64))[0]
    assert item.pose(NEXT).isnan().all()
    torch.testing.assert_close(item.pose(TARGET), torch.eye(4))


def test_an_item_is_a_function_of_seed_epoch_and_place_alone() -> None:
    one, two = (Windows(ToySource(), (NEXT,), (32, 64), augment=Augment(), seed=3) for _ in range(2))
    two[(4, 1)]  # what was drawn before must not matter
    for key in ((0, 0), (0, 5), (2, 5)):
        assert torch.equal(one[key].inputs.images, two[key].inputs.images)
    epochs = [one[(epoch, 5)].inputs.images for epoch in range(8)]
    assert any(not torch.equal(epochs[0], other) for other in epochs[1:])


def test_labels_are_those_of_all_recordings() -> None:
    assert Windows(ToySource(labels=("semantics", "toy_grade")), (), (32, 64)).labels == {
        "semantics",
        "toy_grade",
    }


def test_images_are_resized_with_lanczos_and_left_alone_at_their_size() -> None:
    image = ToyRecording("x", 1).image("front", 0)
    exact = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255
    np.testing.assert_array_equal(resized(image, (40, 72)).numpy(), exact)
    smaller = np.asarray(image.resize((36, 20), Image.Resampling.LANCZOS), dtype=np.float32) / 255
    np.testing.assert_array_equal(resized(image, (20, 36)).permute(1, 2, 0).numpy(), smaller)
