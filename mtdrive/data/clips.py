"""What a user gives to predict on: an image, a folder of images, or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from PIL import Image

from mtdrive.data.folders import ImageFolder
from mtdrive.data.frames import SUFFIXES, frame_folder
from mtdrive.data.images import read_image, read_size
from mtdrive.data.recording import Size
from mtdrive.errors import ConfigError, DataError
from mtdrive.video import Video, open_video, read_frames

T = TypeVar("T")

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
    frames: Callable[[list[DataError]], Iterator[Named]]
    """Reads them one by one; appends the errors of damaged images, which it leaves out, to the list that it
    is given, and raises `EndsEarly` if a video breaks off."""


def open_clip(path: Path) -> Clip:
    """Return what lies at `path`.

    Raises:
        DataError: if there is nothing, or neither images nor a video.
    """
    if path.is_dir():
        images = frame_folder(path)
        size = _first_size(images)
        return Clip(path, "folder", size, None, len(images.frames), partial(_of_folder, images, size))
    if not path.exists():
        raise DataError(f"{path}: does not exist; give an image, a folder of images, or a video")
    if path.suffix.lower() in SUFFIXES:
        image = read_image(path)
        return Clip(path, "image", (image.height, image.width), None, 1, lambda _: iter([(path.stem, image)]))
    video = open_video(path)
    return Clip(path, "video", video.size, float(video.rate), video.count, partial(_of_video, video))


def _first_size(images: ImageFolder) -> Size:
    """Return the size of the first image that can be opened."""
    damaged: list[DataError] = []
    for frame in images.frames:
        if size := _unless_damaged(partial(read_size, images.path(frame)), damaged):
            return size
    raise damaged[0]


def _of_folder(images: ImageFolder, size: Size, damaged: list[DataError]) -> Iterator[Named]:
    for frame in images.frames:
        if image := _unless_damaged(partial(_read, images, frame, size), damaged):
            yield images.path(frame).stem, image


def _read(images: ImageFolder, frame: int, size: Size) -> Image.Image:
    image = images.read(frame)
    if (image.height, image.width) != size:
        raise DataError(
            f"{images.path(frame)}: is {image.width}x{image.height}, but the folder begins with "
            f"{size[1]}x{size[0]}; keep images of one camera and size in a folder"
        )
    return image


def _unless_damaged(read: Callable[[], T], damaged: list[DataError]) -> T | None:
    try:
        return read()
    except DataError as error:
        damaged.append(error)
        return None


def _of_video(video: Video, _: list[DataError]) -> Iterator[Named]:
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
