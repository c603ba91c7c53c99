"""What `test_weighting_ranks.py` runs in one process or two: two steps under each weighting."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import Tensor

from mtdrive.devices import make_fabric
from mtdrive.gradients import accumulate
from mtdrive.optimization import average_gradients
from mtdrive.weighting import Weighting
from mtdrive.weighting.dwa import DWA
from mtdrive.weighting.famo import FAMO
from mtdrive.weighting.geometric_mean import GeometricMean
from mtdrive.weighting.gradnorm import GradNorm
from mtdrive.weighting.imtl_l import IMTLL
from mtdrive.weighting.jacobian import Jacobian
from mtdrive.weighting.policy_first import PolicyFirst
from mtdrive.weighting.rlw import RLW
from tests.unit.test_weighting_gradients import KINDS, Net

METHODS: dict[str, Callable[[], Weighting]] = {
    "DWA": partial(DWA, KINDS, period=1),
    "RLW": partial(RLW, KINDS),
    "GeometricMean": partial(GeometricMean, KINDS),
    "IMTLL": partial(IMTLL, KINDS),
    "FAMO": partial(FAMO, KINDS),
}
for at in ("features", "parameters"):
    chosen: Any = at
    METHODS[f"GradNorm {at}"] = partial(GradNorm, KINDS, at=chosen)
    METHODS[f"PolicyFirst {at}"] = partial(PolicyFirst, KINDS, at=chosen)
    for name in ("UPGrad", "PCGrad", "ConFIG", "NashMTL"):
        METHODS[f"{name} {at}"] = partial(Jacobian, KINDS, name, at=chosen)
METHODS["TrimmedMean features"] = partial(Jacobian, KINDS, "TrimmedMean", options={"trim_number": 1})
METHODS["GradDrop parameters"] = partial(Jacobian, KINDS, "GradDrop", at="parameters")


def steps(name: str, fabric: Fabric, images: Tensor) -> dict[str, Tensor]:
    """Return the gradients of the third step."""
    net = Net()
    weighting = METHODS[name]().double()
    parameters = [*net.parameters(), *weighting.parameters()]
    optimizer = torch.optim.SGD(parameters, 0.05)
    for _ in range(3):
        optimizer.zero_grad()
        torch.manual_seed(fabric.global_rank)  # as in training, where the draws of processes differ
        weighting.backward(net(images), net.trunk(), fabric.backward)
        average_gradients(parameters, fabric)
        optimizer.step()
        weighting.after_step(lambda: net(images).losses)
    for parameter in parameters:
        accumulate(parameter, torch.zeros_like(parameter))
    found = {f"net.{key}": p.grad for key, p in net.named_parameters()}
    found |= {f"weighting.{key}": p.grad for key, p in weighting.named_parameters()}
    return {f"{name}/{key}": x for key, x in found.items() if x is not None}


def main(folder: Path, processes: int = 1) -> None:
    """Write `gradients_RANK.safetensors`."""
    fabric = make_fabric("cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
    fabric.launch()
    torch.set_num_threads(1)
    images = torch.rand(6, 3, 9, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = images.chunk(fabric.world_size)[fabric.global_rank]
    found = [steps(name, fabric, own) for name in METHODS]
    merged = {key: x.contiguous() for part in found for key, x in part.items()}
    save_file(merged, folder / f"gradients_{fabric.global_rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
