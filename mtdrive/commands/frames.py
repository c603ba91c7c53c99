"""`mtdrive frames`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from mtdrive.commands import Commands, each, register


def add(commands: Commands) -> None:
    """Register `frames`."""
    parser = register(commands, "frames", _frames, "extract frames of videos to train on")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="a drive each")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="gets a folder of JPEGs for each video"
    )
    parser.add_argument(
        "--fps", type=_positive, default=10.0, help="frames in a second, picked by time (default: 10)"
    )
    parser.add_argument(
        "--size", type=_size, metavar="WIDTH|HxW", help="of the frames (default: that of the video)"
    )
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--fov", type=float, metavar="DEG", help="horizontal field of view of the video")
    camera.add_argument(
        "--camera", type=Path, metavar="FILE", help="JSON with width, height, fx, fy, cx, cy in pixels"
    )
    parser.epilog = (
        "For example: mtdrive frames videos/*.mp4 --out frames --fps 10 --size 640 --fov 70. A video whose "
        "folder exists is left alone and reported."
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1000:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return value


def _size(text: str) -> tuple[int | None, int]:
    found = re.fullmatch(r"(?:([1-9][0-9]*)x)?([1-9][0-9]*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a width, or height x width as 192x640; found {text!r}")
    return (int(found[1]) if found[1] else None), int(found[2])


def _frames(options: argparse.Namespace, rest: list[str]) -> int:
    from mtdrive.data.clips import by_name
    from mtdrive.extract import Extraction, extract

    extraction = Extraction(fps=options.fps, size=options.size, fov=options.fov, camera=options.camera)

    def attempt(name: str, video: Path) -> None:
        folder = options.out / name
        sys.stdout.write(f"{folder}: {extract(video, folder, extraction)} frames\n")

    return each(by_name(options.videos), attempt)
