from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from PIL import Image

from mtdrive.data.folders import GapWarning
from mtdrive.data.kitti import KittiRaw
from mtdrive.errors import DataError
from tests.kitti_tree import DAY, DRIVE, Scene, write_raw

SIZE = (48, 160)
FRAMES = 5


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_missing_root_and_drive(shared_raw: tuple[Path, Scene], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no frame to use; root must contain days"):
        KittiRaw(tmp_path / "none").targets()
    with pytest.raises(DataError, match=r"drive_0001: no images in image_02 or image_03.* are named like"):
        KittiRaw(shared_raw[0], drives=["drive_0001"]).targets()


def test_side_that_is_not_on_disk(tmp_path: Path) -> None:
    write_raw(tmp_path, 2, SIZE, sides="l", labels=False)
    assert len(KittiRaw(tmp_path).targets()) == 2
    with pytest.raises(DataError, match="no images in image_03/data"):
        KittiRaw(tmp_path, side="r").targets()


@pytest.mark.parametrize("name", ["calib_cam_to_cam.txt", "calib_velo_to_cam.txt"])
def test_missing_calibration(raw: Path, name: str) -> None:
    (raw / DAY / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: no such calibration file"):
        KittiRaw(raw, depth="lidar").targets()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("P_rect_02:", "P_rect_09:", r"calib_cam_to_cam\.txt: no line P_rect_02; found .*P_rect_03"),
        ("P_rect_02: ", "P_rect_02: x", "line P_rect_02: expected 12 numbers"),
        ("P_rect_02: ", "P_rect_02: 1 ", "line P_rect_02: expected 12 finite numbers"),
        ("P_rect_02: 9", "P_rect_02: nan ", "line P_rect_02: expected 12 finite numbers"),
        ("P_rect_02: 9", "P_rect_02: -9", "line P_rect_02 is not a projection"),
        ("S_rect_02:", "S_rect_09:", "no line S_rect_02"),
    ],
)
def test_damaged_calibration(raw: Path, old: str, new: str, message: str) -> None:
    edit(raw / DAY / "calib_cam_to_cam.txt", old, new)
    with pytest.raises(DataError, match=message):
        KittiRaw(raw).targets()


def test_calibration_that_is_not_text(raw: Path) -> None:
    (raw / DAY / "calib_cam_to_cam.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as calibration"):
        KittiRaw(raw).targets()


def test_rig_without_the_partner(raw: Path) -> None:
    edit(raw / DAY / "calib_cam_to_cam.txt", "P_rect_03:", "P_rect_09:")
    assert KittiRaw(raw, side="l").targets()[0].recording.rig("stereo", 0) is None


def test_image_of_another_size(raw: Path) -> None:
    path = raw / DRIVE / "image_02" / "data" / "0000000002.png"
    Image.new("RGB", (SIZE[1], SIZE[0] + 1)).save(path)
    recording = KittiRaw(raw).targets()[0].recording
    with pytest.raises(
        DataError, match=r"0002\.png: expected 160x48 pixels as in 0000000000\.png, found 160x49"
    ):
        recording.image("front", 2)


def test_frame_and_camera_that_do_not_exist(shared_raw: tuple[Path, Scene]) -> None:
    recording = KittiRaw(shared_raw[0]).targets()[0].recording
    with pytest.raises(DataError, match=r"image_02/data: no image of frame 77"):
        recording.image("front", 77)
    with pytest.raises(DataError, match="no camera 'rear'"):
        recording.path("rear", 0)


def test_one_warning_for_a_gap(raw: Path) -> None:
    for frame in (2, 3):
        (raw / DRIVE / "image_02" / "data" / f"{frame:010d}.png").unlink()
    with pytest.warns(GapWarning, match=r"image_02: 2 frame\(s\) are missing, the first is 2;") as caught:
        KittiRaw(raw).targets()
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KittiRaw(raw, side="r").targets()


def test_missing_and_damaged_speed(raw: Path) -> None:
    path = raw / DRIVE / "oxts" / "data" / "0000000003.txt"
    recording = KittiRaw(raw, speed=True).targets()[0].recording
    path.write_text("1 2 3")
    with pytest.raises(DataError, match=r"0000000003\.txt: expected 30 finite numbers, found '1 2 3'"):
        recording.speed(3)
    path.unlink()
    with pytest.raises(DataError, match="the speed cannot be read"):
        recording.speed(3)
    with pytest.raises(DataError, match=r"0000000003\.txt: the speed is missing, for 1 of 5"):
        KittiRaw(raw, speed=True).targets()
