"""Times a whole training step of Monodepth2's networks against one written down plainly.

Usage: python benchmarks/training_step.py [--size 96 320] [--batch 4] [--bf16] [--compiled] [--out FILE]

One CPU thread; ResNet-18 for depth and for pose. Both sides run the same networks. The plain one has
contiguous layout, the plain objective and torch's own choice of Adam; the other is the depth task with
channels_last, `mtdrive.optimization` and the calls of `mtdrive.train.step`. bf16 autocast is timed where the
CPU has instructions for it, or where `--bf16` insists. The rivals take turns; a figure is a median CPU time.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import plain
import torch
from objective import DEPTH_RANGE, SOURCES, problem
from timing import machine, profile_of, report, summary, take_turns
from torch import Tensor

from mtdrive.batch import TARGET, Batch
from mtdrive.encoder import Encoder
from mtdrive.model import Model
from mtdrive.optimization import Optimization, make_optimizer
from mtdrive.pose import SeparatePose
from mtdrive.task import merge
from mtdrive.tasks.depth import Depth, Photometric, Smoothness
from mtdrive.weighting.fixed import Fixed


def networks(compiled: bool = False) -> Model:
    """Return Monodepth2's networks, always with the same weights."""
    torch.manual_seed(0)
    encoder = Encoder("resnet18", normalisation="monodepth2")
    pose = partial(SeparatePose, name="resnet18", normalisation="monodepth2")
    terms = {"photometric": Photometric(compiled=compiled), "smoothness": Smoothness()}
    return Model(encoder, {"depth": Depth(encoder, pose, terms)}).train()


def plain_step(model: Model, batch: Batch) -> Callable[[], Tensor]:
    """Return a step with the plain objective, which gives its loss."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def step() -> Tensor:
        output = model.predict(batch.inputs)["depth"]
        terms = plain.objective(
            output.disparities,
            batch.reference(TARGET),
            [batch.reference(view) for view in SOURCES],
            batch.inputs.camera(TARGET),
            [batch.inputs.camera(view) for view in SOURCES],
            [output.motions[view] for view in SOURCES],
            DEPTH_RANGE,
        )
        loss = terms["photometric"] + terms["smoothness"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def fast_step(
    model: Model, batch: Batch, bf16: bool = False, channels_last: bool = True
) -> Callable[[], Tensor]:
    """Return the step of `mtdrive train`, which gives its loss."""
    if channels_last:
        model.to(memory_format=torch.channels_last)
    weighting = Fixed(model.kinds)
    optimizer = make_optimizer(model, weighting, Optimization())
    shared = list(model.encoder.parameters())

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = merge([model(batch)])
        weighting.backward(found, shared, Tensor.backward)
        optimizer.step()
        optimizer.zero_grad()
        return found.losses["depth"].detach()

    return step


def has_bf16() -> bool:
    """Return whether the CPU multiplies bfloat16 itself rather than by way of float32."""
    features: dict[str, Any] = torch.cpu.get_capabilities()
    return any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))


def main() -> None:
    """Time, compare the first losses, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--size", type=int, nargs=2, default=(96, 320), help="height and width")
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--repetitions", type=int, default=7)
    arguments.add_argument("--bf16", action="store_true", help="time it even where the CPU emulates it")
    arguments.add_argument("--compiled", action="store_true", help="time a compiled objective, too")
    arguments.add_argument("--profile", action="store_true", help="also name the most expensive operations")
    arguments.add_argument("--out", type=Path, help="JSON")
    options = arguments.parse_args()

    torch.set_num_threads(1)
    batch = problem(options.batch, (options.size[0], options.size[1]), torch.float32).batch
    model = networks()
    rivals = {
        "plain": plain_step(copy.deepcopy(model), batch),
        "mtdrive": fast_step(copy.deepcopy(model), batch),
        "mtdrive, channels_last: false": fast_step(copy.deepcopy(model), batch, channels_last=False),
    }
    if options.compiled:
        rivals["mtdrive, compiled objective"] = fast_step(networks(compiled=True), batch)
    if options.bf16 or has_bf16():
        rivals["mtdrive, bf16"] = fast_step(copy.deepcopy(model), batch, bf16=True)
    result = {
        "problem": {"batch": options.batch, "size": options.size},
        "first_loss": {name: float(step()) for name, step in rivals.items()},
        "rivals": summary(take_turns(rivals, options.repetitions)),
        "bf16_in_hardware": has_bf16(),
        "machine": machine(),
    }
    if options.profile:
        result["profile"] = {name: profile_of(step) for name, step in rivals.items()}
    report(result, options.out)


if __name__ == "__main__":
    main()
