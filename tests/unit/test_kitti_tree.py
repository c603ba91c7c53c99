from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.kitti_tree import Scene, make_scene


def bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = (x - column)[..., None], (y - row)[..., None]
    top = image[row, column] * (1 - a) + image[row, column + 1] * a
    bottom = image[row + 1, column] * (1 - a) + image[row + 1, column + 1] * a
    return np.asarray(top * (1 - b) + bottom * b)


def warp_error(
    scene: Scene, target: tuple[int, int], other: tuple[int, int], depth_factor: float = 1
) -> float:
    """Return the median difference in 8-bit steps between the target and what the other rebuilds of it."""
    h, w = scene.size
    rows, columns = np.mgrid[:h, :w]
    rays = np.linalg.solve(scene.intrinsics, np.stack([columns, rows, np.ones((h, w))]).reshape(3, -1))
    points = np.vstack([rays * scene.depth(*target).ravel() * depth_factor, np.ones(h * w)])
    moved = np.linalg.inv(scene.pose(*other)) @ scene.pose(*target) @ points
    x, y, z = scene.intrinsics @ moved[:3]
    x, y = (x / z).reshape(h, w), (y / z).reshape(h, w)
    inside = (x >= 0) & (y >= 0) & (x < w - 1) & (y < h - 1)
    rebuilt = bilinear(np.asarray(scene.image(*other), float), x[inside], y[inside])
    return float(np.median(np.abs(rebuilt - np.asarray(scene.image(*target), float)[inside])))


@pytest.mark.parametrize(
    ("target", "other"), [((3, 2), (2, 2)), ((3, 2), (4, 2)), ((3, 2), (3, 3)), ((3, 3), (3, 2))]
)
def test_neighbour_warped_by_exact_depth_and_pose_is_the_target(
    target: tuple[int, int], other: tuple[int, int]
) -> None:
    scene = make_scene(6)
    assert warp_error(scene, target, other) < 4
    assert warp_error(scene, target, other, 1.3) > 3 * warp_error(scene, target, other)


def test_half_size_is_the_full_size_reduced() -> None:
    scene = make_scene(2)
    small = np.asarray(scene.image(0, size=(48, 160)), float)
    reduced = np.asarray(scene.image(0).resize((160, 48), Image.Resampling.BOX), float)
    assert np.median(np.abs(small - reduced)) < 6
    full, third = scene.depth(0)[1::3, 1::3], scene.depth(0, size=(32, 107))[:, :106]
    assert np.median(np.abs(full[:, :106] / third - 1)) < 0.02
