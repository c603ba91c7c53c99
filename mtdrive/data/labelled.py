"""Single images with a label for each of their pixels, as benchmarks of segmentation give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from mtdrive.classes import CITYSCAPES, LABEL_IDS
from mtdrive.data.camera import Camera
from mtdrive.data.drive_images import resize_nearest
from mtdrive.data.images import read_greys, read_image, read_size
from mtdrive.data.recording import Recording, Size
from mtdrive.errors import DataError


@dataclass(frozen=True)
class Pair:
    """An image and its label."""

    image: Path
    label: Path


@dataclass(frozen=True, eq=False)
class LabelledImages(Recording):
    """Images that do not follow each other in time, labelled with the label ids of Cityscapes.

    They may differ in size, and be stored smaller than they were published.
    """

    name: str
    pairs: Sequence[Pair]
    """Frame k is pair k."""
    camera: Camera
    """Near to that of every image."""

    def frames(self, camera: str) -> Sequence[int]:
        """Return the numbers of the images."""
        return range(len(self.pairs)) if camera == "front" else ()

    def path(self, camera: str, frame: int) -> Path:
        """Return where the image lies."""
        self._check(camera)
        return self.pairs[frame].image

    def image(self, camera: str, frame: int) -> Image.Image:
        """Return the image as RGB."""
        return read_image(self.path(camera, frame))

    def intrinsics(self, camera: str, size: Size) -> Float[Tensor, "3 3"]:
        """Return K for the image resized to `size`."""
        self._check(camera)
        return self.camera.intrinsics(size)

    def neighbour(self, frame: int, offset: int, stride: int) -> int | None:
        """Return the image itself, or None: the one before it is of another place."""
        return None if offset else frame

    @property
    def labels(self) -> frozenset[str]:
        """`semantics`."""
        return frozenset({"semantics"})

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The 19 of Cityscapes."""
        return {"semantics": CITYSCAPES.names}

    def label(self, name: str, frame: int, size: Size) -> Int64[Tensor, "h w"]:
        """Return the class of each pixel of the image resized to `size`; none is mixed from two."""
        if name not in self.labels:
            return super().label(name, frame, size)
        pair = self.pairs[frame]
        ids, expected = read_greys(pair.label), read_size(pair.image)
        if ids.shape != expected:
            raise DataError(
                f"{pair.label}: expected {expected[1]}x{expected[0]} pixels as in {pair.image.name}, found "
                f"{ids.shape[1]}x{ids.shape[0]}; resize both alike, the label by nearest neighbour"
            )
        return torch.from_numpy(LABEL_IDS.classes(resize_nearest(ids, size), pair.label))

    def _check(self, camera: str) -> None:
        if camera != "front":
            raise DataError(f"{self.name}: no camera {camera!r}; single images have front alone")


def paired(images: Mapping[str, Path], labels: Mapping[str, Path], only_labelled: bool) -> list[Pair]:
    """Return the images with their labels by the names that both have, in the order of the names.

    Raises:
        DataError: if a label has no image, or an image no label although not `only_labelled` count.
    """
    if lost := sorted(labels.keys() - images.keys()):
        raise DataError(
            f"{labels[lost[0]]}: has no image, as have {len(lost) - 1} more of {len(labels)} labels; "
            "complete the download"
        )
    if (bare := sorted(images.keys() - labels.keys())) and not only_labelled:
        raise DataError(
            f"{images[bare[0]]}: has no label, as have {len(bare) - 1} more of {len(images)} images; "
            "complete the download, or set only_labelled to leave such images out"
        )
    return [Pair(images[name], labels[name]) for name in sorted(labels)]
