from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.data.augment import Augment
from mtdrive.data.balance import balanced_order, weigh
from mtdrive.data.loaders import Order
from mtdrive.data.recording import Source, Target
from mtdrive.data.windows import Key, Windows
from mtdrive.errors import ConfigError
from mtdrive.experiment import DataSet, prepare
from tests.runs import experiment
from tests.toys import ToyRecording, ToySource

WEIGHTS = st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.5, 40.0]), min_size=1, max_size=60).filter(any)


class Turning(ToyRecording):
    """Every third frame is a turn, every second one brakes."""

    def situations(self, frame: int) -> frozenset[str]:
        words = {"left": frame % 3 == 0, "follow": frame % 3 > 0, "braking": frame % 2 == 0}
        return frozenset(word for word, true in words.items() if true)


def steps(order: Order, count: int) -> list[list[Key]]:
    return list(islice(iter(order), count))


def test_weights_are_the_product_of_the_factors_of_what_goes_on() -> None:
    targets = [Target(Turning("turns", 6), frame) for frame in range(6)]
    assert weigh(targets, {"left": 2.5, "braking": 2.0}).tolist() == [5.0, 1.0, 2.0, 2.5, 2.0, 1.0]


def test_words_that_never_occur_and_factors_that_leave_nothing_are_refused() -> None:
    targets = [Target(Turning("turns", 6), frame) for frame in range(6)]
    with pytest.raises(ConfigError, match="no frame is 'lefts'; what occurs: braking, follow, left"):
        weigh(targets, {"lefts": 2.0})
    with pytest.raises(ConfigError, match="balance leaves no frame"):
        weigh(targets, {"left": 0.0, "follow": 0.0})
    with pytest.raises(ConfigError, match=r"data\.balance\.left must be a factor of at least 0, found -1"):
        DataSet(source=ToySource(), batch_size=1, size=(32, 64), balance={"left": -1.0})


@settings(deadline=None)
@given(WEIGHTS, st.integers(0, 5), st.integers(0, 5))
def test_each_item_comes_as_often_as_its_share_says(weights: list[float], seed: int, epoch: int) -> None:
    given = torch.tensor(weights, dtype=torch.float64)
    counts = Counter(balanced_order(given, seed, epoch).tolist())
    assert sum(counts.values()) == len(weights)
    for index, share in enumerate((given / given.sum() * len(weights)).tolist()):
        assert share - 1 < counts[index] + 1e-9 < share + 1 + 2e-9
        assert share or not counts[index]


def test_over_epochs_the_shares_are_met_without_preference() -> None:
    """Both the rounding and the order within an epoch are drawn anew."""
    weights = torch.tensor([0.2, 0.5, 1.0, 2.3, 1.0], dtype=torch.float64)
    orders = [balanced_order(weights, 0, epoch).tolist() for epoch in range(2000)]
    counts = Counter(index for order in orders for index in order)
    for index, weight in enumerate(weights.tolist()):
        assert counts[index] / 2000 == pytest.approx(weight, abs=0.05)
    firsts = Counter(order[0] for order in orders)
    assert firsts[3] / 2000 == pytest.approx(2.3 / 5, abs=0.05)


@settings(deadline=None)
@given(WEIGHTS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 20))
def test_a_resumed_run_and_several_processes_see_what_one_sees(
    weights: list[float], batch: int, ranks: int, start: int
) -> None:
    if len(weights) < batch * ranks:
        return
    given = torch.tensor(weights, dtype=torch.float64)
    whole = steps(Order(len(weights), batch * ranks, 1, weights=given), start + 4)
    shares = [
        steps(Order(len(weights), batch, 1, start=start, rank=r, ranks=ranks, weights=given), 4)
        for r in range(ranks)
    ]
    assert [[key for share in shares for key in share[k]] for k in range(4)] == whole[start:]


def test_an_item_that_comes_again_is_augmented_anew() -> None:
    weights = torch.tensor([4.0] + [0.0] * 3, dtype=torch.float64)
    keys = steps(Order(4, 4, 0, weights=weights), 1)[0]
    assert keys == [(0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)]
    items = Windows(ToySource(4), (), (32, 64), augment=Augment(jitter=1.0))
    jitters = [items.packed(key).jitters for key in keys]
    assert len(set(map(str, jitters))) == 4


class Turns(Source):
    """The first 30 frames of a drive with turns."""

    def targets(self) -> list[Target]:
        return [Target(self.recording, frame) for frame in range(30)]

    recording = Turning("turns", 31, ["semantics"])


def test_a_balanced_run_trains_on_what_was_asked_for(tmp_path: Path) -> None:
    """A third of the frames are turns; they shall be four times as frequent as they are beside the others."""
    data = DataSet(source=Turns(), batch_size=3, size=(32, 64), workers=0, balance={"left": 4.0})
    given = replace(experiment(), data={**experiment().data, "video": data}, validation={})
    run = prepare(given, tmp_path, "seed: 1\n", False)
    run.log.close()
    batches = list(islice(run.streams["video"](0), 10))  # an epoch
    frames = [int(Path(name).name) for batch in batches for name in batch.rest.names]
    assert sum(frame % 3 == 0 for frame in frames) == 20
    later = next(run.streams["video"](7))
    assert torch.equal(later.images, batches[7].images)
