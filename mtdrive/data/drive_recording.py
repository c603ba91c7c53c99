"""A recorded drive as training data, seen from one of its cameras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Shaped
from PIL import Image
from torch import Tensor

from mtdrive.batch import WAYPOINT_STEP, WAYPOINTS
from mtdrive.classes import CLASS_SETS, TAGS, ClassSet
from mtdrive.data.drive_files import Drive
from mtdrive.data.drive_header import MAPS, SHIFTED
from mtdrive.data.drive_images import resize_nearest
from mtdrive.data.drive_situations import situations
from mtdrive.data.recording import FlowTruth, Recording, Size
from mtdrive.errors import ConfigError, DataError
from mtdrive.rig import Rig

DriveLabel = Literal[
    "depth", "semantics", "flow", "waypoints", "path", "steer", "throttle", "brake", "target_speed"
]
DRIVE_LABELS: tuple[str, ...] = get_args(DriveLabel)


@dataclass(frozen=True, kw_only=True)
class DriveOptions:
    """What a recording gives; `Drives` explains each."""

    camera: str
    labels: frozenset[str]
    classes: ClassSet
    baseline: tuple[float, float] | None
    patience: float
    start: int
    stop: int | None


@dataclass(frozen=True, eq=False)
class DriveRecording(Recording):
    """One drive, with one of its cameras as `front`; the others keep their names.

    Seen from the shifted camera, it is the drive of a car that stands aside and askew: waypoints, path and
    target point lead from there back to where the recorded car went.
    """

    name: str
    drive: Drive
    options: DriveOptions

    def check(self) -> None:
        """Raise `DataError` or `ConfigError` unless the drive has what the options ask for."""
        if self.options.camera not in self.drive.header.cameras:
            raise DataError(
                f"{self.drive.folder}: has no camera {self.options.camera!r}, but "
                f"{', '.join(self.drive.header.cameras)}"
            )
        for kind in sorted(self.labels & set(MAPS)):
            if self.options.camera not in self.drive.header.maps.get(kind, ()):
                raise DataError(
                    f"{self.drive.folder}: camera {self.options.camera} has no {kind}; take it off the "
                    "labels, or record drives with it"
                )
        if self.options.camera == SHIFTED and "steer" in self.labels:
            raise ConfigError("the agent steered for the front camera: take steer off the labels of shifted")

    def frames(self, camera: str) -> Sequence[int]:
        """Return the numbers of the frames from start to stop."""
        present = range(len(self.drive))[self.options.start : self.options.stop]
        return present if camera in ("front", *self.drive.header.cameras) else ()

    def path(self, camera: str, frame: int) -> Path:
        """Return where the image lies."""
        return self.drive.path("images", self._stored(camera), frame)

    def image(self, camera: str, frame: int) -> Image.Image:
        """Return the image as RGB."""
        return self.drive.image(self._stored(camera), frame)

    def intrinsics(self, camera: str, size: Size) -> Float[Tensor, "3 3"]:
        """Return K for the image resized to `size`."""
        return self.drive.header.cameras[self._stored(camera)].pinhole.intrinsics(size)

    def rig(self, camera: str, frame: int) -> Float[Tensor, "4 4"]:
        """Return `T_camera,front`, which changes from frame to frame where one of the two is shifted."""
        camera, front = self._stored(camera), self.options.camera
        if camera == front:
            return torch.eye(4, dtype=torch.float64)
        return torch.from_numpy(np.linalg.inv(self._mounted(camera, frame)) @ self._mounted(front, frame))

    def car_rig(self) -> Rig:
        """Return the cameras by the names that they have here; front is never the shifted one."""
        return self.drive.header.rig(self.options.camera)

    def pose(self, frame: int) -> Float[Tensor, "4 4"]:
        """Return `T_world,front`; the world is the simulator's."""
        return torch.from_numpy(self._poses[frame])

    def motion(self, frame: int, other: int) -> Float64[np.ndarray, "4 4"]:
        """Return `T_other,front`."""
        moved: Float64[np.ndarray, "4 4"] = self._inverses[other] @ self._poses[frame]
        return moved

    def speed(self, frame: int) -> float:
        """Return the forward speed in m/s."""
        return float(self.drive.columns["speed"][frame])

    def command(self, frame: int) -> int:
        """Return the `Command`."""
        return int(self.drive.columns["command"][frame])

    def target_point(self, frame: int) -> Float32[Tensor, " 2"]:
        """Return the next point of the route, (right, forward) metres of the car."""
        return torch.from_numpy(self._from_here(self.drive.columns["target_point"][frame][None], frame)[0])

    def neighbour(self, frame: int, offset: int, stride: int) -> int | None:
        """Return the frame `offset` steps away.

        A step leads to the nearest frame, at least `stride` away, from which the camera has moved by at least
        the baseline's lower end; there is none if this is more than its upper end, or takes too long.
        """
        if self.options.baseline is None:
            if "flow" in self.labels and stride != 1:
                raise ConfigError(f"flow leads to the frame before: set stride to 1, not {stride}")
            return frame + offset * stride
        found: int | None = frame
        for _ in range(abs(offset)):
            found = found if found is None else self._step(found, 1 if offset > 0 else -1, stride)
        return found

    def _step(self, frame: int, way: int, stride: int) -> int | None:
        least, most = self.options.baseline or (0.0, np.inf)
        longest = max(stride, round(self.options.patience * self.drive.header.rate))
        last = len(self.drive) - 1 if way > 0 else 0
        for other in range(frame + way * stride, frame + way * (min(longest, abs(last - frame)) + 1), way):
            moved = math.dist(self._places[other], self._places[frame])
            if moved >= least:
                return other if moved <= most else None
        return None

    def situations(self, frame: int) -> frozenset[str]:
        """Return the command, the range of the speed, and what else calls for attention."""
        return frozenset(name for name, rows in self._situations.items() if rows[frame])

    @property
    def labels(self) -> frozenset[str]:
        """Those that the options ask for."""
        return self.options.labels

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Those that the options ask for."""
        names = CLASS_SETS[self.options.classes].names
        return {"semantics": names} if "semantics" in self.labels else {}

    @property
    def unknown(self) -> frozenset[str]:
        """Those that the driver did not give."""
        columns = self.drive.columns
        return frozenset(n for n in self.labels & columns.keys() if np.isnan(columns[n]).all())

    def label(self, name: str, frame: int, size: Size) -> Tensor:
        """Return a label; maps are not interpolated, and flow is in pixels of `size`."""
        if name not in self.labels:
            return super().label(name, frame, size)
        if name in MAPS:
            return torch.from_numpy(self._map(name, frame, size))
        if name == "waypoints":
            return torch.from_numpy(self._waypoints(frame))
        if name == "path":
            return torch.from_numpy(self._from_here(self.drive.columns["route"][frame], frame))
        return torch.tensor(float(self.drive.columns[name][frame]))

    def ground_truth(self, frame: int, convention: str) -> Float32[np.ndarray, "h w"]:
        """Return the recorded depth in metres, 0 where unknown; the convention must be `camera`."""
        if convention != "camera":
            raise ConfigError(
                f"depth of drives is along the camera's axis: set truth camera, not {convention}"
            )
        depth: Float32[np.ndarray, "h w"] = np.nan_to_num(
            self.drive.map("depth", self.options.camera, frame), nan=0.0
        )
        return depth

    def flow_truth(self, frame: int) -> FlowTruth | None:
        """Return the recorded flow to the frame before, of pixels that it hides, too."""
        if self.options.camera not in self.drive.header.maps.get("flow", ()):
            raise DataError(
                f"{self.drive.folder}: camera {self.options.camera} has no flow; record drives with "
                "--labels flow"
            )
        return FlowTruth(frame - 1, self.drive.map("flow", self.options.camera, frame)) if frame else None

    def _stored(self, camera: str) -> str:
        name = self.options.camera if camera == "front" else camera
        if name not in self.drive.header.cameras:
            raise DataError(
                f"{self.name}: no camera {camera!r}; it has {', '.join(self.drive.header.cameras)}"
            )
        return name

    def _map(self, kind: str, frame: int, size: Size) -> Shaped[np.ndarray, "*c h w"]:
        values = self.drive.map(kind, self.options.camera, frame)
        resized = resize_nearest(values, size)
        if kind == "semantics":
            coding = TAGS[self.options.classes]
            return coding.classes(resized, self.drive.path(kind, self.options.camera, frame))
        if kind == "flow" and resized is not values:
            (h, w), (height, width) = values.shape[-2:], size
            resized *= np.array([width / w, height / h], np.float32)[:, None, None]
        return resized

    def _mounted(self, camera: str, frame: int) -> Float64[np.ndarray, "4 4"]:
        """Return `T_front,camera` of the recorded front camera."""
        header, columns = self.drive.header, self.drive.columns
        mounted = header.cameras[camera].front
        if camera != SHIFTED:
            return mounted
        in_car = header.mount @ mounted
        moved = shifted(in_car, float(columns["shift_right"][frame]), float(columns["shift_yaw"][frame]))
        result: Float64[np.ndarray, "4 4"] = np.linalg.inv(header.mount) @ moved
        return result

    @cached_property
    def _poses(self) -> Float64[np.ndarray, "n 4 4"]:
        """`T_world,camera` of the camera that is front here."""
        camera, poses = self.options.camera, self.drive.columns["pose"]
        if camera != "front":
            poses = poses @ np.stack([self._mounted(camera, frame) for frame in range(len(poses))])
        return poses

    @cached_property
    def _inverses(self) -> Float64[np.ndarray, "n 4 4"]:
        return np.linalg.inv(self._poses)

    @cached_property
    def _places(self) -> list[list[float]]:
        places: list[list[float]] = self._poses[:, :3, 3].tolist()
        return places

    @cached_property
    def _cars(self) -> Float64[np.ndarray, "n 4 4"]:
        """`T_world,car` of the car that this camera would sit on unshifted."""
        header = self.drive.header
        return self._poses @ np.linalg.inv(header.mount @ header.cameras[self.options.camera].front)

    @cached_property
    def _recorded_cars(self) -> Float64[np.ndarray, "n 4 4"]:
        """`T_world,car` of the car as it drove."""
        return self.drive.columns["pose"] @ np.linalg.inv(self.drive.header.mount)

    @cached_property
    def _track(self) -> Float64[np.ndarray, "3 n"]:
        """Where that car was."""
        return np.ascontiguousarray(self._recorded_cars[:, :3, 3].T)

    def _waypoints(self, frame: int) -> Float32[np.ndarray, "k 2"]:
        """Return where the recorded car is at fixed times, interpolated between its frames."""
        time = self.drive.columns["time"]
        wanted = time[frame] + WAYPOINT_STEP * np.arange(1, WAYPOINTS + 1)
        # A frame that comes a rounding of the clock later is still the last one.
        wanted = np.where(wanted <= time[-1] + 1e-3, np.minimum(wanted, time[-1]), np.nan)
        ahead = np.stack([np.interp(wanted, time, axis) for axis in self._track], axis=-1)
        here = self._cars[frame]
        seen: Float64[np.ndarray, "k 3"] = (ahead - here[:3, 3]) @ here[:3, :3]
        return seen[:, [0, 2]].astype(np.float32)

    def _from_here(self, points: Float32[np.ndarray, "k 2"], frame: int) -> Float32[np.ndarray, "k 2"]:
        """Return (right, forward) of the recorded car in the car of this camera."""
        if self.options.camera != SHIFTED:
            return points.copy()
        move = np.linalg.inv(self._cars[frame]) @ self._recorded_cars[frame]
        there: Float64[np.ndarray, "k 2"] = points @ move[np.ix_([0, 2], [0, 2])].T + move[[0, 2], 3]
        return there.astype(np.float32)

    @cached_property
    def _situations(self) -> dict[str, Bool[np.ndarray, " n"]]:
        return situations(self.drive.columns)


def shifted(pose: Float64[np.ndarray, "4 4"], right: float, yaw: float) -> Float64[np.ndarray, "4 4"]:
    """Return `T_car,camera` of a camera moved to the right by metres and turned to the right by degrees.

    It turns about its own place and the car's vertical, as CARLA's `Rotation.yaw` does.
    """
    cos, sin = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    result = pose.copy()
    result[:3, :3] = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]) @ pose[:3, :3]
    result[0, 3] += right
    return result
