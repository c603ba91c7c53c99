"""Flips and colour jitter: one draw for all views of an item."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mtdrive.batch import LABELS, Batch, Command
from mtdrive.data.colour import Jitter
from mtdrive.data.packed import Packed
from mtdrive.errors import ConfigError, DataError
from mtdrive.geometry import mirror_intrinsics, mirror_pose

MIRRORED_COMMAND = {
    Command.LEFT: Command.RIGHT,
    Command.RIGHT: Command.LEFT,
    Command.CHANGE_LEFT: Command.CHANGE_RIGHT,
    Command.CHANGE_RIGHT: Command.CHANGE_LEFT,
}

_COMMANDS = torch.tensor([0, *(MIRRORED_COMMAND.get(command, command) for command in Command)])


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random flip and colour jitter, with Monodepth2's settings by default.

    The clean images are flipped along, but not jittered: photometric losses compare them.
    """

    flip: float = 0.5
    """Probability of a left-right flip."""
    jitter: float = 0.5
    """Probability of colour jitter."""
    brightness: float = 0.2
    """The factor lies in [1 - brightness, 1 + brightness]; so do the next two."""
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.1
    """Largest shift of the hue, of a full circle of 1."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            largest = 0.5 if name == "hue" else 1
            if not 0 <= value <= largest:
                raise ConfigError(f"augment.{name} must be from 0 to {largest}, found {value}")

    def __call__(self, item: Packed, generator: torch.Generator) -> Packed:
        """Return `item` flipped and with its jitter noted, by draws from `generator`."""
        flip, jitter = (torch.rand(2, generator=generator) < torch.tensor([self.flip, self.jitter])).tolist()
        if flip:
            item = replace(item, images=item.images.flip(-1), rest=mirror(item.rest))
        return replace(item, jitters=(self._jitter(generator),)) if jitter else item

    def _jitter(self, generator: torch.Generator) -> Jitter:
        spread = torch.tensor([self.brightness, self.contrast, self.saturation, self.hue])
        draws = (spread * (2 * torch.rand(4, generator=generator) - 1)).tolist()
        order = torch.randperm(4, generator=generator).tolist()
        return Jitter((1 + draws[0], 1 + draws[1], 1 + draws[2], draws[3]), tuple(order))


def mirror(item: Batch) -> Batch:
    """Return `item` seen in a mirror: images, principal points, poses, route and labels."""
    inputs = item.inputs
    images = inputs.images.flip(-1)
    return replace(
        item,
        inputs=replace(
            inputs,
            images=images,
            intrinsics=mirror_intrinsics(inputs.intrinsics, inputs.images.shape[-1]),
            command=None if inputs.command is None else _mirrored_command(inputs.command),
            target_point=None
            if inputs.target_point is None
            else inputs.target_point * inputs.target_point.new_tensor([-1, 1]),
        ),
        clean=images if item.clean is inputs.images else item.clean.flip(-1),
        poses=mirror_pose(item.poses),
        labels={name: _mirrored_label(name, label) for name, label in item.labels.items()},
    )


def _mirrored_command(command: Tensor) -> Tensor:
    return _COMMANDS[command]


def _mirrored_label(name: str, label: Tensor) -> Tensor:
    if name not in LABELS:
        raise DataError(f"label {name!r} is not declared, so it cannot be mirrored; call declare_label")
    rule = LABELS[name].mirror
    if rule == "lateral":
        return -label
    if rule == "points":
        return label * label.new_tensor([-1, 1])
    if rule == "none":
        return label
    flipped = label.flip(-1)
    if rule == "flow":
        flipped[..., 0, :, :].neg_()
    return flipped
