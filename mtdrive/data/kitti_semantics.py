"""The semantic segmentation benchmark of KITTI 2015: `KittiSemantics`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mtdrive.data.camera import KITTI
from mtdrive.data.folders import IMAGES
from mtdrive.data.labelled import LabelledImages, paired
from mtdrive.data.recording import Source, Target
from mtdrive.errors import ConfigError, DataError

_TARGETS = "*_10"  # the names of the annotated frames; data of the flow benchmark have *_11 beside them


@dataclass(frozen=True)
class KittiSemantics(Source):
    """The 200 training images with the classes of Cityscapes; they do not follow each other in time."""

    root: str | Path
    """The folder with `training/image_2` and `training/semantic`."""
    only_labelled: bool = False
    """Whether images without a label are left out; else they are an error."""
    every: int = 1
    """Take every n-th image."""
    start: int = 0
    """The first image to use, counted in the order of the names."""
    stop: int | None = None
    """The image after the last one to use."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every must be at least 1, found {self.every}")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise ConfigError(f"start must be from 0 and stop after it, found {self.start} and {self.stop}")

    def targets(self) -> list[Target]:
        """Return the images from start to stop.

        Raises:
            DataError: if there is none, or an image or a label lacks its partner.
        """
        folder = Path(self.root).expanduser() / "training"
        pairs = paired(_named(folder / "image_2"), _named(folder / "semantic"), self.only_labelled)
        recording = LabelledImages("training", pairs, KITTI)
        targets = [Target(recording, frame) for frame in recording.frames("front")[self.start : self.stop]]
        if not targets:
            raise DataError(
                f"{folder / 'semantic'}: {len(pairs)} labels such as 000000_10.png, none from {self.start} "
                f"to {self.stop or 'the end'}; root must hold training/image_2 and training/semantic"
            )
        return targets[:: self.every]


def _named(folder: Path) -> dict[str, Path]:
    """Return the annotated frames of a folder by their names; PNG goes before JPEG."""
    return {path.stem: path for suffix in reversed(IMAGES) for path in folder.glob(_TARGETS + suffix)}
