from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image

from mtdrive.data.kitti import KittiRaw
from mtdrive.data.kitti_splits import Side, SplitLine, write_split
from mtdrive.data.recording import Source
from mtdrive.errors import DataError
from tests.kitti_tree import BASELINE, DAY, DRIVE, Scene, write_raw

SIZE = (48, 160)
FRAMES = 5


def test_both_sides_are_recordings_of_their_own(shared_raw: tuple[Path, Scene]) -> None:
    targets = KittiRaw(shared_raw[0]).targets()
    assert [t.frame for t in targets] == [*range(FRAMES), *range(FRAMES)]
    assert not any(t.required for t in targets)
    assert [t.recording.name for t in targets[::FRAMES]] == [f"{DRIVE}/image_02", f"{DRIVE}/image_03"]


def test_side_r_swaps_front_and_stereo(shared_raw: tuple[Path, Scene]) -> None:
    root, scene = shared_raw
    (recording,) = {t.recording for t in KittiRaw(root, side="r").targets()}
    for camera, number in (("front", 3), ("stereo", 2)):
        np.testing.assert_array_equal(recording.image(camera, 2), np.asarray(scene.image(2, number)))
        assert recording.path(camera, 2) == root / DRIVE / f"image_{number:02d}" / "data" / "0000000002.png"


@pytest.mark.parametrize(("side", "front", "stereo"), [("l", 2, 3), ("r", 3, 2)])
def test_rig_is_the_pose_between_the_cameras(
    shared_raw: tuple[Path, Scene], side: Side, front: int, stereo: int
) -> None:
    root, scene = shared_raw
    rig = KittiRaw(root, side=side).targets()[0].recording.rig("stereo", 0)
    expected = np.linalg.inv(scene.pose(0, stereo)) @ scene.pose(0, front)
    assert rig is not None
    torch.testing.assert_close(rig, torch.from_numpy(expected), atol=1e-9, rtol=0)
    assert rig[0, 3] == pytest.approx(-BASELINE if side == "l" else BASELINE)


@pytest.mark.parametrize("size", [SIZE, (24, 80), (30, 200)])
def test_intrinsics_project_what_the_resized_camera_sees(
    shared_raw: tuple[Path, Scene], size: tuple[int, int]
) -> None:
    root, scene = shared_raw
    matrix = KittiRaw(root).targets()[0].recording.intrinsics("front", size)
    assert matrix.dtype == torch.float64
    # The outer corner of the image stays the outer corner.
    corner = np.array([scene.size[1] - 0.5, scene.size[0] - 0.5, 1])
    ray = torch.from_numpy(np.linalg.solve(scene.intrinsics, corner))
    torch.testing.assert_close(
        (matrix @ ray)[:2], torch.tensor([size[1] - 0.5, size[0] - 0.5], dtype=torch.float64)
    )


def test_images_resized_on_disk_have_the_same_intrinsics(tmp_path: Path) -> None:
    write_raw(tmp_path / "a", 2, SIZE, labels=False)
    write_raw(tmp_path / "b", 2, SIZE, labels=False, disk_size=(24, 80), suffix=".jpg")
    full, half = (KittiRaw(tmp_path / name).targets()[0].recording for name in "ab")
    assert half.image("front", 0).size == (80, 24)
    torch.testing.assert_close(full.intrinsics("front", (24, 80)), half.intrinsics("front", (24, 80)))


def test_matrix_of_monodepth2_needs_no_calibration(raw: Path) -> None:
    (raw / DAY / "calib_cam_to_cam.txt").unlink()
    recording = KittiRaw(raw, intrinsics="monodepth2").targets()[0].recording
    expected = torch.tensor([[0.58 * 640, 0, 320], [0, 1.92 * 192, 96], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(recording.intrinsics("front", (192, 640)), expected)
    assert recording.rig("stereo", 0) is None


def test_png_goes_before_jpeg_and_grey_becomes_rgb(tmp_path: Path) -> None:
    write_raw(tmp_path, 2, SIZE, labels=False, suffix=".jpg", grey=True)
    folder = tmp_path / DRIVE / "image_02" / "data"
    Image.new("RGB", (SIZE[1], SIZE[0]), "red").save(folder / "0000000001.png")
    recording = KittiRaw(tmp_path, side="l").targets()[0].recording
    assert recording.path("front", 0).suffix == ".jpg"
    assert recording.path("front", 1).suffix == ".png"
    assert recording.image("front", 0).mode == "RGB"


def test_speed_is_forward_velocity(shared_raw: tuple[Path, Scene]) -> None:
    root, scene = shared_raw
    recording = KittiRaw(root, speed=True).targets()[0].recording
    assert recording.speed(3) == pytest.approx(scene.speed(3))
    assert KittiRaw(root).targets()[0].recording.speed(3) is None


def test_every_start_and_stop(shared_raw: tuple[Path, Scene]) -> None:
    targets = KittiRaw(shared_raw[0], side="l", every=2, start=1, stop=4).targets()
    assert [t.frame for t in targets] == [1, 3]
    assert targets[0].recording.frames("front") == (1, 2, 3)
    assert targets[0].recording.frames("stereo") == (1, 2, 3)
    assert targets[0].recording.frames("rear") == ()


def test_recordings_travel_between_processes(shared_raw: tuple[Path, Scene]) -> None:
    target = pickle.loads(pickle.dumps(KittiRaw(shared_raw[0], depth="lidar").targets()[0]))
    assert target.recording.label("depth", 0, SIZE).shape == SIZE


def test_sources_are_built_from_a_configuration(shared_raw: tuple[Path, Scene]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--source", type=Source)
    parsed = parser.parse_object(
        {
            "source": {
                "class_path": "mtdrive.data.kitti.KittiRaw",
                "init_args": {"root": str(shared_raw[0]), "side": "l"},
            }
        }
    )
    assert len(parser.instantiate(parsed).source.targets()) == FRAMES


def test_split_keeps_its_order_and_requires_its_frames(
    shared_raw: tuple[Path, Scene], tmp_path: Path
) -> None:
    lines = [SplitLine(DRIVE, 3, "r"), SplitLine(DRIVE, 1, "l"), SplitLine(DRIVE, 2, "r")]
    write_split(tmp_path / "a.txt", lines)
    targets = KittiRaw(shared_raw[0], split=tmp_path / "a.txt").targets()
    assert [(t.recording.name[-2:], t.frame, t.required) for t in targets] == [
        ("03", 3, True),
        ("02", 1, True),
        ("03", 2, True),
    ]
    assert targets[0].recording is targets[2].recording
    assert [t.frame for t in KittiRaw(shared_raw[0], split=tmp_path / "a.txt", side="l").targets()] == [1]


def test_split_line_that_names_nothing(shared_raw: tuple[Path, Scene], tmp_path: Path) -> None:
    write_split(tmp_path / "a.txt", [SplitLine(DRIVE, 1, "l"), SplitLine(DRIVE, 99, "l")])
    with pytest.raises(DataError, match=rf"a\.txt:2: `{DRIVE} 99 l` names no image"):
        KittiRaw(shared_raw[0], split=tmp_path / "a.txt").targets()


def test_lines_of_other_drives_are_left_out(shared_raw: tuple[Path, Scene], tmp_path: Path) -> None:
    write_split(tmp_path / "a.txt", [SplitLine(DRIVE, 1, "l"), SplitLine("not/here", 1, "l")])
    assert len(KittiRaw(shared_raw[0], drives=[DRIVE], split=tmp_path / "a.txt").targets()) == 1
