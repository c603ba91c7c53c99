"""Measures of predictions: pure functions, on numpy images for evaluation and on torch batches for logging.

Importing this file does not import torch, so that scoring saved predictions starts fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from mtdrive.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # jaxtyping still checks the shapes, by the attributes

Scaling = Literal["median", "none", "stereo"]
"""How predictions become metres: `median` times median(truth) / median(prediction) of the evaluated pixels,
`none` as they are, `stereo` times `STEREO_SCALE`."""

STEREO_SCALE = 5.4
"""Metres of KITTI's stereo baseline (0.54) for one unit of the 0.1 that networks are trained with."""

DEPTH_ERRORS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")
"""Names of the depth errors, in the order of the published tables; rmse and sq_rel are in metres."""

GARG_CROP = (0.40810811, 0.99189189, 0.03594771, 0.96405229)
"""First and last row as fractions of the height, first and last column as fractions of the width."""


@dataclass(frozen=True, kw_only=True)
class DepthProtocol:
    """Which pixels of an image are evaluated, and the range that predictions are clamped to."""

    name: str
    min_depth: float = 1e-3
    """Metres."""
    max_depth: float = 80.0
    """Metres."""
    crop: bool
    """Evaluate inside `GARG_CROP` only."""
    cap_truth: bool
    """Evaluate only where the ground truth is strictly inside the range; else wherever it is positive."""

    def mask(self, truth: Any) -> Any:
        """Return the evaluated pixels of `truth (*b h w)` in metres, a numpy array or a tensor."""
        known = (truth > self.min_depth) & (truth < self.max_depth) if self.cap_truth else truth > 0
        if self.crop:
            top, bottom, left, right = garg_bounds(*truth.shape[-2:])
            known[..., :top, :] = False
            known[..., bottom:, :] = False
            known[..., :left] = False
            known[..., right:] = False
        return known


EIGEN = DepthProtocol(name="eigen", crop=True, cap_truth=True)
"""The Eigen split: the crop of Garg et al., ECCV 2016 (https://arxiv.org/abs/1603.04992), 80 m."""

BENCHMARK = DepthProtocol(name="benchmark", crop=False, cap_truth=False)
"""The improved ground truth of Uhrig et al., 3DV 2017 (https://arxiv.org/abs/1708.06500)."""

PROTOCOLS = {protocol.name: protocol for protocol in (EIGEN, BENCHMARK)}


def garg_bounds(height: int, width: int) -> tuple[int, int, int, int]:
    """Return `GARG_CROP` in pixels, as half-open bounds (top, bottom, left, right)."""
    top, bottom, left, right = GARG_CROP
    return int(top * height), int(bottom * height), int(left * width), int(right * width)


def _terms(depth: Any, truth: Any, log: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what each error averages over pixels; the two rmse want a square root afterwards.

    One definition for numpy and torch, which differ in `log` alone.
    """
    over, under = depth / truth, truth / depth
    squared = (depth - truth) ** 2
    return {
        "abs_rel": abs(depth - truth) / truth,
        "sq_rel": squared / truth,
        "rmse": squared,
        "rmse_log": (log(depth) - log(truth)) ** 2,
        **{f"a{i}": (over < 1.25**i) & (under < 1.25**i) for i in (1, 2, 3)},
    }


def depth_errors(depth: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Return `DEPTH_ERRORS` of one image's evaluated pixels, computed in float64.

    Eigen et al., NIPS 2014 (https://arxiv.org/abs/1406.2283).

    Args:
        depth: positive metres, already scaled and clamped.
        truth: positive metres.
    """
    terms = _terms(depth.astype(np.float64), truth.astype(np.float64), np.log)
    means = {name: float(np.mean(term)) for name, term in terms.items()}
    return {name: mean**0.5 if name.startswith("rmse") else mean for name, mean in means.items()}


def score_depth_map(
    depth: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "h w"],
    protocol: DepthProtocol,
    scaling: Scaling,
) -> dict[str, float]:
    """Return `DEPTH_ERRORS` of one image, and under median scaling the `ratio` that it was scaled by.

    Args:
        depth: prediction; metres, or in any unit under median scaling. Only evaluated pixels are read.
        truth: metres; 0 or NaN where unknown.
        protocol: which pixels count.
        scaling: how `depth` becomes metres.

    Raises:
        DataError: if no pixel can be evaluated, or an evaluated one is not positive and finite.
    """
    mask = protocol.mask(truth)
    _check_evaluated(depth[mask], truth[mask], protocol)
    known, predicted = truth[mask].astype(np.float64), depth[mask].astype(np.float64)
    ratio = _ratio(predicted, known, scaling)
    errors = depth_errors(np.clip(predicted * ratio, protocol.min_depth, protocol.max_depth), known)
    return {**errors, "ratio": ratio} if scaling == "median" else errors


def _check_evaluated(
    depth: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"], protocol: DepthProtocol
) -> None:
    if not truth.size:
        raise DataError(
            f"no pixel of the ground truth is inside the mask of the protocol {protocol.name!r}; "
            "leave the image out, on both sides"
        )
    if bad := np.count_nonzero(np.isinf(truth)):
        raise DataError(f"{bad} pixels of the ground truth are infinite; mark unknown depth by 0 or NaN")
    if bad := np.count_nonzero(~((depth > 0) & np.isfinite(depth))):
        raise DataError(
            f"{bad} of the {truth.size} evaluated pixels have no prediction: expected positive and finite "
            "numbers, found 0, negative, infinite or NaN; predict every pixel"
        )


def _ratio(depth: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"], scaling: Scaling) -> float:
    if scaling == "median":
        return float(np.median(truth) / np.median(depth))
    return STEREO_SCALE if scaling == "stereo" else 1.0


def score_image(
    disparity: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "H W"],
    protocol: DepthProtocol,
    scaling: Scaling,
) -> dict[str, float]:
    """Return `score_depth_map` of a disparity of any size.

    The disparity is resized to the ground truth before it is inverted, as published evaluations do;
    resizing depth gives other numbers.

    Args:
        disparity: 1/metres, or any unit under median scaling.
        truth: metres; 0 or NaN where unknown.
        protocol: which pixels count.
        scaling: how the inverse of `disparity` becomes metres.

    Raises:
        DataError: as `score_depth_map`.
    """
    height, width = truth.shape
    resized = resize_bilinear(disparity, height, width)
    with np.errstate(divide="ignore", over="ignore"):  # a disparity of 0 is refused below, where evaluated
        depth = 1 / resized
    return score_depth_map(depth, truth, protocol, scaling)


def resize_bilinear(image: Float[np.ndarray, "h w"], height: int, width: int) -> Float[np.ndarray, "H W"]:
    """Resize with half-pixel centres, replicated borders and no antialiasing, in float64.

    Equals `cv2.resize` and `torch.nn.functional.interpolate(align_corners=False)` in exact arithmetic.
    """
    image = image.astype(np.float64)
    if image.shape == (height, width):
        return image
    with np.errstate(invalid="ignore"):  # inf - inf; a NaN stays one, and is refused where evaluated
        return _resize_rows(_resize_rows(image, height).T, width).T


def _resize_rows(image: Float[np.ndarray, "h w"], height: int) -> Float[np.ndarray, "H w"]:
    size = image.shape[0]
    centres = np.clip((np.arange(height) + 0.5) * (size / height) - 0.5, 0, size - 1)
    lower = centres.astype(np.intp)
    upper = np.minimum(lower + 1, size - 1)
    low, high = image[lower], image[upper]
    resized: Float[np.ndarray, "H w"] = low + (centres - lower)[:, None] * (high - low)
    return resized


def flip_average(
    disparity: Float[np.ndarray, "*b h w"], mirrored: Float[np.ndarray, "*b h w"]
) -> Float[np.ndarray, "*b h w"]:
    """Blend two disparities of an image: their mean, but the borders from the one that sees further there.

    The post-processing of Godard et al., CVPR 2017 (https://arxiv.org/abs/1609.03677).

    Args:
        disparity: prediction for the image.
        mirrored: prediction for the mirrored image, mirrored back; it rules at the left border.
    """
    ramp = 1 - np.clip(20 * (np.linspace(0, 1, disparity.shape[-1]) - 0.05), 0, 1)
    left, right = ramp, ramp[::-1]
    blend: Float[np.ndarray, "*b h w"] = (
        right * disparity + left * mirrored + (1 - left - right) * (disparity + mirrored) / 2
    )
    return blend


def depth_metrics(
    depth: Float[Tensor, "b h w"],
    truth: Float[Tensor, "b h w"],
    protocol: DepthProtocol = EIGEN,
    scaling: Scaling = "median",
) -> dict[str, Float[Tensor, " b"]]:
    """Return `DEPTH_ERRORS` of each item, and its `ratio` under median scaling, without synchronising.

    The numbers are those of `score_depth_map`, in float64; NaN for an item without an evaluated pixel.

    Args:
        depth: prediction; metres, or in any unit under median scaling.
        truth: metres; 0 or NaN where unknown.
        protocol: which pixels count.
        scaling: how `depth` becomes metres.
    """
    depth, truth = depth.detach().double().flatten(1), truth.detach().double()
    mask, truth = protocol.mask(truth).flatten(1), truth.flatten(1)
    ratio = _median(truth, mask) / _median(depth, mask)
    scale = ratio[:, None] if scaling == "median" else STEREO_SCALE if scaling == "stereo" else 1.0
    # 1 in the pixels that do not count keeps them finite, so that the sums below may take them by zero
    scaled = (depth * scale).clamp(protocol.min_depth, protocol.max_depth).where(mask, 1.0)
    terms = _terms(scaled, truth.where(mask, 1.0), lambda x: x.log())
    count = mask.sum(1)
    means = {name: (term.double() * mask).sum(1) / count for name, term in terms.items()}
    errors = {name: x.sqrt() if name.startswith("rmse") else x for name, x in means.items()}
    return {**errors, "ratio": ratio} if scaling == "median" else errors


def _median(values: Float[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Return the mean of the two middle values, as numpy does; torch's own median is the lower one."""
    return values.masked_fill(~mask, float("nan")).nanquantile(0.5, dim=1)


def pearson(first: Float[Tensor, "b ..."], second: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Return the correlation of each item over the entries that are NaN in neither.

    NaN where it is undefined: fewer than two entries, or all of them equal.
    """
    x, y = first.detach().double().flatten(1), second.detach().double().flatten(1)
    known = ~(x.isnan() | y.isnan())
    x, y = _standardise(x, known), _standardise(y, known)
    return (x * y).sum(1).clamp(-1, 1)


def _standardise(values: Float[Tensor, "b n"], known: Bool[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Return each item with mean 0 and length 1, 0 where unknown, NaN if its values are equal."""
    mean = values.where(known, 0.0).sum(1, keepdim=True) / known.sum(1, keepdim=True)
    centred = (values - mean).where(known, 0.0)
    # equal values rarely sum to their mean exactly: what rounding leaves must not look like variation
    lowest = values.where(known, np.inf).amin(dim=1, keepdim=True)
    highest = values.where(known, -np.inf).amax(dim=1, keepdim=True)
    length = centred.square().sum(1, keepdim=True).sqrt()
    return (centred / length).masked_fill(lowest >= highest, np.nan)


def displacement_errors(
    points: Float[Tensor, "b n 2"], truth: Float[Tensor, "b n 2"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Return the mean distance over the known points, and that of the last one, in metres.

    NaN where no point, or the last one, is known.
    """
    away = (points.detach() - truth).norm(dim=-1)
    return away.nanmean(dim=1), away[:, -1]
