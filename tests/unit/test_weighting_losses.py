"""Weightings that look at the values of the losses, against torchjd's classes and plain formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor
from torchjd import scalarization

from mtdrive.errors import ConfigError, TrainingError
from mtdrive.task import Kind, Pass
from mtdrive.weighting import Weighting
from mtdrive.weighting.dwa import DWA
from mtdrive.weighting.famo import FAMO
from mtdrive.weighting.fixed import Fixed
from mtdrive.weighting.geometric_mean import GeometricMean
from mtdrive.weighting.imtl_l import IMTLL
from mtdrive.weighting.rlw import RLW

KINDS: dict[str, Kind] = dict.fromkeys("abc", "regression")


def factors(weighting: Weighting, losses: Mapping[str, float]) -> list[float]:
    """Return by what the gradient of each loss is multiplied."""
    values = torch.tensor(list(losses.values()), dtype=torch.float64, requires_grad=True)
    pass_ = Pass(dict(zip(losses, values.unbind(), strict=True)), {}, [], 1)
    weighting.backward(pass_, [], Tensor.backward)
    assert values.grad is not None
    return values.grad.tolist()


def torchjd_factors(rule: scalarization.Scalarizer, losses: Sequence[float]) -> list[float]:
    values = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
    rule(values).backward()
    assert values.grad is not None
    return values.grad.tolist()


def test_dwa_is_torchjds_over_epochs_and_a_resume() -> None:
    weighting, rule = DWA(KINDS, 1.5), scalarization.DWA(1.5)
    draw = torch.Generator().manual_seed(0)
    seen = []
    for epoch in range(5):
        if epoch == 3:  # in the middle of an epoch's figures below, too
            saved, weighting = weighting.state_dict(), DWA(KINDS, 1.5)
            weighting.load_state_dict(saved)
        for _ in range(3):
            losses = (0.2 + torch.rand(3, generator=draw).double()).tolist()
            seen.append(factors(weighting, dict(zip("abc", losses, strict=True))))
            assert seen[-1] == pytest.approx(torchjd_factors(rule, losses))
            weighting.after_step(dict)
            saved, weighting = weighting.state_dict(), DWA(KINDS, 1.5)
            weighting.load_state_dict(saved)
        weighting.epoch_end()
        rule.step()
    assert seen[0] == seen[5] == [1, 1, 1]
    assert max(abs(x - 1) for x in seen[6]) > 0.01
    assert sum(seen[-1]) == pytest.approx(3)


def test_dwa_gives_a_task_that_was_absent_weight_one_and_counts_periods_in_steps() -> None:
    weighting = DWA(KINDS, period=2)
    for losses in ({"a": 4.0, "b": 1.0}, {"a": 2.0, "b": 1.0}):
        for _ in range(2):
            assert factors(weighting, losses) == [1, 1]
            weighting.after_step(dict)
            weighting.epoch_end()
    expected = 2 * torch.tensor([0.5 / 2, 1 / 2]).softmax(0)
    found = factors(weighting, {"c": 9.0, "a": 1.0, "b": 1.0})
    assert found == pytest.approx([1, *expected.tolist()])
    assert {n: float(x) for n, x in weighting.weights().items()} == pytest.approx(
        dict(zip("cab", found, strict=True))
    )


def test_dwa_refuses_impossible_settings() -> None:
    for bad in ({"temperature": 0.0}, {"period": 0}):
        with pytest.raises(ConfigError, match="DWA needs"):
            DWA(KINDS, **bad)


def test_random_weights_are_torchjds_and_differ_from_step_to_step() -> None:
    weighting = RLW(KINDS)
    torch.manual_seed(4)
    found = [factors(weighting, {"a": 1.0, "b": 2.0, "c": 3.0}) for _ in range(2)]
    torch.manual_seed(4)
    rule = scalarization.Random()
    for step in found:
        assert step == pytest.approx(torchjd_factors(rule, [1, 2, 3]))
        assert sum(step) == pytest.approx(1)
    assert found[0] != found[1]


def test_the_geometric_mean_has_its_own_gradient() -> None:
    losses = {"a": 0.5, "c": 8.0}
    mean = (0.5 * 8) ** 0.5
    assert factors(GeometricMean(KINDS), losses) == pytest.approx([mean / 2 / 0.5, mean / 2 / 8])
    shifted = {"a": -1.5, "c": 8.0}
    assert factors(GeometricMean(KINDS, {"a": -2.0}), shifted) == pytest.approx([2.0, 0.125])


@pytest.mark.parametrize("make", [GeometricMean, FAMO])
def test_a_loss_that_is_not_above_its_lowest_value_is_named(make: type[GeometricMean] | type[FAMO]) -> None:
    with pytest.raises(TrainingError, match=r"needs losses above 0.0, but that of b is -0.25; give .*lowest"):
        factors(make(KINDS), {"a": 1.0, "b": -0.25})
    with pytest.raises(ConfigError, match=r"lowest names \['d'\]"):
        make(KINDS, lowest={"d": 1.0})


def test_imtl_l_is_torchjds_with_an_absent_task_left_alone() -> None:
    ours, theirs = IMTLL(KINDS), scalarization.IMTLL(2)
    sgd = [torch.optim.SGD(m.parameters(), 0.1) for m in (ours, theirs)]
    for k in range(20):
        losses = [0.3 + 0.1 * k, 2.0]
        found = factors(ours, dict(zip("ab", losses, strict=True)))
        assert found == pytest.approx(torchjd_factors(theirs, losses), rel=1e-5)
        for optimizer in sgd:
            optimizer.step()
            optimizer.zero_grad()
        ours.after_step(dict)
    assert float(ours.weights()["c"]) == 1
    assert float(ours.weights()["b"]) == pytest.approx(found[1], rel=0.2)


def test_imtl_l_keeps_its_scales_in_their_bounds() -> None:
    weighting = IMTLL(KINDS, bounds=(-1.0, 1.0))
    optimizer = torch.optim.SGD(weighting.parameters(), 0.5)
    for _ in range(20):
        factors(weighting, {"a": 0.0, "b": 50.0})
        optimizer.step()
        optimizer.zero_grad()
        weighting.after_step(dict)
    assert {n: float(x) for n, x in weighting.weights().items()} == pytest.approx(
        {"a": 2.718282, "b": 0.367879, "c": 1.0}, rel=1e-4
    )
    with pytest.raises(ConfigError, match="outside the bounds"):
        IMTLL(KINDS, bounds=(0.5, 1.0))


def test_famo_is_torchjds_also_across_a_resume() -> None:
    ours, theirs = FAMO(KINDS, learning_rate=0.1), scalarization.FAMO(3, lr=0.1).double()
    draw = torch.Generator().manual_seed(0)
    for step in range(30):
        before, after = (0.1 + torch.rand(2, 3, generator=draw).double()).unbind()
        found = factors(ours, dict(zip("abc", before.tolist(), strict=True)))
        assert found == pytest.approx(torchjd_factors(theirs, before.tolist()), rel=1e-6)
        ours.after_step(lambda after=after: dict(zip("abc", after.unbind(), strict=True)))  # type: ignore[misc]
        theirs.update(after)
        if step == 11:
            saved, ours = ours.state_dict(), FAMO(KINDS, learning_rate=0.1)
            ours.load_state_dict(saved)
    assert max(found) > 1.5 * min(found)
    assert not list(ours.parameters()), "the run's optimizer would train them as well"


def test_famo_leaves_an_absent_task_alone() -> None:
    weighting = FAMO(KINDS)
    for _ in range(3):
        factors(weighting, {"a": 1.0, "b": 2.0})
        weighting.after_step(lambda: {"a": torch.tensor(0.5), "b": torch.tensor(2.0)})
    assert weighting.logits[2] == 0
    assert weighting.counts.tolist() == [3, 3, 0]
    assert weighting.logits[1] > weighting.logits[0]  # it fell less


def test_zero_switches_a_loss_off_and_a_negative_weight_is_refused() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    Fixed(KINDS, {"a": 0.0}).backward(
        Pass({"a": x[0] * torch.inf, "b": x[1]}, {}, [], 1), [], Tensor.backward
    )
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0]
    Fixed(KINDS, {"a": 0.0}).backward(Pass({"a": x[0]}, {}, [], 1), [], lambda total: pytest.fail("ran"))
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="weights of 'a' must be at least 0, found"):
            Fixed(KINDS, {"a": bad})
    with pytest.raises(ConfigError, match="every weight is 0"):
        Fixed(KINDS, dict.fromkeys("abc", 0.0))
