"""What a reader gives: recordings, and the frames of them to train or evaluate on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from PIL import Image
from torch import Tensor

from mtdrive.errors import DataError
from mtdrive.rig import Rig

Size = tuple[int, int]
"""Height and width in pixels."""


class Recording(ABC):
    """One uninterrupted drive, seen by a `front` camera and perhaps by others, such as a `stereo` partner.

    Recordings are read by several processes at once, so an instance holds paths and small tables, never
    an open file. Every method that reads raises `DataError`, naming the file and the remedy.
    """

    name: str
    """Unique within its source."""

    @abstractmethod
    def frames(self, camera: str) -> Sequence[int]:
        """Return the numbers of the frames on disk in ascending order; empty for a camera it lacks."""

    @abstractmethod
    def path(self, camera: str, frame: int) -> Path:
        """Return where the image lies."""

    @abstractmethod
    def image(self, camera: str, frame: int) -> Image.Image:
        """Return the image as RGB at its size on disk, fully decoded."""

    @abstractmethod
    def intrinsics(self, camera: str, size: Size) -> Float[Tensor, "3 3"]:
        """Return the pinhole matrix (float64) for the image resized to `size`."""

    def rig(self, camera: str, frame: int) -> Float[Tensor, "4 4"] | None:
        """Return `T_camera,front` in metres (float64), or None where the rig is not calibrated."""
        return torch.eye(4, dtype=torch.float64) if camera == "front" else None

    def car_rig(self) -> Rig | None:
        """Return how the cameras sit on the car, or None where it is not known."""
        return None

    def pose(self, frame: int) -> Float[Tensor, "4 4"] | None:
        """Return `T_world,front` in metres (float64), or None where it is not known."""
        return None

    def motion(self, frame: int, other: int) -> Float64[np.ndarray, "4 4"] | None:
        """Return `T_other,frame` of the front camera in metres, or None where it is not known."""
        here, there = self.pose(frame), self.pose(other)
        return None if here is None or there is None else np.linalg.inv(there.numpy()) @ here.numpy()

    def speed(self, frame: int) -> float | None:
        """Return the forward speed in m/s, or None where it is not known."""
        return None

    def command(self, frame: int) -> int | None:
        """Return the planner's `Command`, or None where there is none."""
        return None

    def target_point(self, frame: int) -> Float[Tensor, " 2"] | None:
        """Return the next point of the route, (right, forward) metres of the car, or None."""
        return None

    def neighbour(self, frame: int, offset: int, stride: int) -> int | None:
        """Return the number of the frame `offset` strides from `frame`, or None where none will do.

        Frames need not exist. Recordings that know how far they moved may choose by distance.
        """
        return frame + offset * stride

    def situations(self, frame: int) -> frozenset[str]:
        """Return what goes on, in words that `balance` may weigh, such as `left` or `standing`."""
        return frozenset()

    @property
    def labels(self) -> frozenset[str]:
        """Names of the labels that it has for every target of its source."""
        return frozenset()

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the classes, by their ids, of those of its labels that have any."""
        return {}

    @property
    def unknown(self) -> frozenset[str]:
        """Those of its labels that are NaN in every frame."""
        return frozenset()

    def label(self, name: str, frame: int, size: Size) -> Tensor:
        """Return the label `name` of the front camera for the image resized to `size`.

        Raises:
            DataError: if this recording has no such label.
        """
        raise DataError(f"recording {self.name} has no label {name!r}; it has {sorted(self.labels)}")

    def ground_truth(self, frame: int, convention: str) -> Float32[np.ndarray, "h w"]:
        """Return the depth of the front camera to evaluate against, in metres, 0 where unknown.

        It has the original size of the image, whatever the size on disk. Which conventions exist is the
        reader's business.

        Raises:
            DataError: if this recording has no such ground truth.
        """
        raise DataError(f"recording {self.name} has no ground truth of depth ({convention!r})")

    def flow_truth(self, frame: int) -> FlowTruth | None:
        """Return the optical flow of the front camera to evaluate against; None if just this frame has none.

        Raises:
            DataError: if this recording has no such ground truth.
        """
        raise DataError(f"recording {self.name} has no ground truth of optical flow")


@dataclass(frozen=True)
class FlowTruth:
    """Optical flow to evaluate against, in pixels of the original image, x then y, NaN where unknown."""

    other: int
    """The frame that it leads to."""
    flow: Float32[np.ndarray, "2 h w"]
    unoccluded: Float32[np.ndarray, "2 h w"] | None = None
    """The same without the pixels that the other image does not show, where the data set knows them."""


@dataclass(frozen=True)
class Target:
    """One frame to predict."""

    recording: Recording
    frame: int
    required: bool = False
    """Whether a list names it: then a missing neighbour is an error, else the frame is left out."""


class Source(ABC):
    """A data set on disk: what a configuration names."""

    @abstractmethod
    def targets(self) -> Sequence[Target]:
        """Return every frame to train or evaluate on."""


def resizing(old: Size, new: Size) -> Float[Tensor, "3 3"]:
    """Return the matrix (float64) that maps homogeneous pixels of an `old` image to those of a `new` one.

    Pixel centres are at whole numbers, so that a coordinate c moves to (c + 1/2) s - 1/2.
    """
    sy, sx = new[0] / old[0], new[1] / old[1]
    return torch.tensor([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], dtype=torch.float64)


def rescale(intrinsics: Float[Tensor, "3 3"], old: Size, new: Size) -> Float[Tensor, "3 3"]:
    """Return `intrinsics` of an `old` image for the image resized to `new`."""
    return resizing(old, new).to(intrinsics.dtype) @ intrinsics
