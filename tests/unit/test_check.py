from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtdrive.batch import Batch, Inputs, View
from mtdrive.check import check_task
from mtdrive.encoder import Encoder
from mtdrive.errors import TaskError
from mtdrive.task import Pyramid, Task
from tests.toys import Ahead, Brightness, Halves


@pytest.mark.parametrize("task", [Brightness, Halves, Ahead])
def test_good_tasks_pass(task: Callable[[Encoder], Task[Any]]) -> None:
    check_task(task)


class Unfinite(Brightness):
    def loss(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"l2": output.sum() / 0}


class Vector(Brightness):
    def loss(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"l2": output}


class Spare(Brightness):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.spare = nn.Linear(2, 2)


class Cut(Brightness):
    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Tensor:
        return super().forward({v: [x.detach() for x in p] for v, p in features.items()}, inputs)


class Mixing(Brightness):
    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Tensor:
        out = super().forward(features, inputs)
        return out + out.mean()


class Pooled(Brightness):
    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Tensor:
        return super().forward(features, inputs).mean(0, keepdim=True)


class BadMetric(Brightness):
    def metrics(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"error": output.mean()[None].repeat(2)}


class BadPicture(Brightness):
    def picture(self, output: Tensor, batch: Batch) -> Tensor:
        return batch.clean[0, 0] * 300


class Undeclared(Brightness):
    needs = frozenset({"nobody_knows"})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Unfinite, "should be finite"),
        (Vector, "should be a scalar"),
        (Spare, "does not depend on the parameter spare"),
        (Cut, "no gradient for the encoder"),
        (Mixing, "should not depend on the other items"),
        (Pooled, "should have the item as leading axis"),
        (BadMetric, "metric error should have one row an item"),
        (BadPicture, r"should be \(3, h, w\) in \[0, 1\]"),
        (Undeclared, "'nobody_knows', which is not declared"),
    ],
)
def test_a_broken_promise_is_named(task: Callable[[Encoder], Task[Any]], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        check_task(task)


def test_labels_of_ones_own_may_be_given() -> None:
    seen: list[Tensor] = []

    class Watching(Brightness):
        def loss(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
            seen.append(batch.labels["toy_grade"])
            return super().loss(output, batch)

    check_task(Watching, labels={"toy_grade": lambda b, h, w: torch.full((b, 1), h / w)})
    assert sorted({float(x[0]) for x in seen}) == pytest.approx([64 / 96, 96 / 64])
