"""Open-loop evaluation of every task of a checkpoint on recorded drives, and how it drives beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mtdrive.data.drives import Drives
from mtdrive.data.recording import Size, Source
from mtdrive.errors import ConfigError, check_least
from mtdrive.model import Model
from mtdrive.motion_figures import motion_figures
from mtdrive.score_tasks import Figure, TaskScore
from mtdrive.task import Task
from mtdrive.task_figures import (
    Exam,
    depth_figures,
    flow_figures,
    policy_figures,
    segmentation_figures,
)


@dataclass(frozen=True, kw_only=True)
class TasksEvaluation:
    """Which drives all tasks are scored on."""

    source: Source
    """`Drives`, of which each task gets the labels, classes and frames that it needs: the root is enough.
    `every` and so on choose the frames, but trajectories take every frame from start to stop."""
    driven: Path | None = None
    """A folder of `mtdrive drive`, whose driving figures are put beside those of the tasks."""
    stride: int | None = None
    """Frames on disk from one pose to the next; that of the training if none is given."""
    batch_size: int = 8
    workers: int = 0
    """Processes that load for the policy and for trajectories; 0 loads in the evaluating process."""

    def __post_init__(self) -> None:
        check_least("evaluate", self, {"batch_size": 1, "workers": 0, "stride": 1})
        if not isinstance(self.source, Drives):
            raise ConfigError(
                f"tasks are scored together on recorded drives, found {type(self.source).__name__}; give "
                "--source Drives, or evaluate them one by one"
            )


PARTS: Sequence[tuple[Callable[[Task[Any]], bool], Callable[[Exam, str], list[Figure]]]] = (
    (lambda task: task.acts, policy_figures),
    (lambda task: hasattr(task, "disparity"), depth_figures),
    (lambda task: getattr(task, "pose", None) is not None, motion_figures),
    (lambda task: hasattr(task, "flow"), flow_figures),
    (lambda task: "semantics" in task.classes, segmentation_figures),
)
"""What may be scored of a task, and by what one knows that it is there."""


def evaluate_tasks(
    model: Model,
    evaluation: TasksEvaluation,
    size: Size,
    device: torch.device,
    acting_size: Size | None = None,
    checkpoint: Path | None = None,
) -> TaskScore:
    """Score every task of a model, as far as the drives have its labels.

    Args:
        model: with any tasks.
        evaluation: the drives.
        size: of the images that the networks see.
        device: where the model is.
        acting_size: of those that a policy sees, if it is another one.
        checkpoint: of the model; whether it drove is checked.

    Raises:
        ConfigError: if a setting does not fit.
        DataError: if a frame or label cannot be read.
    """
    assert isinstance(evaluation.source, Drives)
    exam = Exam(
        model=model,
        source=evaluation.source,
        size=size,
        acting_size=acting_size or size,
        stride=evaluation.stride or 1,
        batch_size=evaluation.batch_size,
        workers=evaluation.workers,
        device=device,
    )
    driving = _driving(evaluation.driven, checkpoint)
    figures = [figure for name in model.tasks for figure in _figures(exam, name)]
    return TaskScore((*driving.figures, *figures), driving.notes)


def _driving(folder: Path | None, checkpoint: Path | None) -> TaskScore:
    if folder is None:
        return TaskScore(())
    from mtdrive.driven import driving_figures  # brings the client of the simulator

    return driving_figures(folder, checkpoint)


def _figures(exam: Exam, name: str) -> list[Figure]:
    task = exam.model.task(name)
    chosen = [part for fits, part in PARTS if fits(task)]
    if not chosen:
        return [Figure(task=name, note="not scored: there is no evaluation of such a task")]
    return [figure for part in chosen for figure in part(exam, name)]
