"""How the images of a recorded drive are stored: JPEG for colours, PNG for depth, semantics and flow."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8, UInt16
from PIL import Image

from mtdrive.classes import UNLABELLED
from mtdrive.data.images import decode, read_greys, read_rgb16
from mtdrive.data.recording import Size
from mtdrive.errors import DataError

QUALITY = 92
"""Of the JPEGs."""
_STEPS = np.iinfo(np.uint16).max
_FLOW_UNIT, _FLOW_ZERO = 64, 1 << 15  # of KITTI
_GREY, _COLOUR, _UP = 0, 2, 2  # numbers of PNG: two of its colour types, and a filter


def to_jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Return a colour image as JPEG."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def depth_to_png(depth: Float[np.ndarray, "h w"], farthest: float) -> bytes:
    """Return metres in 65535 equal steps up to `farthest`; what is not positive or beyond is 0, unknown."""
    known = (depth > 0) & (depth <= farthest)
    # A known pixel keeps at least one step, because zero would make it unknown.
    steps = np.maximum(np.rint(np.where(known, depth, 0) * np.float32(_STEPS / farthest)), known)
    return to_png(steps.astype(np.uint16))


def flow_to_png(flow: Float[np.ndarray, "h w 2"]) -> bytes:
    """Return pixels (x, y) in KITTI's format, in steps of 1/64; what is not finite or 512 away is unknown."""
    with np.errstate(invalid="ignore"):
        steps = np.rint(flow * np.float32(_FLOW_UNIT)) + _FLOW_ZERO
    known = ((steps >= 0) & (steps <= _STEPS)).all(-1, keepdims=True)
    return to_png(np.concatenate([np.where(known, steps, 0), known], axis=-1).astype(np.uint16))


def to_png(values: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w *c"]) -> bytes:
    """Return greys of 8 or 16 bits, or colours of 16 bits, as PNG.

    Pillow knows no colours of 16 bits, and tries five filters for each row, which takes twice as long.
    """
    height, width = values.shape[:2]
    rows = np.ascontiguousarray(values, values.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), _UP, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    colour = _GREY if values.ndim == 2 else _COLOUR
    header = struct.pack(">IIBBBBB", width, height, 8 * values.dtype.itemsize, colour, 0, 0, 0)
    # The least effort to compress: the next level takes half as long again to save a tenth.
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.data, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def read_depth(path: Path, farthest: float) -> Float32[np.ndarray, "h w"]:
    """Return the depth in metres, NaN where unknown.

    Raises:
        DataError: if the file is missing, damaged or of another kind.
    """
    image = decode(path)
    if not image.mode.startswith("I;16"):
        raise _other(path, "16-bit greys", f"mode {image.mode}")
    steps = np.asarray(image).astype(np.float32)
    return np.where(steps > 0, steps * np.float32(farthest / _STEPS), np.float32(np.nan))


def read_semantics(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Return the tag of each pixel, `UNLABELLED` where CARLA has none, which is its 0.

    Raises:
        DataError: if the file is missing, damaged or of another kind.
    """
    tags = read_greys(path)
    return np.where(tags == 0, np.uint8(UNLABELLED), tags)


def read_flow(path: Path) -> Float32[np.ndarray, "2 h w"]:
    """Return the flow in pixels, x then y, NaN where unknown.

    Raises:
        DataError: if the file is missing, damaged or of another kind.
    """
    x_y_known = read_rgb16(path).transpose(2, 0, 1).astype(np.float32)
    flow = (x_y_known[:2] - _FLOW_ZERO) / _FLOW_UNIT
    return np.where(x_y_known[2] > 0, flow, np.float32(np.nan))


def resize_nearest(values: Shaped[np.ndarray, "*c h w"], size: Size) -> Shaped[np.ndarray, "*c h2 w2"]:
    """Return a map of `size` whose pixels hold the value at their centre: none is mixed from two."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(size, values.shape[-2:], strict=True)
    )
    return values if values.shape[-2:] == size else values[..., rows[:, None], columns]


def _other(path: Path, expected: str, found: str) -> DataError:
    return DataError(f"{path}: expected a PNG of {expected}, found {found}; copy or record it again")
