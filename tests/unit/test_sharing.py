"""How much tasks change the encoder, and how that is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mtdrive.batch import Batch
from mtdrive.check import example_batch
from mtdrive.compact import Compact
from mtdrive.errors import ConfigError
from mtdrive.model import Model
from mtdrive.reports import pulls
from mtdrive.sharing import Sharing, weaken
from mtdrive.task import Pass
from tests.runs import experiment, start
from tests.toys import Brightness, Halves


def model_with(sharing: Mapping[str, Sharing]) -> Model:
    torch.manual_seed(0)
    encoder = Compact([4, 4, 4, 4, 8])
    return Model(encoder, {"grade": Brightness(encoder), "halves": Halves(encoder)}, None, sharing).eval()


def batch() -> Batch:
    return example_batch(model_with({}).views, frozenset({"toy_grade", "semantics"}), (64, 64))


def gradients(model: Model, loss: str, part: str) -> list[Tensor]:
    model.zero_grad()
    model(batch()).losses[loss].backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in model.get_submodule(part).parameters()]


@pytest.mark.parametrize("factor", [0.0, 0.25, 3.0])
def test_a_weakened_task_changes_the_encoder_by_so_much_and_itself_as_ever(factor: float) -> None:
    plain, shared = model_with({}), model_with({"grade": Sharing(gradient=factor)})
    for loss, part, expected in (
        ("grade", "encoder", factor),
        ("grade", "tasks.grade", 1.0),
        ("halves", "encoder", 1.0),
    ):
        pairs = zip(gradients(plain, loss, part), gradients(shared, loss, part), strict=True)
        for whole, found in pairs:
            torch.testing.assert_close(found, expected * whole)
    for name, loss_value in plain(batch()).losses.items():
        assert torch.equal(loss_value, shared(batch()).losses[name])


def test_a_task_that_starts_later_is_detached_until_then() -> None:
    model = model_with({"grade": Sharing(gradient=0.5, start=3)})
    whole = gradients(model_with({}), "grade", "encoder")
    for step, factor in ((0, 0.0), (2, 0.0), (3, 0.5), (10, 0.5)):
        model.step = step
        for found, plain in zip(gradients(model, "grade", "encoder"), whole, strict=True):
            torch.testing.assert_close(found, factor * plain)


def test_the_first_steps_of_a_run_leave_the_encoder_alone_as_settings_ask(tmp_path: Path) -> None:
    """Through the whole line: only with a weight decay of 0 and no gradient do weights stay to the bit."""
    plain = experiment(steps=2, save_every=1)
    held = {name: Sharing(start=2) for name in plain.tasks}
    given = replace(plain, couplings={}, sharing=held)
    before, _ = start(tmp_path / "none", given=replace(given, training=replace(plain.training, steps=1)))
    after, _ = start(tmp_path / "held", given=given)
    moved, _ = start(tmp_path / "moved", given=replace(given, training=replace(plain.training, steps=3)))

    def encoder(run: object) -> list[Tensor]:
        return [p.detach() for p in run.model.encoder.parameters()]  # type: ignore[attr-defined]

    assert all(torch.equal(x, y) for x, y in zip(encoder(before), encoder(after), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(encoder(after), encoder(moved), strict=True))


def test_weaken_keeps_the_values() -> None:
    level = torch.randn(2, 3, requires_grad=True)
    for factor in (0.0, 0.3, 1.0):
        assert torch.equal(weaken(level, factor), level)
    assert torch.autograd.gradcheck(partial(weaken, factor=1.0), level.double())


def test_pulls_are_the_lengths_of_the_gradients_at_the_shared_features() -> None:
    """By hand, for sums over two levels of one data set and one of another; the graph stays usable."""
    levels = [torch.zeros(2, 3, requires_grad=True), torch.zeros(4, requires_grad=True)]
    losses = {
        "both": 2 * levels[0].sum() + 3 * levels[1].sum(),
        "one": 5 * levels[1].sum(),
        "none": torch.ones((), requires_grad=True) * 1.0,
    }
    found = pulls(Pass(losses=losses, terms={}, shared=levels, size=2))
    expected = {"both": (6 * 4 + 4 * 9) ** 0.5, "one": 10.0, "none": 0.0}
    assert {name: float(x) for name, x in found.items()} == pytest.approx(expected)
    losses["both"].backward()
    assert levels[0].grad is not None


def test_pulls_of_a_blind_model_are_zero() -> None:
    loss = torch.ones((), requires_grad=True) * 2
    assert float(pulls(Pass(losses={"policy": loss}, terms={}, shared=[], size=2))["policy"]) == 0


@pytest.mark.parametrize("bad", [{"gradient": -1.0}, {"start": -1}])
def test_impossible_sharing_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        Sharing(**bad)  # type: ignore[arg-type]


def test_sharing_of_an_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="sharing names \\['policy'\\]"):
        model_with({"policy": Sharing()})
