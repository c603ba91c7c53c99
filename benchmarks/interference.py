"""Times what looking at the tasks' gradients costs a training.

Usage: python benchmarks/interference.py [--size 96 320] [--batch 4] [--repetitions 9] [--out FILE]

The network and the step of `benchmarks/weighting.py`, with fixed weights; one CPU thread. A step with a look
and one without take turns; the cost at a cadence is what a look adds to that many steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from timing import growth_at_peak, machine, take_turns
from torch import Tensor
from weighting import experiment, problem

from mtdrive.batch import Batch
from mtdrive.experiment import build_model
from mtdrive.interference import angles, look
from mtdrive.model import Model
from mtdrive.optimization import Optimization, make_optimizer
from mtdrive.train import Training
from mtdrive.weighting.fixed import Fixed


def step(model: Model, batch: Batch, looks: bool) -> Callable[[], None]:
    """Return a step of training."""
    weighting = Fixed(model.kinds)
    optimizer = make_optimizer(model, weighting, Optimization())
    shared = list(model.encoder.parameters())

    def run() -> None:
        pass_ = model(batch)
        if looks:
            seen = look([pass_], ["data"], shared)
            assert seen is not None
            angles(seen)
        weighting.backward(pass_, shared, Tensor.backward)
        optimizer.step()
        optimizer.zero_grad()

    return run


def main() -> None:
    """Time, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--size", type=int, nargs=2, default=(96, 320), help="height and width")
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--repetitions", type=int, default=9)
    arguments.add_argument("--out", type=Path, help="JSON")
    options = arguments.parse_args()

    torch.set_num_threads(1)
    size = (options.size[0], options.size[1])
    model = build_model(experiment(size, options.batch, None)).train()
    batch = problem(model, size, options.batch)
    rivals = {"plain": step(model, batch, False), "with a look": step(model, batch, True)}
    times = take_turns(rivals, options.repetitions)
    added = [a - b for a, b in zip(times["with a look"], times["plain"], strict=True)]
    cadence = Training().share_every
    result = {
        "problem": {"tasks": list(model.tasks), "batch": options.batch, "size": size},
        "step_ms": statistics.median(times["plain"]),
        "look_ms": statistics.median(added),
        "cadence": cadence,
        "cost": statistics.median(added) / (cadence * statistics.median(times["plain"])),
        "peak_mib": {name: growth_at_peak(run) for name, run in rivals.items()},
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
