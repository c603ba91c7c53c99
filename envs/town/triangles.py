"""Convex polygons between outlines: a triangulation that keeps them as edges, and larger pieces of it.

Points are whole numbers of `GRID` metres, so that whether three of them turn left is never in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, cKDTree

GRID = 1 / 32
"""Metres; coordinates up to 500 km stay exact in single precision."""
BEND = 0.12
"""Metres that a simpler outline may lie beside the given one."""
LONGEST = 12.0
"""Metres of an edge of an outline."""
CLOSE = 1.5
"""Units of `GRID` within which a point lies on an edge."""
ROUNDS = 20
"""Of adding points until all outlines are edges."""
SHORT = 8
"""Units of `GRID` of an edge that is not cut any more."""
CORNERS = 6
"""That a polygon of Detour may have."""

Points = Int[np.ndarray, "_ 2"]
Pairs = Int[np.ndarray, "_ 2"]
Keys = Int[np.ndarray, "_"]
Triangles = Int[np.ndarray, "_ 3"]
Areas = Int[np.ndarray, "_"]
Line = Float[np.ndarray, "_ 2"]
AreaAt = Callable[[np.ndarray], np.ndarray]
"""Areas, of few bits, at places [n 2] in metres."""


class Polygons(NamedTuple):
    """Convex polygons that meet in whole edges."""

    points: Float[np.ndarray, "n 2"]
    """Metres."""
    corners: list[list[int]]
    """Points in the order in which x turns to y."""
    areas: list[int]


def cover(outlines: Sequence[Line], area_at: AreaAt) -> Polygons:
    """Return polygons for all areas but 0; each lies in one area."""
    points, edges = split(*_edges(outlines))
    points, edges, triangles = conform(points, edges)
    areas = _vote(points, edges, triangles, area_at)
    keep = areas > 0
    used, triangles = np.unique(triangles[keep], return_inverse=True)
    points = points[used]
    corners, owned = merge(points, triangles.reshape(-1, 3), areas[keep])
    return Polygons(points * GRID, corners, owned)


def _edges(outlines: Sequence[Line]) -> tuple[Points, Pairs]:
    """Return the points and edges of simpler outlines."""
    parts, pairs, count = [], [], 0
    for line in outlines:
        fine = _divided(_simple(line))
        ends = np.arange(len(fine) - 1) + count
        parts.append(np.round(fine / GRID).astype(np.int64))
        pairs.append(np.stack([ends, ends + 1], axis=1))
        count += len(fine)
    return _united(np.concatenate(parts), np.concatenate(pairs))


def _united(points: Points, pairs: Pairs) -> tuple[Points, Pairs]:
    """Return each point once, and each edge of some length once."""
    points, where = np.unique(points, axis=0, return_inverse=True)
    pairs = np.sort(where.reshape(-1)[pairs], axis=1)
    return points, np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _simple(line: Line) -> Line:
    """Return the points of a line that are needed to stay within `BEND` (Douglas and Peucker, 1973)."""
    keep = np.zeros(len(line), bool)
    keep[[0, -1]] = True
    stack = [(0, len(line) - 1)]
    while stack:
        a, b = stack.pop()
        if b - a < 2:
            continue
        inner, along = line[a + 1 : b] - line[a], line[b] - line[a]
        long = math.hypot(*along)
        far = np.abs(inner @ [-along[1], along[0]]) / long if long > BEND else np.hypot(*inner.T)
        k = a + 1 + int(far.argmax())
        if far.max() > BEND:
            keep[k] = True
            stack += [(a, k), (k, b)]
    return line[keep]


def _divided(line: Line) -> Line:
    counts = np.ceil(np.hypot(*np.diff(line, axis=0).T) / LONGEST).astype(int).clip(1)
    at = np.concatenate([i + np.arange(n) / n for i, n in enumerate(counts)] + [[len(line) - 1]])
    return np.stack([np.interp(at, np.arange(len(line)), line[:, k]) for k in (0, 1)], axis=1)


def split(points: Points, edges: Pairs) -> tuple[Points, Pairs]:
    """Cut edges where they cross, and where points lie on them."""
    cuts = [*_meetings(points, edges), *_touched(points, edges)]
    if not cuts:
        return points, edges
    edge, at = np.concatenate([c[0] for c in cuts]), np.concatenate([c[1] for c in cuts])
    every = np.concatenate([points[edges].reshape(-1, 2), at])
    owner = np.concatenate([np.repeat(np.arange(len(edges)), 2), edge])
    ends = points[edges]
    along = ((every - ends[owner, 0]) * (ends[owner, 1] - ends[owner, 0])).sum(axis=1)
    order = np.lexsort([along, owner])
    same = owner[order][1:] == owner[order][:-1]
    pairs = np.stack([order[:-1], order[1:]], axis=1)[same]
    return _united(every, pairs)


Cut = tuple[Keys, Points]


def _meetings(points: Points, edges: Pairs) -> list[Cut]:
    """Return where two edges cross: the edge, and the point that is nearest on the grid."""
    ends = points[edges].astype(float)
    pairs = cKDTree(ends.mean(axis=1)).query_pairs(1.01 * LONGEST / GRID, output_type="ndarray")
    (a, b), (c, d) = (ends[pairs[:, k]].swapaxes(0, 1) for k in (0, 1))
    u, v, w = b - a, d - c, c - a
    turn = _cross(u, v)
    with np.errstate(divide="ignore", invalid="ignore"):
        s, t = _cross(w, v) / turn, _cross(w, u) / turn
    met = (turn != 0) & (s > 0) & (s < 1) & (t > 0) & (t < 1)
    at = np.round(a[met] + s[met, None] * u[met]).astype(np.int64)
    return [(pairs[met, k], at) for k in (0, 1)]


def _touched(points: Points, edges: Pairs) -> list[Cut]:
    """Return the points that lie on an edge and are not its ends."""
    ends = points[edges].astype(float)
    u = ends[:, 1] - ends[:, 0]
    long = np.hypot(*u.T)
    near = cKDTree(points).query_ball_point(ends.mean(axis=1), long / 2 + CLOSE)
    edge = np.repeat(np.arange(len(edges)), [len(n) for n in near])
    point = np.concatenate(near).astype(int)
    offset = points[point] - ends[edge, 0]
    beside = np.abs(_cross(u[edge], offset)) / long[edge]
    along = (u[edge] * offset).sum(axis=1) / long[edge]
    on = (beside < CLOSE) & (along > 0) & (along < long[edge])
    on &= (point != edges[edge, 0]) & (point != edges[edge, 1])
    return [(edge[on], points[point[on]])]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return twice the areas that pairs of vectors [n 2] span, positive where x turns to y."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def conform(points: Points, edges: Pairs) -> tuple[Points, Pairs, Triangles]:
    """Return a Delaunay triangulation that has the edges, cut in halves where they were none."""
    for _ in range(ROUNDS):
        triangles = _delaunay(points)
        missing = ~np.isin(_keys(edges), _keys(_sides(triangles)))
        long = np.abs(np.diff(points[edges], axis=1)).max(axis=(1, 2)) > SHORT
        again = missing & long
        if not again.any():
            break
        middles = points[edges[again]].sum(axis=1) // 2
        new = np.arange(len(middles)) + len(points)
        halves = [np.stack([edges[again, k], new], axis=1) for k in (0, 1)]
        points, edges = _united(np.concatenate([points, middles]), np.concatenate([edges[~again], *halves]))
    return points, edges[~missing], triangles


def _delaunay(points: Points) -> Triangles:
    triangles = Delaunay(points - points.min(axis=0)).simplices.astype(np.int64)
    a, b, c = points[triangles].swapaxes(0, 1)
    turn = _cross(b - a, c - a)
    triangles[turn < 0] = triangles[turn < 0][:, ::-1]
    return np.asarray(triangles[turn != 0])


def _sides(triangles: Triangles) -> Pairs:
    """Return the sides of triangles; those of the first come first."""
    return triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)


def _keys(pairs: Pairs) -> Keys:
    low, high = np.sort(pairs, axis=1).T
    return np.asarray(low << 32 | high)


def _vote(points: Points, edges: Pairs, triangles: Triangles, area_at: AreaAt) -> Areas:
    """Return the area of each triangle: that of most of the ground between the edges around it."""
    keys, owner = _keys(_sides(triangles)), np.repeat(np.arange(len(triangles)), 3)
    order = np.argsort(keys, kind="stable")
    keys, owner = keys[order], owner[order]
    open_ = (keys[1:] == keys[:-1]) & ~np.isin(keys[1:], _keys(edges))
    links = coo_array((np.ones(open_.sum()), (owner[:-1][open_], owner[1:][open_])), (len(triangles),) * 2)
    count, region = connected_components(links, directed=False)
    a, b, c = points[triangles].swapaxes(0, 1)
    votes = np.zeros((count, 256))
    np.add.at(votes, (region, area_at((a + b + c) * GRID / 3)), _cross(b - a, c - a))
    return np.asarray(votes.argmax(axis=1)[region])


def merge(points: Points, triangles: Triangles, areas: Areas) -> tuple[list[list[int]], list[int]]:
    """Join triangles of one area to convex polygons, across the longest sides first."""
    corners: list[list[int] | None] = triangles.tolist()
    sides = _sides(triangles)
    owner = {(a, b): i // 3 for i, (a, b) in enumerate(sides.tolist())}
    place = points.tolist()
    order = np.argsort(-np.hypot(*np.diff(points[sides], axis=1)[:, 0].T), kind="stable")
    for a, b in sides[order].tolist():
        i, j = owner[a, b], owner.get((b, a), -1)
        if j < 0 or i == j or areas[i] != areas[j]:
            continue
        first, second = corners[i], corners[j]
        assert first is not None
        assert second is not None
        whole = _joined(first, second, a, b)
        if len(whole) <= CORNERS and _convex(whole, place):
            corners[i], corners[j] = whole, None
            owner.update(dict.fromkeys(zip(second, second[1:] + second[:1], strict=True), i))
    kept = [i for i, polygon in enumerate(corners) if polygon is not None]
    return [polygon for polygon in corners if polygon is not None], areas[kept].tolist()


def _joined(first: list[int], second: list[int], a: int, b: int) -> list[int]:
    """Return two polygons as one, without the side that the first has from a to b."""
    i, j = first.index(a), second.index(b)
    # From b around the first to a, then on around the second.
    return first[i + 1 :] + first[: i + 1] + (second[j + 1 :] + second[:j])[1:]


def _convex(polygon: list[int], place: list[list[int]]) -> bool:
    if len(set(polygon)) < len(polygon):
        return False
    for p, q, r in zip(polygon, polygon[1:] + polygon[:1], polygon[2:] + polygon[:2], strict=True):
        (px, py), (qx, qy), (rx, ry) = place[p], place[q], place[r]
        if (qx - px) * (ry - qy) < (qy - py) * (rx - qx):
            return False
    return True
