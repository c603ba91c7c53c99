"""Images on disk: colour frames, and depth maps as KITTI's 16-bit PNG."""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8, UInt16
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from torch import Tensor
from torch.nn.functional import interpolate

from mtdrive.data.recording import Size
from mtdrive.errors import DataError
from mtdrive.files import write_atomically

DEPTH_UNIT = 256.0
"""Steps of a KITTI depth map in one metre."""

# What Pillow raises on damaged bytes: SyntaxError for PNG chunks, struct.error for headers, else OSError.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)


def read_image(path: Path) -> Image.Image:
    """Return the image as 8-bit RGB, fully decoded; greys fill the three channels.

    Raises:
        DataError: if the file is missing, empty, truncated or not an image.
    """
    image = decode(path)
    if image.mode.startswith("I"):  # Pillow clips 16 bits to 8 instead of scaling them
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def to_pixels(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """Return the values of an RGB image; those of a pixel lie side by side."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def resized_pixels(image: Image.Image, size: Size) -> UInt8[Tensor, "3 h w"]:
    """Return the values of `image`, resized with Lanczos where its size differs.

    Torch, which is faster, does as Pillow, but for one value of a photograph in a hundred that differs by 1.
    """
    if (image.height, image.width) == size:
        return to_pixels(image)
    if torch_has_lanczos():
        return interpolate(to_pixels(image)[None], size, mode="lanczos", antialias=True)[0]
    return to_pixels(image.resize((size[1], size[0]), Image.Resampling.LANCZOS))


@cache
def torch_has_lanczos() -> bool:
    """Return whether torch resizes with Lanczos, as it does from 2.12 on and several times faster."""
    try:
        interpolate(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), (4, 4), mode="lanczos", antialias=True)
    except (NotImplementedError, ValueError):
        return False
    return True


def read_size(path: Path) -> Size:
    """Return the size from the file's header alone.

    Raises:
        DataError: if the file is missing, empty or not an image.
    """
    with _open(path) as image:
        return image.height, image.width


def read_greys(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Return the values of an image of 8-bit greys, such as the ids of classes.

    Raises:
        DataError: if the file is missing, damaged or of another kind.
    """
    image = decode(path)
    if image.mode != "L":
        raise DataError(
            f"{path}: expected a PNG of 8-bit greys, found mode {image.mode}; copy it again, or take the "
            "file with the ids rather than the one with colours"
        )
    return np.asarray(image)


def read_depth_png(path: Path) -> Float32[np.ndarray, "h w"]:
    """Return the depth map in metres, 0 where unknown.

    Raises:
        DataError: if the file is missing, damaged or not a PNG of 16-bit greys.
    """
    image = decode(path)
    if not image.mode.startswith("I;16"):
        raise DataError(
            f"{path}: expected a depth map of 16-bit greys (metres x 256), found mode {image.mode}; "
            "use the original PNG: converting to JPEG or to 8 bits loses the depth"
        )
    return (np.asarray(image) / DEPTH_UNIT).astype(np.float32)


def write_depth_png(path: Path, depth: Float[np.ndarray, "h w"]) -> None:
    """Write metres as KITTI's 16-bit PNG; what is not positive and finite becomes 0, unknown.

    Raises:
        DataError: if a depth needs more than 16 bits.
    """
    known = np.isfinite(depth) & (depth > 0)
    # A known pixel keeps at least one step, because zero would make it unknown.
    steps = np.where(known, np.maximum(np.rint(np.where(known, depth, 0) * DEPTH_UNIT), 1), 0)
    if steps.max(initial=0) > np.iinfo(np.uint16).max:
        raise DataError(
            f"{path}: 16 bits hold depths up to 255.996 m, found {depth[known].max():.3f} m; clip them first"
        )
    content = io.BytesIO()
    Image.fromarray(steps.astype(np.uint16)).save(content, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def read_rgb16(path: Path) -> UInt16[np.ndarray, "h w 3"]:
    """Return the values of a PNG of 16-bit colours.

    Raises:
        DataError: if the file is missing, damaged or of another kind.
    """
    # Pillow keeps one byte of each number: by these names the first (that of big-endian), or the second.
    high, low = (np.asarray(decode(path, half)).astype(np.uint16) for half in ("RGB;16B", "RGB;16L"))
    return high << 8 | low


def _open(path: Path) -> ImageFile:
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; complete the download or leave the frame out") from None
    except UnidentifiedImageError:
        what = "is empty" if path.stat().st_size == 0 else "is not an image"
        raise DataError(f"{path}: the file {what}; copy or download it again") from None
    except _DAMAGE as error:
        raise DataError(f"{path}: cannot be opened as an image ({error}); copy it again") from error


def decode(path: Path, half: str | None = None) -> Image.Image:
    """Return the image with its pixels in memory and the file closed; of 16-bit colours, one `half`.

    Raises:
        DataError: if the file is missing or damaged, or is to have two halves and has not.
    """
    with _open(path) as image:
        if half is not None:
            if [tile.args for tile in image.tile] != ["RGB;16B"]:
                raise DataError(
                    f"{path}: expected a PNG of 16-bit colours, found mode {image.mode}; restore the "
                    "original: programs that keep 8 bits destroy it"
                )
            image.tile = [image.tile[0]._replace(args=half)]
        try:
            image.load()
        except _DAMAGE as error:
            raise DataError(
                f"{path}: the image is truncated or damaged ({error}); copy or download it again"
            ) from error
        return image
