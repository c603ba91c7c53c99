"""Scores a depth network on held-out KITTI beside what needs no training, and draws what it sees.

Usage: python benchmarks/depth_kitti.py RUN --kitti FOLDER [--proj-depth NAME] --out FOLDER

RUN is the folder of a training of `first_depth`; its last checkpoint is scored. Depth: drive 0060, with and
without its near-static frames, beside a constant, the road as a plane (1.65 m below the camera, the horizon
at the principal point, 80 m above it), the network before training, and its own mean disparity of each row.
Motion: odometry 00 (trained on), 03 and 01 (grey, held out), beside a car that always drives straight ahead.
Writes depth_kitti.json and the pictures depth_kitti*.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from PIL import Image
from torch.nn import functional

from mtdrive.checkpoint import load_config
from mtdrive.data.kitti import KittiOdometry, KittiRaw
from mtdrive.data.kitti_odometry import Camera
from mtdrive.data.recording import Size, Target
from mtdrive.data.windows import resized
from mtdrive.evaluate import DepthEvaluation, predict_disparities
from mtdrive.evaluate_odometry import OdometryEvaluation, evaluate_odometry
from mtdrive.experiment import build_model, instantiate, load_model, parser
from mtdrive.metrics import DEPTH_ERRORS, EIGEN, score_image
from mtdrive.model import Model
from mtdrive.score_odometry import OdometryScore, Track
from mtdrive.show import coloured, stacked
from mtdrive.trajectory import Poses, chain, relative

DRIVE = "2011_09_26/2011_09_26_drive_0060_sync"
SEQUENCES: dict[str, Camera] = {"00": "image_2", "03": "image_0", "01": "image_0"}
CAMERA_HEIGHT, FAR = 1.65, 80.0
STILL = 0.015
"""Mean change of grey from frame to frame, of 1, below which the camera hardly moves."""
SHOWN = (0, 30, 60)
CPU = torch.device("cpu")
Scores = dict[str, dict[str, float]]


def flat_ground(target: Target, size: Size) -> np.ndarray:
    """Return the disparity of the road seen as a plane, in 1/m."""
    camera = target.recording.intrinsics("front", size).numpy()
    below = (np.arange(size[0]) - camera[1, 2]) / (camera[1, 1] * CAMERA_HEIGHT)
    return np.broadcast_to(np.maximum(below, 1 / FAR)[:, None], size)


def predictions(model: Model, evaluation: DepthEvaluation, size: Size) -> np.ndarray:
    """Return the disparities of all frames."""
    targets = evaluation.source.targets()
    parts = [targets[i : i + 8] for i in range(0, len(targets), 8)]
    return np.concatenate([predict_disparities(model, evaluation, part, size, CPU) for part in parts])


def moving(targets: list[Target]) -> np.ndarray:
    """Tell which frames differ from the next by more than noise, the last one as the one before it."""
    grey = [np.asarray(t.recording.image("front", t.frame).convert("L"), np.float32) / 255 for t in targets]
    change = [float(np.abs(a - b).mean()) for a, b in pairwise(grey)]
    return np.array([*change, change[-1]]) > STILL


def score(rivals: Mapping[str, np.ndarray], targets: list[Target], keep: np.ndarray) -> Scores:
    """Return the mean errors of each rival's disparities over the frames to keep."""
    truths = [t.recording.ground_truth(t.frame, "benchmark") for t in targets]
    result: Scores = {}
    for name, disparities in rivals.items():
        chosen = [(d, t) for d, t, k in zip(disparities, truths, keep, strict=True) if k]
        rows = [score_image(d, t, EIGEN, "median") for d, t in chosen]
        result[name] = {error: float(np.mean([row[error] for row in rows])) for error in DEPTH_ERRORS}
    return result


def depth_scores(trained: Model, start: Model, evaluation: DepthEvaluation, size: Size) -> dict[str, Scores]:
    """Score the network and its rivals on all frames and on those that move."""
    targets = list(evaluation.source.targets())
    found = predictions(trained, evaluation, size)
    rows = np.broadcast_to(found.mean(axis=(0, 2))[None, :, None], found.shape)
    full = targets[0].recording.ground_truth(targets[0].frame, "benchmark").shape
    rivals = {
        "constant": np.ones_like(found),
        "flat ground": np.stack([flat_ground(t, (full[0], full[1])) for t in targets]),
        "untrained": predictions(start, evaluation, size),
        "mean of each row": rows,
        "trained": found,
    }
    moves = moving(targets)
    everything = score(rivals, targets, np.ones_like(moves))
    return {f"all {len(moves)} frames": everything, f"{moves.sum()} moving": score(rivals, targets, moves)}


def straight_ahead(track: Track, truth: Poses) -> Track:
    """Return the trajectory of a car that always drives forward by its mean way."""
    step = np.eye(4)
    step[2, 3] = relative(truth[1:], truth[:-1])[:, 2, 3].mean()
    return Track(track.name, track.frames, chain(np.tile(step, (len(truth) - 1, 1, 1))), truth)


def correlations(track: Track, truth: Poses) -> dict[str, float]:
    """Return how predicted yaw and forward motion correlate with the true ones, and the share of the yaw."""
    pred, true = (relative(poses[1:], poses[:-1]) for poses in (track.pred, truth))
    yaws = [np.arctan2(m[:, 0, 2], m[:, 2, 2]) for m in (pred, true)]
    speeds = [-m[:, 2, 3] for m in (pred, true)]
    turn = np.abs(yaws[1]) > np.quantile(np.abs(yaws[1]), 0.9)
    return {
        "yaw_correlation": float(np.corrcoef(*yaws)[0, 1]),
        "speed_correlation": float(np.corrcoef(*speeds)[0, 1]),
        "turned": float(yaws[0][turn] @ yaws[1][turn] / (yaws[1][turn] @ yaws[1][turn])),
    }


def motion_scores(model: Model, root: Path, size: Size, out: Path) -> dict[str, Scores]:
    """Score the motion on each sequence beside the straight car, and draw the paths."""
    result: dict[str, Scores] = {}
    for sequence, camera in SEQUENCES.items():
        source = KittiOdometry(root, [sequence], camera=camera, poses=True)
        found = evaluate_odometry(model, OdometryEvaluation(source=source), size, CPU)
        track = found.tracks[0]
        assert track.truth is not None
        straight = OdometryScore((straight_ahead(track, track.truth),), "scale")
        result[sequence] = {
            "network": {**found.summary(), **correlations(track, track.truth)},
            "straight ahead": straight.summary(),
        }
        found.draw(track, out / f"depth_kitti_path_{sequence}.png")
    return result


def untrained(checkpoint: Path) -> Model:
    """Return the network of a checkpoint as it was before the first step."""
    settings = parser().parse_string(load_config(checkpoint))
    settings.data, settings.validation = {}, {}
    return build_model(instantiate(settings)).eval()


def draw_depth(model: Model, evaluation: DepthEvaluation, size: Size, path: Path) -> None:
    """Draw frames: the image, the prediction and the ground truth, its points enlarged."""
    columns = []
    for target in (t for t in evaluation.source.targets() if t.frame in SHOWN):
        shown = (3 * size[0], 3 * size[1])
        predicted = predict_disparities(model, evaluation, [target], size, CPU)[0]
        truth = torch.from_numpy(target.recording.ground_truth(target.frame, "benchmark").copy())
        near = functional.adaptive_max_pool2d(torch.where(truth > 0, 1 / truth, 0.0)[None], shown)[0]
        image = resized(target.recording.image("front", target.frame), shown)
        rows = [image, coloured(torch.from_numpy(predicted)), coloured(near)]
        columns.append(stacked(rows))
    pixels = (torch.cat(columns, dim=-1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)


def draw_curves(run: Path, path: Path) -> None:
    """Draw the loss, the correlations of the motion, and the error on the held-out drive."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
    shown = (
        ("train/depth/photometric",),
        ("train/depth/yaw_correlation", "train/depth/speed_correlation"),
        ("validation/traffic/depth/abs_rel",),
    )
    for axis, names in zip(axes, shown, strict=True):
        for name in names:
            points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
            axis.plot(*zip(*points, strict=True), label=name)
        axis.set_xlabel("step")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(scores: Scores, names: tuple[str, ...]) -> str:
    """Return scores as Markdown."""
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for who, row in scores.items():
        cells = ["" if row.get(name) is None else f"{row[name]:.3f}" for name in names]
        lines.append(f"| {who} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Score, draw, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", type=Path, help="the folder of a training")
    arguments.add_argument("--kitti", type=Path, required=True, help="with raw/ and odometry/")
    arguments.add_argument("--proj-depth", default="groundtruth", help="folder of the drive's depth PNGs")
    arguments.add_argument("--out", type=Path, required=True)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    checkpoint = options.run / "checkpoints" / "last"
    trained, size = (loaded := load_model(checkpoint)).model, loaded.size
    raw = KittiRaw(
        options.kitti / "raw",
        [DRIVE],
        side="l",
        depth="proj_depth",
        proj_depth=options.proj_depth,
        only_labelled=True,
    )
    evaluation = DepthEvaluation(source=raw, truth="benchmark")
    depth = depth_scores(trained, untrained(checkpoint), evaluation, size)
    motion = motion_scores(trained, options.kitti / "odometry", size, options.out)
    draw_depth(trained, evaluation, size, options.out / "depth_kitti.png")
    draw_curves(options.run, options.out / "depth_kitti_curves.png")
    result = {"depth on 0060": depth, "motion": motion}
    (options.out / "depth_kitti.json").write_text(json.dumps(result, indent=1) + "\n")
    for title, scores in depth.items():
        print(f"\n{title}\n{table(scores, tuple(DEPTH_ERRORS))}")
    figures = (
        "yaw_correlation",
        "speed_correlation",
        "turned",
        "ate5_mean",
        "ate5_std",
        "t_err",
        "r_err",
        "ate",
    )
    for title, scores in motion.items():
        print(f"\n{title}\n{table(scores, figures)}")


if __name__ == "__main__":
    main()
