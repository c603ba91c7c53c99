"""KITTI's calibration files: `calib_cam_to_cam.txt`, `calib_velo_to_cam.txt`, and `calib.txt` of odometry.

Frames: the rectified camera 0 is the reference of a rig; a rectified camera i is displaced but never turned
against it. A 3x4 projection is K [I | t] with t in metres, in pixels of the image that it was made for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from mtdrive.data.recording import Size
from mtdrive.errors import DataError
from mtdrive.files import parse_numbers

Projection = Float64[np.ndarray, "3 4"]


@dataclass(frozen=True)
class Calibration:
    """The lines of one calibration file, turned into numbers when asked for."""

    path: Path
    lines: Mapping[str, str]

    def numbers(self, key: str, count: int) -> Float64[np.ndarray, " count"]:
        """Return the values of line `key`.

        Raises:
            DataError: if the line is missing or does not hold `count` finite numbers.
        """
        if key not in self.lines:
            raise DataError(
                f"{self.path}: no line {key}; found {', '.join(self.lines) or 'none'}; "
                "use the calibration file that came with these images"
            )
        return parse_numbers(self.lines[key], count, f"{self.path}: line {key}")

    def projection(self, key: str) -> Float64[np.ndarray, "3 4"]:
        """Return a projection whose left block is a pinhole matrix.

        Raises:
            DataError: if the line is missing, malformed, or no pinhole projection.
        """
        matrix = self.numbers(key, 12).reshape(3, 4)
        if not (matrix[0, 0] > 0 and matrix[1, 1] > 0 and matrix[2, 2] == 1):
            raise DataError(
                f"{self.path}: line {key} is not a projection K [I | t] with positive focal lengths: "
                f"{self.lines[key].strip()}; restore the file"
            )
        return matrix


def read_calibration(path: Path) -> Calibration:
    """Read the lines `key: values` of a file.

    Raises:
        DataError: if the file cannot be read or is not text.
    """
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise DataError(f"{path}: no such calibration file; download the calibration of this drive") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as calibration ({error}); download it again") from error
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Calibration(path, {key.strip(): values for key, values in pairs})


@dataclass(frozen=True)
class DayCalibration:
    """Calibration of one day of raw recordings."""

    cameras: Calibration
    folder: Path

    def projection(self, camera: int) -> Float64[np.ndarray, "3 4"]:
        """Return the projection of the rectified camera 0 to 3, for the image of `size`."""
        return self.cameras.projection(f"P_rect_{camera:02d}")

    def size(self, camera: int) -> Size:
        """Return the size that the rectified images were published in."""
        width, height = self.cameras.numbers(f"S_rect_{camera:02d}", 2)
        return int(height), int(width)

    def from_velodyne(self, camera: int) -> Float64[np.ndarray, "3 4"]:
        """Return the matrix that maps homogeneous LiDAR points to pixels times depth.

        It is P_rect R_rect_00 T_camera0,velodyne; R_rect_00 turns camera 0 into its rectified frame.
        """
        velodyne = read_calibration(self.folder / "calib_velo_to_cam.txt")
        into_camera, rectify = np.eye(4), np.eye(4)
        into_camera[:3, :3] = velodyne.numbers("R", 9).reshape(3, 3)
        into_camera[:3, 3] = velodyne.numbers("T", 3)
        rectify[:3, :3] = self.cameras.numbers("R_rect_00", 9).reshape(3, 3)
        return self.projection(camera) @ rectify @ into_camera


def read_day(folder: Path) -> DayCalibration:
    """Read the calibration of the day whose drives lie in `folder`.

    Raises:
        DataError: if `calib_cam_to_cam.txt` is missing or damaged.
    """
    return DayCalibration(read_calibration(folder / "calib_cam_to_cam.txt"), folder)


def offset(projection: Float64[np.ndarray, "3 4"]) -> Float64[np.ndarray, "4 4"]:
    """Return `T_camera,0` in metres: where the points of camera 0 lie for the camera of `projection`."""
    transform = np.eye(4)
    transform[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    return transform


def rig(front: Float64[np.ndarray, "3 4"], stereo: Float64[np.ndarray, "3 4"]) -> Float64[np.ndarray, "4 4"]:
    """Return `T_stereo,front` in metres."""
    return offset(stereo) @ np.linalg.inv(offset(front))
