"""Open-loop evaluation of a policy: how far its plans are from what the expert did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mtdrive.data.loaders import evaluation_batches
from mtdrive.data.recording import Size, Source
from mtdrive.data.windows import Windows
from mtdrive.errors import ConfigError, check_least
from mtdrive.files import write_csv
from mtdrive.log import progress
from mtdrive.model import Model


@dataclass(frozen=True, kw_only=True)
class PolicyEvaluation:
    """Which frames a policy is scored on."""

    source: Source
    """Drives with the labels that the policy predicts."""
    task: str = "policy"
    """The task to score."""
    batch_size: int = 32
    workers: int = 0
    """Processes that load."""

    def __post_init__(self) -> None:
        check_least("evaluate", self, {"batch_size": 1, "workers": 0})


@dataclass(frozen=True)
class PolicyScore:
    """The errors of every frame, and their means."""

    names: Sequence[str]
    columns: Mapping[str, Tensor]
    figures: Mapping[str, float]

    def summary(self) -> dict[str, float]:
        """Return the means, over all frames and by the planner's command, and the number of `frames`."""
        return {**self.figures, "frames": len(self.names)}

    def write_csv(self, path: Path) -> None:
        """Write a line for each frame; the file appears whole or not at all."""
        values = [column.tolist() for column in self.columns.values()]
        write_csv(
            path, ["image", *self.columns], [list(row) for row in zip(self.names, *values, strict=True)]
        )


@torch.no_grad()
def evaluate_policy(
    model: Model, evaluation: PolicyEvaluation, size: Size, device: torch.device
) -> PolicyScore:
    """Score a task of a model that acts on every frame of a source.

    Args:
        model: with the task that `evaluation` names.
        evaluation: the frames.
        size: of the images that the network sees.
        device: where the model is.

    Raises:
        ConfigError: if the task does not act, or the source lacks a label or camera.
        DataError: if a frame cannot be read.
    """
    task = model.task(evaluation.task)
    if not task.acts:
        raise ConfigError(f"task {evaluation.task!r} is no policy; name one that is by --task")
    windows = Windows(evaluation.source, task.views, size)
    if lacking := sorted(task.needs - windows.labels):
        raise ConfigError(
            f"{evaluation.task!r} is scored against {', '.join(lacking)}, which the source does not give; "
            f"add --source.labels '[{', '.join(sorted(task.needs))}]'"
        )
    model.eval()
    names: list[str] = []
    columns: dict[str, list[Tensor]] = {}
    with progress("evaluating", len(windows)) as tell:
        for packed in evaluation_batches(windows, evaluation.batch_size, evaluation.workers):
            batch = packed.to(device)
            output = model.predict(batch.inputs, [evaluation.task])[evaluation.task]
            for name, rows in task.metrics(output, batch).items():
                columns.setdefault(name, []).append(rows.cpu())
            names += batch.names
            tell(len(names))
    joined = {name: torch.cat(rows) for name, rows in columns.items()}
    return PolicyScore(names, joined, task.summarise(joined))
