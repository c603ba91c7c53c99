"""The camera of one's own recordings: a file, or a field of view."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.data.recording import Size, rescale
from mtdrive.errors import DataError

FILE = "camera.json"
"""What the file of a drive is called."""
TOLERANCE = 0.03
"""By how much shares of sides may differ before a calibration is taken for that of other images.

Rounding of a resized image is less, 16:9 against 17:9 is more."""

_EXPECTED = (
    'expected {"width", "height", "fx", "fy", "cx", "cy"} of the image that was calibrated, in pixels, or '
    '{"fov": DEGREES}, the horizontal field of view'
)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, in pixels of its images; the centre of the first pixel is (0, 0)."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def size(self) -> Size:
        """Of the images."""
        return self.height, self.width

    def intrinsics(self, size: Size) -> Float[Tensor, "3 3"]:
        """Return the pinhole matrix (float64) for the image resized to `size`."""
        rows = [[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]]
        return rescale(torch.tensor(rows, dtype=torch.float64), self.size, size)

    def resized(self, size: Size) -> Camera:
        """Return the camera of the images resized to `size`."""
        k = self.intrinsics(size)
        values = (k[0, 0], k[1, 1], k[0, 2], k[1, 2])
        return Camera(size[1], size[0], *(float(x) for x in values))

    def json(self) -> str:
        """Return the content of a camera file."""
        return json.dumps(asdict(self), indent=2) + "\n"


KITTI = Camera(1242, 375, 721.5377, 721.5377, 609.5593, 172.854)
"""The left colour camera of 2011-09-26, which is near to all of KITTI's."""


def from_fov(degrees: float, size: Size) -> Camera:
    """Return a camera with square pixels and a horizontal field of view, its axis through the middle.

    Raises:
        DataError: if it is not the angle of a pinhole camera.
    """
    if not 1 <= degrees <= 175:
        raise DataError(
            f"a field of view of {degrees:g} degrees: expected 1 to 175; images of a fisheye must be "
            "undistorted first"
        )
    height, width = size
    focal = width / 2 / math.tan(math.radians(degrees) / 2)
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def read_camera(path: Path, size: Size) -> Camera:
    """Return the camera in a file for images of `size`.

    Raises:
        DataError: if the file is not one of a camera, or belongs to images of another shape.
    """
    given = _read(path)
    if given.keys() == {"fov"}:
        return from_fov(given["fov"], size)
    if given.keys() != Camera.__dataclass_fields__.keys():
        raise DataError(f"{path}: found {', '.join(sorted(given)) or 'nothing'}; {_EXPECTED}")
    width, height, *rest = (given[name] for name in Camera.__dataclass_fields__)
    camera = Camera(round(width), round(height), *rest)
    _check(camera, path)
    if not same_shape(camera.size, size):
        raise DataError(
            f"{path}: the camera was calibrated for {camera.width}x{camera.height}, but the images are "
            f"{size[1]}x{size[0]}, of another shape; give the width, height, cx and cy of the part of the "
            "sensor that was filmed"
        )
    return camera.resized(size)


def same_shape(a: Size, b: Size) -> bool:
    """Return whether height to width is nearly the same."""
    return abs(math.log(a[1] / a[0] * b[0] / b[1])) < TOLERANCE


def _read(path: Path) -> dict[str, float]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); {_EXPECTED}") from None
    if not isinstance(given, dict) or not all(_is_number(x) for x in given.values()):
        raise DataError(f"{path}: holds something else than numbers by name; {_EXPECTED}")
    return given


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check(camera: Camera, path: Path) -> None:
    if min(camera.width, camera.height, camera.fx, camera.fy) <= 0:
        raise DataError(f"{path}: width, height, fx and fy must be greater than 0, found {camera}")
    if not (0 < camera.cx < camera.width and 0 < camera.cy < camera.height):
        raise DataError(
            f"{path}: the principal point ({camera.cx:g}, {camera.cy:g}) is outside of the "
            f"{camera.width}x{camera.height} image; are all values in pixels of this size?"
        )
