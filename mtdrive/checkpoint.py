"""Checkpoints: folders that appear whole or not at all, and hold no code.

A checkpoint holds `model.safetensors` (weights), `config.yaml` (the run's configuration), if it has a policy
`rig.json` (the cameras of the car), and `state.safetensors` with `state.json` (what resuming needs besides).
Folders `step_00001200` lie side by side; the links `last` and `best` point to two of them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mtdrive.errors import CheckpointError, TrainingError

Tensors = dict[str, Tensor]


class Checkpoints:
    """The checkpoints of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self,
        step: int,
        *,
        model: Tensors,
        tensors: Tensors,
        state: Mapping[str, Any],
        config: str,
        best: bool,
        files: Mapping[str, str] | None = None,
    ) -> Path:
        """Write the checkpoint of `step`, make it the last, and remove those that no link points to.

        Args:
            step: number of finished steps.
            model: weights.
            tensors: what resuming needs, such as the optimizer's moments.
            state: likewise, as JSON.
            config: YAML.
            best: whether it becomes the best, too.
            files: further ones, by their names.

        Raises:
            TrainingError: if it could not be written; what was there before is untouched.
        """
        path = self.folder / f"step_{step:08d}"
        with self._new_folder(path) as temporary:
            _write(temporary / "model.safetensors", safetensors.torch.save(_plain(model)))
            _write(temporary / "state.safetensors", safetensors.torch.save(_plain(tensors)))
            _write(temporary / "state.json", json.dumps({**state, "step": step}).encode())
            for name, text in {"config.yaml": config, **(files or {})}.items():
                _write(temporary / name, text.encode())
        self._link("last", path)
        if best:
            self._link("best", path)
        self._remove_unlinked()
        return path

    @contextmanager
    def _new_folder(self, path: Path) -> Iterator[Path]:
        """Give an empty folder that becomes `path` if the block succeeds, and goes if it fails."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            _sync_folder(temporary)
            shutil.rmtree(path, ignore_errors=True)
            temporary.rename(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise TrainingError(
                f"checkpoint {path} could not be written ({error.strerror}); earlier checkpoints are "
                "untouched: free space and continue with --resume"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _link(self, name: str, path: Path) -> None:
        temporary = self.folder / f".{name}.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(path.name)
        temporary.replace(self.folder / name)
        _sync_folder(self.folder)

    def _remove_unlinked(self) -> None:
        kept = {link.resolve() for link in (self.folder / "last", self.folder / "best") if link.exists()}
        stale = [p for p in self.folder.glob(".step_*") if p.is_dir()]
        for path in [p for p in self.steps() if p.resolve() not in kept] + stale:
            shutil.rmtree(path, ignore_errors=True)

    def steps(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted(p for p in self.folder.glob("step_*") if p.is_dir())

    def last(self) -> Path | None:
        """Return the newest checkpoint, or None."""
        return next(reversed(self.steps()), None)


def _plain(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return contiguous copies on the CPU: safetensors refuses shared storage and strides."""
    return {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_model(path: Path, model: Mapping[str, Tensor], config: str) -> None:
    """Write a checkpoint without what resuming needs; the folder appears whole or not at all.

    Raises:
        CheckpointError: if something has its name already.
    """
    check_unused(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        _write(temporary / "model.safetensors", safetensors.torch.save(_plain(model)))
        _write(temporary / "config.yaml", config.encode())
        _sync_folder(temporary)
        temporary.rename(path)
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_unused(path: Path) -> None:
    """Check that a checkpoint may be written to `path`.

    Raises:
        CheckpointError: if something has its name already.
    """
    if os.path.lexists(path):
        raise CheckpointError(f"{path} is there already; choose another folder, or remove it")


def load_weights(checkpoint: Path) -> Tensors:
    """Return the weights of a checkpoint.

    Raises:
        CheckpointError: if they are missing or damaged.
    """
    return _load_tensors(checkpoint / "model.safetensors")


def load_state(checkpoint: Path) -> tuple[Tensors, dict[str, Any]]:
    """Return what resuming needs: tensors, and the JSON state with its `step`.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    path = checkpoint / "state.json"
    try:
        state = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); resume from another checkpoint") from error
    return _load_tensors(checkpoint / "state.safetensors"), state


def load_config(checkpoint: Path) -> str:
    """Return the configuration of the run that wrote a checkpoint, as YAML.

    Raises:
        CheckpointError: if there is none.
    """
    path = checkpoint / "config.yaml"
    if not path.is_file():
        raise CheckpointError(
            f"{checkpoint}: is no checkpoint, it has no config.yaml; "
            "give a folder such as runs/NAME/checkpoints/last"
        )
    return path.read_text()


def _load_tensors(path: Path) -> Tensors:
    try:
        return safetensors.torch.load(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: there is no such file; give a checkpoint such as runs/NAME/checkpoints/last"
        ) from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: is not a whole safetensors file ({error}); nothing in it was run; "
            "use another checkpoint"
        ) from error


def restore(module: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Load `weights` into `module`, which must have the same tensors.

    Raises:
        CheckpointError: names the first tensors that differ.
    """
    own = module.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in weights]
    wrong += [f"{name} is not part of the model" for name in weights if name not in own]
    wrong += [
        f"{name} is {tuple(x.shape)}, not {tuple(own[name].shape)}"
        for name, x in weights.items()
        if name in own and x.shape != own[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"{origin}: belongs to another architecture: {'; '.join(wrong[:3])}{more}; "
            "use the configuration it was trained with"
        )
    module.load_state_dict(dict(weights))


def restore_parts(model: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Load the encoder and those tasks and couplings that both `model` and a checkpoint have.

    Raises:
        CheckpointError: if they share nothing, or a shared part has another architecture.
    """
    shared = {_part(name) for name in weights} & {_part(name) for name in model.state_dict()}
    if not shared:
        raise CheckpointError(f"{origin}: shares no encoder and no task with this model; use another one")
    for part in sorted(shared):
        own = {n.removeprefix(f"{part}."): x for n, x in weights.items() if _part(n) == part}
        restore(model.get_submodule(part), own, origin)


def _part(name: str) -> str:
    """Return what a weight belongs to: `encoder`, or `tasks.NAME`."""
    top, second, *_ = name.split(".")
    return top if top == "encoder" else f"{top}.{second}"
