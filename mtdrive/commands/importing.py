"""`mtdrive import`: networks that other programs trained."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mtdrive.commands import Commands, register

if TYPE_CHECKING:
    from mtdrive.monodepth2 import Imported


def add(commands: Commands) -> None:
    """Register `import`."""
    parser = commands.add_parser("import", help="turn networks that other programs trained into checkpoints")
    programs = parser.add_subparsers(title="programs", metavar="PROGRAM", required=True)
    monodepth2 = register(
        programs, "monodepth2", _import_monodepth2, "import a folder of Monodepth2's weights"
    )
    monodepth2.add_argument(
        "folder", type=Path, help="with encoder.pth, depth.pth and, if trained on video, the pose network's"
    )
    monodepth2.add_argument(
        "--out", type=Path, required=True, metavar="CHECKPOINT", help="the new checkpoint's folder"
    )


def _import_monodepth2(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.monodepth2 import import_checkpoint

    found = import_checkpoint(options.folder, options.out)
    _show(found)
    sys.stdout.write(f"{options.out}: written\n")


def _show(found: Imported) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "network", "tensors mapped", "ignored")
    for file in found.files:
        table.add_row(file.file, file.architecture, str(file.tensors), "\n".join(file.ignored))
    for name in found.unread:
        table.add_row(name, "", "not read")
    Console().print(table)
    sys.stdout.write("".join(f"{line}\n" for line in _notes(found)))


def _notes(found: Imported) -> Iterator[str]:
    height, width = found.size
    yield f"trained on images of {width}x{height}"
    if found.stereo:
        yield "trained on stereo pairs with a baseline of 0.1: evaluate with --scaling stereo"
    if all(file.file != "pose.pth" for file in found.files):
        yield "there was no pose network: the checkpoint predicts depth, not motion"
