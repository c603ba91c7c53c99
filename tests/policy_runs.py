"""Made-up drives that CARLA's camera could have recorded, and runs of a policy on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import UInt8

from mtdrive.cli import main
from mtdrive.data.camera import Camera
from mtdrive.data.drive_header import DriveCamera, DriveHeader
from mtdrive.envs.coordinates import intrinsics
from tests.drive_tree import circle, header, write_drive

SIZE = (64, 96)
FOV = 80.0

RUN: dict[str, Any] = {
    "encoder": {"class_path": "mtdrive.compact.Compact", "init_args": {"channels": [8, 8, 8, 8, 16]}},
    "tasks": {
        "policy": {"class_path": "mtdrive.tasks.policy.Policy", "init_args": {"width": 32}},
        "depth": {
            "class_path": "mtdrive.tasks.depth.Depth",
            "init_args": {"pose": {"class_path": "mtdrive.pose.SharedPose"}},
        },
    },
    "weighting": {"class_path": "mtdrive.weighting.uncertainty.Uncertainty"},
    "optimization": {"optimizer": "adamw", "learning_rate": 3e-3, "schedule": "cosine"},
    "training": {"accelerator": "cpu", "threads": 1, "log_every": 5, "share_every": 5, "picture_every": 20},
}


def carla_header(**changes: Any) -> DriveHeader:
    """Return a header whose front camera is one of CARLA's, with a depth map."""
    k = intrinsics(SIZE[1], SIZE[0], FOV)
    lens = Camera(SIZE[1], SIZE[0], *(float(x) for x in (k[0, 0], k[1, 1], k[0, 2], k[1, 2])))
    return replace(header(), cameras={"front": DriveCamera(lens, np.eye(4))}, **changes)


def write_drives(root: Path, count: int = 2, frames: int = 24, **changes: Any) -> None:
    """Write drives on circles to the right and to the left; steering and speed are those of the circle."""
    for number in range(count):
        speed = 5.0 + number
        known = {"target_speed": speed, "steer": 0.1 * (-1) ** number, "speed": speed - 1}
        rows = [{**known, "images": {"front": scene(i, bool(number % 2))}} for i in range(frames)]
        write_drive(root / f"drive_{number}", circle(frames, 30.0, speed), carla_header(**changes), rows)


def scene(index: int, mirrored: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Return waves that move to the left, brighter on the right; or that in a mirror."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    waves = np.sin(0.2 * x + 0.1 * y + 0.3 * index) + x / SIZE[1]
    colours = np.stack([60 * waves + 60, 50 * waves + 80, 40 * waves + 60], -1).astype(np.uint8)
    return np.ascontiguousarray(colours[:, ::-1] if mirrored else colours)


def write_config(path: Path, drives: Path, **changes: Any) -> Path:
    """Write the configuration of a joint run: a batch for the policy, one of video for depth."""

    def data(labels: list[str], views: list[str] | None) -> dict[str, Any]:
        source = {
            "class_path": "mtdrive.data.drives.Drives",
            "init_args": {"root": str(drives), "labels": labels},
        }
        return {
            "source": source,
            "batch_size": 4 if views else 2,
            "size": list(SIZE),
            "workers": 0,
            "views": views,
        }

    sets = {"drives": data(["steer", "target_speed"], ["front"]), "video": data([], None)}
    path.write_text(yaml.safe_dump({**RUN, "data": sets, **changes}))
    return path


def train(config: Path, folder: Path, *more: str) -> int:
    """Run `mtdrive train`."""
    return main(["train", "--config", str(config), "--folder", str(folder), *more])
