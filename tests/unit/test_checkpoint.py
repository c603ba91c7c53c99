from __future__ import annotations

import errno
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mtdrive import checkpoint
from mtdrive.checkpoint import (
    Checkpoints,
    load_config,
    load_state,
    load_weights,
    restore,
)
from mtdrive.errors import CheckpointError, TrainingError
from mtdrive.files import write_atomically

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3).T, "bias": torch.ones(3)}


def save(folder: Path, step: int, best: bool = False) -> Path:
    return Checkpoints(folder).save(
        step,
        model=TENSORS,
        tensors={"optimizer.0.step": torch.tensor(3.0)},
        state={"best": 0.5},
        config="a: 1\n",
        best=best,
    )


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = save(tmp_path, 12)
    assert path.name == "step_00000012"
    for name, x in load_weights(path).items():
        assert torch.equal(x, TENSORS[name])
    tensors, state = load_state(path)
    assert state == {"best": 0.5, "step": 12}
    assert float(tensors["optimizer.0.step"]) == 3
    assert load_config(path) == "a: 1\n"


def test_only_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, best=True)
    save(tmp_path, 2)
    save(tmp_path, 3)
    assert names(tmp_path) == {"step_00000001", "step_00000003", "last", "best"}
    assert (tmp_path / "best").resolve().name == "step_00000001"
    save(tmp_path, 4, best=True)
    assert names(tmp_path) == {"step_00000004", "last", "best"}


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("function", ["_write", "_sync_folder"])
def test_a_full_disk_leaves_the_last_good_checkpoint(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, best=True)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, function, full_disk)
        with pytest.raises(
            TrainingError, match=r"step_00000002 could not be written \(No space left on device\)"
        ):
            save(tmp_path, 2)
    assert names(tmp_path) == {"step_00000001", "last", "best"}
    assert torch.equal(load_weights(tmp_path / "last")["bias"], TENSORS["bias"])
    save(tmp_path, 2)
    assert Checkpoints(tmp_path).last() == tmp_path / "step_00000002"


class Killed(BaseException):
    pass


def operations(folder: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int) -> int:
    """Save step 2 and die at the given write, sync, rename or link, cleaning nothing up, as after kill -9."""
    count = 0

    def counting(function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count >= dies_at:
                raise Killed
            return function(*args, **kwargs)

        return run

    with monkeypatch.context() as patch:
        for owner, name in (
            (checkpoint, "_write"),
            (checkpoint, "_sync_folder"),
            (Path, "rename"),
            (Path, "replace"),
        ):
            patch.setattr(owner, name, counting(getattr(owner, name)))
        patch.setattr(shutil, "rmtree", counting(shutil.rmtree))
        try:
            save(folder, 2)
        except Killed:
            return count
    return 0


@pytest.mark.parametrize("dies_at", range(1, 14))
def test_dying_anywhere_in_a_save_leaves_a_whole_checkpoint_to_resume_from(
    dies_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    died = operations(tmp_path, monkeypatch, dies_at)
    last = Checkpoints(tmp_path).last()
    assert last is not None
    assert torch.equal(load_weights(last)["weight"], TENSORS["weight"])
    assert load_state(last)[1]["step"] in (1, 2)
    assert load_config(last) == "a: 1\n"
    assert died or load_state(last)[1]["step"] == 2
    save(tmp_path, 3)
    assert names(tmp_path) == {"step_00000003", "last"}


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 1)
    assert names(tmp_path) == {"step_00000001", "last"}


@pytest.mark.parametrize("length", [0, 5, 100])
def test_a_truncated_file_is_named(length: int, tmp_path: Path) -> None:
    path = save(tmp_path, 1) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is not a whole safetensors file"):
        load_weights(path.parent)


def test_a_pickle_is_refused_without_running_it(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = save(tmp_path / "run", 1)
    (path / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        load_weights(path)
    torch.save({"weight": Bomb()}, path / "model.safetensors")
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        load_weights(path)
    assert not (tmp_path / "exploded").exists()


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"is no checkpoint, it has no config\.yaml; give a folder such as"
    ):
        load_config(tmp_path)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    (path / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"state\.json: cannot be read"):
        load_state(path)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, "bias is missing"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "gain": torch.zeros(1)},
            "gain is not part of the model",
        ),
        ({"weight": torch.zeros(9, 3), "bias": torch.zeros(2)}, r"weight is \(9, 3\), not \(2, 3\)"),
    ],
)
def test_weights_of_another_architecture_are_told_apart(
    weights: dict[str, torch.Tensor], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=f"belongs to another architecture: .*{message}"):
        restore(nn.Linear(3, 2), weights, tmp_path)


def test_an_atomic_write_leaves_the_old_content_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"a.yaml"}
