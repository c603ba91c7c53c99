"""The header of a recorded drive, `drive.json`: what is true of all its frames."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from mtdrive.data.camera import Camera
from mtdrive.errors import DataError
from mtdrive.rig import Rig, RigCamera, rows

FILE = "drive.json"
SCHEMA = 1
"""Of header and table. A change that an older reader would misread counts it up."""
MAPS = ("depth", "semantics", "flow")
"""What a camera may have besides its images."""
SHIFTED = "shifted"
"""The camera that is moved aside and turned in every frame by the columns `shift_right` and `shift_yaw`."""

_FORMAT = "mtdrive drive"


def is_rigid(poses: Float64[np.ndarray, "*n 4 4"]) -> bool:
    """Tell whether all are rotations with translations, to the precision of float32."""
    rotations = poses[..., :3, :3]
    square = np.allclose(np.swapaxes(rotations, -1, -2) @ rotations, np.eye(3), atol=1e-5)
    return bool(
        square and (np.linalg.det(rotations) > 0).all() and np.array_equal(poses[..., 3, :], _last(poses))
    )


def _last(poses: Float64[np.ndarray, "*n 4 4"]) -> Float64[np.ndarray, "*n 4"]:
    return np.broadcast_to([0.0, 0, 0, 1], poses.shape[:-1])


@dataclass(frozen=True, eq=False)
class DriveCamera:
    """A camera of the car; its pixels are those of the stored images."""

    pinhole: Camera
    front: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    """`T_front,camera`; that of `shifted` before it is moved aside and turned."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DriveHeader:
    """What is true of a whole drive. Poses are in the library's frame: x right, y down, z forward, metres.

    Raises:
        DataError: if the values contradict each other.
    """

    rate: float
    """Frames in a second."""
    cameras: Mapping[str, DriveCamera]
    """By name, which is of small letters and `_`; one is `front`."""
    mount: Float64[np.ndarray, "4 4"]
    """`T_car,front`: where the front camera sits. The car's origin is CARLA's, on the ground."""
    maps: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The cameras that have `depth`, `semantics` or `flow`."""
    farthest: float = 200.0
    """Metres that depth is stored up to, in 65535 equal steps; beyond, it is unknown."""
    agent: str
    """Who drove."""
    agent_version: str
    town: str
    weather: str
    density: str
    """Of traffic."""
    route: str
    """Its id."""
    seeds: Mapping[str, int]
    versions: Mapping[str, str]
    """Of mtdrive, the client and the server."""
    frames: int = 0
    ended: str = ""
    """Why the drive was over, such as `completed`."""

    def __post_init__(self) -> None:
        _check(self.rate > 0 and np.isfinite(self.rate), f"rate must be more than 0, found {self.rate}")
        _check(self.farthest > 0, f"farthest must be more than 0, found {self.farthest}")
        _check("front" in self.cameras, f"no camera is called front, found {', '.join(self.cameras)}")
        for name, camera in self.cameras.items():
            _check(bool(re.fullmatch("[a-z_]+", name)), f"a camera is called {name!r}: only a-z and _ may be")
            _check(_is_pose(camera.front), f"T_front_camera of {name} is no rigid motion of 4x4 numbers")
        _check(np.array_equal(self.cameras["front"].front, np.eye(4)), "T_front_camera of front moves it")
        _check(_is_pose(self.mount), "T_car_front is no rigid motion of 4x4 numbers")
        for kind, cameras in self.maps.items():
            _check(kind in MAPS, f"there are {', '.join(MAPS)}, but not {kind}")
            _check(set(cameras) <= set(self.cameras), f"{kind} is of {', '.join(cameras)}, not all cameras")

    def rig(self, front: str) -> Rig:
        """Return the cameras, with the one called `front` here, unless it is the shifted one, as `front`."""
        stored = {name: name for name in self.cameras} | ({} if front == SHIFTED else {"front": front})
        return Rig(
            rate=self.rate,
            cameras={
                name: RigCamera(
                    **asdict(self.cameras[at].pinhole), mount=rows(self.mount @ self.cameras[at].front)
                )
                for name, at in stored.items()
            },
        )

    def json(self) -> str:
        """Return the content of the file."""
        plain = {
            "rate": self.rate,
            "frames": self.frames,
            "ended": self.ended,
            "T_car_front": self.mount.tolist(),
            "cameras": {name: _camera(camera) for name, camera in self.cameras.items()},
            "maps": {kind: {"cameras": list(c), **self._codec(kind)} for kind, c in self.maps.items()},
            "agent": {"name": self.agent, "version": self.agent_version},
            "scene": {name: getattr(self, name) for name in ("town", "weather", "density", "route")},
            "seeds": dict(self.seeds),
            "versions": dict(self.versions),
        }
        return json.dumps({"format": _FORMAT, "schema": SCHEMA, **plain}, indent=1) + "\n"

    def _codec(self, kind: str) -> dict[str, object]:
        codecs: dict[str, dict[str, object]] = {
            "depth": {"kind": "linear", "max": self.farthest, "bits": 16},
            "semantics": {"classes": "carla 0.9.16"},
            "flow": {"kind": "kitti", "to": "the frame before"},
        }
        return codecs[kind]


def read_header(path: Path) -> DriveHeader:
    """Return the header in a file.

    Raises:
        DataError: if it is missing, damaged or of another schema.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; name a folder that `mtdrive record` wrote") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); copy the drive again") from None
    if not isinstance(given, dict) or given.get("format") != _FORMAT:
        raise DataError(f"{path}: is not the header of a drive; name a folder that `mtdrive record` wrote")
    if given.get("schema") != SCHEMA:
        raise DataError(
            f"{path}: is of schema {given.get('schema')}, but this version of mtdrive reads {SCHEMA}; use "
            f"the version that wrote it ({given.get('versions')}), or record the drive again"
        )
    try:
        return _parse(given)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"is damaged: {error}"
        raise DataError(f"{path}: the header {what}; copy the drive again") from None


def _parse(given: Mapping[str, Any]) -> DriveHeader:
    maps = given["maps"]
    header = DriveHeader(
        rate=float(given["rate"]),
        cameras={name: _parse_camera(camera) for name, camera in given["cameras"].items()},
        mount=np.array(given["T_car_front"], dtype=np.float64),
        maps={kind: tuple(entry["cameras"]) for kind, entry in maps.items()},
        farthest=float(maps.get("depth", {"max": 1})["max"]),
        agent=str(given["agent"]["name"]),
        agent_version=str(given["agent"]["version"]),
        **{name: str(given["scene"][name]) for name in ("town", "weather", "density", "route")},
        seeds={name: int(seed) for name, seed in given["seeds"].items()},
        versions={name: str(version) for name, version in given["versions"].items()},
        frames=int(given["frames"]),
        ended=str(given["ended"]),
    )
    for kind, entry in maps.items():
        codec = {name: value for name, value in entry.items() if name != "cameras"}
        expected = header._codec(kind)
        _check(codec == expected, f"{kind} is stored as {codec}, but this version reads {expected}")
    return header


def _camera(camera: DriveCamera) -> dict[str, object]:
    return {**asdict(camera.pinhole), "T_front_camera": camera.front.tolist()}


def _parse_camera(given: Mapping[str, Any]) -> DriveCamera:
    lens = {name: float(given[name]) for name in ("fx", "fy", "cx", "cy")}
    pinhole = Camera(int(given["width"]), int(given["height"]), **lens)
    return DriveCamera(pinhole, np.array(given["T_front_camera"], dtype=np.float64))


def _is_pose(pose: Float64[np.ndarray, " ..."]) -> bool:
    return pose.shape == (4, 4) and bool(np.isfinite(pose).all()) and is_rigid(pose)


def _check(promise: bool | np.bool_, message: str) -> None:
    if not promise:
        raise DataError(message)
