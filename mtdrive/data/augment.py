"""Flips and colour jitter: one draw for all views of an item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from mtdrive.batch import LABELS, Batch, Command
from mtdrive.errors import DataError
from mtdrive.geometry import mirror_intrinsics, mirror_pose

MIRRORED_COMMAND = {
    Command.LEFT: Command.RIGHT,
    Command.RIGHT: Command.LEFT,
    Command.CHANGE_LEFT: Command.CHANGE_RIGHT,
    Command.CHANGE_RIGHT: Command.CHANGE_LEFT,
}


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

    def __call__(self, item: Batch, generator: torch.Generator) -> Batch:
        """Return `item` augmented by draws from `generator`."""
        flip, jitter = (torch.rand(2, generator=generator) < torch.tensor([self.flip, self.jitter])).tolist()
        if flip:
            item = mirror(item)
        if jitter:
            images = self._jittered(item.inputs.images, generator)
            item = replace(item, inputs=replace(item.inputs, images=images))
        return item

    def _jittered(
        self, images: Float[Tensor, "v 3 h w"], generator: torch.Generator
    ) -> Float[Tensor, "v 3 h w"]:
        spread = torch.tensor([self.brightness, self.contrast, self.saturation, self.hue])
        draws = (spread * (2 * torch.rand(4, generator=generator) - 1)).tolist()
        steps: list[Callable[[Tensor], Tensor]] = [
            lambda x: F.adjust_brightness(x, 1 + draws[0]),
            lambda x: F.adjust_contrast(x, 1 + draws[1]),
            lambda x: F.adjust_saturation(x, 1 + draws[2]),
            lambda x: F.adjust_hue(x, draws[3]),
        ]
        for step in torch.randperm(4, generator=generator).tolist():
            images = steps[step](images)
        return images


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
    table = torch.tensor([MIRRORED_COMMAND.get(Command(i), i) if i else 0 for i in range(len(Command) + 1)])
    return table[command]


def _mirrored_label(name: str, label: Tensor) -> Tensor:
    if name not in LABELS:
        raise DataError(f"label {name!r} is not declared, so it cannot be mirrored; call declare_label")
    rule = LABELS[name].mirror
    if rule == "lateral":
        return -label
    if rule == "none":
        return label
    flipped = label.flip(-1)
    if rule == "flow":
        flipped[..., 0, :, :].neg_()
    return flipped
