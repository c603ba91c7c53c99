"""Open-loop evaluation: metrics over a data set, and depth by the published protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.batch import TARGET, Batch, Inputs
from mtdrive.data.packed import Packed
from mtdrive.data.recording import Recording, Size, Source, Target
from mtdrive.data.windows import resized
from mtdrive.errors import ConfigError, DataError
from mtdrive.log import progress
from mtdrive.metrics import PROTOCOLS, DepthProtocol, flip_average, score_image
from mtdrive.model import Model
from mtdrive.score import DepthScore

STEREO_BASELINE = 0.1
"""Of Monodepth2's stereo networks: 5.4 times shorter than KITTI's."""

TruthConvention = Literal["eigen", "benchmark", "camera"]


@torch.no_grad()
def measure(model: Model, batches: Iterable[Packed], device: torch.device) -> dict[str, float]:
    """Return the losses and metrics of every task on a data set, named `task` and `task/figure`.

    Losses are measured where the batches could train the task; metrics where they have the labels.
    """
    model.eval()
    losses: dict[str, list[tuple[float, int]]] = {}
    columns: dict[str, dict[str, list[Tensor]]] = {}
    for batch in batches:
        moved = batch.to(device)
        for task, output in _outputs(model, moved, losses).items():
            for name, rows in model.task(task).metrics(output, moved).items():
                columns.setdefault(task, {}).setdefault(name, []).append(rows.cpu())
    figures = {name: _mean(rows) for name, rows in losses.items()}
    for task, parts in columns.items():
        summary = model.task(task).summarise({name: torch.cat(rows) for name, rows in parts.items()})
        figures |= {f"{task}/{name}": value for name, value in summary.items()}
    return figures


def _outputs(model: Model, batch: Batch, losses: dict[str, list[tuple[float, int]]]) -> dict[str, Any]:
    """Predict with every task, and note the losses of those that the batch could train."""
    outputs: dict[str, Any] = {}
    if model.trainable(batch.inputs.views, batch.labels):
        result = model(batch)
        outputs = result.outputs
        for name, loss in result.losses.items():
            losses.setdefault(name, []).append((float(loss), batch.size))
    rest = [name for name in model.tasks if name not in outputs]
    return outputs | (model.predict(batch.inputs, rest) if rest else {})


def _mean(rows: list[tuple[float, int]]) -> float:
    return sum(x * n for x, n in rows) / sum(n for _, n in rows)


@dataclass(frozen=True, kw_only=True)
class DepthEvaluation:
    """Which frames a depth network is scored on, and how."""

    source: Source
    """Whose targets have ground truth at its own resolution."""
    protocol: Literal["eigen", "benchmark"] = "eigen"
    """`eigen`: Garg crop, at most 80 m. `benchmark`: no crop, no cap, for the official ground truth."""
    truth: TruthConvention | None = None
    """`eigen`: LiDAR with the published quirks. `camera`: LiDAR along the optical axis. `benchmark`: the
    official PNGs. That of the protocol if none is given."""
    scaling: Literal["median", "none", "stereo"] = "median"
    """`median`: each image by its ground truth. `stereo`: by 5.4, for networks with a baseline of 0.1."""
    flip: bool = False
    """Average with the prediction for the mirrored image (post-processing of Godard et al., CVPR 2017)."""
    task: str = "depth"
    """The task to score: one with a method `disparity`, such as `mtdrive.tasks.depth.Depth`."""
    batch_size: int = 8

    @property
    def rules(self) -> DepthProtocol:
        """The protocol's rules."""
        return PROTOCOLS[self.protocol]


def evaluate_depth(model: Model, evaluation: DepthEvaluation, size: Size, device: torch.device) -> DepthScore:
    """Score the depth task of a model against ground truth at its own resolution.

    Args:
        model: with the task that `evaluation` names.
        evaluation: the frames and the protocol.
        size: of the images that the network sees.
        device: where the model is.

    Raises:
        DataError: if a frame has no ground truth.
    """
    model.eval()
    _check_scaling(model, evaluation)
    targets = evaluation.source.targets()
    names: list[str] = []
    rows: list[Mapping[str, float]] = []
    with progress("evaluating", len(targets)) as tell:
        for start in range(0, len(targets), evaluation.batch_size):
            part = targets[start : start + evaluation.batch_size]
            disparities = predict_disparities(model, evaluation, part, size, device)
            for target, disparity in zip(part, disparities, strict=True):
                names.append(str(target.recording.path("front", target.frame)))
                rows.append(_score(target, disparity, evaluation))
            tell(len(names))
    if not rows:
        raise DataError("the source has no frame to evaluate; check its drives, split and label settings")
    return DepthScore(tuple(names), tuple(rows))


def _check_scaling(model: Model, evaluation: DepthEvaluation) -> None:
    """Refuse the factor 5.4 for networks that were not trained with the baseline it belongs to."""
    baseline = getattr(model.task(evaluation.task), "baseline", None)
    if evaluation.scaling == "stereo" and baseline != STEREO_BASELINE:
        raise ConfigError(
            f"scaling stereo is the factor 5.4 of networks trained with a baseline of {STEREO_BASELINE}, but "
            f"this one has {baseline or 'none'}: use scaling none where depth is metric, else median"
        )


def _score(
    target: Target, disparity: Float[np.ndarray, "h w"], evaluation: DepthEvaluation
) -> dict[str, float]:
    truth = target.recording.ground_truth(target.frame, evaluation.truth or evaluation.protocol)
    try:
        return score_image(disparity, truth, evaluation.rules, evaluation.scaling)
    except DataError as error:
        raise DataError(f"{target.recording.path('front', target.frame)}: {error}") from None


@torch.no_grad()
def predict_disparities(
    model: Model, evaluation: DepthEvaluation, targets: Iterable[Target], size: Size, device: torch.device
) -> Float[np.ndarray, "b h w"]:
    """Return the disparities, in 1/m, of some frames."""
    task: Any = model.task(evaluation.task)
    if not hasattr(task, "disparity"):
        raise ConfigError(f"task {evaluation.task!r} does not predict disparity; choose a depth task")

    def predict(inputs: Inputs) -> Float[Tensor, "b h w"]:
        disparity: Tensor = task.disparity(model.predict(inputs, [evaluation.task])[evaluation.task])
        return disparity.cpu().double()

    inputs = _inputs([(t.recording, t.frame) for t in targets], size).to(device)
    if not evaluation.flip:
        return predict(inputs).numpy()
    mirrored = replace(inputs, images=inputs.images.flip(-1))
    return flip_average(predict(inputs).numpy(), predict(mirrored).flip(-1).numpy())


def _inputs(frames: list[tuple[Recording, int]], size: Size) -> Inputs:
    images = torch.stack([resized(recording.image("front", frame), size) for recording, frame in frames])
    cameras = torch.stack([recording.intrinsics("front", size) for recording, _ in frames])
    return Inputs(views=(TARGET,), images=images[:, None], intrinsics=cameras[:, None].float())
