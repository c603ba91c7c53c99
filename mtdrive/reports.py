"""What a run tells about itself while it trains."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from mtdrive.batch import Batch
from mtdrive.errors import TrainingError
from mtdrive.interference import angles, look
from mtdrive.log import Log
from mtdrive.model import Model
from mtdrive.task import Pass, merge
from mtdrive.weighting import Weighting

METRIC_ROWS = 512
"""Items that the metrics of the training data look back on: few, or they tell of a network long gone."""
MEASURES = 10
"""How often the metrics are taken between two reports."""


class Reports:
    """Gathers what the steps give, and logs it now and then; nothing waits for the device in between."""

    def __init__(
        self,
        model: Model,
        weighting: Weighting,
        data: Sequence[str],
        log: Log,
        fabric: Fabric,
        log_every: int,
        picture_every: int,
        share_every: int = 0,
    ) -> None:
        """Start with nothing seen.

        Args:
            model: whose tasks measure and draw.
            weighting: whose weights are logged.
            data: names of the data sets of a step, in order.
            log: where reports go.
            fabric: averages over the processes.
            log_every: steps between figures.
            picture_every: steps between pictures; 0 draws none.
            share_every: steps between looks at the gradients of the tasks; 0 never looks.
        """
        self.model, self.weighting, self.data, self.log, self.fabric = model, weighting, data, log, fabric
        self.log_every, self.picture_every, self.share_every = log_every, picture_every, share_every
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.columns: dict[str, dict[str, deque[Tensor]]] = {}
        self.unchecked: list[tuple[dict[str, Tensor], tuple[str, ...]]] = []
        self.latest: tuple[Sequence[Pass], Sequence[Batch]] = ([], [])
        self.since = time.monotonic()

    @torch.no_grad()
    def see(self, merged: Pass, passes: Sequence[Pass], batches: Sequence[Batch]) -> None:
        """Take in a forward pass.

        Raises:
            TrainingError: if a loss is not finite; on a GPU this is noticed at the next report.
        """
        self.latest = (passes, batches)
        for name, value in {**merged.losses, **merged.terms, **self._apart(passes)}.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
            self.counts[name] = self.counts.get(name, 0) + 1
        losses = {name: x.detach() for name, x in merged.losses.items()}
        self.unchecked.append((losses, tuple(name for batch in batches for name in batch.names)))
        if self.fabric.device.type == "cpu":
            self._check_finite()

    def _apart(self, passes: Sequence[Pass]) -> dict[str, Tensor]:
        """Return the losses that several data sets have, for each of them: `DATA/TASK`."""
        counts = Counter(name for part in passes for name in part.losses)
        return {
            f"{data}/{name}": loss
            for data, part in zip(self.data, passes, strict=True)
            for name, loss in part.losses.items()
            if counts[name] > 1
        }

    def _check_finite(self) -> None:
        for losses, names in self.unchecked:
            bad = [name for name, loss in losses.items() if not loss.isfinite()]
            if bad:
                raise TrainingError(
                    f"the loss of {', '.join(bad)} is not finite; the batch was {', '.join(names)}; "
                    "checkpoints hold the weights from before: look at these files, lower the learning rate "
                    "or clip gradients"
                )
        self.unchecked.clear()

    def share(
        self, merged: Pass, passes: Sequence[Pass], parameters: Sequence[nn.Parameter], step: int
    ) -> None:
        """Log, if it is due, what the losses of a step do to each other.

        `gradient/NAME` is the length of a loss's weighted gradient at the shared features, `share/NAME` its
        part of the sum of all. `mtdrive.interference.angles` says what else.

        Args:
            merged: the losses of the step.
            passes: the same by data set.
            parameters: those of the encoder that are trained.
            step: its number.
        """
        if not self.share_every or step % self.share_every:
            return
        seen = look(passes, self.data, parameters)
        found = pulls(merged) if seen is None else seen.pulls_by_task()
        weights = self.weighting.weights()
        lengths = {n: abs(float(weights.get(n, 1.0))) * float(found.get(n, 0.0)) for n in merged.losses}
        total = sum(lengths.values())
        figures = {f"gradient/{name}": x for name, x in lengths.items()}
        figures |= {f"share/{name}": x / total for name, x in lengths.items() if total > 0}
        self.log.numbers(step, figures if seen is None else {**figures, **angles(seen)})

    def after_step(self, step: int) -> str:
        """Log what is due after `step` steps and return a note for the terminal, perhaps empty."""
        note = self._report(step)
        self.latest = ([], [])  # its graph would take memory beside that of the next step
        return note

    def _report(self, step: int) -> str:
        if step % max(1, self.log_every // MEASURES) == 0:
            self._measure()
        if self.picture_every and step % self.picture_every == 0:
            self._draw(step)
        if step % self.log_every:
            return ""
        self._check_finite()
        figures = self._take()
        figures["steps_per_second"] = self.log_every / (time.monotonic() - self.since)
        self.since = time.monotonic()
        self.log.numbers(step, figures)
        losses = merge(self.latest[0]).losses
        return "  ".join(f"{name} {figures[f'train/{name}']:.4f}" for name in losses)

    def _take(self) -> dict[str, float]:
        """Return the means since the last report, over all processes, with weights and metrics."""
        names = list(self.sums)
        own = torch.stack([self.sums[name] / self.counts[name] for name in names])
        means: Any = self.fabric.all_reduce(own, reduce_op="mean")
        self.sums, self.counts = {}, {}
        figures = {f"train/{name}": x for name, x in zip(names, means.tolist(), strict=True)}
        figures |= {f"weight/{name}": float(x) for name, x in self.weighting.weights().items()}
        for task, columns in self.columns.items():
            summary = self.model.task(task).summarise(
                {name: torch.cat(list(rows)).cpu() for name, rows in columns.items()}
            )
            figures |= {f"train/{task}/{name}": x for name, x in summary.items()}
        return figures

    @torch.no_grad()
    def _measure(self) -> None:
        """Add the metrics of the latest batches to the columns."""
        for result, batch in zip(*self.latest, strict=True):
            for task, output in result.outputs.items():
                for name, rows in self.model.task(task).metrics(output, batch).items():
                    column = self.columns.setdefault(task, {}).setdefault(name, deque())
                    column.append(rows.detach())
                    while sum(map(len, column)) > METRIC_ROWS:
                        column.popleft()

    @torch.no_grad()
    def _draw(self, step: int) -> None:
        if not self.fabric.is_global_zero:
            return
        sets = zip(self.data, *self.latest, strict=True)
        for data, result, batch in sets:
            for task, output in result.outputs.items():
                picture = self.model.task(task).picture(output, batch)
                if picture is not None:
                    self.log.picture(step, f"train/{data}/{task}", picture)


def pulls(merged: Pass) -> dict[str, Float[Tensor, ""]]:
    """Return the length of each loss's gradient at the shared features; the graph is kept."""
    levels = [level for level in merged.shared if level.requires_grad]
    return {name: _pull(loss, levels) for name, loss in merged.losses.items()}


def _pull(loss: Tensor, levels: Sequence[Tensor]) -> Float[Tensor, ""]:
    if not levels or not loss.requires_grad:
        return loss.new_zeros(())
    found = torch.autograd.grad(loss, levels, retain_graph=True, allow_unused=True)
    squares = [gradient.float().square().sum() for gradient in found if gradient is not None]
    return torch.stack(squares).sum().sqrt() if squares else loss.new_zeros(())
