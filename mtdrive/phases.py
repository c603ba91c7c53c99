"""Stretches of training in which only a part of the network learns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

from mtdrive.errors import ConfigError
from mtdrive.model import Model


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What learns, and how long."""

    steps: int | None = None
    """Only the last phase may do without: it then lasts until the end of training."""
    tasks: list[str] | None = None
    """Tasks and couplings whose losses count; all if none are given."""
    frozen: list[str] = field(default_factory=list)
    """Parts that stay as they are, such as `encoder` or `tasks.depth`, their batch statistics included."""


@dataclass(frozen=True)
class Phases:
    """Phases one after another. What follows the last of them trains everything, unless they cycle."""

    parts: Sequence[Phase] = ()
    cycle: bool = False

    def at(self, step: int) -> Phase:
        """Return the phase of the step that follows `step` finished ones."""
        if self.cycle:
            step %= sum(part.steps or 0 for part in self.parts)
        for part in self.parts:
            if part.steps is None or step < part.steps:
                return part
            step -= part.steps
        return Phase()

    def enter(self, model: Model, trained: Iterable[nn.Parameter], step: int) -> None:
        """Let a model in training mode learn as the phase of a step says.

        Args:
            model: is told which losses count.
            trained: the parameters that learn when nothing is frozen.
            step: finished steps.
        """
        if not self.parts:
            return
        phase = self.at(step)
        model.learning = None if phase.tasks is None else frozenset(phase.tasks)
        parts = [model.get_submodule(name) for name in phase.frozen]
        frozen = {id(parameter) for part in parts for parameter in part.parameters()}
        for parameter in trained:
            parameter.requires_grad_(id(parameter) not in frozen)
        for part in parts:
            part.eval()

    def check(self, model: Model) -> None:
        """Check that each phase fits a model.

        Raises:
            ConfigError: if one never ends before another, or names what the model does not have.
        """
        if self.cycle and not self.parts:
            raise ConfigError("cycle_phases is set, but there are no phases")
        for number, phase in enumerate(self.parts):
            endless = self.cycle or number < len(self.parts) - 1
            if (endless and phase.steps is None) or (phase.steps is not None and phase.steps < 1):
                raise ConfigError(f"phases[{number}] needs steps of at least 1, found {phase.steps}")
            _check_names(phase, number, model)


def _check_names(phase: Phase, number: int, model: Model) -> None:
    known = sorted(model.kinds)
    if phase.tasks is not None and (not phase.tasks or not set(phase.tasks) <= set(known)):
        raise ConfigError(f"phases[{number}].tasks must be some of {known}, found {phase.tasks}")
    for part in phase.frozen:
        if part not in dict(model.named_modules()) or not part:
            tops = ["encoder", *(f"tasks.{name}" for name in model.tasks)]
            raise ConfigError(
                f"phases[{number}].frozen names {part!r}, which is no part; parts are, with what is in them, "
                f"{', '.join(tops)}"
            )
