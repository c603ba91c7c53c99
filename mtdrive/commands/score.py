"""`mtdrive score`: predictions made elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtdrive.commands import Commands, register, show, tell


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
    _add_flow(kinds)
    _add_odometry(kinds)


def _add_flow(kinds: Commands) -> None:
    flow = register(kinds, "flow", _score_flow, "score predicted optical flow as KITTI 2015 does")
    flow.add_argument("pred", type=Path, help="a .flo or KITTI PNG, or a folder of them")
    flow.add_argument(
        "truth", type=Path, help="likewise; or the folder of KITTI 2015 that holds flow_occ and flow_noc"
    )
    flow.add_argument("--json", action="store_true", help="print JSON in place of a table")
    flow.add_argument("--csv", type=Path, metavar="FILE", help="write a line an image")


def _add_odometry(kinds: Commands) -> None:
    odometry = register(
        kinds, "odometry", _score_odometry, "score a predicted trajectory against the true one"
    )
    odometry.add_argument(
        "pred", type=Path, help="poses in KITTI's format: 12 numbers a line, a line a frame"
    )
    odometry.add_argument("truth", type=Path, help="true poses of the same frames, in the same format")
    odometry.add_argument(
        "--align",
        choices=("none", "scale", "similarity"),
        default="scale",
        help="what is fitted to the truth: one scale, or rotation and translation too (7 numbers)",
    )
    odometry.add_argument("--json", action="store_true", help="print JSON in place of a table")
    odometry.add_argument("--csv", type=Path, metavar="FILE", help="write a line a window of 5 frames")
    odometry.add_argument("--plot", type=Path, metavar="FILE", help="draw both from above, as PNG")


def _score_depth(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.metrics import PROTOCOLS
    from mtdrive.score import score_depth

    score = score_depth(options.pred, options.truth, PROTOCOLS[options.protocol], options.scaling)
    if options.csv is not None:
        score.write_csv(options.csv)
    show(score.summary(), options.json)


def _score_flow(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.score_flow import score_flow

    score = score_flow(options.pred, options.truth)
    if options.csv is not None:
        score.write_csv(options.csv)
    show(score.summary(), options.json)


def _score_odometry(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.score_odometry import score_odometry

    score = score_odometry(options.pred, options.truth, options.align)
    figures = score.summary()
    if options.csv is not None:
        score.write_csv(options.csv)
    if options.plot is not None:
        score.draw(score.tracks[0], options.plot)
    tell(score.notes())
    show(figures, options.json)
