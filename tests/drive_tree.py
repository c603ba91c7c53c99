"""Recorded drives, made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from mtdrive.data.camera import Camera
from mtdrive.data.drive_header import SHIFTED, DriveCamera, DriveHeader
from mtdrive.data.drive_table import DriveFrame
from mtdrive.data.drive_writer import DriveWriter
from mtdrive.data.recording import Size

SIZE: Size = (32, 64)
RATE = 10.0


def rigid(xyz: Sequence[float], yaw: float = 0.0, pitch: float = 0.0) -> Float64[np.ndarray, "4 4"]:
    """Return the pose that pitches up, turns to the right (both in degrees), then moves."""
    a, b = np.radians([yaw, pitch])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn @ nod, xyz
    return pose


MOUNT = rigid((0.0, -2.0, 1.4), pitch=-6)
"""Of the front camera in the car: 2 m above the ground, 1.4 m before its middle, looking down a little."""


def straight(steps: Sequence[float]) -> list[Float64[np.ndarray, "4 4"]]:
    """Return poses of a car that goes ahead by `steps` metres from frame to frame."""
    return [rigid((0.0, 0.0, z)) for z in np.cumsum([0.0, *steps])]


def circle(count: int, radius: float, speed: float) -> list[Float64[np.ndarray, "4 4"]]:
    """Return poses of a car on a circle to the right."""
    angles = np.arange(count) * speed / RATE / radius
    return [rigid((radius * (1 - np.cos(a)), 0, radius * np.sin(a)), np.degrees(a)) for a in angles]


def header(
    size: Size = SIZE, cameras: Mapping[str, Float64[np.ndarray, "4 4"]] | None = None, **changes: Any
) -> DriveHeader:
    """Return a header of `front`, perhaps a shifted camera, and others by `T_front,camera`."""
    pinhole = Camera(size[1], size[0], 0.7 * size[1], 0.8 * size[1], size[1] / 2, 0.45 * size[0])
    poses = {"front": np.eye(4), **(cameras or {})}
    plain = DriveHeader(
        rate=RATE,
        cameras={name: DriveCamera(pinhole, pose) for name, pose in poses.items()},
        mount=MOUNT,
        agent="expert",
        agent_version="1",
        town="Town01",
        weather="ClearNoon",
        density="regular",
        route="7",
        seeds={"route": 3},
        versions={"mtdrive": "0.1.0", "server": "0.9.16"},
    )
    return replace(plain, **changes)


def frame(index: int, head: DriveHeader, car: Float64[np.ndarray, "4 4"], **changes: Any) -> DriveFrame:
    """Return a frame whose values are all of its own; `car` is `T_world,car`."""
    rng = np.random.default_rng(index)
    height, width = head.cameras["front"].pinhole.size
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [127 + 120 * np.sin(3 * a * x + 2 * y + index) for a in (1, 2, 3)]
    real = DriveFrame(
        time=index / head.rate,
        number=500 + 2 * index,
        pose=car @ head.mount,
        speed=index / 7,
        acceleration=-index / 9,
        command=1 + index % 6,
        target_point=(1.0 + index, 20.0),
        steer=np.sin(index),
        throttle=0.5,
        brake=float(index % 3 == 0),
        applied=(0.1, 0.2, 0.3),
        route=np.stack([0.1 * np.arange(index % 21), 1.0 + np.arange(index % 21)], -1),
        images={name: np.stack(waves, -1).astype(np.uint8) for name in head.cameras},
        depth={c: rng.uniform(-5, 230, (height, width)) for c in head.maps.get("depth", ())},
        semantics={c: rng.integers(0, 29, (height, width), np.uint8) for c in head.maps.get("semantics", ())},
        flow={c: _flow(rng, (height, width)) for c in head.maps.get("flow", ())},
        shift=(0.1 * index - 0.5, 5 - index) if SHIFTED in head.cameras else (0.0, 0.0),
    )
    return replace(real, **changes)


def _flow(rng: np.random.Generator, size: Size) -> Float[np.ndarray, "h w 2"]:
    flow = rng.normal(0, 20, (*size, 2))
    flow[rng.random(size) < 0.1] = np.nan
    flow[0, 0] = 600
    return flow


def write_drive(
    folder: Path,
    cars: Sequence[Float64[np.ndarray, "4 4"]],
    head: DriveHeader | None = None,
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> list[DriveFrame]:
    """Write a drive and return its frames; `rows` are changes to them."""
    head = head or header()
    frames = [frame(i, head, car, **(rows[i] if rows else {})) for i, car in enumerate(cars)]
    with DriveWriter(folder, head) as writer:
        for each in frames:
            writer.append(each)
        writer.finish()
    return frames
