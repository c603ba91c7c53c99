"""Writes small KITTI trees of a street whose depth is known exactly.

The street runs along z of the world, the rectified camera 0 at frame 0: x right, y down, z forward, metres.
Ground, two walls and an end wall close it, so that every ray hits something; boxes stand at the kerbs. The
texture is a sum of waves in space, band-limited for each pixel, so that views of it agree to sub-pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int
from PIL import Image

Size = tuple[int, int]

DAY = "2011_09_26"
DRIVE = f"{DAY}/{DAY}_drive_0001_sync"
BASELINE = 0.54
INTERVAL = 0.1
"""Seconds between frames."""

CAMERA_HEIGHT, LEFT, RIGHT, BEYOND = 1.65, -5.5, 6.5, 60.0
OFFSETS = {
    0: (0.0, 0.0, 0.0),
    1: (-0.54, 0.0, 0.0),
    2: (0.06, 0.0, 0.0027),
    3: (0.06 - BASELINE, 0.003, 0.0027),
}
"""Translation of `T_camera,0` of the rectified cameras."""


@dataclass(frozen=True)
class Scene:
    """The street and the drive through it."""

    size: Size
    steps: Float64[np.ndarray, " n"]
    """Metres from each frame to the next; the last one counts for the speed alone."""
    seed: int = 0

    @property
    def frames(self) -> int:
        return len(self.steps)

    @property
    def intrinsics(self) -> Float64[np.ndarray, "3 3"]:
        """K in pixels of `size`, of all cameras."""
        h, w = self.size
        return np.array([[0.58 * w, 0, 0.49 * w], [0, 0.58 * w, 0.46 * h], [0, 0, 1]])

    def speed(self, frame: int) -> float:
        """Metres a second."""
        return float(self.steps[frame] / INTERVAL)

    def projection(self, camera: int) -> Float64[np.ndarray, "3 4"]:
        """K [I | t], as calibration files have it."""
        displaced = np.column_stack([np.eye(3), OFFSETS[camera]])
        return np.asarray(self.intrinsics @ displaced)

    @cached_property
    def poses(self) -> Float64[np.ndarray, "n 4 4"]:
        """`T_world,0`: forward with a gentle weave."""
        yaw = 0.04 * np.sin(np.arange(self.frames) * 2 * np.pi / 18)
        poses = np.tile(np.eye(4), (self.frames, 1, 1))
        poses[:, 0, 0], poses[:, 0, 2] = np.cos(yaw), np.sin(yaw)
        poses[:, 2, 0], poses[:, 2, 2] = -np.sin(yaw), np.cos(yaw)
        moved = self.steps[:, None] * np.stack([np.sin(yaw), 0 * yaw, np.cos(yaw)], axis=1)
        poses[1:, :3, 3] = np.cumsum(moved, axis=0)[:-1]
        return poses

    def pose(self, frame: int, camera: int = 2) -> Float64[np.ndarray, "4 4"]:
        """`T_world,camera`."""
        shift = np.eye(4)
        shift[:3, 3] = -np.array(OFFSETS[camera])
        return np.asarray(self.poses[frame] @ shift)

    def depth(self, frame: int, camera: int = 2, size: Size | None = None) -> Float64[np.ndarray, "h w"]:
        """Metres along the optical axis, exact at the centres of the pixels."""
        origin, rays = self._rays(frame, camera, size or self.size)
        return self._cast(origin, rays)[0].reshape(size or self.size)

    def image(self, frame: int, camera: int = 2, size: Size | None = None) -> Image.Image:
        """Colour, at any size, as if the sensor had it."""
        shape = size or self.size
        origin, rays = self._rays(frame, camera, shape)
        depth, axis, surface = self._cast(origin, rays)
        focal = 0.58 * shape[1]
        right, down = self.pose(frame, camera)[:3, 0] / focal, self.pose(frame, camera)[:3, 1] / focal
        # How far the point on the surface moves for one pixel to the right, and one down.
        normal = np.take_along_axis(rays, axis[:, None], 1)
        spread = [depth[:, None] * (step - rays * (step[axis][:, None] / normal)) for step in (right, down)]
        colour = self._texture(origin + depth[:, None] * rays, spread, surface)
        return Image.fromarray(np.rint(colour * 255).astype(np.uint8).reshape(*shape, 3))

    def _rays(
        self, frame: int, camera: int, size: Size
    ) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, "n 3"]]:
        """Return the camera's centre and a ray of unit depth for each pixel, in the world."""
        sy, sx = size[0] / self.size[0], size[1] / self.size[1]
        resize = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
        rows, columns = np.mgrid[: size[0], : size[1]].reshape(2, -1).astype(np.float64)
        pixels = np.stack([columns, rows, np.ones_like(rows)])
        pose = self.pose(frame, camera)
        return pose[:3, 3], (pose[:3, :3] @ np.linalg.solve(resize @ self.intrinsics, pixels)).T

    @cached_property
    def boxes(self) -> Float64[np.ndarray, "m 2 3"]:
        """Lowest and highest corner of each parked box."""
        random = np.random.default_rng(self.seed)
        near = np.arange(6.0, self._end, 7.0)
        sides = np.where(np.arange(len(near)) % 2, 3.4, -4.9)
        low = np.stack([sides, CAMERA_HEIGHT - random.uniform(1.2, 2.6, len(near)), near], axis=1)
        high = np.stack([sides + 1.5, np.full(len(near), CAMERA_HEIGHT), near + 3.5], axis=1)
        return np.stack([low, high], axis=1)

    @property
    def _end(self) -> float:
        return float(self.steps.sum()) + BEYOND

    def _cast(
        self, origin: Float64[np.ndarray, " 3"], rays: Float64[np.ndarray, "n 3"]
    ) -> tuple[Float64[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return the depth of the first hit, the axis of its normal and the number of its surface."""
        with np.errstate(divide="ignore"):
            inverse = 1 / rays
        depth, axis = self._street(origin, inverse)
        surface = axis + 3 * (np.take_along_axis(rays, axis[:, None], 1)[:, 0] > 0)
        for number, (low, high) in enumerate(self.boxes, start=6):
            a, b = (low - origin) * inverse, (high - origin) * inverse
            entry = np.minimum(a, b)
            near, far = entry.max(axis=1), np.maximum(a, b).min(axis=1)
            hit = (near < far) & (near > 0) & (near < depth)
            depth, axis = np.where(hit, near, depth), np.where(hit, entry.argmax(axis=1), axis)
            surface = np.where(hit, number, surface)
        return depth, axis, surface

    def _street(
        self, origin: Float64[np.ndarray, " 3"], inverse: Float64[np.ndarray, "n 3"]
    ) -> tuple[Float64[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return where each ray leaves the street, which has no roof, and through which axis."""
        low, high = np.array([LEFT, -np.inf, -np.inf]), np.array([RIGHT, CAMERA_HEIGHT, self._end])
        exits = np.where(inverse > 0, (high - origin) * inverse, (low - origin) * inverse)
        return exits.min(axis=1), exits.argmin(axis=1)

    @cached_property
    def _waves(
        self,
    ) -> tuple[Float64[np.ndarray, "k 3"], Float64[np.ndarray, " k"], Float64[np.ndarray, "k 3"]]:
        """Wave vectors in 1/m, phases and colours, from coarse to fine."""
        random = np.random.default_rng([self.seed, 1])
        lengths = np.geomspace(7.0, 0.3, 22)
        directions = random.normal(size=(len(lengths), 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        colours = (0.6 + 0.4 * random.normal(size=(len(lengths), 3))) * np.sqrt(lengths / 7.0)[:, None] ** 0.5
        return (
            directions * (2 * np.pi / lengths)[:, None],
            random.uniform(0, 2 * np.pi, len(lengths)),
            colours,
        )

    def _texture(
        self,
        points: Float64[np.ndarray, "n 3"],
        spread: Sequence[Float64[np.ndarray, "n 3"]],
        surface: Int[np.ndarray, " n"],
    ) -> Float64[np.ndarray, "n 3"]:
        """Return colours in [0, 1]; waves that a pixel cannot resolve fade, as a Gaussian blur would do."""
        vectors, phases, colours = self._waves
        blur = sum((step @ vectors.T) ** 2 for step in spread)
        value = (np.sin(points @ vectors.T + phases) * np.exp(-0.5 * blur)) @ colours
        albedo = np.random.default_rng([self.seed, 2]).uniform(-0.6, 0.6, (6 + len(self.boxes), 3))
        return np.asarray(0.5 + 0.5 * np.tanh(0.25 * value + albedo[surface]))


def make_scene(frames: int = 12, size: Size = (96, 320), seed: int = 0) -> Scene:
    """Return a drive of 0.7 to 0.9 m a frame."""
    return Scene(size, 0.8 + 0.1 * np.sin(np.arange(frames) * 0.7), seed)


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
