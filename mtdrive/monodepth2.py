"""Networks that Monodepth2 trained, as checkpoints of mtdrive.

Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019,
https://arxiv.org/abs/1806.01260. A folder of its program holds a file a network; the names and shapes of the
tensors say which architecture it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor, nn

from mtdrive.checkpoint import check_unused, save_model
from mtdrive.data.recording import Size
from mtdrive.errors import CheckpointError, ConfigError
from mtdrive.experiment import build_model, instantiate, parser
from mtdrive.model import Model
from mtdrive.pose import SeparatePose, SharedPose
from mtdrive.pretrained import read_mapping
from mtdrive.settings import find_config

FILES = ("encoder.pth", "depth.pth", "pose_encoder.pth", "pose.pth")
"""The networks; those of depth are needed, those of pose are there if video was trained on."""

Files = dict[str, dict[str, object]]
"""What is in the files that are there."""


@dataclass(frozen=True)
class Mapped:
    """What became of a file."""

    file: str
    tensors: int
    """How many found their place."""
    ignored: tuple[str, ...]
    """Names of tensors that nothing uses: the classifier's."""
    architecture: str


@dataclass(frozen=True)
class Imported:
    """What was found in a folder, and what became of it."""

    files: tuple[Mapped, ...]
    unread: tuple[str, ...]
    """Names of the other files in the folder."""
    size: Size
    """Of the images that it was trained on."""
    stereo: bool
    """Whether stereo pairs gave it a scale: depth is metres after multiplication by 5.4."""


def import_checkpoint(folder: Path, out: Path) -> Imported:
    """Write the networks in `folder` as a checkpoint to `out`.

    Raises:
        CheckpointError: if a file is missing, damaged, holds code, or does not fit the published
            architecture; or if `out` is there already.
    """
    check_unused(out)
    files = _read(folder)
    size, stereo = _training(folder, files)
    model, config = _build(_settings(folder, files, size, stereo))
    try:
        model.encoder.check_size(*size)
    except ConfigError as error:
        raise CheckpointError(f"{folder / 'encoder.pth'}: {error}") from error
    parts = [part for part in _parts(model) if part.file in files]
    mapped = tuple(_fill(part, folder / part.file, files[part.file]) for part in parts)
    save_model(out, model.state_dict(), config)
    unread = sorted(path.name for path in folder.iterdir() if path.name not in files)
    return Imported(mapped, tuple(unread), size, stereo)


def _build(settings: dict[str, Any]) -> tuple[Model, str]:
    """Return the untrained model of some settings, and these as YAML with every default."""
    by = parser()
    complete = by.parse_object(settings)
    config: str = by.dump(complete, skip_unset=False)  # a null may replace a default
    complete.data, complete.validation = {}, {}
    return build_model(instantiate(complete)), config


# What is in the folder.


def _read(folder: Path) -> Files:
    """Return the contents of those files that are there."""
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}; give one with {', '.join(FILES)}")
    for name in FILES[:2]:
        if not (folder / name).exists():
            raise CheckpointError(f"{folder / name} is missing; Monodepth2 writes {', '.join(FILES)}")
    return {name: read_mapping(folder / name) for name in FILES if (folder / name).exists()}


def _training(folder: Path, files: Files) -> tuple[Size, bool]:
    """Take the size of the images, and whether stereo pairs were used, out of the encoder's file."""
    state = files["encoder.pth"]
    numbers = []
    for key in ("height", "width"):
        value = state.pop(key, None)
        if type(value) is not int or value < 1:
            found = value if type(value) is int else f"a {type(value).__name__}"
            raise CheckpointError(
                f"{folder / 'encoder.pth'}: {key} is {'missing' if value is None else found}; Monodepth2 "
                "keeps the size of its images there, as whole numbers"
            )
        numbers.append(value)
    return (numbers[0], numbers[1]), state.pop("use_stereo", False) is True


# Which architecture it is.

BASELINE = 0.1
"""Of the rig in the unit of depth, if it saw stereo pairs."""
RESNETS = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
"""Layers by the kind and the numbers of blocks (He et al., CVPR 2016, https://arxiv.org/abs/1512.03385)."""


def resnet(path: Path, state: Mapping[str, object]) -> str:
    """Return timm's name for the encoder in a file.

    Raises:
        CheckpointError: if it is no ResNet of 18, 34, 50, 101 or 152 layers.
    """
    found = {match.groups() for key in state if (match := re.match(r"encoder\.layer([1-4])\.(\d+)\.", key))}
    blocks = tuple(sum(stage == which for stage, _ in found) for which in "1234")
    kind = "bottleneck" if "encoder.layer1.0.conv3.weight" in state else "basic"
    layers = RESNETS.get((kind, blocks))
    if layers is None:
        raise CheckpointError(
            f"{path}: has {', '.join(map(str, blocks))} {kind} blocks in its four stages; expected those of "
            f"a ResNet of {', '.join(map(str, RESNETS.values()))} layers"
        )
    return f"resnet{layers}"


def _settings(folder: Path, files: Files, size: Size, stereo: bool) -> dict[str, Any]:
    """Return the settings of the run that would have trained the networks."""
    settings: dict[str, Any] = yaml.safe_load(Path(find_config("systems/monodepth2_m")).read_text())
    name = resnet(folder / "encoder.pth", files["encoder.pth"])
    settings["encoder"]["init_args"] |= {"name": name, "weights": "none"}
    scales = sum(f"decoder.{FIRST_MAP + scale}.conv.weight" in files["depth.pth"] for scale in range(4))
    pose = _pose(folder, files)
    depth = settings["tasks"]["depth"]["init_args"]
    depth |= {"pose": pose, "scales": max(scales, 1)}  # without any, the first is reported as missing
    if stereo:
        depth |= {"stereo": True, "baseline": BASELINE}
    if stereo and pose is None:
        depth["offsets"] = []
    settings["data"]["kitti"]["size"] = list(size)
    return settings


def _pose(folder: Path, files: Files) -> dict[str, Any] | None:
    """Return the settings of the pose network, if there is one."""
    own = folder / "pose_encoder.pth"
    if "pose.pth" not in files:
        if own.name in files:
            raise CheckpointError(f"{folder / 'pose.pth'} is missing; {own.name} is of no use without it")
        return None
    if "pose_conv.weight" in files["pose.pth"]:
        raise CheckpointError(
            f"{folder / 'pose.pth'} holds Monodepth2's posecnn, which mtdrive does not have; to import depth "
            "alone, give a folder with encoder.pth and depth.pth only"
        )
    if own.name in files:
        arguments = {"name": resnet(own, files[own.name]), "weights": "none", "normalisation": "monodepth2"}
        return {"class_path": "mtdrive.pose.SeparatePose", "init_args": arguments}
    join = files["pose.pth"].get("net.1.weight")
    if isinstance(join, Tensor) and join.ndim == 4 and join.shape[1] == SQUEEZED:
        raise CheckpointError(f"{own} is missing; the network in pose.pth reads one encoding of both images")
    return {"class_path": "mtdrive.pose.SharedPose"}


# Where its tensors go.


class _Part(NamedTuple):
    """A module, and the file that fills it."""

    file: str
    architecture: str
    module: nn.Module
    published: Callable[[str], str]
    """Returns the file's name for a tensor of the module."""
    spare: tuple[str, ...] = ()
    """What a file may hold besides."""


def _parts(model: Model) -> list[_Part]:
    depth: Any = model.task("depth")
    parts = [
        _Part("encoder.pth", model.encoder.name, model.encoder.net, _encoder_name, CLASSIFIER),
        _Part("depth.pth", f"{len(depth.decoder.heads)} scales", depth.decoder, _decoder_name),
    ]
    if isinstance(depth.pose, SeparatePose):
        own = depth.pose.encoder
        parts.append(_Part("pose_encoder.pth", own.name, own.net, _encoder_name, CLASSIFIER))
        parts.append(_Part("pose.pth", "separate pose", depth.pose.head, _head_name))
    elif isinstance(depth.pose, SharedPose):
        parts.append(_Part("pose.pth", "shared pose", depth.pose.head, _head_name))
    return parts


CLASSIFIER = ("encoder.fc.weight", "encoder.fc.bias")
FIRST_MAP = 10
"""Number of the finest scale's output convolution in the published decoder, after two for each of 5 steps."""
SQUEEZED = 256
"""Channels of an encoding that enters the published pose decoder."""


def _encoder_name(own: str) -> str:
    return f"encoder.{own}"


def _decoder_name(own: str) -> str:
    if own.startswith("heads."):
        _, scale, kind = own.split(".")
        return f"decoder.{FIRST_MAP + int(scale)}.conv.{kind}"
    _, _, step, which, kind = own.split(".")
    return f"decoder.{2 * int(step) + (which == 'after')}.conv.conv.{kind}"


def _head_name(own: str) -> str:
    layer, kind = own.split(".")
    return f"net.{('squeeze', 'join', 'refine', 'out').index(layer)}.{kind}"


def _fill(part: _Part, path: Path, state: Mapping[str, object]) -> Mapped:
    """Copy the tensors of a file into its module.

    Raises:
        CheckpointError: names those that do not fit.
    """
    own = part.module.state_dict()
    needed = {part.published(key): like for key, like in own.items()}
    problems = [*_misfits(needed, state)]
    problems += [f"{key!r} is unknown" for key in state if key not in needed and key not in part.spare]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{path}: does not fit the published network: {'; '.join(problems[:3])}{more}; "
            "give the files as Monodepth2 saved them"
        )
    found = {key: state[part.published(key)] for key in own if part.published(key) in state}
    part.module.load_state_dict(found, strict=False)
    ignored = tuple(key for key in part.spare if key in state)
    return Mapped(part.file, len(found), ignored, part.architecture)


def _misfits(needed: Mapping[str, Tensor], state: Mapping[str, object]) -> Iterator[str]:
    for name, like in needed.items():
        counter = name.endswith("num_batches_tracked")  # nothing reads it
        if name not in state:
            if not counter:
                yield f"{name} is missing"
            continue
        value = state[name]
        if not isinstance(value, Tensor):
            yield f"{name} is a {type(value).__name__}, expected a tensor"
        elif value.shape != like.shape:
            yield f"{name} is {tuple(value.shape)}, expected {tuple(like.shape)}"
        elif not counter and not _is_finite(value):
            yield f"{name} is not made of finite numbers"


def _is_finite(value: Tensor) -> bool:
    plain = value.layout == torch.strided and value.device.type == "cpu" and value.is_floating_point()
    return plain and bool(value.isfinite().all())
