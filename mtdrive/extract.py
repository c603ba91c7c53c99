"""From videos to folders of frames, for training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mtdrive.data.camera import FILE, Camera, from_fov, read_camera
from mtdrive.errors import DataError
from mtdrive.log import progress
from mtdrive.video import EndsEarly, Size, Video, open_video, read_frames

JPEG_QUALITY = 95
"""Of the frames: above it files grow, and the networks see a smaller image anyway."""


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What becomes of the frames of a video."""

    fps: float = 10.0
    """Frames in a second, picked by time; all of them if the video has fewer."""
    size: tuple[int | None, int] | None = None
    """Height and width of the frames; without a height the shape stays. That of the video if not given."""
    fov: float | None = None
    """Horizontal field of view of the video in degrees."""
    camera: Path | None = None
    """A camera file for the size of the video, or for a multiple of it."""

    def frame_size(self, video: Size) -> Size:
        """Return the size of the frames of a video."""
        if self.size is None:
            return video
        height, width = self.size
        return height or max(round(width * video[0] / video[1]), 1), width

    def camera_of(self, video: Size) -> Camera | None:
        """Return the camera of the frames of a video, or None if nothing is known of it."""
        if self.camera is not None:
            found = read_camera(self.camera, video)
        elif self.fov is not None:
            found = from_fov(self.fov, video)
        else:
            return None
        return found.resized(self.frame_size(video))


def extract(path: Path, folder: Path, extraction: Extraction) -> int:
    """Write the frames of a video to a new folder as JPEG, with its camera, and return their number.

    The folder appears whole or not at all. A video that breaks off gives the frames before.

    Raises:
        DataError: if the folder exists, or the video cannot be read.
        EndsEarly: if it breaks off; the folder is there.
    """
    if folder.exists():
        raise DataError(f"{folder}: exists already; remove it to extract {path.name} again")
    video = open_video(path)
    camera = extraction.camera_of(video.size)
    broken: EndsEarly | None = None
    with _new_folder(folder) as temporary:
        try:
            count = _write_frames(video, temporary, extraction)
        except EndsEarly as error:
            broken = error
        if camera is not None:
            (temporary / FILE).write_text(camera.json())
    if broken is not None:
        raise broken
    return count


def _write_frames(video: Video, folder: Path, extraction: Extraction) -> int:
    height, width = extraction.frame_size(video.size)
    share = min(extraction.fps / float(video.rate), 1.0)
    count = 0
    with progress(f"extracting {video.path.name}", round((video.count or 0) * share)) as tell:
        for count, frame in enumerate(read_frames(video, extraction.fps), start=1):
            if frame.size != (width, height):
                frame = frame.resize((width, height), Image.Resampling.LANCZOS)
            frame.save(folder / f"{count - 1:06d}.jpg", quality=JPEG_QUALITY)
            tell(count)
    return count


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder that gets its name if the block succeeds, and goes if it fails."""
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
