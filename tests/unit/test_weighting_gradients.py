"""Weightings that look at gradients, against torchjd's own engine and plain computations, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchjd import aggregation
from torchjd.autojac import jac_to_grad, mtl_backward

from mtdrive.errors import ConfigError, TrainingError
from mtdrive.gradients import at_features, at_parameters, cosines
from mtdrive.sharing import weaken
from mtdrive.task import Kind, Pass
from mtdrive.weighting import Weighting
from mtdrive.weighting.gradnorm import GradNorm
from mtdrive.weighting.jacobian import Jacobian
from mtdrive.weighting.policy_first import PolicyFirst

NAMES = ("policy", "depth", "segmentation", "flow")
KINDS: dict[str, Kind] = dict.fromkeys(NAMES, "regression")


class Net(nn.Module):
    """Two levels of features that depend on each other, a head for each task, and a tie between two."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.deep = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, stride=2)
        self.heads = nn.ModuleDict({name: nn.Linear(10, 2) for name in NAMES})
        self.double()

    def trunk(self) -> list[nn.Parameter]:
        return [p for part in (self.stem, self.deep) for p in part.parameters() if p.requires_grad]

    def forward(
        self, images: Tensor, factors: Mapping[str, float] | None = None, coupled: bool = False
    ) -> Pass:
        fine = torch.tanh(self.stem(images))
        shared = [x.view_as(x) for x in (fine, torch.tanh(self.deep(fine)))]
        outputs = {}
        for name, head in self.heads.items():
            levels = [weaken(x, (factors or {}).get(name, 1.0)) for x in shared]
            outputs[name] = head(torch.cat([x.mean((2, 3)) for x in levels], 1))
        truth = {name: torch.cos(torch.arange(2.0) + 3 * i).double() for i, name in enumerate(NAMES)}
        losses = {n: (1 + 9 * (n == "flow")) * (x - truth[n]).square().mean() for n, x in outputs.items()}
        if coupled:
            losses["tie"] = (outputs["depth"] - outputs["flow"]).square().mean()
        return Pass(losses, {}, shared, len(images), coupled=coupled)


def images() -> Tensor:
    return torch.rand(5, 3, 9, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gradients(net: Net) -> dict[str, Tensor]:
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in net.named_parameters()}
    net.zero_grad()
    return found


def run(net: Net, weighting: Weighting, **changes: Any) -> dict[str, Tensor]:
    weighting.backward(net(images(), **changes), net.trunk(), Tensor.backward)
    return gradients(net)


def jacobian(net: Net, parameters: list[nn.Parameter], **changes: Any) -> dict[str, Tensor]:
    """The plain way: a forward and a backward pass for each loss alone."""
    rows = {}
    for name in net(images(), **changes).losses:
        loss = net(images(), **changes).losses[name]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        rows[name] = torch.cat([g.flatten() for g in flat])
    return rows


def trunk_of(net: Net, found: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([x.flatten() for name, x in found.items() if not name.startswith("heads")])


def test_the_rows_at_parameters_are_the_gradients_of_each_loss_alone() -> None:
    """Levels that are no cut through the graph, or a graph that is freed too early, would show here."""
    net = Net()
    for coupled in (False, True):
        expected = jacobian(net, net.trunk(), coupled=coupled)
        rows = at_parameters(at_features(net(images(), coupled=coupled)), net.trunk())
        assert rows.names == list(expected)
        matrix = torch.stack(list(expected.values()))
        torch.testing.assert_close(torch.cat(rows.blocks, 1), matrix)
        torch.testing.assert_close(rows.gramian(), matrix @ matrix.T)


def test_the_rows_at_features_are_the_gradients_there_and_give_those_below() -> None:
    net = Net()
    pass_ = net(images())
    whole = {n: torch.autograd.grad(x, pass_.shared, retain_graph=True) for n, x in pass_.losses.items()}
    matrix = torch.stack([torch.cat([g.flatten() for g in x]) for x in whole.values()])
    rows = at_features(pass_)
    torch.testing.assert_close(torch.cat(rows.blocks, 1), matrix)
    factors = torch.tensor([1.0, -2.0, 0.0, 3.0], dtype=torch.float64)
    rows.backward(rows.combine(factors))
    expected = factors @ torch.stack(list(jacobian(net, net.trunk()).values()))
    torch.testing.assert_close(trunk_of(net, gradients(net)), expected)


def test_channels_last_features_give_the_same_rows() -> None:
    plain, other = Net(), Net().to(memory_format=torch.channels_last)
    last = other(images().contiguous(memory_format=torch.channels_last))
    assert last.shared[0].is_contiguous(memory_format=torch.channels_last)
    assert not last.shared[0].is_contiguous()
    one, two = at_features(plain(images())), at_features(last)
    torch.testing.assert_close(one.gramian(), two.gramian())
    factors = torch.arange(4.0, dtype=torch.float64)
    for a, b in zip(one.combine(factors), two.combine(factors), strict=True):
        torch.testing.assert_close(a, b)
        assert b.shape == a.shape


AGGREGATORS: dict[str, Callable[[int], Any]] = {
    "UPGrad": lambda k: aggregation.UPGrad(),
    "DualProj": lambda k: aggregation.DualProj(),
    "PCGrad": lambda k: aggregation.PCGrad(),
    "CAGrad": lambda k: aggregation.CAGrad(c=0.4),
    "MGDA": lambda k: aggregation.MGDA(),
    "IMTLG": lambda k: aggregation.IMTLG(),
    "AlignedMTL": lambda k: aggregation.AlignedMTL(),
    "NashMTL": lambda k: aggregation.NashMTL(n_tasks=k),
    "GradVac": lambda k: aggregation.GradVac(),
    "ConFIG": lambda k: aggregation.ConFIG(),
    "GradDrop": lambda k: aggregation.GradDrop(),
    "PCD": lambda k: aggregation.PCD(),
    "Mean": lambda k: aggregation.Mean(),
}


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem")
@pytest.mark.parametrize("name", AGGREGATORS)
def test_an_aggregator_at_the_parameters_does_what_torchjd_does(name: str) -> None:
    ours, theirs = Net(), Net()
    torch.manual_seed(1)
    options = {"eps": 1e-8} if name == "GradVac" else None  # torchjd's default
    found = run(ours, Jacobian(KINDS, name, at="parameters", options=options))
    pass_ = theirs(images())
    mtl_backward(
        list(pass_.losses.values()),
        features=pass_.shared,
        tasks_params=[head.parameters() for head in theirs.heads.values()],
        shared_params=theirs.trunk(),
    )
    torch.manual_seed(1)
    jac_to_grad(theirs.trunk(), AGGREGATORS[name](4))
    expected = gradients(theirs)
    assert any(x.abs().max() > 0 for key, x in expected.items() if "heads" not in key)
    for key, x in expected.items():
        torch.testing.assert_close(found[key], x, rtol=1e-6, atol=1e-9, msg=f"{name} {key}")


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem")
@pytest.mark.parametrize("name", AGGREGATORS)
def test_an_aggregator_at_the_features_combines_what_it_finds_there(name: str) -> None:
    ours, plain = Net(), Net()
    torch.manual_seed(1)
    found = run(ours, Jacobian(KINDS, name, at="features"))
    pass_ = plain(images())
    rows = [torch.autograd.grad(x, pass_.shared, retain_graph=True) for x in pass_.losses.values()]
    matrix = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    torch.manual_seed(1)
    # torchjd takes small gradients for none; a scale comes out of an aggregator as it went in, but for those
    # that look at lengths.
    scale = 1.0 if name in ("NashMTL", "PCD") else float(matrix.square().sum(1).mean().sqrt())
    vector = AGGREGATORS[name](4)(matrix / scale) * scale
    lengths = [level.numel() for level in pass_.shared]
    split = [g.view_as(x) for g, x in zip(vector.split(lengths), pass_.shared, strict=True)]
    torch.autograd.backward(pass_.shared, split)
    expected = trunk_of(plain, gradients(plain))
    torch.testing.assert_close(trunk_of(ours, found), expected, rtol=1e-5, atol=1e-9)


def test_small_gradients_conflict_as_large_ones_do() -> None:
    """torchjd's constants take squared lengths below 1e-4 for 0, where UPGrad is a mean and CAGrad stops."""
    large = torch.tensor([[1.0, -0.9], [-0.9, 2.0]], dtype=torch.float64)
    for name in ("UPGrad", "CAGrad", "MGDA", "IMTLG", "AlignedMTL", "DualProj", "FairGrad"):
        options = {"alpha": 1.0} if name == "FairGrad" else None
        weighting = Jacobian({"a": "regression", "b": "regression"}, name, options=options)
        one, two = (weighting.weigh(["a", "b"], large * scale) for scale in (1.0, 1e-10))
        assert float(one.abs().sum()) > 0.1, name
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-8, msg=name)


def test_heads_learn_from_their_own_losses_whatever_the_method() -> None:
    net = Net()
    parameters = list(net.heads.parameters())
    expected = torch.stack(list(jacobian(net, parameters, coupled=True).values())).sum(0)
    kinds: dict[str, Kind] = {**KINDS, "tie": "regression"}
    for weighting in (Jacobian(kinds, "MGDA"), Jacobian(kinds, "MGDA", "parameters"), PolicyFirst(kinds)):
        found = run(net, weighting, coupled=True)
        heads = torch.cat([x.flatten() for key, x in found.items() if key.startswith("heads")])
        torch.testing.assert_close(heads, expected)


@pytest.mark.parametrize("at", ["features", "parameters"])
def test_a_sum_by_gradients_is_the_plain_gradient(at: Any) -> None:
    """Also with a coupling, a half-frozen trunk, a weakened task and a detached one."""
    kinds: dict[str, Kind] = {**KINDS, "tie": "regression"}
    for frozen in ([], ["stem"], ["stem", "deep"]):
        for factors in ({}, {"depth": 0.5, "flow": 0.0}, dict.fromkeys(NAMES, 0.0)):
            net = Net()
            for part in frozen:
                net.get_submodule(part).requires_grad_(False)
            pass_ = net(images(), factors=factors, coupled=True)
            torch.stack(list(pass_.losses.values())).sum().backward()
            expected = gradients(net)
            found = run(net, Jacobian(kinds, "Sum", at), factors=factors, coupled=True)
            for key, x in expected.items():
                torch.testing.assert_close(found[key], x, msg=f"{frozen} {factors} {key}")


def test_a_detached_task_does_not_take_part() -> None:
    """As a row of zeros it would be MGDA's shortest combination, and stop all learning."""
    net = Net()
    found = run(net, Jacobian(KINDS, "MGDA"), factors={"flow": 0.0})
    weighting = Jacobian(KINDS, "MGDA")
    run(net, weighting, factors={"flow": 0.0})
    assert "flow" not in weighting.weights()
    assert trunk_of(net, found).abs().max() > 0


def test_a_loss_whose_gradient_is_zero_does_not_take_part() -> None:
    gramian = torch.tensor([[2.0, 0, 1], [0, 0, 0], [1, 0, 3]], dtype=torch.float64)
    kinds: dict[str, Kind] = dict.fromkeys("abc", "regression")
    for name in ("MGDA", "NashMTL", "IMTLG", "UPGrad", "GradVac"):
        factors = Jacobian(kinds, name).weigh(["a", "b", "c"], gramian)
        assert float(factors[1]) == 0, name
        assert float(factors[0]) > 0, name


def test_an_absent_task_leaves_the_others_and_the_state_alone() -> None:
    gramian = torch.tensor([[2.0, -1, 1], [-1, 2, 0], [1, 0, 3]], dtype=torch.float64)
    kinds: dict[str, Kind] = dict.fromkeys("abc", "regression")
    for name in ("GradVac", "NashMTL", "PCD", "UPGrad"):
        weighting = Jacobian(kinds, name)
        weighting.weigh(["a", "b", "c"], gramian)
        before = {key: x.clone() for key, x in weighting.state_dict().items()}
        alone = Jacobian({"a": "regression", "b": "regression"}, name)
        torch.manual_seed(0)
        expected = alone.weigh(["a", "b"], gramian[:2, :2])
        torch.manual_seed(0)
        torch.testing.assert_close(weighting.weigh(["a", "b"], gramian[:2, :2]), expected)
        assert all(torch.equal(x, before[key]) for key, x in weighting.state_dict().items()), name


@pytest.mark.parametrize("name", ["GradVac", "NashMTL", "PCD"])
def test_an_aggregator_with_a_state_goes_on_where_a_checkpoint_left_it(name: str) -> None:
    steps = [torch.randn(4, 4, generator=torch.Generator().manual_seed(i)).double() for i in range(6)]
    grams = [x @ x.T for x in steps]

    def go(weighting: Jacobian, parts: list[Tensor]) -> list[Tensor]:
        torch.manual_seed(5)
        return [weighting.weigh(NAMES, x) for x in parts]

    one = Jacobian(KINDS, name)
    fresh = {key: x.clone() for key, x in one.state_dict().items()}
    go(one, grams[:3])
    saved = {key: x.clone() for key, x in one.state_dict().items()}
    assert saved.keys() == fresh.keys()
    assert any(not torch.equal(x, fresh[key]) for key, x in saved.items())
    two = Jacobian(KINDS, name)
    two.load_state_dict(saved)
    for a, b in zip(go(one, grams[3:]), go(two, grams[3:]), strict=True):
        assert torch.equal(a, b)


def test_preferences_and_options_reach_the_aggregator() -> None:
    gramian = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
    kinds: dict[str, Kind] = {"a": "regression", "b": "regression"}
    preferred = Jacobian(kinds, "UPGrad", preferences={"a": 3.0}).weigh(["a", "b"], gramian)
    expected = aggregation.UPGrad(torch.tensor([3.0, 1.0], dtype=torch.float64)).gramian_weighting(gramian)
    torch.testing.assert_close(preferred, expected)
    assert not torch.equal(
        Jacobian(kinds, "CAGrad", options={"c": 0.1}).weigh(["a", "b"], gramian),
        Jacobian(kinds, "CAGrad").weigh(["a", "b"], gramian),
    )


def test_bad_settings_of_aggregators_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no aggregator 'UpGrad'; choose one of AlignedMTL, CAGrad"):
        Jacobian(KINDS, "UpGrad")
    with pytest.raises(ConfigError, match="ExcessMTL is not supported"):
        Jacobian(KINDS, "ExcessMTL")
    with pytest.raises(ConfigError, match=r"FairGrad: its options do not fit: .*alpha"):
        Jacobian(KINDS, "FairGrad")
    with pytest.raises(ConfigError, match="CAGrad: its options do not fit: c must be non-negative"):
        Jacobian(KINDS, "CAGrad", options={"c": -1.0})
    with pytest.raises(ConfigError, match="preferences of 'flow' must be at least 0"):
        Jacobian(KINDS, preferences={"flow": -1.0})
    monkeypatch.setattr("torchjd._mixins.find_spec", lambda name: None)
    for name in ("UPGrad", "DualProj", "CAGrad", "NashMTL"):
        with pytest.raises(
            ConfigError, match=rf"{name}: .* not installed; pip install 'mtdrive\[jacobian\]'"
        ):
            Jacobian(KINDS, name)


def test_gradients_that_are_not_finite_name_their_task() -> None:
    gramian = torch.eye(4, dtype=torch.float64)
    gramian[1, 1] = torch.nan
    with pytest.raises(TrainingError, match="gradients of depth are not finite"):
        Jacobian(KINDS, "UPGrad").weigh(NAMES, gramian)


@pytest.mark.parametrize("at", ["features", "parameters"])
@pytest.mark.parametrize("weighted", [False, True])
def test_policy_first_admits_what_does_not_conflict(at: Any, weighted: bool) -> None:
    net = Net()
    if at == "parameters":
        rows = torch.stack(list(jacobian(net, net.trunk()).values()))
    else:
        pass_ = net(images())
        parts = [torch.autograd.grad(x, pass_.shared, retain_graph=True) for x in pass_.losses.values()]
        rows = torch.stack([torch.cat([g.flatten() for g in x]) for x in parts])
    cosine = torch.nn.functional.cosine_similarity(rows, rows[:1])
    assert 0 < int((cosine < 0).sum()) < 4, f"nothing to tell apart: {cosine}"
    factors = cosine.clamp(min=0) if weighted else (cosine >= 0).double()
    factors = factors * torch.tensor([1, 2.0, 1, 1], dtype=torch.float64)
    below = torch.stack(list(jacobian(net, net.trunk()).values()))
    weighting = PolicyFirst(KINDS, weighted=weighted, weights={"depth": 2.0}, at=at)
    torch.testing.assert_close(trunk_of(net, run(net, weighting)), factors @ below)
    assert [float(x) for x in weighting.weights().values()] == pytest.approx(factors.tolist())


def test_without_the_main_gradient_every_task_takes_part() -> None:
    weighting = PolicyFirst(KINDS)
    gramian = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
    assert weighting.weigh(["depth", "flow"], gramian).tolist() == [1, 1]
    zero = torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert weighting.weigh(["policy", "flow"], zero).tolist() == [1, 1]
    assert weighting.weigh(["policy", "flow"], gramian).tolist() == [1, 0]
    with pytest.raises(ConfigError, match="main loss 'polcy' is none of"):
        PolicyFirst(KINDS, main="polcy")


@pytest.mark.parametrize("at", ["features", "parameters"])
def test_gradnorm_is_the_paper_by_autograd(at: Any) -> None:
    """The paper's objective, differentiated by autograd through the norm, over ten steps of both."""
    ours, theirs = Net(), Net()
    weighting = GradNorm(KINDS, alpha=0.7, at=at).double()
    weights = torch.ones(4, dtype=torch.float64, requires_grad=True)
    groups: list[list[dict[str, Any]]] = [
        [{"params": theirs.parameters()}, {"params": [weights], "lr": 0.01}],
        [{"params": ours.parameters()}, {"params": weighting.parameters(), "lr": 0.01}],
    ]
    plain, own = (torch.optim.SGD(group, lr=0.05) for group in groups)
    first: Tensor | None = None
    for _ in range(10):
        weighting.backward(ours(images()), ours.trunk(), Tensor.backward)
        own.step()
        own.zero_grad()
        weighting.after_step(dict)
        pass_ = theirs(images())
        losses = torch.stack(list(pass_.losses.values()))
        first = losses.detach() if first is None else first
        to: Any = pass_.shared if at == "features" else theirs.trunk()
        parts = [torch.autograd.grad(x, to, retain_graph=True) for x in losses]
        lengths = torch.stack([torch.cat([g.flatten() for g in x]).norm() for x in parts])
        rates = losses.detach() / first
        target = ((weights * lengths).mean() * (rates / rates.mean()) ** 0.7).detach()
        (weights.grad,) = torch.autograd.grad((weights * lengths - target).abs().sum(), weights)
        (weights.detach() * losses).sum().backward()
        plain.step()
        plain.zero_grad()
        with torch.no_grad():
            weights *= 4 / weights.sum()
    found = torch.stack(list(weighting.weights().values()))
    torch.testing.assert_close(found, weights.detach())
    assert float((found - 1).abs().max()) > 0.01
    for key, x in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(key), x)


def test_gradnorm_leaves_the_weight_of_an_absent_task_alone() -> None:
    weighting = GradNorm(KINDS)
    optimizer = torch.optim.SGD(weighting.parameters(), 0.3)
    net = Net()
    for present in (NAMES, NAMES[:2], NAMES[:2]):
        pass_ = net(images())
        pass_ = replace(pass_, losses={n: pass_.losses[n] for n in present})
        before = weighting.weights()
        weighting.backward(pass_, net.trunk(), Tensor.backward)
        optimizer.step()
        optimizer.zero_grad()
        weighting.after_step(dict)
        after = weighting.weights()
        assert sum(float(x) for x in after.values()) == pytest.approx(4, rel=1e-5)
        for name in NAMES:
            assert torch.equal(after[name], before[name]) == (name not in present)
    assert all(float(x) > 0 for x in weighting.weights().values())


def test_a_cosine_is_that_of_the_angle() -> None:
    rows = torch.tensor([[1.0, 0], [1, 1], [0, -2]], dtype=torch.float64)
    expected = [[1, math.sqrt(0.5), 0], [math.sqrt(0.5), 1, -math.sqrt(0.5)], [0, -math.sqrt(0.5), 1]]
    torch.testing.assert_close(cosines(rows @ rows.T), torch.tensor(expected, dtype=torch.float64))
