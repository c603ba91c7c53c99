"""Times recorded drives: what a frame costs the recorder, and the loader beside that of KITTI.

Usage: python benchmarks/drives.py [--frames N] [--batches N] [--out FILE]

A made drive of 320x160 with depth, semantics and flow is recorded at 10 times real time. Then the same JPEGs
are read as a drive and as KITTI: batches of 12 items of three views with flips and jitter, from files in the
cache of the system to bytes that travel to the device. The sides take turns, batch by batch, on one thread.

append: milliseconds that a frame holds up the thread that drives.
all: processor time of a frame, encoding in threads included.
times_odometry, times_raw: items a second, of those of KITTI odometry, which has poses as drives have, or raw,
    which has none; `labels` adds waypoints, path and controls to drives, `maps` depth and semantics, too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image

from mtdrive.batch import TARGET, View
from mtdrive.data.augment import Augment
from mtdrive.data.camera import from_fov
from mtdrive.data.drive_header import MAPS, DriveCamera, DriveHeader
from mtdrive.data.drive_table import DriveFrame
from mtdrive.data.drive_writer import DriveWriter
from mtdrive.data.drives import Drives
from mtdrive.data.kitti import KittiOdometry, KittiRaw
from mtdrive.data.packed import collate_packed
from mtdrive.data.recording import Size, Source
from mtdrive.data.windows import Windows

SIZE: Size = (160, 320)
BATCH = 12
VIEWS = (TARGET, View("front", -1), View("front", 1))
CONTROLS = ("waypoints", "path", "steer", "throttle", "brake")
SPEED = 8.0


def textures(count: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return a wide texture: noise of all frequencies, stronger the coarser."""
    rng = np.random.default_rng(0)
    height, width = SIZE[0], SIZE[1] + 4 * count
    wide = np.zeros((height, width, 3))
    for octave in range(6):
        coarse = rng.integers(0, 256, (2 + (height >> octave), 2 + (width >> octave), 3), np.uint8)
        layer = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        wide += (np.asarray(layer) / 255 - 0.5) * 1.6 ** (octave - 6)
    return (255 * (0.5 + 0.6 * wide).clip(0, 1)).astype(np.uint8)


def ground() -> Float32[np.ndarray, "h w"]:
    """Return the depth of a plane with two boxes on it, below a sky."""
    row = np.arange(SIZE[0], dtype=np.float32)[:, None] - 75
    depth = np.where(row > 2, 400 / row.clip(1), np.inf).astype(np.float32) + np.zeros(SIZE, np.float32)
    depth[40:100, 50:90], depth[60:110, 200:260] = 15, 8
    return depth


def frames(count: int) -> list[DriveFrame]:
    """Return the frames of a straight drive."""
    wide, depth = textures(count), ground()
    flow = np.stack([100 / depth, 50 / depth], -1)
    made = []
    for i in range(count):
        pose = np.eye(4)
        pose[2, 3] = i * SPEED / 10
        frame = DriveFrame(
            time=i / 10,
            number=2 * i,
            pose=pose,
            speed=SPEED,
            acceleration=0.0,
            command=4,
            target_point=(0.0, 30.0),
            steer=0.0,
            throttle=0.5,
            brake=0.0,
            applied=(0.0, 0.5, 0.0),
            route=np.stack([np.zeros(20), np.arange(1.0, 21)], -1),
            images={"front": np.ascontiguousarray(wide[:, 4 * i : 4 * i + SIZE[1]])},
            depth={"front": depth},
            semantics={"front": np.where(depth < 20, 14, 1).astype(np.uint8)},
            flow={"front": flow},
        )
        made.append(frame)
    return made


def record(folder: Path, made: Sequence[DriveFrame]) -> dict[str, float]:
    """Write a drive and return milliseconds."""
    header = DriveHeader(
        rate=10.0,
        cameras={"front": DriveCamera(from_fov(90, SIZE))},
        mount=np.eye(4),
        maps=dict.fromkeys(MAPS, ("front",)),
        agent="none",
        agent_version="",
        town="",
        weather="",
        density="",
        route="",
        seeds={},
        versions={},
    )
    spent: list[float] = []
    start = time.process_time()
    with DriveWriter(folder, header) as writer:
        for frame in made:
            time.sleep(0.01)  # the world's turn
            before = time.perf_counter()
            writer.append(frame)
            spent.append(1000 * (time.perf_counter() - before))
        before = time.perf_counter()
        writer.finish()
    return {
        "append": round(median(spent), 3),
        "append_95_percent": round(float(np.percentile(spent, 95)), 3),
        "all": round(1000 * (time.process_time() - start) / len(made), 3),
        "finish": round(1000 * (time.perf_counter() - before), 1),
    }


def as_odometry(drive: Path, root: Path) -> None:
    """Copy the images to where KITTI odometry has them, with calibration and poses."""
    sequence = root / "sequences" / "00"
    shutil.copytree(drive / "rgb" / "front", sequence / "image_2")
    (sequence / "calib.txt").write_text("P2: 160 0 160 0 0 160 80 0 0 0 1 0\n")
    poses = [
        f"1 0 0 0 0 1 0 0 0 0 1 {0.8 * i:.3f}\n" for i in range(len(list((sequence / "image_2").iterdir())))
    ]
    (root / "poses").mkdir()
    (root / "poses" / "00.txt").write_text("".join(poses))


def as_raw(drive: Path, root: Path) -> None:
    """Copy the images to where KITTI raw has them, with a calibration."""
    day = root / "2011_09_26"
    folder = day / "2011_09_26_drive_0001_sync" / "image_02" / "data"
    folder.mkdir(parents=True)
    projection = "P_rect_02: 160 0 160 0 0 160 80 0 0 0 1 0"
    (day / "calib_cam_to_cam.txt").write_text(f"S_rect_02: {SIZE[1]} {SIZE[0]}\n{projection}\n")
    for path in sorted((drive / "rgb" / "front").iterdir()):
        shutil.copy(path, folder / f"{int(path.stem):010d}.jpg")


def load(sides: dict[str, Source], batches: int) -> dict[str, dict[str, float]]:
    """Return items a second of each side, and how many times those of KITTI."""
    windows = {side: Windows(source, VIEWS, SIZE, augment=Augment()) for side, source in sides.items()}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for k in range(batches + 1):  # the first one warms up
        for side, items in windows.items():
            start = time.process_time()
            collate_packed([items.packed((k, (BATCH * k + i) % len(items))) for i in range(BATCH)])
            times[side].append((time.process_time() - start) / BATCH)
    warm = {side: np.array(t[1:]) for side, t in times.items()}
    return {
        "items_per_second": {side: round(1 / median(t), 1) for side, t in warm.items()},
        "times_odometry": {side: round(median(warm["odometry"] / t), 3) for side, t in warm.items()},
        "times_raw": {side: round(median(warm["raw"] / t), 3) for side, t in warm.items()},
    }


def main() -> None:
    """Measure, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--frames", type=int, default=300, help="of the made drive")
    arguments.add_argument("--batches", type=int, default=60, help="of 12 items, timed on each side")
    arguments.add_argument("--out", type=Path, help="a JSON file")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        recorded = record(root / "drive", frames(options.frames))
        as_odometry(root / "drive", root / "odometry")
        as_raw(root / "drive", root / "raw")
        sides: dict[str, Source] = {
            "odometry": KittiOdometry(root / "odometry", ["00"], poses=True),
            "raw": KittiRaw(root / "raw", side="l"),
            "drives": Drives(root / "drive"),
            "labels": Drives(root / "drive", labels=CONTROLS),
            "maps": Drives(root / "drive", labels=(*CONTROLS, "depth", "semantics")),
        }
        result = {"frames": options.frames, "record_ms": recorded, **load(sides, options.batches)}
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
