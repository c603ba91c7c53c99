"""Times the photometric objective, forward and backward, against that of the paper written down plainly.

Usage: python benchmarks/objective.py [--size 192 640] [--batch 2] [--no-compiled] [--profile] [--out FILE]

One CPU thread, four scales, two sources. The rivals take turns; a figure is the median CPU time of a turn.
The peak of memory is that of one turn in a process of its own, over what that process held before.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import plain
import torch
from timing import growth_at_peak, machine, profile_of, report, summary, take_turns
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.geometry import inverse_warp, pose_matrix
from mtdrive.losses import min_reprojection, photometric_error, ssim_statistics
from mtdrive.tasks.depth import Geometry, Photometric, Scene

SOURCES = (View("front", -1), View("front", 1))
DEPTH_RANGE = (0.1, 100.0)
SCALES = 4


@dataclass
class Problem:
    """Images, and a prediction whose gradient is wanted."""

    batch: Batch
    disparities: list[Tensor]
    poses: list[Tensor]

    @property
    def leaves(self) -> list[Tensor]:
        """What the gradient is of."""
        return [*self.disparities, *self.poses]


def texture(batch: int, height: int, width: int) -> Tensor:
    """Return images of waves of many lengths."""
    layers = []
    for cell in (4, 8, 16, 32):
        coarse = torch.rand(batch, 3, height // cell + 2, width // cell + 2)
        layers.append(functional.interpolate(coarse, (height, width), mode="bicubic"))
    return torch.stack(layers).mean(0).clamp(0, 1)


def problem(batch: int, size: tuple[int, int], dtype: torch.dtype) -> Problem:
    """Return frames that the camera moved between by some pixels, with other light and noise."""
    torch.manual_seed(0)
    height, width = size
    target = texture(batch, height, width)
    moved = [0.9 * target.roll(by, -1) + 0.1 * texture(batch, height, width) for by in (-3, 3)]
    images = torch.stack([moved[0], target, moved[1]], dim=1).to(dtype)
    camera = torch.tensor([[0.58 * width, 0, 0.5 * width], [0, 1.92 * height, 0.5 * height], [0, 0, 1]])
    inputs = Inputs(
        views=(SOURCES[0], TARGET, SOURCES[1]),
        images=images,
        intrinsics=camera.to(dtype).expand(batch, 3, 3, 3),
    )
    unknown = torch.full((batch, 3, 4, 4), torch.nan, dtype=dtype)
    disparities = [
        (0.005 + 0.03 * torch.rand(batch, 1, height // 2**s, width // 2**s)).to(dtype).requires_grad_()
        for s in range(SCALES)
    ]
    vectors = 0.02 * torch.randn(2, 2, batch, 3)
    poses = [pose_matrix(r, t).to(dtype).requires_grad_() for r, t in vectors.unbind(1)]
    return Problem(Batch(inputs=inputs, clean=images, poses=unknown, labels={}), disparities, poses)


def plain_loss(given: Problem) -> Tensor:
    """Return the loss by the plain objective."""
    batch = given.batch
    terms = plain.objective(
        given.disparities,
        batch.reference(TARGET),
        [batch.reference(view) for view in SOURCES],
        batch.inputs.camera(TARGET),
        [batch.inputs.camera(view) for view in SOURCES],
        given.poses,
        DEPTH_RANGE,
        smooth=False,
    )
    return terms["photometric"]


def loss(given: Problem, compiled: bool = False) -> Tensor:
    """Return the loss by the term that trains the depth task."""
    geometry = Geometry(given.disparities, dict(zip(SOURCES, given.poses, strict=True)))
    return Photometric(compiled=compiled)(Scene(geometry, given.batch, SOURCES, *DEPTH_RANGE))


RIVALS: dict[str, Callable[[Problem], Tensor]] = {
    "plain": plain_loss,
    "eager": loss,
    "compiled": partial(loss, compiled=True),
}


def run(name: str, given: Problem) -> list[Tensor]:
    """Return the loss of a rival, then its gradients."""
    value = RIVALS[name](given)
    return [value.detach(), *torch.autograd.grad(value, given.leaves)]


def differences(name: str, batch: int, size: tuple[int, int]) -> dict[str, float]:
    """Return how far loss and gradients are from the plain ones in float64, relative to their norms."""
    given = problem(batch, size, torch.float64)
    relative = [
        float((a - b).norm() / b.norm()) for a, b in zip(run(name, given), run("plain", given), strict=True)
    ]
    return {"loss": relative[0], "gradients": max(relative[1:])}


def stages(given: Problem, repetitions: int) -> dict[str, dict[str, float]]:
    """Return the CPU time of each stage of the eager objective in ms, forward and backward."""
    geometry = Geometry(given.disparities, dict(zip(SOURCES, given.poses, strict=True)))
    scene = Scene(geometry, given.batch, SOURCES, *DEPTH_RANGE)
    target, cameras = ssim_statistics(scene.target), given.batch.inputs.intrinsics
    around = torch.stack([given.batch.inputs.camera(view) for view in SOURCES])
    error = photometric_error(scene.warped.images, target)
    unwarped = photometric_error(scene.images, target)
    work: dict[str, tuple[Callable[..., Tensor], list[Tensor]]] = {
        "depth of every scale": (
            lambda *x: replace(scene, geometry=geometry._replace(disparities=list(x))).depths,
            given.disparities,
        ),
        "warp": (
            lambda d, *t: inverse_warp(scene.images, d, cameras[:, 1], around, torch.stack(t)).images,
            [scene.depths, *given.poses],
        ),
        "photometric error": (partial(photometric_error, target=target), [scene.warped.images]),
        "minimum and mask": (lambda x: min_reprojection(x, unwarped).error.mean(), [error]),
    }
    return {name: _both_ways(*stage, repetitions) for name, stage in work.items()}


def _both_ways(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], repetitions: int
) -> dict[str, float]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    times: list[tuple[float, float]] = []
    for _ in range(repetitions + 1):
        start = time.process_time()
        out = function(*leaves)
        middle = time.process_time()
        torch.autograd.grad(out, leaves, torch.ones_like(out))
        times.append((1e3 * (middle - start), 1e3 * (time.process_time() - middle)))
    forward, backward = (statistics.median(x) for x in zip(*times[1:], strict=True))
    return {"forward_ms": round(forward, 1), "backward_ms": round(backward, 1)}


def memory(name: str, batch: int, size: tuple[int, int]) -> float:
    """Return the growth at the peak of one turn in a new process, in MiB."""
    command = [sys.executable, __file__, "--peak-of", name, "--batch", str(batch), "--size", *map(str, size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Time, compare, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--size", type=int, nargs=2, default=(192, 640), help="height and width")
    arguments.add_argument("--batch", type=int, default=2)
    arguments.add_argument("--repetitions", type=int, default=9)
    arguments.add_argument("--no-compiled", action="store_true", help="leave torch.compile out")
    arguments.add_argument("--profile", action="store_true", help="also name the most expensive operations")
    arguments.add_argument("--peak-of", choices=RIVALS, help=argparse.SUPPRESS)
    arguments.add_argument("--out", type=Path, help="JSON")
    options = arguments.parse_args()

    torch.set_num_threads(1)
    size = (options.size[0], options.size[1])
    given = problem(options.batch, size, torch.float32)
    if options.peak_of:
        run(options.peak_of, problem(1, (32, 32), torch.float32))  # loads what is loaded at first use
        print(growth_at_peak(lambda: run(options.peak_of, given)))
        return
    names = [name for name in RIVALS if not (options.no_compiled and name == "compiled")]
    times = take_turns({name: partial(run, name, given) for name in names}, options.repetitions)
    result = {
        "problem": {"batch": options.batch, "size": size, "scales": SCALES, "sources": len(SOURCES)},
        "rivals": summary(times),
        "stages_of_eager": stages(given, options.repetitions),
        "float64_difference": differences("eager", options.batch, size),
        "peak_mib": {name: memory(name, options.batch, size) for name in ("plain", "eager")},
        "machine": machine(),
    }
    if options.profile:
        result["profile"] = {name: profile_of(partial(run, name, given)) for name in names}
    report(result, options.out)


if __name__ == "__main__":
    main()
