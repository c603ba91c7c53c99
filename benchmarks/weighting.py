"""Times a step under each weighting, and compares gradient methods at the features with those at the weights.

Usage: python benchmarks/weighting.py [--drives DIR] [--size 96 320] [--batch 4] [--repetitions 7]
       [--steps 200] [--methods NAME ...] [--out FILE]

ResNet-18 with four tasks: policy, depth with motion from the shared features, segmentation and optical
flow. One CPU thread. A step is forward, weighting, optimizer and what the weighting does afterwards; the
rivals take turns, and a figure is a median CPU time. With `--drives`, a folder of recorded drives with
semantics, the network is trained by fixed weights for `--steps` steps, and at each of them the update of the
encoder that a method makes from the gradients at the features is compared, by its cosine, with the one that
it makes from the gradients at the weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import growth_at_peak, machine, take_turns
from torch import Tensor

from mtdrive.batch import Batch
from mtdrive.check import example_batch
from mtdrive.classes import CLASS_SETS
from mtdrive.data.drives import Drives
from mtdrive.encoder import Encoder
from mtdrive.experiment import DataSet, Experiment, build_model, prepare
from mtdrive.gradients import at_features, at_parameters
from mtdrive.model import Model
from mtdrive.optimization import Optimization, make_optimizer
from mtdrive.pose import SharedPose
from mtdrive.replay import replay
from mtdrive.task import Kind, merge
from mtdrive.tasks.depth import Depth
from mtdrive.tasks.flow import Flow
from mtdrive.tasks.policy import Policy
from mtdrive.tasks.segmentation import Segmentation
from mtdrive.train import Training
from mtdrive.weighting import GradientWeighting, Weighting
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

Make = Callable[[Mapping[str, Kind]], Weighting]

SCALAR: dict[str, Make] = {
    "Fixed": Fixed,
    "Uncertainty": Uncertainty,
    "DWA": DWA,
    "RLW": RLW,
    "GeometricMean": GeometricMean,
    "IMTLL": IMTLL,
    "FAMO": FAMO,
}
AGGREGATORS = ("UPGrad", "DualProj", "PCGrad", "CAGrad", "MGDA", "NashMTL", "AlignedMTL", "IMTLG", "GradVac")
GRADIENT: dict[str, Callable[..., GradientWeighting]] = {
    "GradNorm": GradNorm,
    "PolicyFirst": PolicyFirst,
    **{name: partial(Jacobian, aggregator=name) for name in AGGREGATORS},
}


def experiment(size: tuple[int, int], batch: int, drives: Path | None) -> Experiment:
    """Return the run whose steps are timed."""
    labels = ["steer", "target_speed", "semantics"]
    data = {}
    if drives is not None:
        data["drives"] = DataSet(source=Drives(drives, labels=labels), batch_size=batch, size=size, workers=1)
    return Experiment(
        data=data,
        encoder=partial(Encoder, "resnet18"),
        tasks={
            "policy": Policy,
            "depth": partial(Depth, pose=SharedPose),
            "segmentation": Segmentation,
            "flow": Flow,
        },
        optimization=Optimization(learning_rate=1e-4),
        training=Training(steps=1, accelerator="cpu", threads=1),
    )


def problem(model: Model, size: tuple[int, int], batch: int) -> Batch:
    """Return a random batch that trains every task."""
    needs = frozenset().union(*(model.part(name).needs for name in model.kinds))
    classes = len(CLASS_SETS["cityscapes"])
    labels = {"semantics": lambda b, h, w: torch.randint(classes, (b, h, w))}
    return example_batch(model.views, needs, size, labels, batch)


def step(model: Model, make: Make, batch: Batch) -> Callable[[], None]:
    """Return a step of training."""
    weighting = make(model.kinds)
    optimizer = make_optimizer(model, weighting, Optimization())
    shared = list(model.encoder.parameters())

    def run() -> None:
        weighting.backward(model(batch), shared, Tensor.backward)
        optimizer.step()
        optimizer.zero_grad()
        weighting.after_step(lambda: merge(replay(model, [batch], nullcontext(), 0)).losses)

    return run


def rivals(model: Model, batch: Batch, chosen: list[str]) -> dict[str, Callable[[], None]]:
    """Return a step under every method."""
    makes: dict[str, Make] = dict(SCALAR)
    for at in ("features", "parameters"):
        makes |= {f"{name}, {at}": partial(make, at=at) for name, make in GRADIENT.items()}
    kept = {key: make for key, make in makes.items() if key == "Fixed" or key.split(",")[0] in chosen}
    return {key: step(copy.deepcopy(model), make, batch) for key, make in kept.items()}


def speed(model: Model, batch: Batch, chosen: list[str], repetitions: int) -> dict[str, dict[str, float]]:
    """Return CPU times, ratios to fixed weights, and how far memory rises in a step."""
    steps = rivals(model, batch, chosen)
    times = take_turns(steps, repetitions)
    base = times["Fixed"]
    return {
        name: {
            "median_ms": statistics.median(x),
            "min_ms": min(x),
            # Of a turn each: what the machine did besides was the same for both.
            "ratio": statistics.median(a / b for a, b in zip(x, base, strict=True)),
            "peak_mib": growth_at_peak(steps[name]),
        }
        for name, x in times.items()
    }


def agreement(
    model: Model, batches: Iterator[Batch], chosen: list[str], steps: int
) -> dict[str, dict[str, float]]:
    """Return the cosines between the updates of the encoder from both places at each step."""
    pairs = {
        name: [make(model.kinds, at=at) for at in ("features", "parameters")]
        for name, make in GRADIENT.items()
        if name in chosen and name != "GradNorm"  # its weights are learned from the lengths
    }
    found: dict[str, list[float]] = {name: [] for name in pairs}
    optimizer = make_optimizer(model, Fixed(model.kinds), Optimization())
    shared = list(model.encoder.parameters())
    for number in range(steps):
        torch.manual_seed(number)
        near = at_features(model(next(batches)), lambda name: 1.0)
        far = at_parameters(near, shared)
        far.backward(far.combine(torch.ones(len(far.names))))
        optimizer.step()
        optimizer.zero_grad()
        for name, (one, two) in pairs.items():
            found[name].append(_cosine(number, one, two, far.names, near.gramian(), far.gramian()))
    return {name: _spread(x) for name, x in found.items()}


def _cosine(
    seed: int, near: GradientWeighting, far: GradientWeighting, names: list[str], at: Tensor, exact: Tensor
) -> float:
    """Return the cosine between two sums of the same gradients at the weights."""
    factors = []
    for weighting, gramian in ((near, at), (far, exact)):
        torch.manual_seed(seed)
        factors.append(weighting.weigh(names, gramian).double())
    a, b = factors
    product = exact.double()
    return float(a @ product @ b / ((a @ product @ a) * (b @ product @ b)).sqrt())


def _spread(values: list[float]) -> dict[str, float]:
    finite = sorted(x for x in values if math.isfinite(x))
    if not finite:
        return {"steps": 0}
    quantiles = {f"{q:.0%}": finite[round(q * (len(finite) - 1))] for q in (0.05, 0.5, 0.95)}
    return {"steps": len(finite), "mean": statistics.fmean(finite), **quantiles}


def main() -> None:
    """Time, compare, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--drives", type=Path, help="recorded drives with semantics")
    arguments.add_argument("--size", type=int, nargs=2, default=(96, 320), help="height and width")
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--repetitions", type=int, default=7)
    arguments.add_argument("--steps", type=int, default=200, help="of the comparison")
    every = [*SCALAR, *GRADIENT]
    arguments.add_argument("--methods", nargs="+", default=every, choices=every, metavar="NAME")
    arguments.add_argument("--out", type=Path, help="JSON")
    options = arguments.parse_args()

    torch.set_num_threads(1)
    given = experiment((options.size[0], options.size[1]), options.batch, options.drives)
    model = build_model(given).train()
    batch = problem(model, (options.size[0], options.size[1]), options.batch)
    result: dict[str, Any] = {
        "problem": {"tasks": list(model.tasks), "batch": options.batch, "size": options.size},
        "steps": speed(model, batch, options.methods, options.repetitions),
        "machine": machine(),
    }
    if options.drives is not None:
        with tempfile.TemporaryDirectory() as folder:
            run = prepare(given, Path(folder), "", False)
            run.log.close()
            stream = (packed.to("cpu") for packed in run.streams["drives"](0))
            result["cosines"] = agreement(run.model.train(), stream, options.methods, options.steps)
    for part in ("steps", "cosines"):
        for name, figures in result.get(part, {}).items():
            print(f"{name:26}", "  ".join(f"{key} {value:.3f}" for key, value in figures.items()))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
