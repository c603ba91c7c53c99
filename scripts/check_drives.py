"""Check that depth and poses of recorded drives agree: what a frame shows lies where the next one shows it.

python -m scripts.check_drives drives [--pairs 20]

Of pairs of neighbouring frames, depth is moved by the known poses and compared with the depth of the other
one, where it shows what stands still. For each drive the median relative error of the inverse depth
and the share of pixels within 2 % are printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.data.drive_files import Drive, read_drive
from mtdrive.data.drives import find_drives
from mtdrive.envs.town.tags import Tag
from mtdrive.geometry import backproject, inside, project, transform, warp

MOVING = (Tag.CAR, Tag.TRUCK, Tag.BUS, Tag.MOTORCYCLE, Tag.BICYCLE, Tag.PEDESTRIAN, Tag.RIDER, Tag.SKY)
THIN = (Tag.VEGETATION, Tag.POLE, Tag.TRAFFIC_LIGHT, Tag.TRAFFIC_SIGN)
"""Of which a pixel's neighbour may be far behind."""
FARTHEST = 80.0
"""Metres up to which depth is compared."""
CLOSE = 0.02
HIDDEN = 0.05
"""Shares of the depth: what agrees, and what is nearer than that in the other frame and hides the point."""


def errors(drive: Drive, frame: int) -> Float[Tensor, " n"]:
    """Return the relative errors of the inverse depth of a frame, as the frame before shows it."""
    camera, poses = drive.header.cameras["front"].pinhole, drive.columns["pose"]
    intrinsics = camera.intrinsics(camera.size)
    now, before = (
        torch.from_numpy(drive.map("depth", "front", k)).double()[None] for k in (frame, frame - 1)
    )
    tags = torch.from_numpy(drive.map("semantics", "front", frame).astype(np.int64))
    moved = transform(
        torch.from_numpy(np.linalg.inv(poses[frame - 1]) @ poses[frame]), backproject(now, intrinsics)
    )
    pixels, front = project(moved, intrinsics)
    # Inverse depth is linear on planes.
    seen = warp(1 / before.nan_to_num(FARTHEST * 10), pixels[None])[0, 0]
    still = ~torch.isin(tags, torch.tensor([int(tag) for tag in (*MOVING, *THIN)]))
    known = still & front & inside(pixels, *camera.size) & (now[0] < FARTHEST)
    error = seen * moved[2] - 1
    return error[known & (error < HIDDEN)].abs()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--pairs", type=int, default=20, help="of each drive (default: 20)")
    options = parser.parse_args()
    medians, shares = [], []
    for folder in find_drives(options.root):
        drive = read_drive(folder)
        frames = np.linspace(1, len(drive) - 1, options.pairs).round().astype(int)
        found = torch.cat([errors(drive, int(frame)) for frame in frames])
        medians.append(float(found.median()))
        shares.append(float((found < CLOSE).double().mean()))
        print(f"{folder.name:14} median {medians[-1]:.2%}, within {CLOSE:.0%}: {shares[-1]:.1%}", flush=True)
    worst = f"within {CLOSE:.0%}: {min(shares):.1%} at least"
    print(f"{len(medians)} drives: median {np.median(medians):.2%}, {worst}")


if __name__ == "__main__":
    main()
