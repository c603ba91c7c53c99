"""`mtdrive score`: predictions made elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtdrive.commands import Commands, register, show


def add(commands: Commands) -> None:
    """Register `score`."""
    parser = commands.add_parser("score", help="score predictions made elsewhere")
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    depth = register(kinds, "depth", _score_depth, "score predicted depth against ground truth")
    depth.add_argument(
        "pred",
        type=Path,
        help="folder of .npy, .npz (key data) or .npy stack: disparity; folder of PNG: depth",
    )
    depth.add_argument(
        "truth", type=Path, help="folder of .npy or KITTI PNG, or .npz (key data): depth in metres"
    )
    depth.add_argument(
        "--protocol", choices=("eigen", "benchmark"), default="eigen", help="which pixels count"
    )
    depth.add_argument(
        "--scaling",
        choices=("median", "none", "stereo"),
        default="median",
        help="how predictions become metres",
    )
    depth.add_argument("--json", action="store_true", help="print JSON in place of a table")
    depth.add_argument("--csv", type=Path, metavar="FILE", help="write a line an image")


def _score_depth(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.metrics import PROTOCOLS
    from mtdrive.score import score_depth

    score = score_depth(options.pred, options.truth, PROTOCOLS[options.protocol], options.scaling)
    if options.csv is not None:
        score.write_csv(options.csv)
    show(score.summary(), options.json)
