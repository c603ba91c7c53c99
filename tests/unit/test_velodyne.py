from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.data.velodyne import nearest, read_scan, resample, sparse_depth
from mtdrive.errors import DataError

# Looks along the scanner's x, from half a metre before it.
PROJECTION = np.array([[6.0, -9.0, 0.0, -3.0], [4.0, 0.0, -9.0, -2.0], [1.0, 0.0, 0.0, -0.5]])
SIZE = (8, 12)


def scan_of(seed: int, points: int = 400) -> np.ndarray:
    random = np.random.default_rng(seed)
    scan = random.normal(size=(points, 4)) * [6, 5, 4, 1] + [4, 0, 0, 0]
    return np.round(scan, 1).astype(np.float32)  # coarse, so that points coincide


def camera_oracle(scan: np.ndarray, first_pixel: int) -> np.ndarray:
    depth = np.zeros(SIZE)
    for x, y, z, _ in scan.astype(np.float64):
        a, b, w = PROJECTION @ [x, y, z, 1]
        if w > 0:
            column, row = round(a / w) - first_pixel, round(b / w) - first_pixel
            if (
                0 <= row < SIZE[0]
                and 0 <= column < SIZE[1]
                and (depth[row, column] == 0 or w < depth[row, column])
            ):
                depth[row, column] = w
    return depth.astype(np.float32)


def eigen_oracle(scan: np.ndarray) -> np.ndarray:
    """A plain reading of the published procedure, point by point."""
    depth = np.zeros(SIZE, np.float32)
    groups = defaultdict(list)
    for point in scan:
        if point[0] < 0:
            continue
        a, b, w = PROJECTION @ [*point[:3].astype(np.float64), 1]
        if w == 0:
            continue
        column, row = round(a / w) - 1, round(b / w) - 1
        if 0 <= row < SIZE[0] and 0 <= column < SIZE[1]:
            depth[row, column] = point[0]
            groups[row * (SIZE[1] - 1) + column - 1].append((row, column, point[0]))
    for members in groups.values():
        if len(members) > 1:
            depth[members[0][:2]] = min(value for _, _, value in members)
    return np.where(depth < 0, 0, depth)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("first_pixel", [0, 1])
def test_camera_depth_equals_a_plain_loop(seed: int, first_pixel: int) -> None:
    depth = sparse_depth(scan_of(seed), PROJECTION, SIZE, "camera", first_pixel)
    assert (depth > 0).sum() > 20
    np.testing.assert_array_equal(depth, camera_oracle(scan_of(seed), first_pixel))


@pytest.mark.parametrize("seed", range(5))
def test_eigen_depth_equals_a_plain_loop(seed: int) -> None:
    depth = sparse_depth(scan_of(seed), PROJECTION, SIZE, "eigen")
    assert (depth > 0).sum() > 20
    np.testing.assert_array_equal(depth, eigen_oracle(scan_of(seed)))


def point_at(row: int, column: int, forward: float) -> list[float]:
    """Return a point whose published pixel is (row, column)."""
    w = forward - 0.5
    y = (6 * forward - 3 - (column + 1) * w) / 9
    z = (4 * forward - 2 - (row + 1) * w) / 9
    return [forward, y, z, 0.0]


def test_eigen_key_collides_across_the_end_of_a_row() -> None:
    last, first = point_at(2, SIZE[1] - 1, 9.0), point_at(3, 0, 5.0)
    depth = sparse_depth(np.array([last, first], np.float32), PROJECTION, SIZE, "eigen")
    assert depth[2, -1] == 5.0  # the minimum of both, at the first one's place
    assert depth[3, 0] == 5.0


def test_eigen_last_point_stays_where_the_minimum_does_not_go() -> None:
    points = [point_at(2, SIZE[1] - 1, 9.0), point_at(3, 0, 5.0), point_at(3, 0, 7.0)]
    depth = sparse_depth(np.array(points, np.float32), PROJECTION, SIZE, "eigen")
    assert depth[2, -1] == 5.0
    assert depth[3, 0] == 7.0


def test_eigen_value_is_the_forward_coordinate_and_camera_value_the_axis() -> None:
    points = np.array([point_at(3, 4, 6.0)], np.float32)
    assert sparse_depth(points, PROJECTION, SIZE, "eigen").max() == 6.0
    assert sparse_depth(points, PROJECTION, SIZE, "camera").max() == 5.5


def test_camera_ignores_points_behind_and_eigen_points_behind_the_scanner() -> None:
    between = np.array([[0.2, 0.0, 0.0, 0.0]], np.float32)  # before the scanner, behind the camera
    assert not sparse_depth(between, PROJECTION, SIZE, "camera").any()
    assert sparse_depth(between, PROJECTION, SIZE, "eigen").any()
    behind = np.array([[-4.0, 0.0, 0.0, 0.0]], np.float32)
    assert not sparse_depth(behind, PROJECTION, SIZE, "eigen").any()


def test_point_in_the_plane_of_the_camera_is_no_error() -> None:
    points = np.array([[0.5, 0.0, 0.0, 0.0], [0.5, 1.0, 1.0, 0.0]], np.float32)
    assert not sparse_depth(points, PROJECTION, SIZE, "eigen").any()
    assert not sparse_depth(points, PROJECTION, SIZE, "camera").any()


def test_no_point_gives_an_empty_map() -> None:
    assert not sparse_depth(np.zeros((0, 4), np.float32), PROJECTION, SIZE, "eigen").any()
    assert not sparse_depth(np.zeros((0, 4), np.float32), PROJECTION, SIZE, "camera").any()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_order_of_points_does_not_change_camera_depth(seed: int) -> None:
    scan = scan_of(seed, 100)
    shuffled = np.random.default_rng(seed).permutation(scan)
    np.testing.assert_array_equal(
        sparse_depth(scan, PROJECTION, SIZE), sparse_depth(shuffled, PROJECTION, SIZE)
    )


@settings(max_examples=50, deadline=None)
@given(h=st.integers(1, 9), w=st.integers(1, 9), height=st.integers(1, 20), width=st.integers(1, 20))
def test_resampled_map_keeps_the_nearest_of_each_neighbourhood(
    h: int, w: int, height: int, width: int
) -> None:
    depth = np.random.default_rng(h * w).uniform(1, 50, (h, w)).astype(np.float32)
    small = resample(depth, (height, width))
    assert small.shape == (height, width)
    assert small.max() > 0
    assert small[small > 0].min() == depth.min()
    assert np.isin(small[small > 0], depth).all()


def test_resampling_to_the_same_size_changes_nothing() -> None:
    depth = sparse_depth(scan_of(0), PROJECTION, SIZE)
    np.testing.assert_array_equal(resample(depth, SIZE), depth)


def test_halving_takes_the_nearest_of_four() -> None:
    depth = np.array([[4, 0, 9, 8], [3, 5, 0, 0]], np.float32)
    image = resample(depth, (1, 2))
    assert set(image.ravel()) <= {3.0, 8.0}


def test_nearest_leaves_out_what_is_outside() -> None:
    rows, columns = np.array([-1.0, 0.0, 8.0, 3.0]), np.array([0.0, 12.0, 0.0, 4.0])
    image = nearest(rows, columns, np.ones(4), SIZE)
    assert image.sum() == 1
    assert image[3, 4] == 1


def test_scan_comes_back(tmp_path: Path) -> None:
    scan_of(0).tofile(tmp_path / "a.bin")
    np.testing.assert_array_equal(read_scan(tmp_path / "a.bin"), scan_of(0))


@pytest.mark.parametrize("length", [0, 4, 15, 40])
def test_scan_with_a_part_of_a_point(tmp_path: Path, length: int) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(length))
    with pytest.raises(
        DataError, match=rf"a\.bin: expected a scan of 16 bytes a point, found {length} bytes"
    ):
        read_scan(tmp_path / "a.bin")


def test_missing_scan(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.bin: the LiDAR scan cannot be read .* without a scan"):
        read_scan(tmp_path / "a.bin")
