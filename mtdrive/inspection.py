"""What the tasks of a trained network do to each other."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.batch import Batch
from mtdrive.checkpoint import load_state, load_weights, restore
from mtdrive.errors import ConfigError
from mtdrive.experiment import instantiate, parser, prepare
from mtdrive.interference import ALL, Look, apart, look, pairs
from mtdrive.log import progress
from mtdrive.pretrained import without_pretrained
from mtdrive.randomness import derive
from mtdrive.replay import replay, unmoved
from mtdrive.settings import parse
from mtdrive.task import merge
from mtdrive.train import Run, forward


@dataclass
class Seen:
    """What was measured on some batches; each list has an entry a batch, and NaN where nothing is known."""

    names: list[str] = field(default_factory=list)
    """Of the losses; `TASK@DATA` where several data sets train a task."""
    cosines: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By stage of the encoder and pair of losses."""
    repeats: dict[str, list[float]] = field(default_factory=dict)
    """The cosine of a loss's gradient with its own on the batch before."""
    shares: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Of each weighted gradient in the sum of their lengths, by stage and loss."""
    weights: dict[str, list[float]] = field(default_factory=dict)
    """Factors of the losses in the update."""
    affinity: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By how much of itself the second loss falls after a step on the first alone."""


def locate(path: Path) -> tuple[Path, Path | None]:
    """Return the checkpoint that a path stands for, and the folder of its run if that is known."""
    if (path / "checkpoints").is_dir():
        return path / "checkpoints" / "last", path
    run = path.resolve().parent.parent
    return path, run if (run / "log.jsonl").is_file() else None


def load_run(checkpoint: Path, overrides: Sequence[str], scratch: Path) -> tuple[Run, int]:
    """Return the run that wrote a checkpoint, with its weights, and the number of its finished steps.

    Args:
        checkpoint: its folder.
        overrides: settings that differ, such as where the data are now.
        scratch: an empty folder.

    Raises:
        CheckpointError: if it cannot be used.
        ConfigError: if its settings do not fit.
        DataError: if its data cannot be read.
    """
    tensors, state = load_state(checkpoint)
    settings = parse(parser(), ["--config", str(checkpoint / "config.yaml"), *overrides])
    with without_pretrained():
        given = replace(instantiate(settings), validation={}, initial=None)
        run = prepare(given, scratch, "", resume=False)
    run.log.close()
    restore(run.model, load_weights(checkpoint), checkpoint)
    kept = {n.removeprefix("weighting."): x for n, x in tensors.items() if n.startswith("weighting.")}
    restore(run.weighting, kept, checkpoint)
    return run, int(state["step"])


def inspect(
    checkpoint: Path, overrides: Sequence[str], batches: int, lookahead: int, reach: float
) -> tuple[Seen, int]:
    """Measure a checkpoint on training batches, those that would have come next first.

    Args:
        checkpoint: its folder.
        overrides: settings of its run that differ.
        batches: how many.
        lookahead: how many of these for the affinity, which takes a forward pass for each loss.
        reach: length of its steps, as a share of the length of all shared weights.

    Returns:
        What was seen, and the number of finished steps.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run, step = load_run(checkpoint, overrides, Path(scratch))
        run.model.step = step
        seen = Seen()
        streams = [stream(step) for stream in run.streams.values()]
        before: Look | None = None
        with progress("batches", batches) as tell:
            for number in range(batches):
                given = [next(stream).to(run.fabric.device) for stream in streams]
                before = observe(run, given, number, seen, before, lookahead > number, reach)
                tell(number + 1, "")
    return seen, step


def observe(
    run: Run,
    batches: Sequence[Batch],
    number: int,
    seen: Seen,
    before: Look | None,
    ahead: bool,
    reach: float,
) -> Look:
    """Add what one batch of each data set shows, and return it.

    Raises:
        ConfigError: if fewer than two losses change the encoder.
    """
    seed = derive(run.seed, "inspect", number)
    torch.manual_seed(seed)
    run.model.train()
    shared = [p for p in run.model.encoder.parameters() if p.requires_grad]
    with unmoved(run.model):  # until the backward pass, which needs the buffers as they were
        found = _gradients(run, batches, shared)
    _note(seen, found, run.weighting.weights())
    if before is not None and before.names == found.names:
        for name, cosine in zip(found.names, _repeats(before, found), strict=True):
            seen.repeats.setdefault(name, []).append(cosine)
    if ahead:
        for one, row in affinity(run, batches, found, shared, seed, reach).items():
            for two, fall in row.items():
                seen.affinity.setdefault(one, {}).setdefault(two, []).append(fall)
    return found


def _gradients(run: Run, batches: Sequence[Batch], shared: Sequence[nn.Parameter]) -> Look:
    """Look at the gradients of a step, and let the weighting see them."""
    passes = forward(run, batches)
    found = look(passes, list(run.streams), shared)
    if found is None:
        raise ConfigError(
            "fewer than two losses change the encoder, so that there is nothing to compare; "
            "inspect a run of several tasks on an encoder that is not frozen"
        )
    run.weighting.backward(merge(passes), shared, run.fabric.backward)
    for parameter in (*run.model.parameters(), *run.weighting.parameters()):
        parameter.grad = None
    return found


def _note(seen: Seen, found: Look, weights: Mapping[str, Tensor]) -> None:
    seen.names = found.names
    for stage in found.products:
        for pair, cosine in pairs(found.names, found.cosines(stage)).items():
            seen.cosines.setdefault(stage, {}).setdefault(pair, []).append(cosine)
        lengths = {
            name: abs(float(weights.get(name.partition("@")[0], 1.0))) * length
            for name, length in found.lengths(stage).items()
        }
        total = sum(lengths.values())
        for name, length in lengths.items():
            share = length / total if total else math.nan
            seen.shares.setdefault(stage, {}).setdefault(name, []).append(share)
    for name, weight in weights.items():
        seen.weights.setdefault(name, []).append(float(weight))


def _repeats(before: Look, now: Look) -> list[float]:
    products = [(a * b).sum(1) for a, b in zip(before.rows.blocks, now.rows.blocks, strict=True)]
    product = torch.stack(products).sum(0).cpu()
    lengths = [x.products[ALL].diagonal().sqrt() for x in (before, now)]
    found: list[float] = (product / (lengths[0] * lengths[1])).tolist()
    return found


@torch.no_grad()
def affinity(
    run: Run, batches: Sequence[Batch], seen: Look, shared: Sequence[nn.Parameter], seed: int, reach: float
) -> dict[str, dict[str, float]]:
    """Return by how much of itself each loss falls after a step of the encoder on one alone, by that one.

    As in Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021,
    https://arxiv.org/abs/2109.04617, but with steps of one length, so that no loss counts more by its scale.
    """
    kept = [parameter.clone() for parameter in shared]
    length = reach * torch.stack([x.square().sum() for x in kept]).sum().sqrt()
    start = _losses(run, batches, seed)
    result = {}
    for row, name in enumerate(seen.names):
        gradient = seen.rows.shaped([block[row] for block in seen.rows.blocks])
        whole = torch.stack([x.square().sum() for x in gradient]).sum().sqrt()
        for parameter, old, slope in zip(shared, kept, gradient, strict=True):
            parameter.copy_(old - length / whole * slope if whole > 0 else old)
        after = _losses(run, batches, seed)
        result[name] = {n: (start[n] - after[n]) / abs(start[n]) if start[n] else 0.0 for n in seen.names}
    for parameter, old in zip(shared, kept, strict=True):
        parameter.copy_(old)
    return result


def _losses(run: Run, batches: Sequence[Batch], seed: int) -> dict[str, float]:
    passes = replay(run.model, batches, run.fabric.autocast(), seed)
    return {name: float(x) for name, x in apart(passes, list(run.streams)).losses.items()}


def document(seen: Seen) -> dict[str, Any]:
    """Return the figures as JSON takes them."""
    return {
        "losses": seen.names,
        "cosines": {
            stage: {pair: {**spread(x), "conflict": _share_below(x)} for pair, x in found.items()}
            for stage, found in seen.cosines.items()
        },
        "same_task_on_the_next_batch": {name: spread(x) for name, x in seen.repeats.items()},
        "norm_share": {
            stage: {name: spread(x)["mean"] for name, x in found.items()}
            for stage, found in seen.shares.items()
        },
        "weights": {name: spread(x) for name, x in seen.weights.items()},
        "affinity": {one: {two: spread(x) for two, x in row.items()} for one, row in seen.affinity.items()},
    }


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean, standard deviation and number of the known values."""
    known = _known(values)
    few = {"mean": float(known.mean()) if len(known) else None}
    return {**few, "deviation": float(known.std()) if len(known) > 1 else None, "batches": len(known)}


def _share_below(values: Sequence[float]) -> float | None:
    known = _known(values)
    return float((known < 0).double().mean()) if len(known) else None


def _known(values: Sequence[float]) -> Float[Tensor, " n"]:
    found = torch.tensor(values, dtype=torch.float64)
    return found[found.isfinite()]
