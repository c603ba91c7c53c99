"""Scores a first depth network on drive 0060 beside what needs no training, and draws what it sees.

Usage: python benchmarks/first_depth.py CHECKPOINT --kitti FOLDER [--proj-depth NAME] --out FOLDER

The rivals are a constant, the road as a plane (1.65 m below the camera, the horizon at the principal point,
80 m above it), and the same network before training. On the held-out odometry sequence 03 it compares
the motion that the network predicts with the true one. Writes first_depth.json and first_depth.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from mtdrive.batch import View
from mtdrive.checkpoint import load_config
from mtdrive.data.kitti import KittiOdometry, KittiRaw
from mtdrive.data.loaders import evaluation_batches
from mtdrive.data.recording import Size, Target
from mtdrive.data.windows import Windows, resized
from mtdrive.evaluate import DepthEvaluation, evaluate_depth, measure, predict_disparities
from mtdrive.experiment import build_model, instantiate, load_model, parser
from mtdrive.metrics import EIGEN, score_image
from mtdrive.model import Model
from mtdrive.score import DepthScore
from mtdrive.show import coloured, stacked

DRIVE = "2011_09_26/2011_09_26_drive_0060_sync"
CAMERA_HEIGHT = 1.65
FAR = 80.0
SHOWN = (0, 30, 60)
CPU = torch.device("cpu")


def flat_ground(target: Target, size: Size) -> np.ndarray:
    """Return the disparity of the road seen as a plane, in 1/m."""
    camera = target.recording.intrinsics("front", size).numpy()
    below = (np.arange(size[0]) - camera[1, 2]) / (camera[1, 1] * CAMERA_HEIGHT)
    return np.broadcast_to(np.maximum(below, 1 / FAR)[:, None], size)


def score_rule(source: KittiRaw, rule: Callable[[Target, Size], np.ndarray], truth: str) -> DepthScore:
    """Score a disparity that follows from the camera alone."""
    rows = []
    for target in source.targets():
        known = target.recording.ground_truth(target.frame, truth)
        height, width = known.shape
        rows.append(score_image(rule(target, (height, width)), known, EIGEN, "median"))
    return DepthScore(tuple(str(t.frame) for t in source.targets()), tuple(rows))


def motion(model: Model, root: Path, size: Size) -> dict[str, float]:
    """Return how predicted yaw and forward motion correlate with the true ones on sequence 03 (grey)."""
    source = KittiOdometry(root, ["03"], camera="image_0", poses=True)
    windows = Windows(source, (View("front", -1), View("front", 1)), size)
    figures = measure(model, evaluation_batches(windows, 8, 0), CPU)
    return {name: x for name, x in figures.items() if name.endswith("correlation")}


def untrained(checkpoint: Path) -> Model:
    """Return the network of a checkpoint as it was before the first step."""
    settings = parser().parse_string(load_config(checkpoint))
    settings.data, settings.validation = {}, {}
    return build_model(instantiate(settings)).eval()


def draw(model: Model, evaluation: DepthEvaluation, size: Size, path: Path) -> None:
    """Draw frames: the image, the prediction, the ground truth (points enlarged) and the flat ground."""
    targets = [t for t in evaluation.source.targets() if t.frame in SHOWN]
    columns = []
    for target in targets:
        shown = (2 * size[0], 2 * size[1])
        predicted = predict_disparities(model, evaluation, [target], size, CPU)[0]
        truth = torch.from_numpy(target.recording.ground_truth(target.frame, "benchmark").copy())
        near = functional.adaptive_max_pool2d(torch.where(truth > 0, 1 / truth, 0.0)[None], shown)[0]
        rows = [
            resized(target.recording.image("front", target.frame), shown),
            coloured(torch.from_numpy(predicted)),
            coloured(near),
            coloured(torch.from_numpy(flat_ground(target, shown).copy())),
        ]
        columns.append(stacked(rows))
    pixels = (torch.cat(columns, dim=-1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)


def table(scores: dict[str, dict[str, float]]) -> str:
    """Return the scores as Markdown."""
    names = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [f"| {who} | " + " | ".join(f"{s[n]:.3f}" for n in names) + " |" for who, s in scores.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Score, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("checkpoint", type=Path)
    arguments.add_argument("--kitti", type=Path, required=True, help="with raw/ and odometry/")
    arguments.add_argument("--proj-depth", default="groundtruth", help="folder of the drive's depth PNGs")
    arguments.add_argument("--out", type=Path, required=True)
    options = arguments.parse_args()

    trained = load_model(options.checkpoint)
    raw = KittiRaw(
        options.kitti / "raw",
        [DRIVE],
        side="l",
        depth="proj_depth",
        proj_depth=options.proj_depth,
        only_labelled=True,
    )
    evaluation = DepthEvaluation(source=raw, truth="benchmark")
    start = untrained(options.checkpoint)
    scores = {
        "constant": score_rule(raw, lambda _, size: np.ones(size), "benchmark").summary(),
        "flat ground": score_rule(raw, flat_ground, "benchmark").summary(),
        "untrained": evaluate_depth(start, evaluation, trained.size, CPU).summary(),
        "trained": evaluate_depth(trained.model, evaluation, trained.size, CPU).summary(),
    }
    motions = {
        "untrained": motion(start, options.kitti / "odometry", trained.size),
        "trained": motion(trained.model, options.kitti / "odometry", trained.size),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    draw(trained.model, evaluation, trained.size, options.out / "first_depth.png")
    result = {"depth": scores, "motion on 03": motions}
    (options.out / "first_depth.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(scores))
    print(json.dumps(motions, indent=1))


if __name__ == "__main__":
    main()
