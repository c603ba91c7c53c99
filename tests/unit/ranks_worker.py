"""What `test_ranks.py` runs in one process or two: gradients of a step, then a short run."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from mtdrive.encoder import Encoder
from mtdrive.experiment import DataSet, Experiment, prepare
from mtdrive.optimization import Optimization, average_gradients
from mtdrive.pose import SharedPose
from mtdrive.randomness import derive
from mtdrive.task import merge
from mtdrive.tasks.depth import Depth
from mtdrive.train import Training, fit, forward
from mtdrive.weighting.uncertainty import Uncertainty
from tests.toys import Brightness, ToySource


def experiment(items: int) -> Experiment:
    """A network without batch statistics on labels of which some processes have fewer than others."""
    data = DataSet(source=ToySource(14, ["toy_grade"]), batch_size=items, size=(64, 64), workers=0)
    return Experiment(
        data={"toy": data},
        validation={"toy": replace(data, batch_size=3)},
        encoder=partial(Encoder, "test_convnext"),
        tasks={"grade": Brightness, "depth": partial(Depth, pose=SharedPose)},
        weighting=Uncertainty,
        # Without adaptive moments, so that rounding stays as small as it is.
        optimization=Optimization(learning_rate=1e-4, milestones=[100]),
        seed=5,  # gives the first process one label and the second none
        training=Training(steps=3, log_every=1, save_every=2, evaluate_every=3, accelerator="cpu", threads=1),
    )


def main(folder: Path, items: int) -> None:
    """Write `gradients.safetensors`, then train in `folder`."""
    described = experiment(items)
    run = prepare(described, folder, "seed: 0\n", resume=False)
    run.model.train()
    torch.manual_seed(derive(0, "step", 0))
    batch = next(run.streams["toy"](0)).to("cpu")
    counts = [int((~batch.labels["toy_grade"].isnan()).sum())]
    run.weighting.backward(merge(forward(run, [batch])), [], run.fabric.backward)
    parameters = {**dict(run.model.named_parameters()), **dict(run.weighting.named_parameters())}
    average_gradients(list(parameters.values()), run.fabric)
    everyone = torch.as_tensor(run.fabric.all_gather(torch.tensor(counts))).flatten()
    if run.fabric.is_global_zero:
        gradients = {name: p.grad.contiguous() for name, p in parameters.items() if p.grad is not None}
        save_file({**gradients, "labelled": everyone}, folder / "gradients.safetensors")
    for parameter in parameters.values():
        parameter.grad = None
    fit(run, described.optimization, described.training)
    run.log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
