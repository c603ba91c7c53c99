from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mtdrive.data.folders import GapWarning
from mtdrive.data.kitti import KittiOdometry
from mtdrive.data.kitti_odometry import Camera
from mtdrive.errors import DataError
from tests.kitti_tree import Scene, write_odometry

SIZE = (48, 160)
FRAMES = 5


@pytest.fixture(scope="module")
def shared_odometry(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    root = tmp_path_factory.mktemp("odometry")
    return root, write_odometry(root, FRAMES, SIZE)


@pytest.fixture
def odometry(shared_odometry: tuple[Path, Scene], tmp_path: Path) -> Path:
    return shutil.copytree(shared_odometry[0], tmp_path / "odometry")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_odometry_gives_poses_of_the_chosen_camera(shared_odometry: tuple[Path, Scene]) -> None:
    root, scene = shared_odometry
    targets = KittiOdometry(root, ["00"], poses=True).targets()
    recording = targets[0].recording
    assert [t.frame for t in targets] == list(range(FRAMES))
    assert recording.name == "00/image_2"
    for frame in range(FRAMES):
        pose = recording.pose(frame)
        assert pose is not None
        torch.testing.assert_close(pose, torch.from_numpy(scene.pose(frame, 2)), atol=1e-9, rtol=0)
    assert KittiOdometry(root, ["00"]).targets()[0].recording.pose(0) is None


@pytest.mark.parametrize(("camera", "partner"), [("image_2", 3), ("image_3", 2)])
def test_odometry_rig_and_partner(shared_odometry: tuple[Path, Scene], camera: Camera, partner: int) -> None:
    root, scene = shared_odometry
    recording = KittiOdometry(root, ["00"], camera).targets()[0].recording
    expected = np.linalg.inv(scene.pose(0, partner)) @ scene.pose(0, 5 - partner)
    rig = recording.rig("stereo", 0)
    assert rig is not None
    torch.testing.assert_close(rig, torch.from_numpy(expected), atol=1e-9, rtol=0)
    np.testing.assert_array_equal(recording.image("stereo", 1), np.asarray(scene.image(1, partner)))
    assert recording.speed(0) is None
    assert recording.labels == frozenset()


def test_odometry_images_resized_without_their_calibration(tmp_path: Path) -> None:
    scene = write_odometry(tmp_path, 2, SIZE, cameras=[2], disk_size=(24, 80))
    with pytest.raises(DataError, match=r"belong to another image size.* set calibration_size"):
        KittiOdometry(tmp_path, ["00"]).targets()
    recording = KittiOdometry(tmp_path, ["00"], calibration_size=SIZE).targets()[0].recording
    torch.testing.assert_close(recording.intrinsics("front", SIZE), torch.from_numpy(scene.intrinsics))
    assert recording.frames("stereo") == ()


def test_odometry_of_a_missing_sequence_or_camera(shared_odometry: tuple[Path, Scene]) -> None:
    with pytest.raises(DataError, match=r"sequences/07: no such sequence; .* found 00"):
        KittiOdometry(shared_odometry[0], ["07"]).targets()
    with pytest.raises(DataError, match=r"image_0: no images .* found calib\.txt, image_2"):
        KittiOdometry(shared_odometry[0], ["00"], "image_0").targets()


def test_odometry_calibration_without_the_camera(odometry: Path) -> None:
    edit(odometry / "sequences" / "00" / "calib.txt", "P2:", "P9:")
    with pytest.raises(DataError, match=r"no line P2; found P0, P1, P9, P3"):
        KittiOdometry(odometry, ["00"]).targets()
    assert KittiOdometry(odometry, ["00"], "image_3").targets()[0].recording.rig("stereo", 0) is None


def test_odometry_without_calibration(odometry: Path) -> None:
    (odometry / "sequences" / "00" / "calib.txt").unlink()
    with pytest.raises(DataError, match=r"calib\.txt: no such calibration file"):
        KittiOdometry(odometry, ["00"]).targets()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0 0 0 0 1 0 0 0 0 1", r"00\.txt:3: expected 12 finite numbers"),
        ("1 0 0 nan 0 1 0 0 0 0 1 0", r"00\.txt:3: expected 12 finite numbers"),
        ("1 0 0 0 0 1 0 0 0 0 1 zero", r"00\.txt:3: expected 12 numbers"),
        (None, r"00\.txt: 2 poses, but the images go up to frame 4"),
    ],
)
def test_damaged_poses(odometry: Path, line: str | None, message: str) -> None:
    path = odometry / "poses" / "00.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]] if line else lines[:2]))
    with pytest.raises(DataError, match=message):
        KittiOdometry(odometry, ["00"], poses=True).targets()


def test_missing_poses_matter_only_when_asked_for(odometry: Path) -> None:
    (odometry / "poses" / "00.txt").unlink()
    assert KittiOdometry(odometry, ["00"]).targets()
    with pytest.raises(DataError, match=r"00\.txt: the poses cannot be read"):
        KittiOdometry(odometry, ["00"], poses=True).targets()


def test_odometry_gap_start_stop_and_every(odometry: Path) -> None:
    (odometry / "sequences" / "00" / "image_2" / "000001.png").unlink()
    with pytest.warns(GapWarning, match="00/image_2: 1 frame"):
        assert [t.frame for t in KittiOdometry(odometry, ["00"]).targets()] == [0, 2, 3, 4]
    targets = KittiOdometry(odometry, ["00"], start=2, stop=5, every=2).targets()
    assert [t.frame for t in targets] == [2, 4]
