"""Every weighting trains, resumes and reads settings as it does in a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from mtdrive.batch import Batch
from mtdrive.check import example_batch
from mtdrive.compact import Compact
from mtdrive.encoder import Encoder
from mtdrive.experiment import Experiment, instantiate, parser, prepare
from mtdrive.model import Model
from mtdrive.optimization import Optimization, make_optimizer
from mtdrive.replay import replay
from mtdrive.sharing import Sharing
from mtdrive.task import Kind, Task, merge
from mtdrive.weighting import Weighting
from mtdrive.weighting.dwa import DWA
from mtdrive.weighting.famo import FAMO
from mtdrive.weighting.fixed import Fixed
from mtdrive.weighting.geometric_mean import GeometricMean
from mtdrive.weighting.gradnorm import GradNorm
from mtdrive.weighting.imtl_l import IMTLL
from mtdrive.weighting.jacobian import Jacobian
from mtdrive.weighting.policy_first import PolicyFirst
from mtdrive.weighting.rlw import RLW
from mtdrive.weighting.uncertainty import Uncertainty
from tests.runs import experiment, start

Make = Callable[[Mapping[str, Kind]], Weighting]

AGGREGATORS = ("UPGrad", "PCGrad", "CAGrad", "MGDA", "NashMTL", "AlignedMTL", "IMTLG", "DualProj", "GradVac")

METHODS: dict[str, Make] = {
    "Fixed": Fixed,
    "Uncertainty": Uncertainty,
    "DWA": partial(DWA, period=10),
    "RLW": RLW,
    "GeometricMean": GeometricMean,
    "IMTLL": IMTLL,
    "FAMO": FAMO,
    "GradNorm": GradNorm,
    "PolicyFirst": PolicyFirst,
    "PolicyFirst, weighted": partial(PolicyFirst, weighted=True),
    **{f"{name}, features": partial(Jacobian, aggregator=name) for name in AGGREGATORS},
    "UPGrad, parameters": partial(Jacobian, aggregator="UPGrad", at="parameters"),
    # At each step a solver's twenty: too slow for a test.
    "NashMTL, features": partial(Jacobian, aggregator="NashMTL", options={"optim_niter": 2}),
    "GradDrop, features": partial(Jacobian, aggregator="GradDrop"),
}


class Colour(Task[Tensor]):
    """Tells the mean of the image in some mixture of colours."""

    def __init__(self, encoder: Encoder, mixture: tuple[float, float, float], scale: float) -> None:
        super().__init__()
        self.head = nn.Linear(sum(encoder.channels), 1)
        self.mixture, self.scale = torch.tensor(mixture), scale

    def forward(self, features: Any, inputs: Any) -> Tensor:
        out: Tensor = self.head(torch.cat([x.mean((2, 3)) for x in features[self.reads[0]]], 1))
        return out

    def loss(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        truth = batch.reference(self.reads[0]).mean((2, 3)) @ self.mixture
        return {"l2": self.scale * (output[:, 0].float() - truth).square().mean() + 1e-3}


def four() -> Model:
    torch.manual_seed(0)
    encoder = Compact([4, 6])
    mixtures = {
        "policy": ((1.0, 0.0, 0.0), 1.0),
        "depth": ((0.0, 1.0, -1.0), 30.0),
        "flow": ((-1.0, 0.3, 0.0), 0.1),
        "segmentation": ((0.0, -1.0, 0.2), 3.0),
    }
    return Model(encoder, {name: Colour(encoder, *given) for name, given in mixtures.items()})


@cache
def batches() -> list[Batch]:
    """Flat images of random colours."""
    base = example_batch(four().views, frozenset(), (8, 8), batch_size=8)
    made = []
    for i in range(200):
        colours = torch.rand(8, 1, 3, 1, 1, generator=torch.Generator().manual_seed(i))
        images = colours.expand_as(base.inputs.images).contiguous()
        made.append(replace(base, inputs=replace(base.inputs, images=images), clean=images))
    return made


def again(model: Model, batch: Batch, seed: int) -> dict[str, Tensor]:
    return merge(replay(model, [batch], nullcontext(), seed)).losses


@pytest.mark.parametrize("name", METHODS)
def test_four_tasks_of_unlike_scale_are_learned_in_200_steps(name: str) -> None:
    model = four().train()
    weighting = METHODS[name](model.kinds)
    settings = Optimization(learning_rate=1e-2, weighting_learning_rate=0.025)
    optimizer = make_optimizer(model, weighting, settings)
    shared = list(model.encoder.parameters())
    given = batches()
    first = {n: x.item() for n, x in model(given[0]).losses.items()}
    torch.manual_seed(0)
    for number, batch in enumerate(given):
        weighting.backward(model(batch), shared, Tensor.backward)
        optimizer.step()
        optimizer.zero_grad()
        weighting.after_step(partial(again, model, batch, number))
    last = {n: x.item() for n, x in model(given[0]).losses.items()}
    for task, loss in last.items():
        assert loss < 0.35 * first[task], f"{task}: {first[task]:.4f} -> {loss:.4f} {weighting.weights()}"


RESUMED = ("DWA", "RLW", "FAMO", "GradNorm", "UPGrad, features", "GradVac, features")
HALVED = ("FAMO", "GradNorm", "PolicyFirst", "UPGrad, parameters")


@pytest.mark.parametrize("name", RESUMED)
def test_a_killed_run_resumes_to_the_same_bits(name: str, tmp_path: Path) -> None:
    """On two data sets of unlike labels, with dropout, batch statistics and a coupling."""

    def files(folder: Path) -> list[bytes]:
        last = folder / "checkpoints" / "last"
        return [(last / f"{part}.safetensors").read_bytes() for part in ("model", "state")]

    weighting: Any = partial(DWA, period=1) if name == "DWA" else METHODS[name]
    given = replace(experiment(picture_every=0, evaluate_every=100), weighting=weighting)
    start(tmp_path / "whole", given=given)
    short = replace(given, training=replace(given.training, steps=3))
    start(tmp_path / "two", given=short)
    start(tmp_path / "two", resume=True, given=given)
    assert files(tmp_path / "two") == files(tmp_path / "whole")


@pytest.mark.parametrize("name", HALVED)
def test_bfloat16_gives_nearly_the_factors_of_float32(name: str) -> None:
    found = []
    for enabled in (False, True):
        model = four().train()
        weighting = METHODS[name](model.kinds)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            pass_ = model(batches()[0])
        assert pass_.shared[-1].dtype == (torch.bfloat16 if enabled else torch.float32)
        weighting.backward(pass_, list(model.encoder.parameters()), Tensor.backward)
        grads = torch.cat([p.grad.flatten() for p in model.encoder.parameters() if p.grad is not None])
        assert grads.dtype == torch.float32
        found.append((torch.stack(list(weighting.weights().values())).float(), grads))
    (exact, whole), (rough, half) = found
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.05)
    assert float(torch.nn.functional.cosine_similarity(whole, half, 0)) > 0.98


@pytest.mark.parametrize("at", ["features", "parameters"])
@pytest.mark.parametrize("frozen", ["nothing", "half", "all"])
def test_a_frozen_half_frozen_or_detached_encoder_trains_what_is_left(frozen: str, at: Any) -> None:
    for make in (partial(Jacobian, at=at), partial(GradNorm, at=at), partial(PolicyFirst, at=at)):
        model = four().train()
        model.sharing = {"depth": Sharing(gradient=0.0)}
        layers = list(model.encoder.get_submodule("net.levels").children())
        for layer in {"nothing": [], "half": layers[:1], "all": layers}[frozen]:
            layer.requires_grad_(False)
        shared = [p for p in model.encoder.parameters() if p.requires_grad]
        weighting: Weighting = make(model.kinds)
        weighting.backward(model(batches()[0]), shared, Tensor.backward)
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
            if parameter.grad is not None:
                assert float(parameter.grad.abs().sum()) > 0, name


def test_the_losses_after_a_step_are_computed_without_a_trace_and_with_its_draws(tmp_path: Path) -> None:
    run = prepare(experiment(), tmp_path, "", False)
    run.log.close()
    batch = [next(stream(0)).to("cpu") for stream in run.streams.values()]
    run.model.train()
    torch.manual_seed(9)
    before = {n: x.detach() for n, x in merge([run.model(part) for part in batch]).losses.items()}
    kept = {n: x.clone() for n, x in run.model.state_dict().items()}
    again = merge(replay(run.model, batch, run.fabric.autocast(), 9)).losses
    assert all(torch.equal(x, again[n]) for n, x in before.items())
    assert all(torch.equal(x, kept[n]) for n, x in run.model.state_dict().items())
    assert not any(x.requires_grad for x in again.values())


YAML: dict[str, type[Weighting]] = {
    "RLW": RLW,
    "{class_path: mtdrive.weighting.dwa.DWA}": DWA,
    "{class_path: DWA, init_args: {period: 100}}": DWA,
    "GeometricMean": GeometricMean,
    "{class_path: GeometricMean, init_args: {lowest: {grade: -3}}}": GeometricMean,
    "IMTLL": IMTLL,
    "FAMO": FAMO,
    "GradNorm": GradNorm,
    "{class_path: PolicyFirst, init_args: {main: grade, weighted: true}}": PolicyFirst,
    "Jacobian": Jacobian,
    "{class_path: mtdrive.weighting.jacobian.Jacobian, init_args: {aggregator: UPGrad}}": Jacobian,
    "{class_path: Jacobian, init_args: {aggregator: CAGrad, at: parameters, options: {c: 0.5}}}": Jacobian,
    "{class_path: Jacobian, init_args: {preferences: {grade: 2}}}": Jacobian,
}


@pytest.mark.parametrize("line", YAML)
def test_a_line_of_yaml_chooses_a_weighting(line: str, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    text = {
        "data": {"toy": {"source": "tests.toys.ToySource", "batch_size": 2, "size": [32, 32]}},
        "tasks": {"grade": "tests.toys.Brightness"},
    }
    config.write_text(yaml.safe_dump(text) + f"weighting: {line}\n")
    settings = parser().parse_args(["--config", str(config)])
    made: Experiment = instantiate(parser().parse_string(parser().dump(settings, skip_unset=False)))
    assert isinstance(made.weighting({"grade": "regression"}), YAML[line])
