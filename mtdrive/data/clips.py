"""What a user gives to predict on: an image, a folder of images, or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image

from mtdrive.data.folders import ImageFolder
from mtdrive.data.frames import SUFFIXES, check_sizes, frame_folder
from mtdrive.data.images import read_image
from mtdrive.data.recording import Size
from mtdrive.errors import ConfigError, DataError
from mtdrive.video import Video, open_video, read_frames

Named = tuple[str, Image.Image]
"""A frame with the stem of its outputs."""


@dataclass(frozen=True)
class Clip:
    """Images of one size in the order of time."""

    path: Path
    kind: Literal["image", "folder", "video"]
    size: Size
    rate: float | None
    """Frames in a second, where it is known."""
    count: int | None
    """How many, where it is known; of videos about how many."""
    frames: Callable[[], Iterator[Named]]
    """Reads them one by one; raises `DataError` for a damaged one, `EndsEarly` if a video breaks off."""


def open_clip(path: Path) -> Clip:
    """Return what lies at `path`.

    Raises:
        DataError: if there is nothing, or neither images nor a video.
    """
    if path.is_dir():
        images = frame_folder(path)
        check_sizes(images)
        return Clip(path, "folder", images.size, None, len(images.frames), partial(_of_folder, images))
    if not path.exists():
        raise DataError(f"{path}: does not exist; give an image, a folder of images, or a video")
    if path.suffix.lower() in SUFFIXES:
        image = read_image(path)
        return Clip(path, "image", (image.height, image.width), None, 1, lambda: iter([(path.stem, image)]))
    video = open_video(path)
    return Clip(path, "video", video.size, float(video.rate), video.count, partial(_of_video, video))


def _of_folder(images: ImageFolder) -> Iterator[Named]:
    for frame in images.frames:
        yield images.path(frame).stem, images.read(frame)


def _of_video(video: Video) -> Iterator[Named]:
    for number, image in enumerate(read_frames(video)):
        yield f"{number:06d}", image


def by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the paths by what their outputs are called: the name without its suffix.

    Raises:
        ConfigError: if two are called the same.
    """
    named: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name if path.is_dir() else path.stem
        if name in named:
            raise ConfigError(
                f"{named[name]} and {path} would both be written as {name!r}; rename one, or give them apart"
            )
        named[name] = path
    return named
