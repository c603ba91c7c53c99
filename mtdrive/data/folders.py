"""Folders of numbered files, as KITTI keeps its frames: `0000000042.png`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from PIL import Image

from mtdrive.data.images import read_image, read_size
from mtdrive.data.recording import Size
from mtdrive.errors import DataError

IMAGES = (".png", ".jpg")
"""Suffixes of images, the preferred one first."""


class GapWarning(UserWarning):
    """The numbering of a drive has a hole."""


@dataclass(frozen=True)
class ImageFolder:
    """Numbered images of one size."""

    folder: Path
    names: Mapping[int, str]
    """File names in ascending order of their numbers."""

    @cached_property
    def frames(self) -> tuple[int, ...]:
        """The numbers, in ascending order."""
        return tuple(self.names)

    @cached_property
    def size(self) -> Size:
        """Size of the first image, which the others must share.

        Raises:
            DataError: if there is none.
        """
        if not self.frames:
            raise DataError(f"{self.folder}: no images; complete the download")
        return read_size(self.path(self.frames[0]))

    def path(self, frame: int) -> Path:
        """Return where the image of `frame` lies.

        Raises:
            DataError: if there is none.
        """
        if frame not in self.names:
            raise DataError(f"{self.folder}: no image of frame {frame}; complete the download")
        return self.folder / self.names[frame]

    def read(self, frame: int) -> Image.Image:
        """Return the image as RGB.

        Raises:
            DataError: if it is missing, damaged, or of another size than the first of the folder.
        """
        image = read_image(self.path(frame))
        if (image.height, image.width) != self.size:
            raise DataError(
                f"{self.path(frame)}: expected {self.size[1]}x{self.size[0]} pixels as in "
                f"{self.names[self.frames[0]]}, found {image.width}x{image.height}; "
                "all images of a drive must be resized alike"
            )
        return image


def image_folder(folder: Path, start: int = 0, stop: int | None = None) -> ImageFolder:
    """List the images with numbers from `start` up to, not including, `stop`; PNG goes before JPEG."""
    found = numbered(folder, IMAGES)
    return ImageFolder(folder, {n: found[n] for n in found if n >= start and (stop is None or n < stop)})


def numbered(folder: Path, suffixes: Sequence[str]) -> dict[int, str]:
    """Return the names of the files that are a number and a suffix, in ascending order of the number.

    Of two files of one number, the one whose suffix comes first in `suffixes` counts. A folder that does
    not exist has no files.
    """
    names = os.listdir(folder) if folder.is_dir() else []
    pairs = [os.path.splitext(name) for name in names]
    kept = [(stem, suffix) for stem, suffix in pairs if stem.isdecimal() and suffix in suffixes]
    kept.sort(key=lambda pair: (int(pair[0]), -suffixes.index(pair[1])))
    return {int(stem): stem + suffix for stem, suffix in kept}


def warn_of_gap(name: str, frames: Sequence[int]) -> None:
    """Warn once if the ascending `frames` of `name` leave numbers out."""
    lacking = frames[-1] - frames[0] + 1 - len(frames) if frames else 0
    if lacking:
        first = next(n + 1 for n, following in pairwise(frames) if following != n + 1)
        warnings.warn(
            f"{name}: {lacking} frame(s) are missing, the first is {first}; "
            "windows that touch a gap are left out",
            GapWarning,
            stacklevel=2,
        )


def require(what: str, frames: Sequence[int], present: Collection[int], pattern: str, remedy: str) -> None:
    """Check that each of `frames` has its file.

    Raises:
        DataError: naming the first file, made from `pattern`, that is missing.
    """
    missing = [frame for frame in frames if frame not in present]
    if missing:
        raise DataError(
            f"{pattern.format(missing[0])}: {what} is missing, for {len(missing)} of {len(frames)} frames; "
            f"{remedy}"
        )
