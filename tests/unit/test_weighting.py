from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torchjd.scalarization import UW

from mtdrive.errors import ConfigError
from mtdrive.task import Kind, Pass, merge
from mtdrive.weighting import Scalarization
from mtdrive.weighting.fixed import Fixed
from mtdrive.weighting.uncertainty import Uncertainty

KINDS: dict[str, Kind] = {"depth": "regression", "policy": "regression", "segmentation": "classification"}


def step(weighting: Scalarization, optimizer: torch.optim.Optimizer, losses: Mapping[str, Tensor]) -> None:
    optimizer.zero_grad()
    weighting.backward(Pass(dict(losses), {}, [], 1), [], lambda total: total.backward())
    optimizer.step()
    weighting.after_step(lambda: losses)


def test_fixed_is_the_weighted_sum() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    weighting = Fixed(KINDS, {"policy": 4.0})
    weighting.backward(Pass({"depth": x[0], "policy": x[1]}, {}, [], 1), [], lambda total: total.backward())
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 4.0]
    assert {n: float(w) for n, w in weighting.weights().items()} == {
        "depth": 1,
        "policy": 4,
        "segmentation": 1,
    }


def test_fixed_names_a_weight_of_no_loss() -> None:
    with pytest.raises(
        ConfigError, match=r"\['polcy'\], but the losses are \['depth', 'policy', 'segmentation'\]"
    ):
        Fixed(KINDS, {"polcy": 2.0})


def test_uncertainty_of_regressions_equals_torchjd_value_gradient_and_trajectory() -> None:
    ours = Uncertainty({"a": "regression", "b": "regression"})
    theirs = UW(2)
    ours_sgd, theirs_sgd = (torch.optim.SGD(m.parameters(), 0.3) for m in (ours, theirs))
    for k in range(20):
        losses = torch.tensor([0.5 + 0.1 * k, 2.0])
        step(ours, ours_sgd, dict(zip("ab", losses, strict=True)))
        theirs_sgd.zero_grad()
        theirs(losses).backward()
        theirs_sgd.step()
        learned = torch.stack(list(ours.log_variance.values()))
        torch.testing.assert_close(learned, next(theirs.parameters()))
        torch.testing.assert_close(ours.combine(dict(zip("ab", losses, strict=True))), theirs(losses))


def test_uncertainty_takes_the_likelihood_of_the_kind() -> None:
    weighting = Uncertainty(KINDS, initial=0.7)
    losses = {name: torch.tensor(2.0) for name in KINDS}
    precision = torch.tensor(-0.7).exp()
    expected = (0.5 + 0.5 + 1) * precision * 2 + 3 * 0.5 * 0.7
    torch.testing.assert_close(weighting.combine(losses), expected)
    torch.testing.assert_close(weighting.weights()["segmentation"], precision)
    torch.testing.assert_close(weighting.weights()["depth"], precision / 2)


def test_uncertainty_settles_where_the_likelihood_is_greatest() -> None:
    weighting = Uncertainty(KINDS)
    optimizer = torch.optim.SGD(weighting.parameters(), 0.5)
    for _ in range(300):
        step(weighting, optimizer, {name: torch.tensor(0.25) for name in KINDS})
    # A regression's sigma^2 is its loss, a classification's twice its loss.
    assert float(weighting.log_variance["depth"].detach().exp()) == pytest.approx(0.25, rel=1e-3)
    assert float(weighting.log_variance["segmentation"].detach().exp()) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_an_absent_task_keeps_its_uncertainty(make: type[torch.optim.Optimizer]) -> None:
    weighting = Uncertainty(KINDS, initial=0.5)
    optimizer = make(weighting.parameters(), lr=0.1)  # type: ignore[call-arg]
    step(weighting, optimizer, {name: torch.tensor(0.1) for name in KINDS})
    before = weighting.log_variance["policy"].clone()
    for _ in range(50):
        step(weighting, optimizer, {"depth": torch.tensor(0.1), "segmentation": torch.tensor(0.1)})
    assert torch.equal(weighting.log_variance["policy"], before)
    assert not torch.equal(weighting.log_variance["depth"], before)


def test_a_vanishing_loss_does_not_drive_its_weight_beyond_the_bound() -> None:
    weighting = Uncertainty(KINDS, bounds=(-2.0, 2.0))
    optimizer = torch.optim.SGD(weighting.parameters(), 0.5)
    for _ in range(100):
        step(
            weighting,
            optimizer,
            {"depth": torch.tensor(0.0), "policy": torch.tensor(1e6), "segmentation": torch.tensor(1.0)},
        )
    assert float(weighting.log_variance["depth"].detach()) == -2.0
    assert float(weighting.log_variance["policy"].detach()) == 2.0
    assert float(weighting.weights()["depth"]) == pytest.approx(0.5 * 2.718281828**2)


def test_bounds_that_exclude_the_start_are_refused() -> None:
    with pytest.raises(ConfigError, match="outside the bounds"):
        Uncertainty(KINDS, initial=3.0, bounds=(-2.0, 2.0))


def test_weighting_runs_in_float32_under_autocast() -> None:
    weighting = Uncertainty(KINDS, initial=0.3)
    seen: list[Tensor] = []
    with torch.autocast("cpu", torch.bfloat16):
        loss = torch.tensor(0.1234567, requires_grad=True)
        weighting.backward(Pass({"depth": loss}, {}, [], 1), [], seen.append)
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(seen[0], 0.5 * torch.tensor(-0.3).exp() * 0.1234567 + 0.15)


def test_losses_without_a_graph_are_left_alone() -> None:
    Fixed(KINDS).backward(Pass({"depth": torch.tensor(1.0)}, {}, [], 1), [], lambda total: pytest.fail("ran"))


def test_a_task_in_several_data_sets_has_the_mean_weighted_by_size() -> None:
    one = Pass({"depth": torch.tensor(1.0)}, {"depth/l1": torch.tensor(1.0)}, [torch.zeros(1)], 3)
    two = Pass(
        {"depth": torch.tensor(5.0), "policy": torch.tensor(2.0)}, {}, [torch.ones(1)], 1, coupled=True
    )
    merged = merge([one, two])
    assert {n: float(x) for n, x in merged.losses.items()} == {"depth": 2.0, "policy": 2.0}
    assert merged.size == 4
    assert merged.coupled
    assert len(merged.shared) == 2
