"""What a run is built from: weights to start with, and poses that its tasks need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtdrive.data.recording import Source, Target
from mtdrive.encoder import Encoder
from mtdrive.errors import CheckpointError, ConfigError
from mtdrive.experiment import DataSet, Experiment, prepare, windows
from mtdrive.mix import check_mix
from mtdrive.model import Model
from mtdrive.task import Task
from mtdrive.tasks.depth import Depth
from tests.runs import SIZE, experiment, start
from tests.toys import Ahead, Brightness, ToyRecording


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """The checkpoint of a short run with the tasks grade, halves and ahead, and its weights."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    run, _ = start(folder, steps=2)
    return folder / "checkpoints" / "last", {n: x.clone() for n, x in run.model.state_dict().items()}


def prepared(given: Experiment, folder: Path) -> dict[str, Tensor]:
    run = prepare(given, folder, "seed: 1\n", False)
    run.log.close()
    return dict(run.model.state_dict())


def test_a_run_starts_from_the_shared_parts_of_a_checkpoint_and_draws_the_others(
    trained: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    tasks: dict[str, Callable[[Encoder], Task[Any]]]
    tasks = {"grade": Brightness, "bright": Brightness, "ahead": Ahead}
    fresh = replace(experiment(), tasks=tasks)
    drawn = prepared(fresh, tmp_path / "fresh")
    found = prepared(replace(fresh, initial=trained[0]), tmp_path / "from")
    for name, weight in found.items():
        assert torch.equal(weight, (drawn if name.startswith("tasks.bright.") else trained[1])[name]), name
    assert not torch.equal(found["tasks.grade.head.weight"], drawn["tasks.grade.head.weight"])


def test_a_resumed_run_goes_on_from_its_own_weights(
    trained: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    """Its first weights need not even be there any more."""
    start(tmp_path / "run", given=replace(experiment(steps=1), initial=trained[0]))
    gone = replace(experiment(steps=2), initial=tmp_path / "gone")
    assert start(tmp_path / "run", resume=True, given=gone)[1].step == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": partial(Encoder, "test_efficientnet")}, "belongs to another architecture"),
        ({"tasks": {"grade": Ahead}}, "head.weight is"),
    ],
)
def test_first_weights_that_do_not_fit_are_named(
    change: dict[str, object], message: str, trained: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    given = replace(experiment(), couplings={}, **change)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=message):
        prepared(replace(given, initial=trained[0]), tmp_path / "run")


class NoRig(ToyRecording):
    """A stereo pair that nobody has calibrated."""

    def rig(self, camera: str, frame: int) -> None:  # type: ignore[override]
        return None


@dataclass(frozen=True)
class Pairs(Source):
    recording: ToyRecording

    def targets(self) -> list[Target]:
        return [Target(self.recording, frame) for frame in range(3)]


def test_stereo_without_calibration_is_refused_before_training() -> None:
    torch.manual_seed(0)
    encoder = Encoder("test_resnet")
    model = Model(encoder, {"depth": Depth(encoder, pose=None, offsets=[], stereo=True)})

    def check(recording: ToyRecording) -> None:
        data = DataSet(source=Pairs(recording), batch_size=1, size=SIZE, workers=0)
        check_mix(model, {"pairs": windows(experiment(), model, data, "pairs", True)})

    check(ToyRecording("calibrated", 3))
    with pytest.raises(ConfigError, match="needs the pose of stereo, which data set pairs does not know"):
        check(NoRig("plain", 3))
