"""`mtdrive export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtdrive.commands import Commands, register, show


def add(commands: Commands) -> None:
    """Register `export`."""
    parser = register(
        commands, "export", _export, "write a checkpoint's policy as a program that runs without mtdrive"
    )
    parser.add_argument(
        "checkpoint", type=Path, help="a checkpoint folder, such as runs/NAME/checkpoints/last"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="such as policy.pt2")
    parser.add_argument(
        "--format",
        choices=("torch", "onnx"),
        default="torch",
        help="a program of torch.export (default), or ONNX, which needs mtdrive[onnx]",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.epilog = (
        "Images go in as colours in [0, 1], (1, cameras, 3, height, width); the speed in m/s; the command by "
        "CARLA's number. For example: mtdrive export runs/policy/checkpoints/last --out policy.pt2"
    )


def _export(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.export import export_policy

    show(export_policy(options.checkpoint, options.out, options.format).figures(), options.json)
