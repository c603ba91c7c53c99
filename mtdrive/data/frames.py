"""Frames of one's own videos: folders of images, a drive each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from mtdrive.data.camera import FILE, Camera, from_fov, read_camera
from mtdrive.data.folders import ImageFolder, warn_of_gap
from mtdrive.data.images import read_size
from mtdrive.data.recording import Recording, Size, Source, Target
from mtdrive.depth_maps import natural
from mtdrive.errors import ConfigError, DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
"""Of images, the preferred one first; upper case counts, too."""


@dataclass(frozen=True)
class Frames(Source):
    """Frames of one's own videos, without poses or labels."""

    root: str | Path
    """A folder with a folder of images for each drive, or with the images of one drive."""
    drives: Sequence[str] | None = None
    """Which of the folders to use; all if none are given."""
    fov: float | None = None
    """Horizontal field of view in degrees; it goes before the `camera.json` of the drive or of the root."""
    every: int = 1
    """Take every n-th target."""
    start: int = 0
    """The first frame to use of each drive."""
    stop: int | None = None
    """The frame after the last one to use of each drive."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every must be at least 1, found {self.every}")

    def targets(self) -> list[Target]:
        """Return the frames of all drives.

        Raises:
            DataError: if a drive is missing or has no camera, or its images differ in size.
        """
        recordings = [self._recording(folder) for folder in self._folders()]
        return [Target(r, frame) for r in recordings for frame in r.frames("front")][:: self.every]

    def _folders(self) -> list[Path]:
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; root must be what `mtdrive frames --out` wrote")
        if self.drives is not None:
            return [root / drive for drive in self.drives]
        if image_names(root):
            return [root]
        inner = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        folders = [folder for folder in inner if image_names(folder)]
        if not folders:
            raise DataError(
                f"{root}: neither it nor its folders hold images ({', '.join(SUFFIXES)}); extract frames of "
                "videos with `mtdrive frames`"
            )
        return folders

    def _recording(self, folder: Path) -> FramesRecording:
        images = frame_folder(folder, self.start, self.stop)
        check_sizes(images)
        warn_of_gap(folder.name, images.frames)
        return FramesRecording(folder.name, images, self._camera(folder, images.size))

    def _camera(self, folder: Path, size: Size) -> Camera:
        if self.fov is not None:
            return from_fov(self.fov, size)
        return find_camera(folder, size)


@dataclass(frozen=True, eq=False)
class FramesRecording(Recording):
    """One drive."""

    name: str
    images: ImageFolder
    camera: Camera

    def frames(self, camera: str) -> Sequence[int]:
        """Return the numbers of the frames."""
        return self.images.frames if camera == "front" else ()

    def path(self, camera: str, frame: int) -> Path:
        """Return where the image lies."""
        self._check(camera)
        return self.images.path(frame)

    def image(self, camera: str, frame: int) -> Image.Image:
        """Return the image as RGB."""
        self._check(camera)
        return self.images.read(frame)

    def intrinsics(self, camera: str, size: Size) -> Float[Tensor, "3 3"]:
        """Return K for the image resized to `size`."""
        self._check(camera)
        return self.camera.intrinsics(size)

    def _check(self, camera: str) -> None:
        if camera != "front":
            raise DataError(f"{self.name}: no camera {camera!r}; own videos have front alone")


def find_camera(folder: Path, size: Size) -> Camera:
    """Return the camera that the `camera.json` of a drive, or else of the folder above, describes.

    Raises:
        DataError: if there is none, or it does not fit images of `size`.
    """
    for place in (folder, folder.absolute().parent):
        if (place / FILE).is_file():
            return read_camera(place / FILE, size)
    raise DataError(
        f"{folder}: no {FILE} here or in the folder above; set fov to the horizontal field of view of the "
        'camera in degrees, or write the file, such as {"fov": 70}'
    )


def frame_folder(folder: Path, start: int = 0, stop: int | None = None) -> ImageFolder:
    """List the images of a drive in natural order: 2 goes before 10.

    Names that count up keep their numbers, so that a deleted frame leaves a gap; others are counted from 0.

    Raises:
        DataError: if there is none.
    """
    names = image_names(folder)
    if not names:
        raise DataError(f"{folder}: no images ({', '.join(SUFFIXES)}) here; check the name of the drive")
    numbers = _counted([Path(name).stem for name in names]) or range(len(names))
    pairs = zip(numbers, names, strict=True)
    chosen = {n: name for n, name in pairs if n >= start and (stop is None or n < stop)}
    if not chosen:
        raise DataError(
            f"{folder}: no frame from {start} up to {stop}; its frames are {numbers[0]} to {numbers[-1]}"
        )
    return ImageFolder(folder, chosen)


def image_names(folder: Path) -> list[str]:
    """Return the names of the images in natural order; of two with the same stem, the first by suffix."""
    paths = list(folder.iterdir()) if folder.is_dir() else []
    found = [p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    found.sort(key=lambda p: SUFFIXES.index(p.suffix.lower()), reverse=True)
    by_stem = {p.stem: p for p in found}
    return [path.name for path in sorted(by_stem.values(), key=natural)]


def check_sizes(images: ImageFolder) -> None:
    """Check the headers of all images.

    Raises:
        DataError: naming the first image whose size differs from that of the first one.
    """
    height, width = images.size
    for frame in images.frames:
        size = read_size(images.path(frame))
        if size != images.size:
            raise DataError(
                f"{images.path(frame)}: is {size[1]}x{size[0]}, but {images.names[images.frames[0]]} is "
                f"{width}x{height}; keep images of one camera and size in a folder"
            )


def _counted(stems: Sequence[str]) -> list[int] | None:
    """Return the numbers at the ends of names that count up by one, mostly, after the same beginning."""
    found = [re.fullmatch(r"(.*?)([0-9]+)", stem) for stem in stems]
    parts = [(match[1], int(match[2])) for match in found if match]
    if len(parts) < len(stems) or len({prefix for prefix, _ in parts}) > 1:
        return None
    numbers = [number for _, number in parts]
    steps = Counter(b - a for a, b in pairwise(numbers))
    return numbers if not steps[0] and 2 * steps[1] >= len(numbers) - 1 else None
