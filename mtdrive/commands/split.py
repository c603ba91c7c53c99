"""`mtdrive split`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mtdrive.commands import Commands, register


def add(commands: Commands) -> None:
    """Register `split`."""
    parser = register(
        commands, "split", _split, "write the Eigen/Zhou training and validation lists of KITTI raw"
    )
    parser.add_argument("root", type=Path, help="KITTI raw, with a folder a day")
    parser.add_argument(
        "--test-scenes", type=Path, required=True, metavar="FILE", help="test_scenes_eigen.txt"
    )
    parser.add_argument("--static-frames", type=Path, required=True, metavar="FILE", help="static_frames.txt")
    parser.add_argument("--seed", type=int, default=0, help="of the validation frames")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for train_files.txt, val_files.txt"
    )


def _split(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.data.kitti_splits import eigen_zhou, write_split

    lists = eigen_zhou(options.root, options.test_scenes, options.static_frames, seed=options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(("train_files.txt", "val_files.txt"), lists, strict=True):
        write_split(options.out / name, lines)
        sys.stdout.write(f"{options.out / name}: {len(lines)} frames\n")
