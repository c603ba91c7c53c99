"""Scores depth that any program predicted, by the protocols of the published tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtdrive.depth_maps import DepthMaps, open_maps
from mtdrive.errors import DataError
from mtdrive.files import write_csv
from mtdrive.metrics import DEPTH_ERRORS, DepthProtocol, Scaling, score_depth_map, score_image

SHOWN = 3
"""How many missing images a message names."""


@dataclass(frozen=True)
class DepthScore:
    """Errors of each image, and their means: published tables average images, not pixels."""

    names: tuple[str, ...]
    rows: tuple[Mapping[str, float], ...]
    """`DEPTH_ERRORS` of each image, and its `ratio` where the median scaled it."""

    def summary(self) -> dict[str, float]:
        """Return the means, the number of `images` and under median scaling the spread of the ratios.

        `ratio_std` is relative to `ratio_median`, over the images (not one less).
        """
        means = {name: float(np.mean([row[name] for row in self.rows])) for name in DEPTH_ERRORS}
        return {**means, "images": len(self.rows), **self._ratios()}

    def _ratios(self) -> dict[str, float]:
        if "ratio" not in self.rows[0]:
            return {}
        ratios = np.array([row["ratio"] for row in self.rows])
        median = np.median(ratios)
        return {"ratio_median": float(median), "ratio_std": float(np.std(ratios / median))}

    def write_csv(self, path: Path) -> None:
        """Write a line for each image; the file appears whole or not at all."""
        rows = [[name, *row.values()] for name, row in zip(self.names, self.rows, strict=True)]
        write_csv(path, ["image", *self.rows[0]], rows)


def score_depth(pred: Path, truth: Path, protocol: DepthProtocol, scaling: Scaling) -> DepthScore:
    """Score saved predictions against saved ground truth.

    Two folders are matched by file stem, anything else by order.

    Args:
        pred: a folder of `.npy`, an `.npz` with the key `data` or an `.npy` stack, of disparity in
            1/metres and of any size; or a folder of KITTI PNGs, which hold depth at the size of `truth`.
        truth: likewise, but always depth in metres; 0 or NaN where unknown.
        protocol: which pixels count.
        scaling: how predictions become metres.

    Raises:
        DataError: if a file is missing or damaged, the two do not match, or an image cannot be scored.
    """
    predictions, truths = open_maps(pred), open_maps(truth)
    _check_match(predictions, truths)
    rows = [_score(predictions, truths, i, protocol, scaling) for i in range(len(truths.names))]
    return DepthScore(truths.names if truths.named else predictions.names, tuple(rows))


def _check_match(predictions: DepthMaps, truths: DepthMaps) -> None:
    if predictions.named and truths.named:
        _check_present(truths, predictions)
        _check_present(predictions, truths)
    elif len(predictions.names) != len(truths.names):
        raise DataError(
            f"{predictions.path} has {len(predictions.names)} images and {truths.path} "
            f"{len(truths.names)}; images matched by order must be equally many"
        )


def _check_present(wanted: DepthMaps, found: DepthMaps) -> None:
    if missing := [name for name in wanted.names if name not in set(found.names)]:
        names = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise DataError(
            f"{found.path} lacks {len(missing)} of the {len(wanted.names)} images of {wanted.path}: {names}; "
            "both folders must have the same file stems"
        )


def _score(
    predictions: DepthMaps, truths: DepthMaps, index: int, protocol: DepthProtocol, scaling: Scaling
) -> dict[str, float]:
    truth, prediction = truths.read(index), predictions.read(index)
    score = _score_png if predictions.png else score_image
    try:
        return score(prediction, truth, protocol, scaling)
    except DataError as error:
        raise DataError(f"{predictions.places[index]} against {truths.places[index]}: {error}") from None


def _score_png(
    depth: np.ndarray, truth: np.ndarray, protocol: DepthProtocol, scaling: Scaling
) -> dict[str, float]:
    if depth.shape != truth.shape:
        raise DataError(
            f"the prediction's (height, width) is {depth.shape}, the ground truth's {truth.shape}; "
            "save the PNG at the size of the ground truth, or disparity as .npy of any size"
        )
    return score_depth_map(depth, truth, protocol, scaling)
