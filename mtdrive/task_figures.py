"""Figures of one task on recorded drives, beside those of a predictor that has learned nothing.

Each is taken by the evaluation of that task alone, and so is its trivial one, on the same frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.batch import Batch, Inputs
from mtdrive.classes import CLASS_SETS, ClassSet
from mtdrive.data.drive_header import MAPS
from mtdrive.data.drive_recording import DRIVE_LABELS, DriveLabel, DriveRecording
from mtdrive.data.drives import Drives
from mtdrive.data.recording import Recording, Size
from mtdrive.evaluate import DepthEvaluation, evaluate_depth
from mtdrive.evaluate_flow import FlowCase, FlowEvaluation, evaluate_flow, score_source
from mtdrive.evaluate_policy import PolicyEvaluation, evaluate_policy
from mtdrive.evaluate_segmentation import SegmentationEvaluation, evaluate_segmentation
from mtdrive.model import Model
from mtdrive.score_tasks import Figure, compared
from mtdrive.task import Pyramid, Task
from mtdrive.tasks.policy.task import Plan, Policy

Titles = Mapping[str, tuple[str, float | None]]
"""By the name of a figure: its title, and its best value, None where no value is better than another."""

DEPTH: Titles = {
    "abs_rel": ("abs_rel", 0),
    "rmse": ("rmse, m", 0),
    "a1": ("a1", 1),
    "ratio_median": ("scale, true / predicted", None),
    "ratio_std": ("spread of the scale", 0),
}
SEGMENTATION: Titles = {"miou": ("miou", 1), "accuracy": ("accuracy", 1)}
FLOW: Titles = {"epe": ("epe, pixels", 0), "fl": ("fl, %", 0)}
UNITS = {"ade": "m", "fde": "m", "target_speed_mae": "m/s", "speed_mae": "m/s"}
"""Of the errors of a policy; the others have none."""


@dataclass(frozen=True, kw_only=True)
class Exam:
    """A model, and the drives that it is scored on."""

    model: Model
    source: Drives
    size: Size
    """Of the images that the networks see."""
    acting_size: Size
    """Of those that a policy sees."""
    stride: int
    """Frames from one pose to the next."""
    batch_size: int
    workers: int
    device: torch.device

    def instead(self, name: str, task: Task[Any]) -> Model:
        """Return a model that has but this task, which sees no image."""
        return Model(self.model.encoder, {name: task}).to(self.device)

    def giving(self, labels: Iterable[str], classes: ClassSet = "cityscapes") -> Drives:
        """Return the drives with these labels alone."""
        return replace(self.source, labels=[cast(DriveLabel, x) for x in sorted(labels)], classes=classes)

    def absent(self, labels: Iterable[str], cameras: Iterable[str] = ()) -> str:
        """Return which of some labels or cameras a drive lacks, empty if none."""
        wanted = set(labels)
        if strange := sorted(wanted - set(DRIVE_LABELS)):
            return f"not scored: drives have no {strange[0]}"
        targets = self.giving(wanted - set(MAPS)).targets()
        recordings = list({id(target.recording): target.recording for target in targets}.values())
        lacking = {x: [r.name for r in recordings if _lacks(r, x)] for x in sorted(wanted)}
        lacking |= {f"camera {x}": [r.name for r in recordings if not r.frames(x)] for x in sorted(cameras)}
        for what, names in lacking.items():
            if names:
                more = f" and {len(names) - 1} more" if names[1:] else ""
                return f"not scored: no {what} in {names[0]}{more} of {len(recordings)}"
        return ""


def _lacks(recording: Recording, label: str) -> bool:
    assert isinstance(recording, DriveRecording)
    if label in MAPS:
        return recording.options.camera not in recording.drive.header.maps.get(label, ())
    return label in recording.unknown


class Blind(Task[Any]):
    """A predictor that has learned nothing: it reads no features."""

    reads = ()

    def loss(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Refuse to be trained."""
        raise NotImplementedError


class ConstantDepth(Blind):
    """Depth that is the same everywhere."""

    def forward(self, features: Mapping[Any, Pyramid], inputs: Inputs) -> Float[Tensor, "b h w"]:
        """Return one metre everywhere."""
        return torch.ones_like(inputs.images[:, 0, 0])

    def disparity(self, output: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
        """Return the inverse."""
        return 1 / output


class ConstantPlan(Blind):
    """A plan that is the same in every frame, judged as that of a policy."""

    acts = True

    def __init__(self, judge: Policy, values: Mapping[str, Tensor]) -> None:
        """Keep the values by the names of their labels."""
        super().__init__()
        self.judge, self.values, self.needs = judge, values, judge.needs

    def forward(self, features: Mapping[Any, Pyramid], inputs: Inputs) -> Plan:
        """Return the values for each item."""
        images = inputs.images
        values = {n: x.to(images).expand(len(images), *x.shape) for n, x in self.values.items()}
        return Plan(values)

    def metrics(self, output: Plan, batch: Batch) -> dict[str, Tensor]:
        """Return those of the policy."""
        return self.judge.metrics(output, batch)

    def summarise(self, columns: Mapping[str, Tensor]) -> dict[str, float]:
        """Return what the policy would."""
        return self.judge.summarise(columns)


def depth_figures(exam: Exam, name: str) -> list[Figure]:
    """Return the errors of depth after median scaling, beside those of constant depth."""
    if missing := exam.absent({"depth"}):
        return [Figure(task=name, note=missing)]
    evaluation = DepthEvaluation(
        source=exam.giving([]), truth="camera", task=name, batch_size=exam.batch_size
    )
    found, trivial = (
        evaluate_depth(model, evaluation, exam.size, exam.device).summary()
        for model in (exam.model, exam.instead(name, ConstantDepth()))
    )
    return compared(name, found, trivial, DEPTH, "constant depth", f"{found['images']} frames")


def segmentation_figures(exam: Exam, name: str) -> list[Figure]:
    """Return the figures of segmentation, beside those of the most frequent class everywhere."""
    if missing := exam.absent({"semantics"}):
        return [Figure(task=name, note=missing)]
    classes = _class_set(exam.model.task(name).classes["semantics"])
    if classes is None:
        return [Figure(task=name, note="not scored: drives do not have its classes")]
    source = exam.giving(["semantics"], classes)
    evaluation = SegmentationEvaluation(source=source, task=name, batch_size=exam.batch_size)
    score = evaluate_segmentation(exam.model, evaluation, exam.size, exam.device)
    found, (most, guessed) = score.summary(), score.guessed()
    over = f"{found['images']} frames"
    return compared(name, found, guessed.summary(), SEGMENTATION, f"all {most}", over)


def _class_set(names: Sequence[str]) -> ClassSet | None:
    return next((key for key, found in CLASS_SETS.items() if found.names == tuple(names)), None)


def flow_figures(exam: Exam, name: str) -> list[Figure]:
    """Return the errors of flow, beside those of no motion."""
    if missing := exam.absent({"flow"}):
        return [Figure(task=name, note=missing)]
    source = exam.giving([])
    evaluation = FlowEvaluation(source=source, task=name, batch_size=exam.batch_size)
    found = evaluate_flow(exam.model, evaluation, exam.size, exam.device).summary()
    trivial = score_source(source, _still, exam.batch_size).summary()
    return compared(name, found, trivial, FLOW, "no motion", f"{found['images']} frames")


def _still(cases: Sequence[FlowCase]) -> list[Float[np.ndarray, "2 _h _w"]]:
    return [np.zeros((2, *case.size)) for case in cases]


def policy_figures(exam: Exam, name: str) -> list[Figure]:
    """Return the errors of the plans, beside those of the mean plan of these frames."""
    task = exam.model.task(name)
    if missing := exam.absent(task.needs, {view.camera for view in task.views}):
        return [Figure(task=name, note=missing)]
    source = exam.giving(task.needs)
    evaluation = PolicyEvaluation(source=source, task=name, batch_size=exam.batch_size, workers=exam.workers)
    score = evaluate_policy(exam.model, evaluation, exam.acting_size, exam.device)
    trivial: Mapping[str, float] = {}
    if isinstance(task, Policy):
        model = exam.instead(name, ConstantPlan(task, _mean_plan(source, task, exam.acting_size)))
        trivial = evaluate_policy(model, evaluation, exam.acting_size, exam.device).summary()
    titles = {n: (_with_unit(n), 0) for n in score.figures if "/" not in n}
    return compared(name, score.summary(), trivial, titles, "mean plan", f"{len(score.names)} frames")


def _with_unit(name: str) -> str:
    return f"{name}, {UNITS[name]}" if name in UNITS else name


def _mean_plan(source: Drives, task: Policy, size: Size) -> dict[str, Tensor]:
    """Return the means of what is known of the labels, and of the speed."""
    targets = source.targets()
    rows = {n: [t.recording.label(n, t.frame, size) for t in targets] for n in sorted(task.needs)}
    if task.speed_branch:
        rows["speed"] = [torch.tensor(t.recording.speed(t.frame)) for t in targets]
    return {name: torch.stack(values).float().nanmean(0) for name, values in rows.items()}
