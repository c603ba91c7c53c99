"""One encoder, several heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from mtdrive.batch import Batch, Inputs, View
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError
from mtdrive.randomness import derive
from mtdrive.sharing import Sharing, weaken
from mtdrive.task import Coupling, Kind, Pass, Pyramid, Task


class Model(nn.Module):
    """Runs every task that a batch has the views and labels for on one shared encoding of its images."""

    def __init__(
        self,
        encoder: Encoder,
        tasks: Mapping[str, Task[Any]],
        couplings: Mapping[str, Coupling] | None = None,
        sharing: Mapping[str, Sharing] | None = None,
    ) -> None:
        super().__init__()
        self.sharing = dict(sharing or {})
        self.step = 0
        """Finished steps of training, which `sharing` may depend on."""
        self.learning: frozenset[str] | None = None
        """Tasks and couplings whose losses count in training at present; all if there is none."""
        self.encoder = encoder
        # nn.ModuleDict gives plain modules back; these keep the types.
        self._tasks: dict[str, Task[Any]] = dict(tasks)
        self._couplings: dict[str, Coupling] = dict(couplings or {})
        self.tasks = nn.ModuleDict(self._tasks)
        self.couplings = nn.ModuleDict(self._couplings)
        self._check_names()

    def _check_names(self) -> None:
        if unknown := self.sharing.keys() - self._tasks.keys():
            raise ConfigError(f"sharing names {sorted(unknown)}, but the tasks are {sorted(self._tasks)}")
        if doubled := self._tasks.keys() & self._couplings.keys():
            raise ConfigError(f"{sorted(doubled)} name both a task and a coupling; rename one")
        for name, coupling in self._couplings.items():
            if missing := set(coupling.between) - self._tasks.keys():
                raise ConfigError(
                    f"coupling {name!r} is between {coupling.between}, but there is no task "
                    f"{sorted(missing)}; the tasks are {sorted(self._tasks)}"
                )

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of every named loss."""
        return {name: self.part(name).kind for name in (*self._tasks, *self._couplings)}

    @property
    def views(self) -> tuple[View, ...]:
        """Every view that some part trains on."""
        return tuple(sorted({view for name in self.kinds for view in self.part(name).views}))

    def task(self, name: str) -> Task[Any]:
        """Return a task by its name.

        Raises:
            ConfigError: if there is none.
        """
        if name not in self._tasks:
            raise ConfigError(f"there is no task {name!r}; the tasks are {', '.join(sorted(self._tasks))}")
        return self._tasks[name]

    def part(self, name: str) -> Task[Any] | Coupling:
        """Return a task or coupling by its name."""
        return self._tasks[name] if name in self._tasks else self._couplings[name]

    def trainable(self, views: Iterable[View], labels: Iterable[str]) -> list[str]:
        """Return the tasks and couplings that batches with these views and labels train."""
        have_views, have_labels = set(views), set(labels)

        def fits(part: Task[Any] | Coupling) -> bool:
            return have_views.issuperset(part.views) and have_labels.issuperset(part.needs)

        tasks = [name for name, task in self._tasks.items() if fits(task)]
        return tasks + [n for n, c in self._couplings.items() if fits(c) and set(c.between) <= set(tasks)]

    def forward(self, batch: Batch) -> Pass:
        """Encode the views that any active task reads once, then run these tasks and couplings.

        In training only what is `learning` is active, which may be nothing.

        Raises:
            DataError: if the batch trains nothing.
        """
        active = self.trainable(batch.inputs.views, batch.labels)
        tasks = [name for name in active if name in self._tasks]
        if not tasks:
            views = [str(view) for view in batch.inputs.views]
            raise DataError(
                f"a batch with views {views} and labels {sorted(batch.labels)} "
                f"trains none of the tasks {sorted(self._tasks)}"
            )
        if self.training and self.learning is not None:
            active = [name for name in active if name in self.learning]
            tasks = self._read_by(active)
        seed = int(torch.randint(2**62, ())) if self.training else None
        _reseed(seed, "encoder")
        features, shared = self._encode(batch.inputs, tasks)
        outputs: dict[str, Any] = {}
        terms: dict[str, dict[str, Tensor]] = {}
        for name in tasks:
            _reseed(seed, name)
            outputs[name] = self._run(name, features, batch.inputs)
            if name in active:
                terms[name] = self._tasks[name].loss(outputs[name], batch)
        couplings = [name for name in active if name in self._couplings]
        for name in couplings:
            _reseed(seed, name)
            terms[name] = self._couplings[name](outputs, batch)
        return Pass(
            losses={name: torch.stack(list(part.values())).sum() for name, part in terms.items()},
            terms={f"{name}/{term}": x for name, part in terms.items() for term, x in part.items()},
            shared=shared,
            size=batch.size,
            outputs=outputs,
            coupled=bool(couplings),
        )

    def _read_by(self, active: Sequence[str]) -> list[str]:
        """Return the tasks that are needed for some losses: themselves, and those that couplings tie."""
        tied = {name for part in active if part in self._couplings for name in self._couplings[part].between}
        return [name for name in self._tasks if name in active or name in tied]

    def predict(self, inputs: Inputs, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Run the heads of `tasks` (all by default) and nothing else; no label is needed.

        Raises:
            ConfigError: if a name is not a task.
        """
        names = list(self._tasks) if tasks is None else list(tasks)
        if unknown := set(names) - self._tasks.keys():
            raise ConfigError(f"no task {sorted(unknown)}; the tasks are {sorted(self._tasks)}")
        features, _ = self._encode(inputs, names)
        return {name: self._run(name, features, inputs) for name in names}

    def _run(self, name: str, features: Mapping[View, Pyramid], inputs: Inputs) -> Any:
        task = self._tasks[name]
        factor = self.sharing[name].factor(self.step) if name in self.sharing else 1.0
        seen = {view: features[view] for view in task.reads if view in features}
        return task({view: [weaken(x, factor) for x in levels] for view, levels in seen.items()}, inputs)

    def _encode(self, inputs: Inputs, tasks: Sequence[str]) -> tuple[dict[View, Pyramid], list[Tensor]]:
        """Encode the views that `tasks` read, as far as they are there, in one call."""
        views = sorted({v for name in tasks for v in self._tasks[name].reads} & set(inputs.views))
        if not views:
            return {}, []
        images = torch.stack([inputs.image(view) for view in views])
        levels = self.encoder(rearrange(images, "v b c h w -> (v b) c h w"))
        # Gradients meet at views: a raw pyramid is no cut through the graph, a level depends on finer ones.
        shared = [level.view_as(level) for level in levels]
        per_view = zip(*(level.chunk(len(views)) for level in shared), strict=True)
        return dict(zip(views, per_view, strict=True)), shared


def _reseed(seed: int | None, name: str) -> None:
    """Make the draws of a part (dropout) independent of the parts that ran before it."""
    if seed is not None:
        torch.manual_seed(derive(seed, name))
