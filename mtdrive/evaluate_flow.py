"""Open-loop evaluation of optical flow, at the size of the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.batch import TARGET, Inputs
from mtdrive.data.recording import FlowTruth, Size, Source, Target
from mtdrive.data.windows import resized
from mtdrive.errors import ConfigError, DataError, check_least
from mtdrive.flow_fields import rescale
from mtdrive.log import progress
from mtdrive.metrics_flow import FlowErrors, flow_errors
from mtdrive.model import Model
from mtdrive.score_flow import FlowScore


@dataclass(frozen=True)
class FlowCase:
    """A frame with its true flow."""

    target: Target
    truth: FlowTruth

    @property
    def size(self) -> Size:
        """Of the ground truth."""
        height, width = self.truth.flow.shape[1:]
        return height, width

    def pair(self, size: Size) -> Float[Tensor, "2 3 h w"]:
        """Return the target and the frame that the flow leads to."""
        frames = (self.target.frame, self.truth.other)
        return torch.stack([resized(self.target.recording.image("front", f), size) for f in frames])


Predict = Callable[[Sequence[FlowCase]], Sequence[Float[np.ndarray, "2 _h _w"]]]
"""Returns the flow of each case at the size of its ground truth, in its pixels."""


@dataclass(frozen=True, kw_only=True)
class FlowEvaluation:
    """Which frames a flow network is scored on."""

    source: Source
    """Whose targets have true flow: `KittiFlow`, or drives that were recorded with it."""
    task: str = "flow"
    """The task to score: one with a method `flow`, such as `mtdrive.tasks.flow.Flow`. It is asked for the
    flow to that frame to which the ground truth leads, whichever it was trained for."""
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_least("evaluate", self, {"batch_size": 1})


def evaluate_flow(model: Model, evaluation: FlowEvaluation, size: Size, device: torch.device) -> FlowScore:
    """Score the flow task of a model.

    Args:
        model: with the task that `evaluation` names.
        evaluation: the frames.
        size: of the images that the network sees.
        device: where the model is.

    Raises:
        ConfigError: if the task does not predict flow.
        DataError: if a frame or its ground truth is missing.
    """
    model.eval()
    task: Any = model.task(evaluation.task)
    if not hasattr(task, "flow"):
        raise ConfigError(f"task {evaluation.task!r} does not predict flow; name a flow task by --task")

    @torch.no_grad()
    def predict(cases: Sequence[FlowCase]) -> list[Float[np.ndarray, "2 _h _w"]]:
        images = torch.stack([case.pair(size) for case in cases])
        cameras = torch.stack([case.target.recording.intrinsics("front", size).float() for case in cases])
        views = (TARGET, task.other)
        inputs = Inputs(views=views, images=images, intrinsics=torch.stack([cameras, cameras], 1)).to(device)
        flow = task.flow(model.predict(inputs, [evaluation.task])[evaluation.task], size).cpu().double()
        return [rescale(flow[i : i + 1], case.size)[0].numpy() for i, case in enumerate(cases)]

    return score_source(evaluation.source, predict, evaluation.batch_size)


def score_source(source: Source, predict: Predict, batch_size: int = 8) -> FlowScore:
    """Score any predictor on the frames of a source that have true flow.

    Raises:
        DataError: if a frame or its ground truth is missing, or no frame has any.
    """
    targets = source.targets()
    names: list[str] = []
    errors: dict[str, list[FlowErrors]] = {}
    with progress("evaluating", len(targets)) as tell:
        for start in range(0, len(targets), batch_size):
            cases = [
                FlowCase(target, truth)
                for target in targets[start : start + batch_size]
                if (truth := target.recording.flow_truth(target.frame)) is not None
            ]
            for case, flow in zip(cases, predict(cases) if cases else [], strict=True):
                names.append(str(case.target.recording.path("front", case.target.frame)))
                for kind, known in _kinds(case.truth).items():
                    errors.setdefault(kind, []).append(flow_errors(flow, known))
            tell(min(start + batch_size, len(targets)))
    if not names:
        raise DataError("the source has no frame with true flow; check its drives, start and stop")
    return FlowScore(names, errors)


def _kinds(truth: FlowTruth) -> dict[str, Float[np.ndarray, "2 h w"]]:
    if truth.unoccluded is None:
        return {"all": truth.flow}
    return {"occ": truth.flow, "noc": truth.unoccluded}
