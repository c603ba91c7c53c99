from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from mtdrive.batch import Batch
from mtdrive.checkpoint import Checkpoints
from mtdrive.data.recording import Size
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError, TrainingError
from mtdrive.experiment import prepare
from mtdrive.log import Files
from mtdrive.optimization import Optimization, make_optimizer, pack_optimizer, unpack_optimizer
from mtdrive.train import Run, fit
from mtdrive.weighting.fixed import Fixed
from tests.runs import experiment, start, with_data
from tests.toys import Brightness, ToyRecording


class Crash(Exception):
    pass


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "last" / "model.safetensors").read_bytes()


def state(folder: Path) -> bytes:
    return (folder / "checkpoints" / "last" / "state.safetensors").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    start(folder)
    return folder


@pytest.mark.parametrize("crash", [1, 2, 3, 4, 5])
def test_a_run_that_dies_at_any_step_resumes_to_the_same_bits(
    crash: int, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = Files.numbers

    def dying(self: Files, step: int, values: Mapping[str, float]) -> None:
        if step == crash:
            raise Crash
        numbers(self, step, values)

    monkeypatch.setattr(Files, "numbers", dying)
    with pytest.raises(Crash):
        start(tmp_path)
    monkeypatch.undo()
    _, finished = start(tmp_path, resume=True)
    assert finished.step == 6
    assert weights(tmp_path) == weights(uninterrupted)
    assert state(tmp_path) == state(uninterrupted)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/grade" in line] == [1, 2, 3, 4, 5, 6]


def test_a_sigterm_saves_and_the_resumed_run_ends_with_the_same_bits(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = Files.numbers

    def interrupting(self: Files, step: int, values: Mapping[str, float]) -> None:
        if step == 3 and "train/grade" in values:
            signal.raise_signal(signal.SIGTERM)
        numbers(self, step, values)

    with monkeypatch.context() as patch:
        patch.setattr(Files, "numbers", interrupting)
        _, stopped = start(tmp_path)
    assert (stopped.step, stopped.stopped_by) == (3, signal.SIGTERM)
    assert [p.name for p in Checkpoints(tmp_path / "checkpoints").steps()] == ["step_00000003"]
    start(tmp_path, resume=True)
    assert weights(tmp_path) == weights(uninterrupted)


def test_workers_do_not_change_the_weights(uninterrupted: Path, tmp_path: Path) -> None:
    start(tmp_path, given=with_data(experiment(), workers=2))
    assert weights(tmp_path) == weights(uninterrupted)


def test_reporting_does_not_change_the_weights(uninterrupted: Path, tmp_path: Path) -> None:
    start(tmp_path, log_every=4, picture_every=0, save_every=100, evaluate_every=100)
    assert weights(tmp_path) == weights(uninterrupted)


def test_another_seed_changes_the_weights(uninterrupted: Path, tmp_path: Path) -> None:
    start(tmp_path, given=replace(experiment(), seed=2))
    assert weights(tmp_path) != weights(uninterrupted)


def test_every_report_names_losses_terms_weights_and_metrics(uninterrupted: Path) -> None:
    lines = [json.loads(line) for line in (uninterrupted / "log.jsonl").read_text().splitlines()]
    first = lines[1]
    losses = {"train/grade", "train/halves", "train/ahead", "train/agree"}
    terms = {
        "train/grade/l2",
        "train/ahead/l2",
        "train/ahead/size",
        "train/halves/cross_entropy",
        "train/agree/gap",
    }
    apart = {"train/video/ahead", "train/drives/ahead"}
    weights = {"weight/grade", "weight/halves", "weight/ahead", "weight/agree"}
    assert losses | terms | apart | weights | {"train/grade/error", "steps_per_second", "step"} == set(first)
    validation = [line for line in lines if any(key.startswith("validation") for key in line)]
    assert [line["step"] for line in validation] == [0, 3, 6]
    assert {"validation/held_out/grade", "validation/held_out/grade/error"} <= set(validation[0])
    lines = [line for line in lines if "train/grade" in line]
    assert list((uninterrupted / "tensorboard").glob("events*"))


def run_of(folder: Path, **changes: Any) -> Run:
    return prepare(replace(experiment(), **changes), folder, "", False)


def test_the_weighting_has_a_group_of_its_own_without_decay(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    settings = Optimization(weight_decay=0.1, weighting_learning_rate=0.5)
    model, own = make_optimizer(run.model, run.weighting, settings).param_groups
    assert (model["weight_decay"], own["weight_decay"], own["lr"]) == (0.1, 0.0, 0.5)
    assert {id(p) for p in own["params"]} == {id(p) for p in run.weighting.parameters()}
    run.log.close()


def test_the_learning_rate_drops_after_its_epochs() -> None:
    """The published schedule: 1e-4 in epochs 0 to 13, 1e-5 in 14 to 19."""
    settings = Optimization()
    assert [settings.factor(epoch) for epoch in (0, 13)] == [1.0, 1.0]
    assert [settings.factor(epoch) for epoch in (14, 19)] == pytest.approx([0.1, 0.1])


def test_moments_come_back_in_the_memory_format_of_their_weights() -> None:
    """Fused Adam pairs weights and moments by address, so another format would mix them up silently."""
    weight = torch.nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    twin = torch.nn.Parameter(weight.detach().clone())
    optimizers = [torch.optim.Adam([p], 0.1, fused=True) for p in (weight, twin)]
    for gradient in (torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)):
        for parameter, optimizer in zip((weight, twin), optimizers, strict=True):
            parameter.grad = gradient.to(memory_format=torch.channels_last)
            optimizer.step()
        tensors, groups = pack_optimizer(optimizers[1])
        plain = {n.removeprefix("optimizer."): x.contiguous() for n, x in tensors.items()}
        unpack_optimizer(optimizers[1], plain, groups)
    assert torch.equal(weight, twin)


def test_an_optimizer_survives_packing_bit_by_bit(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.log.close()
    optimizer = make_optimizer(run.model, run.weighting, Optimization())
    for parameter in (*run.model.parameters(), *run.weighting.parameters()):
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    tensors, groups = pack_optimizer(optimizer)
    other = make_optimizer(run.model, run.weighting, Optimization())
    unpack_optimizer(other, {n.removeprefix("optimizer."): x for n, x in tensors.items()}, groups)
    before, after = optimizer.state_dict()["state"], other.state_dict()["state"]
    assert before.keys() == after.keys()
    for number, entries in before.items():
        assert all(torch.equal(x, after[number][name]) for name, x in entries.items())
    with pytest.raises(ValueError, match="other parameters"):
        unpack_optimizer(other, {}, groups[:1])


class Exploding(Brightness):
    def loss(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        scale = torch.inf if any("/7" in name for name in batch.names) else 1.0
        return {"l2": output.sum() * scale}


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_files(tmp_path: Path) -> None:
    base = experiment(save_every=1)
    given = replace(base, tasks={**base.tasks, "grade": Exploding}, couplings={})
    with pytest.raises(TrainingError, match=r"loss of grade is not finite; the batch was .*drives/front/7"):
        start(tmp_path, given=given)
    for path in Checkpoints(tmp_path / "checkpoints").steps():
        assert all(x.isfinite().all() for x in _saved(path).values())


def _saved(path: Path) -> dict[str, Tensor]:
    from mtdrive.checkpoint import load_weights

    return load_weights(path)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    given = experiment(save_every=1)
    run = prepare(given, tmp_path, "", False)
    parameter = next(run.model.task("halves").parameters())
    parameter.register_hook(lambda grad: grad * torch.nan)
    with pytest.raises(TrainingError, match="weights are not finite after step 1"):
        fit(run, replace(given.optimization, clip_gradient=None), given.training)
    run.log.close()
    assert Checkpoints(tmp_path / "checkpoints").last() is None


def test_a_task_that_would_never_get_its_labels_is_refused_before_training(tmp_path: Path) -> None:
    base = experiment()
    given = replace(base, data={"video": base.data["video"]})
    message = r"'grade' would never be trained: .* labels toy_grade, but video has views .* labels semantics"
    with pytest.raises(ConfigError, match=message):
        start(tmp_path, given=given)


def test_a_damaged_image_names_the_file_and_keeps_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frame 7 goes bad after the first checkpoint; the run resumes once it is restored."""
    image = ToyRecording.image

    def broken(self: ToyRecording, camera: str, frame: int) -> Image.Image:
        if frame == 7 and (tmp_path / "checkpoints" / "last").exists():
            raise DataError(f"{self.path(camera, frame)}: is truncated; restore it")
        return image(self, camera, frame)

    monkeypatch.setattr(ToyRecording, "image", broken)
    with pytest.raises(DataError, match="front/7: is truncated; restore it"):
        start(tmp_path, save_every=1)
    assert Checkpoints(tmp_path / "checkpoints").last() is not None
    monkeypatch.setattr(ToyRecording, "image", image)
    _, finished = start(tmp_path, resume=True, save_every=1)
    assert finished.step == 6


def test_the_best_checkpoint_is_the_one_with_the_best_figure(tmp_path: Path) -> None:
    monitor = "validation/held_out/grade/error"
    start(tmp_path, steps=8, evaluate_every=1, save_every=100, monitor=monitor)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    figures = {line["step"]: line[monitor] for line in lines if monitor in line}
    del figures[0]
    best = min(figures, key=lambda step: figures[step])
    assert (tmp_path / "checkpoints" / "best").resolve().name == f"step_{best:08d}"
    assert (tmp_path / "checkpoints" / "last").resolve().name == "step_00000008"


def test_a_monitor_that_is_not_measured_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"monitor 'validation/x' is not measured; choose from \['validation/held"
    ):
        start(tmp_path, evaluate_every=1, monitor="validation/x")


def test_a_finished_run_resumes_to_itself(uninterrupted: Path) -> None:
    before = weights(uninterrupted)
    _, finished = start(uninterrupted, resume=True)
    assert finished.step == 6
    assert weights(uninterrupted) == before


def test_the_loss_falls(tmp_path: Path) -> None:
    base = experiment(steps=60, evaluate_every=100, save_every=100, picture_every=0)
    given = replace(
        base,
        tasks={"grade": Brightness},
        couplings={},
        data={"drives": replace(base.data["drives"], augment=None)},
        weighting=Fixed,
        optimization=Optimization(learning_rate=3e-3, milestones=[100]),
    )
    start(tmp_path, given=given)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["train/grade"] for line in lines if "train/grade" in line]
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_encoder_keeps_its_weights(freeze: bool, tmp_path: Path) -> None:
    class Frozen(Encoder):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.requires_grad_(not freeze)

    run, _ = start(tmp_path, given=replace(experiment(steps=2), encoder=partial(Frozen, "test_resnet")))
    untrained = run_of(tmp_path / "fresh")
    untrained.log.close()
    fresh = untrained.model.encoder
    same = [
        torch.equal(a, b) for a, b in zip(run.model.encoder.parameters(), fresh.parameters(), strict=True)
    ]
    assert all(same) == freeze


def sizes() -> list[Size]:
    return [d.size for d in experiment().data.values()]


def test_the_toy_mix_really_has_two_sizes() -> None:
    assert len(set(sizes())) == 2
