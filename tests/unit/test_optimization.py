"""Learning rates: by part, and over the length of a run."""

from __future__ import annotations

import pytest
import torch

from mtdrive.compact import Compact
from mtdrive.errors import ConfigError
from mtdrive.model import Model
from mtdrive.optimization import Optimization, make_optimizer
from mtdrive.weighting.uncertainty import Uncertainty
from tests.toys import Brightness, Halves


def model() -> Model:
    encoder = Compact([4, 4, 4, 4, 8])
    return Model(encoder, {"grade": Brightness(encoder), "halves": Halves(encoder)})


def test_each_part_has_its_own_rate_and_no_parameter_is_lost() -> None:
    """The longest name wins; all others have the plain rate; the weighting keeps its group."""
    net, settings = model(), Optimization(learning_rate=1.0)
    settings.learning_rates.update({"encoder": 0.1, "encoder.net.levels.0": 0.01, "tasks.grade": 0.2})
    weighting = Uncertainty(net.kinds)
    groups = make_optimizer(net, weighting, settings).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in net.named_parameters():
        if name.startswith("encoder.net.levels.0."):
            assert rates.pop(id(parameter)) == 0.01
        elif name.startswith("encoder."):
            assert rates.pop(id(parameter)) == 0.1
        else:
            assert rates.pop(id(parameter)) == (0.2 if name.startswith("tasks.grade.") else 1.0)
    assert set(rates) == {id(p) for p in weighting.parameters()}


def test_without_rates_of_parts_there_is_one_group_as_before() -> None:
    net = model()
    (group,) = make_optimizer(net, torch.nn.Module(), Optimization()).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in net.parameters()]


def test_a_part_with_nothing_to_train_is_refused() -> None:
    settings = Optimization(learning_rates={"tasks.policy": 1e-3})
    with pytest.raises(ConfigError, match=r"'tasks\.policy', which has nothing .*encoder, tasks\.grade"):
        make_optimizer(model(), torch.nn.Module(), settings)


def test_the_cosine_goes_from_the_rate_to_zero() -> None:
    settings = Optimization(schedule="cosine", milestones=[0])
    found = [settings.factor(7, done) for done in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([1.0, 0.5 + 0.5**1.5, 0.5, 0.0])
    assert Optimization(milestones=[3], gamma=0.1).factor(3, 0.9) == pytest.approx(0.1)


def test_a_negative_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"learning_rates\.encoder"):
        Optimization(learning_rates={"encoder": -1.0})
