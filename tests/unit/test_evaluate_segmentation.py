"""Evaluation of segmentation: figures at the size of the labels, and sources that do not fit."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import Batch, Inputs, View
from mtdrive.classes import CITYSCAPES, TAGS
from mtdrive.compact import Compact
from mtdrive.data.drives import Drives
from mtdrive.errors import ConfigError, DataError
from mtdrive.evaluate_segmentation import (
    SegmentationEvaluation,
    SegmentationScore,
    evaluate_segmentation,
)
from mtdrive.model import Model
from mtdrive.task import Pyramid
from mtdrive.tasks.segmentation import Segmentation
from tests.drive_tree import SIZE, circle, header, write_drive
from tests.toys import Brightness

Maps = Int64[np.ndarray, "n h w"]
FRAMES = 5


class Answers(Segmentation):
    """Gives prepared classes, frame after frame, at the size of the images that it is shown."""

    def __init__(self, encoder: Compact, maps: Maps) -> None:
        super().__init__(encoder, width=16)
        self.rest = torch.from_numpy(maps)

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Float[Tensor, "b c h w"]:
        count = len(inputs.images)
        now, self.rest = self.rest[:count], self.rest[count:]
        one_hot = functional.one_hot(now, len(CITYSCAPES)).permute(0, 3, 1, 2).float()
        return functional.interpolate(one_hot, inputs.images.shape[-2:], mode="nearest")

    def loss(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Drives:
    """A drive whose tags are random in blocks of 4x4 pixels."""
    root = tmp_path_factory.mktemp("drives")
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 14, (FRAMES, SIZE[0] // 4, SIZE[1] // 4), np.uint8)
    tags = blocks.repeat(4, 1).repeat(4, 2)
    rows = [{"semantics": {"front": each}} for each in tags]
    write_drive(root / "a", circle(FRAMES, 30, 5), header(maps={"semantics": ("front",)}), rows)
    return Drives(root, labels=("semantics",))


def true_classes(drives: Drives) -> Maps:
    recording = drives.targets()[0].recording
    ids = [np.asarray(recording.drive.map("semantics", "front", i)) for i in range(FRAMES)]  # type: ignore[attr-defined]
    return np.stack([TAGS["cityscapes"].classes(x, "") for x in ids])


def evaluate(drives: Drives, maps: Maps, size: tuple[int, int] = SIZE) -> SegmentationScore:
    encoder = Compact([8, 8, 16])
    model = Model(encoder, {"segmentation": Answers(encoder, maps)})
    evaluation = SegmentationEvaluation(source=drives, batch_size=2)
    return evaluate_segmentation(model, evaluation, size, torch.device("cpu"))


def plain_miou(predicted: Maps, truth: Maps) -> float:
    known = truth != 255
    ious = []
    for k in range(len(CITYSCAPES)):
        ours, theirs = (predicted == k) & known, (truth == k) & known
        if (ours | theirs).any():
            ious.append((ours & theirs).sum() / (ours | theirs).sum())
    return float(np.mean(ious))


def test_figures_are_those_of_the_definition_and_pixels_without_a_class_do_not_count(
    drives: Drives, tmp_path: Path
) -> None:
    truth = true_classes(drives)
    wrong = np.where(np.random.default_rng(1).random(truth.shape) < 0.3, 3, truth) % len(CITYSCAPES)
    score = evaluate(drives, wrong)
    found = score.summary()
    known = truth != 255
    assert 0 < (~known).sum() < known.sum()
    assert found["miou"] == pytest.approx(plain_miou(wrong, truth))
    assert found["accuracy"] == pytest.approx((wrong == truth)[known].mean())
    assert (found["images"], found["pixels"]) == (FRAMES, known.sum())
    score.write_csv(tmp_path / "s.csv")
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [float(row["miou"]) for row in rows] == pytest.approx(
        [plain_miou(w[None], t[None]) for w, t in zip(wrong, truth, strict=True)]
    )


def test_predictions_of_a_smaller_network_are_scored_at_the_size_of_the_labels(drives: Drives) -> None:
    """Resized to half the size and back, blocks of 4x4 keep their middles; their borders are mixed."""
    truth = true_classes(drives)
    found = evaluate(drives, truth % len(CITYSCAPES), (SIZE[0] // 2, SIZE[1] // 2)).summary()
    assert found["pixels"] == (truth != 255).sum()
    assert 0.5 < found["accuracy"] <= 1


def test_the_guess_is_the_class_that_most_pixels_truly_have(drives: Drives) -> None:
    truth = true_classes(drives)
    most = int(np.bincount(truth[truth != 255]).argmax())
    name, guessed = evaluate(drives, np.zeros_like(truth)).guessed()
    found = guessed.summary()
    assert name == CITYSCAPES.names[most]
    assert found["miou"] == pytest.approx(plain_miou(np.full_like(truth, most), truth))
    assert found["accuracy"] == pytest.approx((truth == most).sum() / (truth != 255).sum())


def unlabelled(drives: Drives) -> Drives:
    return replace(drives, labels=())


def other_classes(drives: Drives) -> Drives:
    return replace(drives, classes="carla")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unlabelled, r"add --source.labels '\[semantics\]'"),
        (other_classes, "takes semantics to be of the classes 19"),
    ],
)
def test_a_source_without_the_label_or_with_other_classes_is_refused(
    drives: Drives, change: Callable[[Drives], Drives], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(change(drives), np.zeros((FRAMES, *SIZE), np.int64))


def test_a_task_that_tells_no_classes_apart_is_refused(drives: Drives) -> None:
    encoder = Compact([8, 8, 16])
    evaluation = SegmentationEvaluation(source=drives, task="grade")
    with pytest.raises(ConfigError, match="does not segment"):
        evaluate_segmentation(
            Model(encoder, {"grade": Brightness(encoder)}), evaluation, SIZE, torch.device("cpu")
        )


def test_labels_of_nothing_but_unlabelled_pixels_are_no_perfect_score(tmp_path: Path) -> None:
    rows = [{"semantics": {"front": np.zeros(SIZE, np.uint8)}} for _ in range(2)]
    write_drive(tmp_path / "a", circle(2, 30, 5), header(maps={"semantics": ("front",)}), rows)
    with pytest.raises(DataError, match="no pixel of the source has a class"):
        evaluate(Drives(tmp_path, labels=("semantics",)), np.zeros((2, *SIZE), np.int64))
