"""The sources of KITTI: `KittiRaw` and `KittiOdometry`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mtdrive.data.folders import warn_of_gap
from mtdrive.data.kitti_odometry import KittiOdometry
from mtdrive.data.kitti_raw import DepthLabel, Intrinsics, RawOptions, RawRecording
from mtdrive.data.kitti_splits import FOLDERS, Side, SplitLine, find_drives, read_split
from mtdrive.data.recording import Source, Target
from mtdrive.errors import ConfigError, DataError

__all__ = ["KittiOdometry", "KittiRaw"]


@dataclass(frozen=True)
class KittiRaw(Source):
    """Drives of KITTI raw: each drive and side is one recording."""

    root: str | Path
    """The folder of the days, `2011_09_26` and so on."""
    drives: Sequence[str] | None = None
    """For example `["2011_09_26/2011_09_26_drive_0095_sync"]`; None takes those on disk. With a split, its
    lines of other drives are left out."""
    split: str | Path | None = None
    """A list of frames in Monodepth2's format, `folder index side` a line; None takes every frame."""
    side: Literal["l", "r", "both"] = "both"
    """Which colour camera is `front`: `l` is image_02 and `r` image_03; the other one is `stereo`."""
    depth: DepthLabel = "none"
    """The label `depth`: from the LiDAR scan of the frame, or from PNGs such as the official depth maps."""
    proj_depth: str = "groundtruth"
    """The folder of the PNGs within the drive's `proj_depth`."""
    only_labelled: bool = False
    """Whether targets without the file of their depth are left out; else they are an error."""
    speed: bool = False
    """Whether to give the forward speed of the drive's `oxts`."""
    intrinsics: Intrinsics = "calibration"
    """`monodepth2` is the one matrix that it uses for all drives, with the centre of the image as principal
    point and pixels counted from their corners."""
    every: int = 1
    """Take every n-th target."""
    start: int = 0
    """The first frame to use of each drive."""
    stop: int | None = None
    """The frame after the last one to use of each drive."""

    def __post_init__(self) -> None:
        if self.only_labelled and self.depth == "none":
            raise ConfigError("only_labelled needs a label: set depth to lidar or proj_depth")
        if self.every < 1:
            raise ConfigError(f"every must be at least 1, found {self.every}")

    @property
    def folder(self) -> Path:
        """The root with `~` resolved."""
        return Path(self.root).expanduser()

    def targets(self) -> list[Target]:
        """Return the frames of the split in its order, or those of all drives.

        Raises:
            DataError: if a drive, a listed image, a calibration or the file of a label or speed is missing.
        """
        frames = self._of_drives() if self.split is None else self._of_split(Path(self.split).expanduser())
        for recording in dict.fromkeys(recording for recording, _ in frames):
            recording.check()
        if self.only_labelled:
            frames = [(recording, frame) for recording, frame in frames if frame in recording.labelled]
        self._check_files(frames)
        return [Target(r, frame, required=self.split is not None) for r, frame in frames[:: self.every]]

    def _of_drives(self) -> list[tuple[RawRecording, int]]:
        drives = find_drives(self.folder) if self.drives is None else self.drives
        recordings = [self._recording(drive, side) for drive in drives for side in self._sides(drive)]
        for recording in recordings:
            warn_of_gap(recording.name, recording.frames("front"))
        return [(recording, frame) for recording in recordings for frame in recording.frames("front")]

    def _of_split(self, path: Path) -> list[tuple[RawRecording, int]]:
        recordings: dict[tuple[str, Side], RawRecording] = {}
        frames = []
        for number, line in enumerate(read_split(path), start=1):
            if not self._wants(line):
                continue
            key = (line.drive, line.side)
            recording = recordings.setdefault(key, self._recording(*key))
            if line.frame not in recording.frames("front"):
                raise DataError(
                    f"{path}:{number}: `{line}` names no image: {recording.folder / FOLDERS[line.side]} has "
                    f"{len(recording.frames('front'))} images; complete the drive or drop the line"
                )
            frames.append((recording, line.frame))
        return frames

    def _wants(self, line: SplitLine) -> bool:
        in_range = self.start <= line.frame and (self.stop is None or line.frame < self.stop)
        return in_range and self.side in (line.side, "both") and line.drive in (self.drives or [line.drive])

    def _sides(self, drive: str) -> list[Side]:
        """Return the sides to use: those asked for, or those on disk.

        Raises:
            DataError: if there is none.
        """
        asked: list[Side] = ["l", "r"] if self.side == "both" else [self.side]
        sides = [side for side in asked if self._recording(drive, side).frames("front")]
        if not sides:
            names = " or ".join(FOLDERS[side] for side in asked)
            raise DataError(
                f"{self.folder / drive}: no images in {names}/data from start to stop; drives are named like "
                "2011_09_26/2011_09_26_drive_0095_sync and hold 0000000000.png or .jpg"
            )
        return sides

    def _recording(self, drive: str, side: Side) -> RawRecording:
        options = RawOptions(
            depth=self.depth,
            proj_depth=self.proj_depth,
            speed=self.speed,
            intrinsics=self.intrinsics,
            start=self.start,
            stop=self.stop,
        )
        return RawRecording(f"{drive}/{FOLDERS[side]}", self.folder / drive, side, options)

    def _check_files(self, frames: Sequence[tuple[RawRecording, int]]) -> None:
        """Raise `DataError` if nothing is left, or a label or speed is missing."""
        if not frames:
            raise DataError(
                f"{self.folder}: no frame to use; root must contain days such as 2011_09_26 with drives, and "
                "the settings drives, split, side, start, stop and only_labelled must leave some"
            )
        groups: dict[RawRecording, list[int]] = {}
        for recording, frame in frames:
            groups.setdefault(recording, []).append(frame)
        for recording, numbers in groups.items():
            recording.check_files(numbers)
