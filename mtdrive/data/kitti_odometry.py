"""KITTI odometry: sequences with calibration of their own and, for some, the true trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor

from mtdrive.data.folders import ImageFolder, image_folder, warn_of_gap
from mtdrive.data.kitti_calibration import Calibration, offset, read_calibration, rig
from mtdrive.data.recording import Recording, Size, Source, Target, rescale
from mtdrive.errors import ConfigError, DataError
from mtdrive.trajectory import Poses, read_poses

Camera = Literal["image_0", "image_1", "image_2", "image_3"]
"""0 and 1 are the left and right grey cameras, 2 and 3 the colour ones."""

_PARTNER: dict[Camera, Camera] = {
    "image_0": "image_1",
    "image_1": "image_0",
    "image_2": "image_3",
    "image_3": "image_2",
}
_CENTRE_X = (0.4, 0.6)
_CENTRE_Y = (0.3, 0.7)


@dataclass(frozen=True)
class KittiOdometry(Source):
    """Sequences of KITTI odometry."""

    root: str | Path
    """The folder with `sequences` and, for poses, `poses`."""
    sequences: Sequence[str]
    """For example `["00", "01"]`."""
    camera: Camera = "image_2"
    """What `front` is; its partner of the same colour is `stereo`."""
    poses: bool = False
    """Whether to give the true poses of `poses/XX.txt`."""
    calibration_size: tuple[int, int] | None = None
    """Height and width of the images that `calib.txt` was made for; None: of those on disk."""
    every: int = 1
    """Take every n-th target."""
    start: int = 0
    """The first frame to use."""
    stop: int | None = None
    """The frame after the last one to use."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every must be at least 1, found {self.every}")

    def targets(self) -> list[Target]:
        """Return the frames of all sequences.

        Raises:
            DataError: if a sequence is missing, or its calibration or poses do not fit it.
        """
        recordings = [self._recording(sequence) for sequence in self.sequences]
        return [Target(r, frame) for r in recordings for frame in r.frames("front")][:: self.every]

    def _recording(self, sequence: str) -> OdometryRecording:
        root = Path(self.root).expanduser()
        folder = root / "sequences" / sequence
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such sequence; root must be the folder that contains `sequences`, and "
                f"sequences are named like 00; found {_names(root / 'sequences')}"
            )
        recording = OdometryRecording(f"{sequence}/{self.camera}", folder, self)
        recording.check()
        return recording


@dataclass(frozen=True, eq=False)
class OdometryRecording(Recording):
    """One sequence, seen from one camera."""

    name: str
    folder: Path
    settings: KittiOdometry

    def check(self) -> None:
        """Raise `DataError` unless images, calibration and poses are there and fit each other."""
        if not self.frames("front"):
            raise DataError(
                f"{self.folder / self.settings.camera}: no images 000000.png or .jpg; download them, or "
                f"choose another camera; found {_names(self.folder)}"
            )
        warn_of_gap(self.name, self.frames("front"))
        self.intrinsics("front", self._images("front").size)
        if self.settings.poses:
            self._check_trajectory()

    def frames(self, camera: str) -> Sequence[int]:
        """Return the numbers of the frames on disk."""
        return self._folders[camera].frames if camera in self._folders else ()

    def path(self, camera: str, frame: int) -> Path:
        """Return where the image lies."""
        return self._images(camera).path(frame)

    def image(self, camera: str, frame: int) -> Image.Image:
        """Return the image as RGB."""
        return self._images(camera).read(frame)

    def intrinsics(self, camera: str, size: Size) -> Float[Tensor, "3 3"]:
        """Return K for the image resized to `size`."""
        matrix = torch.from_numpy(self._projection(camera)[:, :3].copy())
        return rescale(matrix, self._calibrated_size(camera, matrix), size)

    def rig(self, camera: str, frame: int) -> Float[Tensor, "4 4"] | None:
        """Return `T_camera,front`; None if the calibration lacks the stereo partner."""
        if camera != "stereo":
            return super().rig(camera, frame)
        if _line(_PARTNER[self.settings.camera]) not in self._calibration.lines:
            return None
        return torch.from_numpy(rig(self._projection("front"), self._projection("stereo")))

    def pose(self, frame: int) -> Float[Tensor, "4 4"] | None:
        """Return `T_world,front`; the world is camera 0 at the sequence's first frame."""
        if not self.settings.poses:
            return None
        return torch.from_numpy(self._trajectory[frame] @ np.linalg.inv(offset(self._projection("front"))))

    @cached_property
    def _folders(self) -> dict[str, ImageFolder]:
        cameras = {"front": self.settings.camera, "stereo": _PARTNER[self.settings.camera]}
        start, stop = self.settings.start, self.settings.stop
        return {name: image_folder(self.folder / camera, start, stop) for name, camera in cameras.items()}

    def _images(self, camera: str) -> ImageFolder:
        if camera not in self._folders:
            raise DataError(f"{self.name}: no camera {camera!r}; it has front and stereo")
        return self._folders[camera]

    @cached_property
    def _calibration(self) -> Calibration:
        return read_calibration(self.folder / "calib.txt")

    def _projection(self, camera: str) -> Float64[np.ndarray, "3 4"]:
        return self._calibration.projection(_line(self._images(camera).folder.name))

    def _calibrated_size(self, camera: str, matrix: Float[Tensor, "3 3"]) -> Size:
        """Return the size that the calibration belongs to, if the principal point does not contradict it."""
        if self.settings.calibration_size is not None:
            height, width = self.settings.calibration_size
            return height, width
        height, width = self._images(camera).size
        x, y = matrix[0, 2].item(), matrix[1, 2].item()
        if not (_within(x / width, _CENTRE_X) and _within(y / height, _CENTRE_Y)):
            raise DataError(
                f"{self._calibration.path}: the calibration seems to belong to another image size: its "
                f"principal point ({x:.1f}, {y:.1f}) is far from the centre of the {width}x{height} images "
                "on disk; set calibration_size to the height and width it was made for, often [376, 1241]"
            )
        return height, width

    @cached_property
    def _trajectory(self) -> Poses:
        """`T_world,0` of every frame."""
        return read_poses(self._poses_path, "download them or unset poses")

    @property
    def _poses_path(self) -> Path:
        return self.folder.parent.parent / "poses" / f"{self.folder.name}.txt"

    def _check_trajectory(self) -> None:
        last = self.frames("front")[-1]
        if len(self._trajectory) <= last:
            raise DataError(
                f"{self._poses_path}: {len(self._trajectory)} poses, but the images go up to frame {last}; "
                f"use the poses of sequence {self.folder.name}"
            )


def _line(camera: str) -> str:
    """Return the line of `calib.txt` for a folder such as image_2."""
    return f"P{camera.removeprefix('image_')}"


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _names(folder: Path) -> str:
    """Return what is in `folder`, to help who mistyped a name."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return ", ".join(names) or f"nothing in {folder}"
