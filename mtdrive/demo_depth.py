"""How good the depth of a trained network is on recorded drives, beside what needs no network."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from mtdrive.data.drives import Drives
from mtdrive.data.recording import Target
from mtdrive.evaluate import DepthEvaluation, evaluate_depth, predict_disparities
from mtdrive.experiment import load_model
from mtdrive.metrics import EIGEN, score_depth_map
from mtdrive.show import coloured

Map = Float[np.ndarray, "h w"]

SHOWN = ("abs_rel", "rmse", "a1")
NETWORK, ROWS, CONSTANT = "the network", "each row's median in the other drives", "the same everywhere"
"""What is compared; all are scaled to the median of the true depth of each image."""


@dataclass(frozen=True)
class DepthLook:
    """Errors, and pictures of a few frames."""

    frames: int
    scores: Mapping[str, Mapping[str, float]]
    """Mean errors by what predicted."""
    pictures: Sequence[bytes]
    """PNG: the image, the predicted and the true depth, beside each other."""


def look_at_depth(checkpoint: Path, drives: Path, every: int, pictures: int = 4) -> DepthLook:
    """Score the depth of a checkpoint on recorded drives with true depth, and draw some frames.

    Args:
        checkpoint: with a task called `depth`.
        drives: the folder; in two drives at least.
        every: takes each so-manieth frame.
        pictures: how many to draw.
    """
    source = Drives(drives, labels=("depth",), every=every)
    trained, device = load_model(checkpoint), torch.device("cpu")
    evaluation = DepthEvaluation(source=source, truth="camera")
    network = evaluate_depth(trained.model, evaluation, trained.size, device)
    targets = source.targets()
    truths = [target.recording.ground_truth(target.frame, "camera") for target in targets]
    scores = {
        NETWORK: network.rows,
        ROWS: _scored(row_medians([target.recording.name for target in targets], truths), truths),
        CONSTANT: _scored([np.ones_like(truth) for truth in truths], truths),
    }
    chosen = np.linspace(0, len(targets) - 1, pictures + 2).round().astype(int)[1:-1].tolist()
    shown = [targets[i] for i in chosen]
    disparities = predict_disparities(trained.model, evaluation, shown, trained.size, device)
    return DepthLook(
        frames=len(targets),
        scores={name: _means(rows) for name, rows in scores.items()},
        pictures=[
            draw(target, disparity, truths[i])
            for target, disparity, i in zip(shown, disparities, chosen, strict=True)
        ],
    )


def row_medians(names: Sequence[str], truths: Sequence[Map]) -> list[Map]:
    """Return for each frame the median depth of each row in the drives that it does not belong to.

    What lies beyond the protocol's range, or has no truth, counts as its end.
    """
    bounded: dict[str, list[Map]] = {name: [] for name in names}
    for name, truth in zip(names, truths, strict=True):
        known = np.where(truth > 0, np.clip(truth, EIGEN.min_depth, EIGEN.max_depth), EIGEN.max_depth)
        bounded[name].append(known)
    medians = {
        name: np.median([m for other, maps in bounded.items() if other != name for m in maps], axis=(0, 2))
        for name in bounded
    }
    return [
        np.repeat(medians[name][:, None], truth.shape[1], 1)
        for name, truth in zip(names, truths, strict=True)
    ]


def _scored(depths: Sequence[Map], truths: Sequence[Map]) -> list[dict[str, float]]:
    return [score_depth_map(d, t, EIGEN, "median") for d, t in zip(depths, truths, strict=True)]


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in SHOWN}


def draw(target: Target, disparity: Map, truth: Map) -> bytes:
    """Return the image, the predicted and the true disparity, in the same colours."""
    image = target.recording.image("front", target.frame)
    inverse = np.where(truth > 0, 1 / np.maximum(truth, EIGEN.min_depth), 0.0)
    known = EIGEN.mask(truth)
    scale = float(np.median(inverse[known]) / np.median(_resized(disparity, image.size)[known]))
    span = 0.0, float(np.quantile(inverse, 0.95))
    maps = [_resized(disparity, image.size) * scale, inverse]
    parts = [np.asarray(image), *(_colours(values, span) for values in maps)]
    content = io.BytesIO()
    Image.fromarray(np.concatenate(parts, axis=1)).save(content, "PNG")
    return content.getvalue()


def _resized(values: Map, size: tuple[int, int]) -> Map:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))


def _colours(values: Map, span: tuple[float, float]) -> np.ndarray:
    colours = coloured(torch.from_numpy(np.ascontiguousarray(values)), span)
    return (colours.permute(1, 2, 0) * 255).round().byte().numpy()
