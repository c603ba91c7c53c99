"""Cityscapes, finely annotated images of streets: `Cityscapes`.

Marius Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016,
https://arxiv.org/abs/1604.01685.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mtdrive.data.camera import Camera
from mtdrive.data.labelled import LabelledImages, Pair, paired
from mtdrive.data.recording import Source, Target
from mtdrive.errors import ConfigError, DataError

CAMERA = Camera(2048, 1024, 2262.52, 2265.30, 1096.98, 513.137)
"""Of most cities; the others are near to it."""

_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"


@dataclass(frozen=True)
class Cityscapes(Source):
    """Images with the 19 classes, a recording a city; they do not follow each other in time."""

    root: str | Path
    """The folder with `leftImg8bit` and `gtFine`."""
    split: Literal["train", "val", "test"] = "train"
    """Which folder of both; the labels of `test` are not published."""
    cities: Sequence[str] | None = None
    """Which of its cities; all if none are given."""
    only_labelled: bool = False
    """Whether images without a label are left out; else they are an error."""
    every: int = 1
    """Take every n-th image."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every must be at least 1, found {self.every}")

    def targets(self) -> list[Target]:
        """Return the images of all cities.

        Raises:
            DataError: if a city is missing, or an image or a label lacks its partner.
        """
        recordings = [LabelledImages(city, self._pairs(city), CAMERA) for city in self._cities()]
        return [Target(r, frame) for r in recordings for frame in r.frames("front")][:: self.every]

    def _folder(self, kind: str) -> Path:
        return Path(self.root).expanduser() / kind / self.split

    def _cities(self) -> list[str]:
        labels = self._folder("gtFine")
        cities = self.cities
        if cities is None:
            cities = sorted(p.name for p in labels.iterdir() if p.is_dir()) if labels.is_dir() else []
        if not cities:
            raise DataError(
                f"{labels}: no folders of cities; root must hold leftImg8bit/{self.split} and "
                f"gtFine/{self.split}, as the archives have them"
            )
        return list(cities)

    def _pairs(self, city: str) -> list[Pair]:
        folders = {
            suffix: self._folder(k) / city for k, suffix in (("leftImg8bit", _IMAGE), ("gtFine", _LABEL))
        }
        images, labels = (
            {path.name.removesuffix(suffix): path for path in folder.glob(f"*{suffix}")}
            for suffix, folder in folders.items()
        )
        if not labels:
            raise DataError(
                f"{folders[_LABEL]}: no labels such as {city}_000000_000019{_LABEL}; complete the download, "
                "or take the city off the list"
            )
        return paired(images, labels, self.only_labelled)
