from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtdrive.data.kitti import KittiOdometry, KittiRaw
from mtdrive.data.kitti_raw import DepthLabel
from mtdrive.data.kitti_splits import Side
from mtdrive.errors import ConfigError, DataError
from tests.kitti_tree import DRIVE, Scene, scanned_pixels, write_raw

SIZE = (48, 160)
FRAMES = 5


def test_lidar_label_is_the_exact_depth(shared_raw: tuple[Path, Scene]) -> None:
    root, scene = shared_raw
    depth = KittiRaw(root, side="l", depth="lidar").targets()[0].recording.label("depth", 2, SIZE)
    rows, columns = scanned_pixels(SIZE)
    assert depth.dtype == torch.float32
    assert int(depth.isfinite().sum()) == len(rows)
    np.testing.assert_allclose(depth[rows, columns], scene.depth(2)[rows, columns], rtol=1e-4)


@pytest.mark.parametrize("label", ["lidar", "proj_depth"])
@pytest.mark.parametrize("side", ["l", "r"])
@pytest.mark.parametrize("size", [(24, 80), (96, 320), (40, 200)])
def test_label_at_another_size_is_close_to_exact_depth(
    shared_raw: tuple[Path, Scene], label: DepthLabel, side: Side, size: tuple[int, int]
) -> None:
    root, scene = shared_raw
    recording = KittiRaw(root, side=side, depth=label).targets()[0].recording
    assert recording.labels == {"depth"}
    depth = recording.label("depth", 1, size).numpy()
    known = np.isfinite(depth)
    exact = scene.depth(1, {"l": 2, "r": 3}[side], size)
    assert known.sum() > 400
    assert np.median(np.abs(depth[known] / exact[known] - 1)) < 0.02


def test_png_label_at_its_own_size_is_the_png(shared_raw: tuple[Path, Scene]) -> None:
    root, _ = shared_raw
    recording = KittiRaw(root, side="l", depth="proj_depth").targets()[0].recording
    png = np.asarray(Image.open(root / DRIVE / "proj_depth/groundtruth/image_02/0000000003.png")) / 256
    np.testing.assert_array_equal(recording.label("depth", 3, SIZE).nan_to_num(0), png.astype(np.float32))
    np.testing.assert_array_equal(recording.ground_truth(3, "benchmark"), png.astype(np.float32))


def test_ground_truth_counts_pixels_from_one(shared_raw: tuple[Path, Scene]) -> None:
    root, scene = shared_raw
    truth = KittiRaw(root, side="l").targets()[0].recording.ground_truth(2, "camera")
    rows, columns = scanned_pixels(SIZE)
    inside = columns > 0
    expected = scene.depth(2)[rows[inside], columns[inside]]
    assert truth.shape == SIZE
    np.testing.assert_allclose(truth[rows[inside] - 1, columns[inside] - 1], expected, rtol=1e-4)


def test_eigen_ground_truth_is_farther_by_the_mounting_of_the_scanner(shared_raw: tuple[Path, Scene]) -> None:
    recording = KittiRaw(shared_raw[0], side="l").targets()[0].recording
    eigen, camera = recording.ground_truth(2, "eigen"), recording.ground_truth(2, "camera")
    both = (eigen > 0) & (camera > 0)
    assert both.sum() > 500
    assert 0.1 < np.median((eigen - camera)[both]) < 0.5


def test_ground_truth_has_the_published_size_whatever_is_on_disk(tmp_path: Path) -> None:
    write_raw(tmp_path, 1, SIZE, disk_size=(24, 80))
    assert KittiRaw(tmp_path).targets()[0].recording.ground_truth(0, "eigen").shape == SIZE


def test_unknown_convention_and_label(shared_raw: tuple[Path, Scene]) -> None:
    recording = KittiRaw(shared_raw[0]).targets()[0].recording
    with pytest.raises(ConfigError, match="eigen, camera or benchmark, found 'z'"):
        recording.ground_truth(0, "z")
    with pytest.raises(DataError, match="no label 'depth'"):
        recording.label("depth", 0, SIZE)


def test_frames_without_a_scan_are_refused_or_left_out(raw: Path) -> None:
    for frame in (1, 3):
        (raw / DRIVE / "velodyne_points" / "data" / f"{frame:010d}.bin").unlink()
    with pytest.raises(
        DataError, match=r"data/0000000001\.bin: the depth is missing, for 2 of 5 .*only_labelled"
    ):
        KittiRaw(raw, depth="lidar").targets()
    targets = KittiRaw(raw, depth="lidar", only_labelled=True, side="l").targets()
    assert [t.frame for t in targets] == [0, 2, 4]
    assert targets[0].recording.frames("front") == tuple(range(FRAMES))


def test_depth_folder_that_is_not_there(shared_raw: tuple[Path, Scene]) -> None:
    with pytest.raises(DataError, match=r"proj_depth/other/image_02/0000000000\.png: the depth is missing"):
        KittiRaw(shared_raw[0], depth="proj_depth", proj_depth="other").targets()


def test_settings_that_contradict() -> None:
    with pytest.raises(ConfigError, match="set depth to lidar or proj_depth"):
        KittiRaw("x", only_labelled=True)
    with pytest.raises(ConfigError, match="every must be at least 1, found 0"):
        KittiRaw("x", every=0)
    with pytest.raises(ConfigError, match="every must be at least 1, found -1"):
        KittiOdometry("x", ["00"], every=-1)
