"""Navigation meshes as bytes that the client's Detour reads: `MSET` version 1 with one tile of version 7.

The structs are those of RecastNavigation (https://github.com/recastnavigation/recastnavigation), little
endian. Detour's y points up and its z is CARLA's y. What the client does not check can crash it: `pack` does.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from mtdrive.errors import MtdriveError

SET, SET_VERSION = int.from_bytes(b"MSET", "big"), 1
TILE, TILE_VERSION = int.from_bytes(b"DNAV", "big"), 7
CORNERS = 6
"""Of a polygon."""
MOST = 0x7FFE
"""Polygons that a tile may have; vertices twice as many."""
FLAGS = {1: 0x02, 2: 0x04, 3: 0x08, 4: 0x10}
"""What CARLA's filters look at, by area: pavement, crossing, street, meadow."""
FREE = 0x02 | 0x04
"""Where every walker may be put."""
BODY = (1.8, 0.3, 0.5)
"""Metres: height, radius and climb of who walks."""
ROOM = 1.0
"""Metres of the tile around its polygons."""

POLYGON = np.dtype(
    [("link", "<u4"), ("corners", "<u2", CORNERS), ("sides", "<u2", CORNERS), ("flags", "<u2"),
     ("count", "u1"), ("area", "u1")]
)  # fmt: skip
DETAIL = np.dtype(
    [("vertex", "<u4"), ("triangle", "<u4"), ("vertices", "u1"), ("triangles", "u1"), ("", "<u2")]
)
LINK = 12
"""Bytes that Detour needs for a link."""
SET_HEADER, TILE_HEADER, HEADER = 40, 8, 100
"""Bytes before the tile, before its content, and of its own header."""


def pack(points: Float[np.ndarray, "n 3"], corners: Sequence[Sequence[int]], areas: Sequence[int]) -> bytes:
    """Return the mesh of convex polygons that meet in whole sides.

    Args:
        points: in CARLA's frame.
        corners: of each polygon, in the order in which x turns to y.
        areas: of each polygon, a key of `FLAGS`.

    Raises:
        MtdriveError: there are too few polygons or too many, or one is not as it should be.
    """
    _check(points, corners, areas)
    vertices = points[:, [0, 2, 1]].astype("<f4")
    low, high = vertices.min(axis=0) - ROOM, vertices.max(axis=0) + ROOM
    polygons, details, triangles = _polygons(corners, areas)
    links = int(polygons["count"].sum())
    counts = (len(polygons), len(points), links, len(polygons), 0, len(triangles), 0, 0, len(polygons))
    header = struct.pack("<5iI9i", TILE, TILE_VERSION, 0, 0, 0, 0, *counts)
    header += struct.pack("<10f", *BODY, *low, *high, 1.0)
    parts = (vertices, polygons, np.zeros(links * LINK, "u1"), details, triangles)
    tile = header + b"".join(part.tobytes() for part in parts)
    bits = max(len(polygons) - 1, 1).bit_length()
    most = struct.pack("<5f2i", *low, high[0] - low[0], high[2] - low[2], 1, 1 << bits)
    # The tile's reference: the first tile, of generation 1.
    return struct.pack("<3i", SET, SET_VERSION, 1) + most + struct.pack("<Ii", 1 << bits, len(tile)) + tile


def ways(content: bytes) -> Float[np.ndarray, "n 3"]:
    """Return the corners of the pavements and crossings of a packed mesh, in CARLA's frame."""
    start = SET_HEADER + TILE_HEADER
    count, total = struct.unpack_from("<2i", content, start + 24)
    start += HEADER
    points = np.frombuffer(content, "<f4", 3 * total, start).reshape(-1, 3)
    polygons = np.frombuffer(content, POLYGON, count, start + points.nbytes)
    polygons = polygons[polygons["flags"] & FREE > 0]
    used = np.arange(CORNERS) < polygons["count"][:, None]
    return np.asarray(points[np.unique(polygons["corners"][used])][:, [0, 2, 1]].astype(float))


def _polygons(
    corners: Sequence[Sequence[int]], areas: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, UInt8[np.ndarray, "t 4"]]:
    """Return the polygons, and their surfaces as fans of triangles."""
    owner = {(a, b): i for i, polygon in enumerate(corners) for a, b in _sides(polygon)}
    out, details = np.zeros(len(corners), POLYGON), np.zeros(len(corners), DETAIL)
    triangles: list[tuple[int, int, int, int]] = []
    for i, (polygon, area) in enumerate(zip(corners, areas, strict=True)):
        n = len(polygon)
        # Detour goes around from z to x.
        turned = polygon[::-1]
        neighbours = [owner.get(side, -1) + 1 for side in _sides(turned)]
        out[i]["corners"][:n], out[i]["sides"][:n] = turned, neighbours
        out[i]["flags"], out[i]["count"], out[i]["area"] = FLAGS[area], n, area
        details[i] = (0, len(triangles), 0, n - 2, 0)
        triangles += [(0, k, k + 1, (k == 1) | 4 | (k == n - 2) << 4) for k in range(1, n - 1)]
    return out, details, np.array(triangles, "u1")


def _sides(polygon: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(polygon, [*polygon[1:], polygon[0]], strict=True))


def _check(points: Float[np.ndarray, "n 3"], corners: Sequence[Sequence[int]], areas: Sequence[int]) -> None:
    if not 0 < len(corners) <= MOST or len(points) > 2 * MOST:
        raise MtdriveError(f"a mesh of {len(corners)} polygons: expected 1 to {MOST}")
    if not np.isfinite(points).all():
        raise MtdriveError("a mesh with points that are no numbers")
    if any(not 3 <= len(set(p)) == len(p) <= CORNERS for p in corners) or not set(areas) <= set(FLAGS):
        raise MtdriveError(f"expected polygons of 3 to {CORNERS} corners in the areas {set(FLAGS)}")
    sides = [side for polygon in corners for side in _sides(polygon)]
    if len(set(sides)) < len(sides):
        raise MtdriveError("a mesh in which two polygons lie on the same side of an edge")
