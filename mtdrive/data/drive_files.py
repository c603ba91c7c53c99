"""Recorded drives on disk: what a folder holds, and whether it is whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from mtdrive.data.drive_header import FILE, DriveHeader, read_header
from mtdrive.data.drive_images import read_depth, read_flow, read_semantics
from mtdrive.data.drive_table import FILE as TABLE
from mtdrive.data.drive_table import Columns, read_table
from mtdrive.data.images import read_image, read_size
from mtdrive.errors import DataError


@dataclass(frozen=True, eq=False)
class Drive:
    """A recorded drive that is whole, as far as can be told without decoding it."""

    folder: Path
    header: DriveHeader
    columns: Columns
    """A row a frame; frames are numbered from 0."""

    def __len__(self) -> int:
        return self.header.frames

    def path(self, kind: str, camera: str, frame: int) -> Path:
        """Return where one of `images`, `depth`, `semantics` or `flow` lies."""
        return file_of(self.folder, kind, camera, frame)

    def image(self, camera: str, frame: int) -> Image.Image:
        """Return the image as RGB.

        Raises:
            DataError: if it is missing, damaged or of another size.
        """
        path = self.path("images", camera, frame)
        image = read_image(path)
        self._check_size(camera, path, (image.height, image.width))
        return image

    def map(self, kind: str, camera: str, frame: int) -> Shaped[np.ndarray, "*c h w"]:
        """Return `depth` in metres, `semantics`, or `flow` in pixels (2 h w); unknown ones are NaN or 255.

        Raises:
            DataError: if it is missing, damaged or of another size.
        """
        path = self.path(kind, camera, frame)
        match kind:
            case "depth":
                values = read_depth(path, self.header.farthest)
            case "semantics":
                values = read_semantics(path)
            case _:
                values = read_flow(path)
        self._check_size(camera, path, values.shape[-2:])
        return values

    def check(self) -> None:
        """Raise `DataError` if files are missing or the first image of a folder has another size."""
        if len(self.columns["time"]) != self.header.frames:
            raise DataError(
                f"{self.folder / TABLE}: has {len(self.columns['time'])} rows, but {FILE} says "
                f"{self.header.frames} frames; copy the drive again"
            )
        for kind, cameras in {"images": self.header.cameras, **self.header.maps}.items():
            for camera in cameras:
                self._check_files(kind, camera)
                path = self.path(kind, camera, 0)
                self._check_size(camera, path, read_size(path))

    def _check_files(self, kind: str, camera: str) -> None:
        paths = [self.path(kind, camera, frame) for frame in range(len(self))]
        folder = paths[0].parent
        present = set(os.listdir(folder)) if folder.is_dir() else set()
        missing = [path for path in paths if path.name not in present]
        if missing:
            raise DataError(
                f"{missing[0]}: is missing, as are {len(missing) - 1} more of {len(paths)}; copy the drive "
                "again, or delete its folder"
            )

    def _check_size(self, camera: str, path: Path, found: tuple[int, ...]) -> None:
        height, width = self.header.cameras[camera].pinhole.size
        if found != (height, width):
            raise DataError(
                f"{path}: expected {width}x{height} pixels as {FILE} says, found {found[1]}x{found[0]}; "
                "record the drive again: its images may not be replaced by others"
            )


def read_drive(folder: Path) -> Drive:
    """Return a drive after checking everything that takes no decoding.

    Raises:
        DataError: if something is missing, damaged, contradictory or of another schema.
    """
    header = read_header(folder / FILE)
    if header.frames < 1:
        raise DataError(f"{folder / FILE}: the drive has no frames; record it again")
    drive = Drive(folder, header, read_table(folder / TABLE))
    drive.check()
    return drive


def file_of(folder: Path, kind: str, camera: str, frame: int) -> Path:
    """Return where an image or map of a drive lies; colour images are the kind `images`."""
    inner, suffix = ("rgb", "jpg") if kind == "images" else (kind, "png")
    return Path(f"{folder}/{inner}/{camera}/{frame:06d}.{suffix}")
