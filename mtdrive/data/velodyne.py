"""LiDAR scans, and the sparse depth maps made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from mtdrive.data.recording import Size
from mtdrive.errors import DataError

Scan = Float32[np.ndarray, "n 4"]
"""Points x forward, y left, z up in metres in the scanner's frame, and the reflectance."""

Convention = Literal["camera", "eigen"]

_POINT_BYTES = 16


def read_scan(path: Path) -> Float32[np.ndarray, "n 4"]:
    """Return the points of a KITTI scan: little-endian float32 x, y, z, reflectance.

    Raises:
        DataError: if the file is missing, empty, or holds a part of a point.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: the LiDAR scan cannot be read ({error.strerror}); download velodyne_points of this "
            "drive, or leave out the frames without a scan"
        ) from None
    if not content or len(content) % _POINT_BYTES:
        raise DataError(
            f"{path}: expected a scan of {_POINT_BYTES} bytes a point, found {len(content)} bytes; "
            "the file is incomplete, download it again"
        )
    return np.frombuffer(content, dtype="<f4").astype(np.float32).reshape(-1, 4)


def sparse_depth(
    scan: Float32[np.ndarray, "n 4"],
    projection: Float[np.ndarray, "3 4"],
    size: Size,
    convention: Convention = "camera",
    first_pixel: int = 0,
) -> Float32[np.ndarray, "h w"]:
    """Return the depth map of a scan in metres, 0 where no point falls.

    Args:
        scan: the points.
        projection: maps homogeneous points of the scanner to pixels times depth.
        size: of the map.
        convention: `camera` is the depth along the camera's axis, of the nearest point in front of it.
            `eigen` is the ground truth that papers report since Eigen et al. (Depth Map Prediction from a
            Single Image using a Multi-Scale Deep Network, NeurIPS 2014, https://arxiv.org/abs/1406.2283)
            in the form of Monodepth2's export; see `_eigen` for its oddities.
        first_pixel: number that the projection gives to the centre of the first pixel. The intrinsics of
            this library count from 0; published depth maps of KITTI take the calibration to count from 1,
            and `eigen` always does.
    """
    points = np.column_stack([scan[:, :3].astype(np.float64), np.ones(len(scan))])
    if convention == "eigen":
        kept = scan[:, 0] >= 0
        return _eigen(points[kept] @ projection.T, scan[kept, 0], size)
    image = points @ projection.T
    image = image[image[:, 2] > 0]
    columns, rows = np.rint(image[:, :2] / image[:, 2:]).T - first_pixel
    return nearest(rows, columns, image[:, 2], size)


def nearest(
    rows: Float[np.ndarray, " n"],
    columns: Float[np.ndarray, " n"],
    depth: Float[np.ndarray, " n"],
    size: Size,
) -> Float32[np.ndarray, "h w"]:
    """Return a map with the smallest `depth` that falls on each pixel, 0 where none does."""
    inside = _inside(rows, columns, size)
    flat = rows[inside].astype(np.int64) * size[1] + columns[inside].astype(np.int64)
    image = np.full(size[0] * size[1], np.inf)
    np.minimum.at(image, flat, depth[inside])
    return np.where(np.isinf(image), 0, image).astype(np.float32).reshape(size)


def resample(depth: Float32[np.ndarray, "h w"], size: Size) -> Float32[np.ndarray, "h2 w2"]:
    """Return a sparse map resized: each known pixel moves to the nearest of the new grid, the nearest wins.

    Interpolation would invent depths between near and far points.
    """
    rows, columns = np.nonzero(depth)
    (h, w), (height, width) = depth.shape, size
    y = np.rint((rows + 0.5) * height / h - 0.5)
    x = np.rint((columns + 0.5) * width / w - 0.5)
    return nearest(y, x, depth[rows, columns].astype(np.float64), size)


def _eigen(
    image: Float[np.ndarray, "n 3"], forward: Float32[np.ndarray, " n"], size: Size
) -> Float32[np.ndarray, "h w"]:
    """Return the published ground truth, oddities included, so that numbers compare with papers.

    The value is the scanner's forward x, not the depth of the camera, and points behind the camera but
    before the scanner stay. Coordinates are rounded, then reduced by one. The last point on a pixel wins,
    except where several points share a key: then their minimum goes to the pixel of the first of them.
    The key row (w - 1) + column - 1 is the same for the last pixel of a row and the first of the next.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # a point in the camera's plane falls outside
        columns, rows = np.rint(image[:, :2] / image[:, 2:]).T - 1
    inside = _inside(rows, columns, size)
    rows, columns = rows[inside].astype(np.int64), columns[inside].astype(np.int64)
    value = forward[inside]
    depth = np.zeros(size, np.float32)
    depth[rows, columns] = value
    _merge_duplicates(depth, rows, columns, value)
    return depth.clip(min=0)


def _merge_duplicates(
    depth: Float32[np.ndarray, "h w"],
    rows: Int[np.ndarray, " n"],
    columns: Int[np.ndarray, " n"],
    value: Float32[np.ndarray, " n"],
) -> None:
    """Write the minimum over each key that several points share at the place of its first point."""
    keys = rows * (depth.shape[1] - 1) + columns - 1
    _, first, group, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    least = np.full(len(first), np.inf, np.float32)
    np.minimum.at(least, group, value)
    shared = first[count > 1]
    depth[rows[shared], columns[shared]] = least[count > 1]


def _inside(
    rows: Float[np.ndarray, " n"], columns: Float[np.ndarray, " n"], size: Size
) -> Bool[np.ndarray, " n"]:
    return (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
