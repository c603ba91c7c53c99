"""What learns in which step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mtdrive.errors import ConfigError
from mtdrive.experiment import prepare
from mtdrive.phases import Phase, Phases
from mtdrive.train import Run
from tests.runs import experiment, start

TWO = (Phase(steps=2, tasks=["halves"]), Phase(steps=3, tasks=["grade"], frozen=["encoder"]))


@pytest.mark.parametrize(
    ("cycle", "expected"), [(False, [0, 0, 1, 1, 1, None, None]), (True, [0, 0, 1, 1, 1, 0, 0])]
)
def test_phases_follow_each_other_and_then_all_learns_or_they_begin_again(
    cycle: bool, expected: list[int | None]
) -> None:
    phases = Phases(TWO, cycle)
    found = [phases.at(step) for step in range(7)]
    assert found == [Phase() if number is None else TWO[number] for number in expected]
    assert Phases([Phase(tasks=["grade"])]).at(10**6).tasks == ["grade"]


def weights(folder: Path, steps: int, phases: Sequence[Phase], resume: bool = False) -> dict[str, Tensor]:
    plain = experiment(steps=steps, save_every=1)
    run, _ = start(folder, resume=resume, given=replace(plain, phases=list(phases)))
    return {name: x.detach().clone() for name, x in run.model.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return the parts of which a weight or a statistic changed."""
    tops = [name.split(".")[: 1 + name.startswith("tasks.")] for name in before]
    changed = [not torch.equal(x, y) for x, y in zip(before.values(), after.values(), strict=True)]
    return {".".join(top) for top, other in zip(tops, changed, strict=True) if other}


def test_only_what_a_phase_names_changes_and_frozen_statistics_stay(tmp_path: Path) -> None:
    at = [weights(tmp_path / str(steps), steps, TWO) for steps in (1, 2, 3, 5, 6)]
    assert moved(at[0], at[1]) == {"encoder", "tasks.halves"}
    assert moved(at[1], at[2]) == moved(at[2], at[3]) == {"tasks.grade"}
    assert moved(at[3], at[4]) == {"encoder", "couplings", "tasks.ahead", "tasks.grade", "tasks.halves"}


def test_a_coupling_alone_trains_what_it_ties(tmp_path: Path) -> None:
    parts = [Phase(tasks=["agree"])]
    found = moved(weights(tmp_path / "1", 1, parts), weights(tmp_path / "2", 2, parts))
    run, _ = start(tmp_path / "3", given=replace(experiment(steps=1), phases=parts))
    between = {f"tasks.{name}" for name in run.model.part("agree").between}  # type: ignore[union-attr]
    assert between <= found <= between | {"encoder", "couplings"}


def test_a_run_resumed_within_a_phase_ends_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole = weights(tmp_path / "whole", 6, TWO)
    weights(tmp_path / "parts", 3, TWO)
    parts = weights(tmp_path / "parts", 6, TWO, resume=True)
    assert all(torch.equal(x, parts[name]) for name, x in whole.items())


@pytest.mark.parametrize(
    ("parts", "cycle", "said"),
    [
        ([Phase(tasks=["grade"]), Phase(steps=2)], False, r"phases\[0\] needs steps"),
        ([Phase(steps=2), Phase()], True, r"phases\[1\] needs steps"),
        ([Phase(steps=0)], False, r"phases\[0\] needs steps of at least 1, found 0"),
        ([Phase(steps=1, tasks=["depth"])], False, r"phases\[0\].tasks must be some of"),
        ([Phase(steps=1, tasks=[])], False, r"phases\[0\].tasks must be some of"),
        ([Phase(steps=1, frozen=["encode"])], False, r"names 'encode', which is no part; parts are"),
        ([], True, "there are no phases"),
    ],
)
def test_phases_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, parts: list[Phase], cycle: bool, said: str
) -> None:
    given = replace(experiment(), phases=parts, cycle_phases=cycle)
    with pytest.raises(ConfigError, match=said):
        prepare(given, tmp_path / "run", "", False)
    assert not (tmp_path / "run").exists()


def test_validation_measures_what_does_not_learn_at_present(tmp_path: Path) -> None:
    """A phase is about training alone: a curve of a resting task must not break off."""
    run: Run = start(tmp_path, given=replace(experiment(steps=2), phases=[Phase(tasks=["halves"])]))[0]
    assert {"validation/held_out/grade"} <= run.validate().keys()
