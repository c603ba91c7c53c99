from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mtdrive.batch import View
from mtdrive.data.augment import Augment
from mtdrive.data.loaders import Order, evaluation_batches, training_batches
from mtdrive.data.windows import Key, Windows
from mtdrive.errors import ConfigError, DataError
from tests.toys import ToyRecording, ToySource


def steps(order: Order, count: int) -> list[list[Key]]:
    return list(islice(iter(order), count))


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 3), st.integers(0, 30))
def test_starting_late_gives_the_same_batches_as_having_run_until_then(
    length: int, batch: int, ranks: int, start: int
) -> None:
    if length < batch * ranks:
        return
    whole = steps(Order(length, batch, 1, ranks=ranks), start + 5)
    assert steps(Order(length, batch, 1, start=start, ranks=ranks), 5) == whole[start:]


@given(st.integers(6, 40), st.integers(1, 3), st.integers(1, 2))
def test_ranks_share_the_batch_of_a_single_process(length: int, batch: int, ranks: int) -> None:
    single = steps(Order(length, batch * ranks, 1), 6)
    shares = [steps(Order(length, batch, 1, rank=r, ranks=ranks), 6) for r in range(ranks)]
    assert [[key for share in shares for key in share[k]] for k in range(6)] == single


def test_an_epoch_takes_no_item_twice_and_the_next_takes_another_order() -> None:
    order = Order(10, 3, seed=0)
    assert order.steps == 3
    first, second = steps(order, 6)[:3], steps(order, 6)[3:]
    for epoch, batches in enumerate((first, second)):
        keys = [key for batch in batches for key in batch]
        assert len({index for _, index in keys}) == 9
        assert {e for e, _ in keys} == {epoch}
    assert [[i for _, i in b] for b in first] != [[i for _, i in b] for b in second]


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="a step takes 4 items in each of 2 processes, but there are only 7"
    ):
        Order(7, 4, 0, ranks=2)


def test_workers_change_no_item() -> None:
    windows = Windows(ToySource(), (View("front", 1),), (32, 64), augment=Augment(), seed=1)
    order = Order(len(windows), 3, seed=1)
    inline, worked = (islice(iter(training_batches(windows, order, n, False)), 7) for n in (0, 2))
    for packed, other_packed in zip(inline, worked, strict=True):
        one, other = packed.to("cpu"), other_packed.to("cpu")
        assert one.names == other.names
        assert torch.equal(one.clean, other.clean)
        assert torch.equal(one.inputs.images, other.inputs.images)


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_data_give_their_own_message_from_any_process(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ToyRecording, camera: str, frame: int) -> Image.Image:
        raise DataError(f"{frame}: is truncated; restore it")

    monkeypatch.setattr(ToyRecording, "image", broken)
    windows = Windows(ToySource(), (), (32, 64))
    with pytest.raises(DataError, match=r"^\d+: is truncated; restore it$"):
        next(iter(training_batches(windows, Order(len(windows), 2, 0), workers, False)))


def test_evaluation_sees_every_item_once_in_order() -> None:
    windows = Windows(ToySource(11), (), (32, 64))
    names = [name for batch in evaluation_batches(windows, 4, 0) for name in batch.rest.names]
    assert names == [f"toy/front/{i}" for i in range(11)]
