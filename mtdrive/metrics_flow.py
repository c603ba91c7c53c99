"""Measures of optical flow, as the KITTI 2015 benchmark defines them.

Moritz Menze and Andreas Geiger, "Object Scene Flow for Autonomous Vehicles", CVPR 2015,
https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php. Importing this file does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from mtdrive.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # jaxtyping still checks the shapes, by the attributes

PIXELS, SHARE = 3.0, 0.05
"""An end point further off than both, in pixels and of the length of the true flow, is an outlier."""


@dataclass(frozen=True)
class FlowErrors:
    """Errors over some pixels, as sums, so that those of several images can be added."""

    pixels: int
    distance: float
    """Sum of the distances between predicted and true end points, in pixels."""
    outliers: int
    length: float
    """Sum of the lengths of the true flow: the distance of a prediction without motion."""

    @property
    def epe(self) -> float:
        """The mean distance; NaN without pixels."""
        return self.distance / self.pixels if self.pixels else float("nan")

    @property
    def still(self) -> float:
        """The mean distance of a prediction without motion; NaN without pixels."""
        return self.length / self.pixels if self.pixels else float("nan")

    @property
    def fl(self) -> float:
        """Percentage of outliers; NaN without pixels."""
        return 100 * self.outliers / self.pixels if self.pixels else float("nan")


def flow_errors(flow: Float[np.ndarray, "2 h w"], truth: Float[np.ndarray, "2 _h _w"]) -> FlowErrors:
    """Return the errors of an image, in float64, over the pixels whose truth is known (not NaN).

    Raises:
        DataError: if the sizes differ, or a pixel with known truth has no prediction.
    """
    if flow.shape != truth.shape:
        raise DataError(
            f"the prediction's (height, width) is {flow.shape[1:]}, the ground truth's {truth.shape[1:]}; "
            "predict at the size of the ground truth"
        )
    known = np.isfinite(truth).all(0)
    predicted, real = flow[:, known].astype(np.float64), truth[:, known].astype(np.float64)
    if bad := np.count_nonzero(~np.isfinite(predicted).all(0)):
        raise DataError(
            f"{bad} of the {known.sum()} evaluated pixels have no prediction; predict every pixel"
        )
    distance = np.hypot(*(predicted - real))
    length = np.hypot(*real)
    outlier = (distance > PIXELS) & (distance > SHARE * length)
    return FlowErrors(int(known.sum()), float(distance.sum()), int(outlier.sum()), float(length.sum()))


def pooled(errors: Iterable[FlowErrors]) -> FlowErrors:
    """Return the errors over all pixels of several images: KITTI's tables do not average images."""
    rows = list(errors)
    return FlowErrors(
        pixels=sum(x.pixels for x in rows),
        distance=sum(x.distance for x in rows),
        outliers=sum(x.outliers for x in rows),
        length=sum(x.length for x in rows),
    )


def flow_metrics(
    flow: Float[Tensor, "b 2 h w"], truth: Float[Tensor, "b 2 h w"]
) -> dict[str, Float[Tensor, " b"]]:
    """Return `epe`, `fl` and `pixels` of each item, as `flow_errors` does, without synchronising.

    NaN for an item without a known pixel.
    """
    flow, truth = flow.detach().double(), truth.detach().double()
    known = truth.isfinite().all(1)
    truth = truth.where(known[:, None], 0.0)
    distance = (flow - truth).square().sum(1).sqrt()
    outlier = (distance > PIXELS) & (distance > SHARE * truth.square().sum(1).sqrt())
    pixels = known.sum((1, 2))
    total = distance.where(known, 0.0).sum((1, 2))
    return {
        "epe": total / pixels,
        "fl": 100 * (outlier & known).sum((1, 2)).double() / pixels,
        "pixels": pixels.double(),
    }


def pooled_columns(columns: Mapping[str, Float[Tensor, " n"]]) -> dict[str, float]:
    """Return the means, over all pixels, of columns with one row an image, which has so many `pixels`."""
    pixels = columns["pixels"]
    return {
        name: float(column.where(pixels > 0, 0.0).mul(pixels).sum() / pixels.sum())
        for name, column in columns.items()
        if name != "pixels"
    }
