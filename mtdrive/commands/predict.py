"""`mtdrive predict`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtdrive.commands import Commands, each, register, tell


def add(commands: Commands) -> None:
    """Register `predict`."""
    parser = register(commands, "predict", _predict, "predict depth and motion for images and videos")
    parser.add_argument(
        "checkpoint", type=Path, help="a checkpoint folder, such as runs/NAME/checkpoints/last"
    )
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT", help="an image, a folder of images, or a video"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the results")
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--fov", type=float, metavar="DEG", help="horizontal field of view of the inputs")
    camera.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="JSON with width, height, fx, fy, cx, cy (default: camera.json of a folder, else KITTI's "
        "camera; Depth does not read it, tasks of your own may)",
    )
    parser.add_argument("--no-video", action="store_true", help="write no videos of folders and videos")
    parser.add_argument(
        "--npy",
        choices=("depth", "disparity"),
        help="write arrays too, float32 at the size of the training; `mtdrive score depth` reads disparity",
    )
    parser.add_argument("--fps", type=float, default=10.0, help="of videos made of folders (default: 10)")
    parser.add_argument("--task", default="depth", help="the task that predicts (default: depth)")
    parser.add_argument("--accelerator", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="images at once (default: 8)")
    parser.epilog = (
        "Writes NAME_depth.png for an image; NAME_depth/, NAME_depth.mp4, NAME_poses.txt (KITTI's format) "
        "and NAME_trajectory.png for a folder; the same without NAME_depth/ for a video. Depth and "
        "motion are up to one unknown scale, unless the network was trained with metres."
    )


def _predict(options: argparse.Namespace, rest: list[str]) -> int:

    from mtdrive.data.clips import by_name
    from mtdrive.devices import make_fabric
    from mtdrive.experiment import load_model
    from mtdrive.predict import Prediction, Predictor, predict

    names = by_name(options.inputs)
    settings = Prediction(
        fov=options.fov,
        camera=options.camera,
        fps=options.fps,
        video=not options.no_video,
        npy=options.npy,
        task=options.task,
        batch_size=options.batch_size,
    )
    device = make_fabric(options.accelerator, devices=1).device
    trained = load_model(options.checkpoint, device)
    predictor = Predictor(trained.model, trained.size, device, settings)

    def attempt(name: str, path: Path) -> None:
        predict(predictor, path, name, options.out, lambda line: tell([f"warning: {line}"]))

    return each(names, attempt)
