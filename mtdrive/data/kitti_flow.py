"""KITTI's benchmark of 2015, "scene flow": pairs of images with true optical flow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from mtdrive.data.drive_images import read_flow
from mtdrive.data.flow_files import rescale_flow
from mtdrive.data.images import read_image, read_size
from mtdrive.data.kitti_calibration import DayCalibration, read_calibration
from mtdrive.data.recording import FlowTruth, Recording, Size, Source, Target, rescale
from mtdrive.errors import ConfigError, DataError

FIRST, SECOND = 10, 11
"""The frames that the flow leads from and to."""

FlowLabel = Literal["none", "occ", "noc"]


@dataclass(frozen=True)
class KittiFlow(Source):
    """Pairs of images with sparse flow from LiDAR: frames 10 and 11 of each scene, each scene a recording."""

    root: str | Path
    """What `data_scene_flow.zip` and `data_scene_flow_calib.zip` unpack to: the folder above `training`."""
    flow: FlowLabel = "occ"
    """Which true flow the label `flow_next` is: that of all pixels (`occ`), or without those that the
    second image does not show (`noc`); `none` gives no label, as `testing` has none."""
    scenes: Sequence[int] | None = None
    """Which of the scenes, 0 to 199; all if none are given."""
    part: Literal["training", "testing"] = "training"
    """Which of the two folders."""

    def __post_init__(self) -> None:
        if self.part == "testing" and self.flow != "none":
            raise ConfigError("the flow of part testing is not published: set flow to none")

    def targets(self) -> list[Target]:
        """Return the first frame of each scene.

        Raises:
            DataError: if an image, its flow or its calibration is missing.
        """
        folder = Path(self.root).expanduser() / self.part
        found = self._found(folder / "image_2")
        recordings = [KittiFlowScene(folder, scene, self.flow) for scene in found]
        for recording in recordings:
            recording.check()
        return [Target(recording, FIRST, required=True) for recording in recordings]

    def _found(self, images: Path) -> list[int]:
        if self.scenes is not None:
            return list(self.scenes)
        names = sorted(p.name for p in images.iterdir()) if images.is_dir() else []
        found = [re.fullmatch(rf"([0-9]{{6}})_{FIRST}\.png", name) for name in names]
        scenes = [int(match[1]) for match in found if match]
        if not scenes:
            raise DataError(
                f"{images}: no images like 000000_{FIRST}.png; root must hold training/image_2, as "
                "data_scene_flow.zip does"
            )
        return scenes


@dataclass(frozen=True, eq=False)
class KittiFlowScene(Recording):
    """Two frames of the left colour camera."""

    folder: Path
    """`training` or `testing`."""
    scene: int
    flow: FlowLabel

    @property
    def name(self) -> str:  # type: ignore[override]
        """The number of the scene."""
        return f"{self.scene:06d}"

    def check(self) -> None:
        """Raise `DataError` unless images, flow and calibration are there."""
        files = [self.path("front", frame) for frame in (FIRST, SECOND)]
        files += [] if self.flow == "none" else [self._truth_path(self.flow)]
        for file in files:
            if not file.is_file():
                raise DataError(f"{file}: is missing; unpack data_scene_flow.zip again, or name other scenes")
        self.intrinsics("front", (1, 1))

    def frames(self, camera: str) -> Sequence[int]:
        """Return the two frames."""
        return (FIRST, SECOND) if camera == "front" else ()

    def path(self, camera: str, frame: int) -> Path:
        """Return where the image lies."""
        if camera != "front" or frame not in (FIRST, SECOND):
            raise DataError(f"{self.name}: has frames {FIRST} and {SECOND} of front, not {frame} of {camera}")
        return self.folder / "image_2" / f"{self.name}_{frame}.png"

    def image(self, camera: str, frame: int) -> Image.Image:
        """Return the image as RGB."""
        return read_image(self.path(camera, frame))

    def intrinsics(self, camera: str, size: Size) -> Float[Tensor, "3 3"]:
        """Return K for the image resized to `size`."""
        matrix = torch.from_numpy(self._calibration.projection(2)[:, :3].copy())
        return rescale(matrix, self._calibration.size(2), size)

    @property
    def labels(self) -> frozenset[str]:
        """`flow_next` unless the options want none."""
        return frozenset() if self.flow == "none" else frozenset({"flow_next"})

    def label(self, name: str, frame: int, size: Size) -> Tensor:
        """Return the flow in pixels of `size`; it is not interpolated."""
        if name not in self.labels:
            return super().label(name, frame, size)
        return torch.from_numpy(rescale_flow(self._truth(self.flow), size))

    def flow_truth(self, frame: int) -> FlowTruth:
        """Return both versions of the true flow at the size of the images."""
        noc = self._truth("noc") if self._truth_path("noc").is_file() else None
        return FlowTruth(SECOND, self._truth("occ"), noc)

    def _truth(self, kind: str) -> Float[np.ndarray, "2 h w"]:
        path = self._truth_path(kind)
        flow, size = read_flow(path), read_size(self.path("front", FIRST))
        if flow.shape[1:] != size:
            raise DataError(
                f"{path}: is {flow.shape[2]}x{flow.shape[1]}, but its image {size[1]}x{size[0]} pixels; "
                "unpack data_scene_flow.zip again"
            )
        return flow

    def _truth_path(self, kind: str) -> Path:
        return self.folder / f"flow_{kind}" / f"{self.name}_{FIRST}.png"

    @cached_property
    def _calibration(self) -> DayCalibration:
        folder = self.folder / "calib_cam_to_cam"
        return DayCalibration(read_calibration(folder / f"{self.name}.txt"), folder)
