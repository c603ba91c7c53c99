"""Open-loop evaluation of segmentation, at the size of the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import TARGET, Inputs
from mtdrive.data.labels import read_label
from mtdrive.data.recording import Size, Source, Target
from mtdrive.data.windows import Windows, resized
from mtdrive.errors import ConfigError, DataError, check_least
from mtdrive.files import write_csv
from mtdrive.log import progress
from mtdrive.mix import check_classes
from mtdrive.model import Model
from mtdrive.tasks.segmentation.task import LABEL, confusion

Summarise = Callable[[Mapping[str, Tensor]], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class SegmentationEvaluation:
    """Which frames a segmentation network is scored on."""

    source: Source
    """With the label `semantics`, in the classes of the task: `KittiSemantics`, `Cityscapes`, or drives that
    were recorded with it."""
    task: str = "segmentation"
    """The task to score: one with classes, such as `mtdrive.tasks.segmentation.Segmentation`."""
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_least("evaluate", self, {"batch_size": 1})


@dataclass(frozen=True)
class SegmentationScore:
    """Which classes the pixels of each image were taken for; pixels without a class do not count."""

    names: Sequence[str]
    confusion: Int64[Tensor, "n c c"]
    """Pixels by their true class (row) and the predicted one (column)."""
    classes: Sequence[str]
    summarise: Summarise
    """Of the task."""

    def summary(self) -> dict[str, float]:
        """Return `miou`, `accuracy` and `iou/CLASS` of the pixels of all images, and how many there were."""
        figures = self.summarise({"confusion": self.confusion})
        return {**figures, "images": len(self.names), "pixels": int(self.confusion.sum())}

    def guessed(self) -> tuple[str, SegmentationScore]:
        """Return the most frequent true class, and the score of who takes every pixel for it."""
        true = self.confusion.sum(2)
        most = int(true.sum(0).argmax())
        guesses = torch.zeros_like(self.confusion)
        guesses[:, :, most] = true
        return self.classes[most], SegmentationScore(self.names, guesses, self.classes, self.summarise)

    def write_csv(self, path: Path) -> None:
        """Write a line for each image; the file appears whole or not at all."""
        rows = []
        for name, counts in zip(self.names, self.confusion, strict=True):
            figures = self.summarise({"confusion": counts[None]})
            rows.append([name, figures.get("miou"), figures.get("accuracy"), int(counts.sum())])
        write_csv(path, ["image", "miou", "accuracy", "pixels"], rows)


@torch.no_grad()
def evaluate_segmentation(
    model: Model, evaluation: SegmentationEvaluation, size: Size, device: torch.device
) -> SegmentationScore:
    """Score the segmentation task of a model.

    Args:
        model: with the task that `evaluation` names.
        evaluation: the frames.
        size: of the images that the network sees.
        device: where the model is.

    Raises:
        ConfigError: if the task tells no classes apart, or the source has no labels, or others.
        DataError: if a frame or its label is missing, or no pixel has a class.
    """
    model.eval()
    task = model.task(evaluation.task)
    if LABEL not in task.classes:
        raise ConfigError(f"task {evaluation.task!r} does not segment; name one that does by --task")
    targets = _targets(model, evaluation, size)
    names: list[str] = []
    counts: list[Int64[Tensor, "1 c c"]] = []
    with progress("evaluating", len(targets)) as tell:
        for start in range(0, len(targets), evaluation.batch_size):
            part = targets[start : start + evaluation.batch_size]
            inputs, sizes = _inputs(part, size)
            scores = model.predict(inputs.to(device), [evaluation.task])[evaluation.task]
            for target, image, full in zip(part, scores, sizes, strict=True):
                names.append(str(target.recording.path("front", target.frame)))
                truth = read_label(target.recording, LABEL, target.frame, full, 1)[None]
                counts.append(confusion(_classes(image, full).cpu(), truth, len(task.classes[LABEL])))
            tell(len(names))
    score = SegmentationScore(names, torch.cat(counts), task.classes[LABEL], task.summarise)
    if not score.confusion.any():
        raise DataError("no pixel of the source has a class; check that its labels are those of the images")
    return score


def _targets(model: Model, evaluation: SegmentationEvaluation, size: Size) -> Sequence[Target]:
    """Return the frames, once they are known to have the classes of the task."""
    windows = Windows(evaluation.source, (TARGET,), size)
    if LABEL not in windows.labels:
        raise ConfigError(
            f"{evaluation.task!r} is scored against {LABEL}, which the source does not give; add "
            f"--source.labels '[{LABEL}]'"
        )
    check_classes(model, "evaluation", windows)
    return windows.targets


def _inputs(targets: Sequence[Target], size: Size) -> tuple[Inputs, list[Size]]:
    """Return what the network sees of some frames, and the sizes of their images on disk."""
    images = [target.recording.image("front", target.frame) for target in targets]
    cameras = torch.stack([target.recording.intrinsics("front", size).float() for target in targets])
    seen = torch.stack([resized(image, size) for image in images])
    inputs = Inputs(views=(TARGET,), images=seen[:, None], intrinsics=cameras[:, None])
    return inputs, [(image.height, image.width) for image in images]


def _classes(scores: Float[Tensor, "c _h _w"], size: Size) -> Int64[Tensor, "1 h w"]:
    """Return the most likely classes of an image, whose scores are resized first."""
    full = functional.interpolate(scores[None].float(), size, mode="bilinear", align_corners=False)
    return full.argmax(1)
