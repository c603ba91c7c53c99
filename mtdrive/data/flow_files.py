"""Optical flow on disk: Middlebury's `.flo`, and KITTI's PNG of 16-bit colours."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from mtdrive.data.drive_images import flow_to_png, read_flow, resize_nearest
from mtdrive.data.recording import Size
from mtdrive.errors import DataError
from mtdrive.files import write_atomically

SUFFIXES = (".png", ".flo")

_MAGIC, _HEADER = b"PIEH", struct.Struct("<4sii")  # as a float, the magic is 202021.25
_UNKNOWN = 1e9  # a larger number stands for unknown flow
_UNKNOWN_WRITTEN = 1e10


def read_flow_map(path: Path) -> Float32[np.ndarray, "2 h w"]:
    """Return the flow of a `.flo` or of a KITTI PNG in pixels, x then y, NaN where unknown.

    Raises:
        DataError: if the file is missing, damaged or of another kind.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: flow is a .flo or KITTI's .png; found the suffix {path.suffix!r}")
    return read_flo(path) if path.suffix == ".flo" else read_flow(path)


def write_flow_map(path: Path, flow: Float[np.ndarray, "2 h w"]) -> None:
    """Write the flow as `.flo` or KITTI PNG, by the suffix; what is not finite is unknown.

    Raises:
        DataError: if the suffix is another one, or the flow is too long for a PNG.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: flow is written as .flo or .png; give one of these suffixes")
    if path.suffix == ".flo":
        content = _to_flo(flow)
    else:
        longest = np.abs(flow[np.isfinite(flow)]).max(initial=0)
        if longest >= 511.9:
            raise DataError(
                f"{path}: KITTI's PNG holds flow of up to 511 pixels, found {longest:.1f}; write .flo"
            )
        content = flow_to_png(np.moveaxis(flow, 0, -1))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def read_flo(path: Path) -> Float32[np.ndarray, "2 h w"]:
    """Return the flow of a Middlebury file in pixels, x then y, NaN where unknown.

    Raises:
        DataError: if the file is missing, has another magic, or is not as long as its size says.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the flow cannot be read ({error.strerror}); check the path") from None
    if content[:4] != _MAGIC:
        raise DataError(
            f"{path}: a .flo file begins with {_MAGIC!r} (202021.25), this one with {content[:4]!r}; it is "
            "another format or damaged, so write it again"
        )
    if len(content) < _HEADER.size:
        raise DataError(f"{path}: ends within its header; copy it again")
    _, width, height = _HEADER.unpack_from(content)
    expected = _HEADER.size + 8 * width * height
    if width < 1 or height < 1 or len(content) != expected:
        raise DataError(
            f"{path}: says that it is {width}x{height} pixels, which takes {expected} bytes, but has "
            f"{len(content)}; copy or write it again"
        )
    values = np.frombuffer(content, "<f4", offset=_HEADER.size).reshape(height, width, 2)
    flow = np.moveaxis(values, -1, 0).astype(np.float32)
    known = (np.abs(flow) < _UNKNOWN).all(0)
    return np.where(known, flow, np.float32(np.nan))


def _to_flo(flow: Float[np.ndarray, "2 h w"]) -> bytes:
    values = np.moveaxis(np.where(np.isfinite(flow).all(0), flow, _UNKNOWN_WRITTEN), 0, -1)
    header = _HEADER.pack(_MAGIC, flow.shape[2], flow.shape[1])
    return header + np.ascontiguousarray(values, "<f4").tobytes()


def rescale_flow(flow: Float32[np.ndarray, "2 h w"], size: Size) -> Float32[np.ndarray, "2 h2 w2"]:
    """Return sparse flow at another size, in pixels of it; none is mixed from two."""
    (h, w), (height, width) = flow.shape[-2:], size
    factors = np.array([width / w, height / h], np.float32)
    return resize_nearest(flow, size) * factors[:, None, None]
