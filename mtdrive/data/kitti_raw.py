"""KITTI raw: one synchronised and rectified drive, with LiDAR, depth maps and speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from PIL import Image
from torch import Tensor

from mtdrive.data.folders import ImageFolder, image_folder, numbered, require
from mtdrive.data.images import read_depth_png
from mtdrive.data.kitti_calibration import DayCalibration, read_day, rig
from mtdrive.data.kitti_splits import FOLDERS, Side
from mtdrive.data.recording import Recording, Size, rescale, resizing
from mtdrive.data.velodyne import read_scan, resample, sparse_depth
from mtdrive.errors import ConfigError, DataError
from mtdrive.files import parse_numbers

_OTHER: dict[Side, Side] = {"l": "r", "r": "l"}
_OXTS_FIELDS, _OXTS_FORWARD = 30, 8  # numbers in a line, and where the forward speed stands
_MONODEPTH2 = torch.tensor([[0.58, 0, 0.5], [0, 1.92, 0.5], [0, 0, 1]], dtype=torch.float64)

DepthLabel = Literal["none", "lidar", "proj_depth"]
Intrinsics = Literal["calibration", "monodepth2"]


@dataclass(frozen=True, kw_only=True)
class RawOptions:
    """What a recording gives; `KittiRaw` explains each."""

    depth: DepthLabel
    proj_depth: str
    speed: bool
    intrinsics: Intrinsics
    start: int
    stop: int | None


@dataclass(frozen=True, eq=False)
class RawRecording(Recording):
    """One drive, with the camera of one side as `front`."""

    name: str
    folder: Path
    """Of the drive; the calibration lies in its parent."""
    side: Side
    options: RawOptions

    def check(self) -> None:
        """Raise `DataError` unless the calibration that the options need is there and whole."""
        if self.options.intrinsics == "calibration":
            self.intrinsics("front", (1, 1))
        if self.options.depth == "lidar":
            _ = self._from_velodyne

    def check_files(self, frames: Sequence[int]) -> None:
        """Raise `DataError` naming the first of `frames` without the file of its label or speed."""
        if self.options.depth != "none":
            remedy = "download it, or set only_labelled to leave such frames out"
            require("the depth", frames, self.labelled, self._label_pattern, remedy)
        if self.options.speed:
            present = numbered(self.folder / "oxts" / "data", [".txt"])
            require("the speed", frames, present, self._oxts_pattern, "download oxts, or unset speed")

    def frames(self, camera: str) -> Sequence[int]:
        """Return the numbers of the frames on disk."""
        return self._images[camera].frames if camera in self._images else ()

    def path(self, camera: str, frame: int) -> Path:
        """Return where the image lies."""
        return self._folder(camera).path(frame)

    def image(self, camera: str, frame: int) -> Image.Image:
        """Return the image as RGB."""
        return self._folder(camera).read(frame)

    def intrinsics(self, camera: str, size: Size) -> Float[Tensor, "3 3"]:
        """Return K for the image resized to `size`, from the published size or any other on disk."""
        if self.options.intrinsics == "monodepth2":
            height, width = size
            return torch.tensor([[width], [height], [1]], dtype=torch.float64) * _MONODEPTH2
        number = self._number(camera)
        matrix = torch.from_numpy(self._day.projection(number)[:, :3].copy())
        return rescale(matrix, self._day.size(number), size)

    def rig(self, camera: str, frame: int) -> Float[Tensor, "4 4"] | None:
        """Return `T_camera,front`; None without calibration of the stereo partner."""
        if camera != "stereo":
            return super().rig(camera, frame)
        calibrated = self.options.intrinsics == "calibration" or self._day_file.is_file()
        if not calibrated or f"P_rect_{self._number('stereo'):02d}" not in self._day.cameras.lines:
            return None
        front, stereo = (self._day.projection(self._number(camera)) for camera in ("front", "stereo"))
        return torch.from_numpy(rig(front, stereo))

    def speed(self, frame: int) -> float | None:
        """Return the forward speed of the vehicle's inertial unit in m/s."""
        if not self.options.speed:
            return None
        path = Path(self._oxts_pattern.format(frame))
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: the speed cannot be read ({error}); download oxts again") from None
        return float(parse_numbers(text, _OXTS_FIELDS, str(path))[_OXTS_FORWARD])

    @property
    def labels(self) -> frozenset[str]:
        """`depth` where the options ask for it."""
        return frozenset() if self.options.depth == "none" else frozenset({"depth"})

    def label(self, name: str, frame: int, size: Size) -> Tensor:
        """Return `depth` in metres at `size`, NaN where unknown.

        LiDAR points are projected anew by the calibration of the resized image; pixels of a PNG move to
        the nearest pixel. Where several meet, the nearest point wins.
        """
        if name not in self.labels:
            return super().label(name, frame, size)
        if self.options.depth == "lidar":
            resized = resizing(self._day.size(self._number("front")), size).numpy() @ self._from_velodyne
            depth = sparse_depth(read_scan(self._label_path(frame)), resized, size)
        else:
            depth = resample(read_depth_png(self._label_path(frame)), size)
        return torch.from_numpy(np.where(depth > 0, depth, np.float32(np.nan)))

    def ground_truth(self, frame: int, convention: str) -> Float32[np.ndarray, "h w"]:
        """Return the depth to evaluate against in metres, 0 where unknown, at the published image size.

        `benchmark` is the PNG of the folder `proj_depth`, `eigen` and `camera` are made from the scan, see
        `sparse_depth`, with pixels counted from 1 as in published depth maps.
        """
        match convention:
            case "benchmark":
                return read_depth_png(Path(self._png_pattern.format(frame)))
            case "camera" | "eigen":
                scan = read_scan(Path(self._scan_pattern.format(frame)))
                size = self._day.size(self._number("front"))
                return sparse_depth(scan, self._from_velodyne, size, convention, first_pixel=1)
        raise ConfigError(f"ground truth is eigen, camera or benchmark, found {convention!r}")

    @cached_property
    def labelled(self) -> frozenset[int]:
        """Numbers of the frames that have the file of their label."""
        folder = self._label_path(0).parent
        return frozenset(numbered(folder, [".bin" if self.options.depth == "lidar" else ".png"]))

    @cached_property
    def _images(self) -> dict[str, ImageFolder]:
        sides = {"front": self.side, "stereo": _OTHER[self.side]}
        start, stop = self.options.start, self.options.stop
        return {
            camera: image_folder(self.folder / FOLDERS[side] / "data", start, stop)
            for camera, side in sides.items()
        }

    @property
    def _png_pattern(self) -> str:
        folder = self.folder / "proj_depth" / self.options.proj_depth / FOLDERS[self.side]
        return f"{folder}/{{:010d}}.png"

    @property
    def _scan_pattern(self) -> str:
        return f"{self.folder}/velodyne_points/data/{{:010d}}.bin"

    @property
    def _oxts_pattern(self) -> str:
        return f"{self.folder}/oxts/data/{{:010d}}.txt"

    @property
    def _label_pattern(self) -> str:
        return self._scan_pattern if self.options.depth == "lidar" else self._png_pattern

    def _label_path(self, frame: int) -> Path:
        return Path(self._label_pattern.format(frame))

    def _folder(self, camera: str) -> ImageFolder:
        if camera not in self._images:
            raise DataError(f"{self.name}: no camera {camera!r}; it has front and stereo")
        return self._images[camera]

    def _number(self, camera: str) -> int:
        """Return the number of the camera in the calibration."""
        return int(self._folder(camera).folder.parent.name.removeprefix("image_"))

    @property
    def _day_file(self) -> Path:
        return self.folder.parent / "calib_cam_to_cam.txt"

    @cached_property
    def _day(self) -> DayCalibration:
        return read_day(self.folder.parent)

    @cached_property
    def _from_velodyne(self) -> Float64[np.ndarray, "3 4"]:
        return self._day.from_velodyne(self._number("front"))
