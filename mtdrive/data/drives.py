"""Recorded drives, as `mtdrive record` writes them: the source `Drives`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtdrive.classes import ClassSet
from mtdrive.data.drive_files import Drive, read_drive
from mtdrive.data.drive_header import FILE, DriveHeader, read_header
from mtdrive.data.drive_recording import DriveLabel, DriveOptions, DriveRecording
from mtdrive.data.recording import Source, Target
from mtdrive.errors import ConfigError, DataError


class DamagedDriveWarning(UserWarning):
    """A drive is left out."""


@dataclass(frozen=True)
class Drives(Source):
    """Drives of a simulator, with poses and controls: each drive and camera is a recording of its own."""

    root: str | Path
    """A folder that holds drives at any depth, or one drive."""
    drives: Sequence[str] | None = None
    """Which of the folders below `root` to use; all if none are given."""
    cameras: Sequence[str] = ("front",)
    """Which cameras are `front`, in recordings of their own; `shifted` shows what a car that left its way
    sees."""
    labels: Sequence[DriveLabel] = ()
    """What to give besides images, poses, speed, command and target point."""
    classes: ClassSet = "cityscapes"
    """Which classes `semantics` has: those of Cityscapes and KITTI, or CARLA's tags."""
    towns: Sequence[str] | None = None
    """Only drives in these towns."""
    weathers: Sequence[str] | None = None
    """Only drives in these weathers."""
    baseline: tuple[float, float] | None = (0.3, 3.0)
    """Least and most metres that the camera moves between neighbouring views: a neighbour is the nearest
    frame that is far enough, and frames without one are left out where views need it. None takes the frames
    at the stride."""
    patience: float = 1.0
    """Most seconds between neighbours that are found by `baseline`."""
    skip_damaged: bool = False
    """Whether drives that are not whole are left out with a warning; else they are an error."""
    every: int = 1
    """Take every n-th target."""
    start: int = 0
    """The first frame to use of each drive."""
    stop: int | None = None
    """The frame after the last one to use of each drive."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every must be at least 1, found {self.every}")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise ConfigError(f"start must be from 0 and stop after it, found {self.start} and {self.stop}")
        if not self.cameras:
            raise ConfigError("cameras must name at least one, such as front")
        if self.baseline is not None and not 0 <= self.baseline[0] < self.baseline[1]:
            raise ConfigError(f"baseline must be two rising distances in metres, found {self.baseline}")
        if "flow" in self.labels and self.baseline is not None:
            raise ConfigError("flow leads to the frame before, whatever its distance: set baseline to null")

    @property
    def folder(self) -> Path:
        """The root with `~` resolved."""
        return Path(self.root).expanduser()

    def targets(self) -> list[Target]:
        """Return the frames of all drives.

        Raises:
            DataError: if a drive is damaged or lacks a camera or label, or none is left.
        """
        drives = self._read()
        recordings = [self._recording(drive, camera) for drive in drives for camera in self.cameras]
        for recording in recordings:
            recording.check()
        targets = [Target(r, frame) for r in recordings for frame in r.frames("front")][:: self.every]
        if not targets:
            raise DataError(
                f"{self.folder}: no frame to use; the settings drives, towns, weathers, start and stop must "
                "leave some"
            )
        return targets

    def _read(self) -> list[Drive]:
        found = []
        for folder in self._folders():
            try:
                if self._wants(read_header(folder / FILE)):
                    found.append(read_drive(folder))
            except DataError as error:  # noqa: PERF203  one bad drive costs no other
                if not self.skip_damaged:
                    raise DataError(f"{error} (skip_damaged leaves such drives out)") from None
                warnings.warn(f"left out: {error}", DamagedDriveWarning, stacklevel=2)
        return found

    def _folders(self) -> list[Path]:
        if self.drives is not None:
            return [self.folder / drive for drive in self.drives]
        folders = find_drives(self.folder)
        if not folders:
            raise DataError(f"{self.folder}: no drives; root must be what `mtdrive record` wrote")
        return folders

    def _wants(self, header: DriveHeader) -> bool:
        wanted = ((header.town, self.towns), (header.weather, self.weathers))
        return all(choice is None or value in choice for value, choice in wanted)

    def _recording(self, drive: Drive, camera: str) -> DriveRecording:
        options = DriveOptions(
            camera=camera,
            labels=frozenset(self.labels),
            classes=self.classes,
            baseline=self.baseline,
            patience=self.patience,
            start=self.start,
            stop=self.stop,
        )
        name = os.path.relpath(drive.folder, self.folder.absolute().parent)
        return DriveRecording(f"{name}/{camera}", drive, options)


def find_drives(root: Path) -> list[Path]:
    """Return every folder below `root`, or `root` itself, that holds a drive; hidden ones are unfinished."""
    found = []
    for folder, inner, files in os.walk(root):
        if FILE in files:
            found.append(Path(folder))
            inner.clear()
        inner[:] = sorted(name for name in inner if not name.startswith("."))
    return found
