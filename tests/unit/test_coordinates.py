import carla
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtdrive.envs import coordinates

DEGREES = st.floats(-180, 180)


@given(DEGREES, st.floats(-80, 80), DEGREES)
def test_a_converted_pose_stays_a_rotation_and_moves_points_as_carla_does(
    yaw: float, pitch: float, roll: float
) -> None:
    turned = carla.Rotation(yaw=yaw, pitch=pitch, roll=roll)
    transform = carla.Transform(carla.Location(3, -5, 2), turned)
    pose = coordinates.pose_of(transform)
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1, abs=1e-6)
    there = transform.transform(carla.Vector3D(4, 1, -2))
    moved = pose @ np.append(coordinates.points(np.array([4.0, 1, -2])), 1)
    assert np.allclose(moved[:3], coordinates.points(np.array([there.x, there.y, there.z])), atol=1e-4)


def test_right_is_positive_and_forward_comes_second() -> None:
    assert np.allclose(coordinates.relative(np.array([[1.0, 0], [0, 1]]), (0, 0), 0), [[0, 1], [1, 0]])
    assert np.allclose(coordinates.relative(np.array([2.0, 3]), (2, 1), 90), [0, 2])


def test_axes_are_right_down_forward() -> None:
    assert coordinates.points(np.array([1.0, 2, 3])).tolist() == [2, -3, 1]


def test_the_principal_point_is_the_middle_of_the_image() -> None:
    matrix = coordinates.intrinsics(320, 160, 90)
    assert matrix[0].tolist() == pytest.approx([160, 0, 159.5])
    assert matrix[1].tolist() == pytest.approx([0, 160, 79.5])
