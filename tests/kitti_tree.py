"""Writes small KITTI trees, raw and odometry, of a street whose depth is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from tests.kitti_scene import BASELINE, INTERVAL, OFFSETS, Scene, Size, make_scene

__all__ = ["BASELINE", "DAY", "DRIVE", "Scene", "make_scene", "scanned_pixels", "write_odometry", "write_raw"]

DAY = "2011_09_26"
DRIVE = f"{DAY}/{DAY}_drive_0001_sync"


def write_raw(
    root: Path,
    frames: int = 12,
    size: Size = (96, 320),
    suffix: str = ".png",
    grey: bool = False,
    disk_size: Size | None = None,
    sides: str = "lr",
    labels: bool = True,
    drive: str = DRIVE,
    seed: int = 0,
) -> Scene:
    """Write one drive of raw KITTI with its day's calibration, and return what is in it.

    Args:
        root: the folder of the days.
        frames: how many, numbered from 0.
        size: of the rectified images in the calibration.
        suffix: `.png` or `.jpg`.
        grey: whether images have one channel.
        disk_size: of the images on disk, if they are resized.
        sides: which of image_02 (l) and image_03 (r) to write.
        labels: whether to write scans, depth maps and oxts as well.
        drive: day and drive.
        seed: of texture and boxes.
    """
    scene = make_scene(frames, size, seed)
    folder = root / drive
    for side in sides:
        camera = {"l": 2, "r": 3}[side]
        _write_images(folder / f"image_{camera:02d}" / "data", scene, camera, 10, suffix, grey, disk_size)
    write_raw_calibration(folder.parent, scene)
    if labels:
        _write_labels(folder, scene)
    return scene


def write_odometry(
    root: Path,
    frames: int = 12,
    size: Size = (96, 320),
    cameras: Sequence[int] = (2, 3),
    suffix: str = ".png",
    grey: bool = False,
    disk_size: Size | None = None,
    sequence: str = "00",
    seed: int = 0,
) -> Scene:
    """Write one sequence with calibration of `size`, poses and times, and return what is in it."""
    scene = make_scene(frames, size, seed)
    folder = root / "sequences" / sequence
    for camera in cameras:
        _write_images(folder / f"image_{camera}", scene, camera, 6, suffix, grey, disk_size)
    lines = [f"P{camera}: {_numbers(scene.projection(camera))}" for camera in OFFSETS]
    _write_lines(folder / "calib.txt", lines)
    _write_lines(folder / "times.txt", [f"{INTERVAL * n:.6e}" for n in range(frames)])
    _write_lines(root / "poses" / f"{sequence}.txt", [_numbers(pose[:3]) for pose in scene.poses])
    return scene


# The scanner looks along z of camera 0, a little above and behind it; nothing is aligned, as in a real car.
VELODYNE_ROTATION = np.array(
    [[0.0075337, -0.99997, -0.0006166], [0.0148025, 0.000728, -0.99989], [0.99986, 0.0075238, 0.0148076]]
)
VELODYNE_TRANSLATION = np.array([-0.004, -0.076, -0.272])
RECTIFICATION = np.array(
    [[0.99992, 0.0098378, -0.007445], [-0.0098698, 0.99994, -0.0042785], [0.0074025, 0.0043516, 0.99996]]
)


def write_raw_calibration(day: Path, scene: Scene) -> None:
    """Write the three files of a day; S_rect is the size of the scene."""
    h, w = scene.size
    lines = ["calib_time: 09-Jan-2012 13:57:47"]
    for camera in OFFSETS:
        lines += [
            f"S_rect_{camera:02d}: {w:.6e} {h:.6e}",
            f"R_rect_{camera:02d}: {_numbers(RECTIFICATION)}",
            f"P_rect_{camera:02d}: {_numbers(scene.projection(camera))}",
        ]
    _write_lines(day / "calib_cam_to_cam.txt", lines)
    into_camera = [f"R: {_numbers(VELODYNE_ROTATION)}", f"T: {_numbers(VELODYNE_TRANSLATION)}"]
    _write_lines(day / "calib_velo_to_cam.txt", ["calib_time: 15-Mar-2012 11:37:16", *into_camera])


def scanned_pixels(size: Size) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Rows and columns of image_02 whose exact points make the scan."""
    rows, columns = np.mgrid[size[0] // 3 : size[0] : 2, 0 : size[1] : 3].reshape(2, -1)
    return rows, columns


def _write_images(
    folder: Path, scene: Scene, camera: int, digits: int, suffix: str, grey: bool, disk_size: Size | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(scene.frames):
        image = scene.image(frame, camera, disk_size).convert("L" if grey else "RGB")
        image.save(folder / f"{frame:0{digits}d}{suffix}", quality=95)


def _write_labels(folder: Path, scene: Scene) -> None:
    scans, maps, oxts = (
        folder / name for name in ("velodyne_points/data", "proj_depth/groundtruth", "oxts/data")
    )
    for path in (scans, oxts, maps / "image_02", maps / "image_03"):
        path.mkdir(parents=True, exist_ok=True)
    for frame in range(scene.frames):
        scan(scene, frame).tofile(scans / f"{frame:010d}.bin")
        fields = np.zeros(30)
        fields[8] = scene.speed(frame)
        _write_lines(oxts / f"{frame:010d}.txt", [_numbers(fields)])
        for camera in (2, 3):
            steps = np.rint(scene.depth(frame, camera) * 256)
            steps[np.indices(scene.size).sum(axis=0) % 3 > 0] = 0  # sparse, as the official maps are
            name = maps / f"image_{camera:02d}" / f"{frame:010d}.png"
            Image.fromarray(steps.astype(np.uint16)).save(name)


def scan(scene: Scene, frame: int) -> Float[np.ndarray, "n 4"]:
    """Return float32 points that fall on the centres of `scanned_pixels`, and some behind the car."""
    rows, columns = scanned_pixels(scene.size)
    depth = scene.depth(frame)[rows, columns]
    pixels = np.stack([columns, rows, np.ones(len(rows))])
    points = np.linalg.solve(scene.intrinsics, pixels) * depth - np.array(OFFSETS[2])[:, None]
    into_camera = np.eye(4)
    into_camera[:3] = RECTIFICATION @ np.column_stack([VELODYNE_ROTATION, VELODYNE_TRANSLATION])
    velodyne = np.linalg.solve(into_camera, np.vstack([points, np.ones(points.shape[1])]))
    velodyne[3] = 0.5
    behind = np.array([[-5.0, 1.0, 0.0, 0.1], [-12.0, -2.0, -1.0, 0.9]])
    return np.vstack([velodyne.T, behind]).astype(np.float32)


def _numbers(values: Float[np.ndarray, "*shape"]) -> str:
    return " ".join(f"{value:.12e}" for value in np.ravel(values))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
