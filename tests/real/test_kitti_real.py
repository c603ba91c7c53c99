"""KITTI itself: what no made-up tree can show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mtdrive.data.kitti import KittiOdometry, KittiRaw
from mtdrive.data.kitti_calibration import read_day
from mtdrive.data.kitti_odometry import Camera
from mtdrive.data.kitti_splits import Side, eigen_zhou, from_paths
from mtdrive.data.velodyne import read_scan, sparse_depth

pytestmark = pytest.mark.real

DAY = "2011_09_26"
QUEUE, MOVING, STEREO = (f"{DAY}/{DAY}_drive_{name}_sync" for name in ("0060", "0095", "unknown"))
SIZE = (375, 1242)


@pytest.fixture(scope="module")
def queue(kitti: Path) -> KittiRaw:
    return KittiRaw(
        kitti / "raw", [QUEUE], depth="lidar", only_labelled=True, proj_depth="single_scan", side="l"
    )


def test_ground_truth_equals_the_depth_maps(queue: KittiRaw) -> None:
    """The same 16 thousand pixels of each frame are known, and their values agree.

    Of the 8 frames' 131 thousand values 13 at a rounding tie differ by one step, 4 mm.
    """
    targets = queue.targets()
    assert [t.frame for t in targets] == list(range(0, 80, 10))
    differing = 0
    for target in targets:
        truth = target.recording.ground_truth(target.frame, "camera")
        png = target.recording.ground_truth(target.frame, "benchmark")
        assert truth.shape == png.shape == SIZE
        assert 15_000 < (png > 0).sum() < 18_000
        np.testing.assert_array_equal(truth > 0, png > 0)
        np.testing.assert_allclose(np.rint(truth * 256), png * 256, rtol=0, atol=1)
        differing += int((np.rint(truth * 256) != png * 256).sum())
    assert differing < 30


def test_only_counting_pixels_from_one_reproduces_the_depth_maps(kitti: Path, queue: KittiRaw) -> None:
    """Counting from zero, as the intrinsics do, the same points lie one pixel to the lower right."""
    recording = queue.targets()[0].recording
    png = recording.ground_truth(0, "benchmark")
    scan = read_scan(kitti / "raw" / QUEUE / "velodyne_points" / "data" / "0000000000.bin")
    shifted = sparse_depth(scan, read_day(kitti / "raw" / DAY).from_velodyne(2), SIZE)
    np.testing.assert_allclose(np.rint(shifted[1:, 1:] * 256), png[:-1, :-1] * 256, rtol=0, atol=1)
    assert (np.rint(shifted * 256) == np.rint(png * 256)).mean() < 0.95


def test_eigen_ground_truth_is_the_forward_coordinate(queue: KittiRaw) -> None:
    recording = queue.targets()[0].recording
    eigen, camera = recording.ground_truth(0, "eigen"), recording.ground_truth(0, "camera")
    both = (eigen > 0) & (camera > 0)
    assert both.sum() > 15_000
    assert np.median((eigen - camera)[both]) == pytest.approx(
        0.27, abs=0.05
    )  # how far behind the scanner sits


def test_label_at_training_size_agrees_with_the_depth_map(kitti: Path, queue: KittiRaw) -> None:
    from_scan = queue.targets()[0].recording.label("depth", 0, (192, 640))
    source = KittiRaw(kitti / "raw", [QUEUE], depth="proj_depth", proj_depth="single_scan")
    from_png = source.targets()[0].recording.label("depth", 0, (192, 640))
    both = from_scan.isfinite() & from_png.isfinite()
    assert int(from_scan.isfinite().sum()) > 10_000
    assert float((from_scan / from_png - 1)[both].abs().median()) < 0.01


def test_frames_without_scan_are_named(kitti: Path) -> None:
    with pytest.raises(ValueError, match=r"0000000001\.bin: the depth is missing, for 70 of 78 frames"):
        KittiRaw(kitti / "raw", [QUEUE], depth="lidar").targets()


def test_raw_drives_list_and_decode(kitti: Path) -> None:
    targets = KittiRaw(kitti / "raw").targets()
    counts: dict[str, int] = {}
    for target in targets:
        counts[target.recording.name] = counts.get(target.recording.name, 0) + 1
    assert counts == {
        f"{QUEUE}/image_02": 78,
        f"{MOVING}/image_02": 268,
        f"{STEREO}/image_02": 21,
        f"{STEREO}/image_03": 21,
    }
    assert targets[0].recording.image("front", 0).size == (1242, 375)
    matrix = targets[0].recording.intrinsics("front", (192, 640))
    assert (matrix[0, 0] / 640).item() == pytest.approx(0.581, abs=1e-3)
    assert (matrix[1, 1] / 192).item() == pytest.approx(1.924, abs=1e-3)


@pytest.mark.parametrize(("side", "sign"), [("l", -1), ("r", 1)])
def test_baseline_of_the_stereo_pair(kitti: Path, side: Side, sign: int) -> None:
    (recording,) = {t.recording for t in KittiRaw(kitti / "raw", [STEREO], side=side).targets()}
    rig = recording.rig("stereo", 0)
    assert rig is not None
    assert rig[0, 3].item() == pytest.approx(sign * 0.5327, abs=1e-4)
    assert rig[1:3, 3].abs().max() < 0.01
    torch.testing.assert_close(rig[:3, :3], torch.eye(3, dtype=torch.float64))
    assert len(recording.frames("stereo")) == 21


@pytest.mark.parametrize(
    ("sequence", "camera", "count", "size", "focal", "step"),
    [
        ("00", "image_2", 1018, (128, 416), 240.97, 0.86),
        ("03", "image_0", 400, (192, 640), 371.81, 0.96),
        ("01", "image_0", 51, (192, 640), 370.72, 1.00),
    ],
)
def test_odometry_loads(
    kitti: Path, sequence: str, camera: Camera, count: int, size: tuple[int, int], focal: float, step: float
) -> None:
    targets = KittiOdometry(kitti / "odometry", [sequence], camera, poses=True).targets()
    recording = targets[0].recording
    assert len(targets) == count
    assert recording.image("front", 0).size == size[::-1]
    assert recording.intrinsics("front", size)[0, 0].item() == pytest.approx(focal, abs=0.01)
    first, second = recording.pose(0), recording.pose(1)
    assert first is not None
    assert second is not None
    moved = torch.linalg.inv(first) @ second
    assert moved[2, 3].item() == pytest.approx(step, abs=0.01)
    assert moved[:2, 3].norm() < 0.1


def test_wrong_calibration_size_of_odometry_shows(kitti: Path) -> None:
    source = KittiOdometry(kitti / "odometry", ["00"], calibration_size=(376, 1241))
    matrix = source.targets()[0].recording.intrinsics("front", (376, 1241))
    assert matrix[0, 2] / 1241 < 0.2


def test_lists_of_eigen_and_zhou(kitti: Path) -> None:
    splits = kitti / "splits"
    test = from_paths(splits / "test_files_eigen.txt")
    assert len(test) == 697
    assert {line.side for line in test} == {"l"}
    assert len({line.drive for line in test}) == 28
    train, validation = eigen_zhou(
        kitti / "raw", splits / "test_scenes_eigen.txt", splits / "static_frames.txt"
    )
    # 266 inner frames of the moving drive and 19 of each eye; the queue stands still throughout.
    assert len(train) + len(validation) == 266 + 2 * 19
    assert 10 < len(validation) < 60
    assert {line.drive for line in train} == {MOVING, STEREO}
