"""What the tasks of a step do to each other: the angles between their gradients at the shared parameters."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.gradients import Rows, above, at_features, at_parameters, cosines
from mtdrive.task import Pass

ALL = "all"
"""The whole encoder, beside its stages."""


@dataclass(frozen=True)
class Look:
    """The gradients of the losses of a step."""

    names: list[str]
    """Of the losses; `TASK@DATA` where several data sets train a task."""
    pulls: dict[str, float]
    """Length of each loss's gradient at the features."""
    products: dict[str, Float[Tensor, "k k"]]
    """Inner products at the shared parameters, of each stage and of all."""
    rows: Rows
    """These gradients themselves."""

    def cosines(self, stage: str = ALL) -> Float[Tensor, "k k"]:
        """Return the cosines at a stage; NaN where a loss does not reach it."""
        return cosines(self.products[stage])

    def pulls_by_task(self) -> dict[str, float]:
        """Return the lengths at the features, where data sets have images, and so columns, of their own."""
        squares: dict[str, float] = defaultdict(float)
        for name, pull in self.pulls.items():
            squares[name.partition("@")[0]] += pull**2
        return {name: math.sqrt(square) for name, square in squares.items()}

    def lengths(self, stage: str = ALL) -> dict[str, float]:
        """Return the lengths of the gradients at a stage."""
        found = self.products[stage].diagonal().clamp(min=0).sqrt().tolist()
        return dict(zip(self.names, found, strict=True))


def look(passes: Sequence[Pass], data: Sequence[str], parameters: Sequence[nn.Parameter]) -> Look | None:
    """Return the gradients of the losses of a step at what is shared; the graph is kept.

    They are compared at the parameters: tasks that are trained by different images meet nowhere else.

    Args:
        passes: of the data sets of the step.
        data: names of these.
        parameters: those of the encoder that are trained.

    Returns:
        None if fewer than two losses change them.
    """
    joined = apart(passes, data)
    features = at_features(joined, keep=True)
    if len(features.names) < 2 or not parameters:
        return None
    pulls = features.gramian().diagonal().clamp(min=0).sqrt().tolist()
    rows = at_parameters(features, parameters, keep=True)
    parts = rows.products()
    products = {
        stage: torch.stack([parts[i] for i in indices]).sum(0).cpu()
        for stage, indices in stages(next(p.shared for p in passes if p.shared), parameters).items()
    }
    products[ALL] = torch.stack(parts).sum(0).cpu()
    return Look(rows.names, dict(zip(rows.names, pulls, strict=True)), products, rows)


def apart(passes: Sequence[Pass], data: Sequence[str]) -> Pass:
    """Return the losses of a step with one for each task and data set, as large as their part in the step."""
    counts = Counter(name for part in passes for name in part.losses)
    sizes = Counter({n: sum(p.size for p in passes if n in p.losses) for n in counts})
    return Pass(
        losses={
            name if counts[name] == 1 else f"{name}@{origin}": loss * (part.size / sizes[name])
            for origin, part in zip(data, passes, strict=True)
            for name, loss in part.losses.items()
        },
        terms={},
        shared=[level for part in passes for level in part.shared],
        size=sum(part.size for part in passes),
        coupled=any(part.coupled for part in passes),
    )


def stages(levels: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> dict[str, list[int]]:
    """Return the numbers of the parameters that each level of the pyramid has beyond finer ones.

    A stage is called by how many times smaller its level is than the finest, such as `1`, `2`, `4`.
    """
    numbers = {id(parameter): i for i, parameter in enumerate(parameters)}
    finest = max(level.shape[-2] for level in levels)
    taken: set[int] = set()
    found: dict[str, list[int]] = {}
    for level in sorted(levels, key=lambda x: -x.shape[-2]):
        if level.requires_grad:
            below = {numbers[id(x)] for x in above(level, [])[0] if id(x) in numbers} - taken
            taken |= below
            if below:
                found.setdefault(str(round(finest / level.shape[-2])), []).extend(sorted(below))
    return found


def angles(seen: Look) -> dict[str, float]:
    """Return what a log keeps of a look.

    `cosine/ONE~TWO` is the cosine between two gradients at the encoder's parameters, `cosine_STAGE/ONE~TWO`
    that at the parameters of a stage.
    """
    return {
        f"{'cosine' if stage == ALL else f'cosine_{stage}'}/{pair}": x
        for stage in (ALL, *(stage for stage in seen.products if stage != ALL))
        for pair, x in pairs(seen.names, seen.cosines(stage)).items()
    }


def pairs(names: Sequence[str], matrix: Float[Tensor, "k k"]) -> dict[str, float]:
    """Return the numbers above the diagonal, by `ONE~TWO`."""
    rows = matrix.tolist()
    return {f"{names[i]}~{names[j]}": rows[i][j] for i, j in combinations(range(len(names)), 2)}
