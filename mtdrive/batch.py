"""The vocabulary: what data sets produce and tasks read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mtdrive.errors import ConfigError, DataError
from mtdrive.orders import Command as Command


@dataclass(frozen=True, order=True)
class View:
    """One image of an item: which camera, and how many frames away from the target."""

    camera: str = "front"
    """`front`; `stereo` is the other eye of the front camera's rig, whichever side it is on."""
    offset: int = 0
    """In frames of the item's stride: -1 is the frame before the target."""

    def __str__(self) -> str:
        return f"{self.camera}{self.offset:+d}" if self.offset else self.camera

    @classmethod
    def parse(cls, text: str) -> View:
        """Return the view that prints as `text`, such as `front-1`.

        Raises:
            ValueError: if it is not of that form.
        """
        found = re.fullmatch(r"([a-z_]+)([+-]\d+)?", text)
        if not found:
            raise ConfigError(f"a view is written like front, front-1 or stereo; found {text!r}")
        return cls(found[1], int(found[2] or 0))


TARGET = View("front", 0)


@dataclass(frozen=True, kw_only=True)
class Label:
    """How a label looks and behaves; `LABELS` is the table."""

    shape: str
    """Axes of one item: `h` and `w` are the image's, `v` counts the views, numbers are themselves."""
    meaning: str
    """What it is, with its unit and frame."""
    mirror: Literal["image", "flow", "lateral", "points", "none"]
    """How it follows a left-right flip: `image` reverses the last axis, `flow` also negates the first
    channel, `lateral` negates the values, `points` the first of each pair (right, forward), `none` leaves
    it."""
    classes: int | None = None
    """Number of classes of an integer label, whose unlabelled value is 255; None for real numbers, NaN."""


WAYPOINTS, WAYPOINT_STEP = 8, 0.5
"""How many places of the future a label has, and the seconds between them."""
PATH_POINTS = 20
"""Metres of route that a label has, a point each."""

LABELS: dict[str, Label] = {
    "depth": Label(
        shape="h w", mirror="image", meaning="metres along the optical axis of the target, NaN where unknown"
    ),
    "semantics": Label(
        shape="h w", mirror="image", classes=255, meaning="class of each pixel of the target, 255 unlabelled"
    ),
    "flow": Label(
        shape="2 h w",
        mirror="flow",
        meaning="pixels, x then y, from the target to where front-1 shows the same point, NaN where unknown",
    ),
    "flow_next": Label(
        shape="2 h w",
        mirror="flow",
        meaning="pixels, x then y, from the target to where front+1 shows the same point, NaN where unknown",
    ),
    "waypoints": Label(
        shape=f"{WAYPOINTS} 2",
        mirror="points",
        meaning="(right, forward) metres from the car to where it is 0.5, 1, ... 4 s later, NaN unknown",
    ),
    "path": Label(
        shape=f"{PATH_POINTS} 2",
        mirror="points",
        meaning="(right, forward) metres from the car to the route 1, 2, ... 20 m on, NaN beyond its end",
    ),
    "steer": Label(shape="", mirror="lateral", meaning="from -1 to 1, positive to the right"),
    "throttle": Label(shape="", mirror="none", meaning="from 0 to 1"),
    "brake": Label(shape="", mirror="none", meaning="from 0 to 1"),
    "target_speed": Label(shape="", mirror="none", meaning="m/s that the driver aims for, NaN unknown"),
}
"""Every label that a batch may carry. `declare_label` adds a user's own."""


def declare_label(name: str, label: Label) -> None:
    """Add a label of one's own, at import time of the module that uses it.

    Raises:
        ValueError: if another label has that name.
    """
    if LABELS.setdefault(name, label) != label:
        raise ValueError(f"label {name!r} is already declared as {LABELS[name]}; choose another name")


Moved = TypeVar("Moved", "Inputs", "Batch")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What exists at test time. An item is the same without the leading axis."""

    views: tuple[View, ...]
    """What axis `v` of the tensors runs over."""
    images: Float[Tensor, "*b v 3 h w"]
    """Colour in [0, 1], as the networks see it: jittered when training."""
    intrinsics: Float[Tensor, "*b v 3 3"]
    """Pinhole matrix of each view in pixels of `images`; the centre of the first pixel is (0, 0)."""
    speed: Float[Tensor, "*b"] | None = None
    """Forward speed at the target frame in m/s."""
    command: Int[Tensor, "*b"] | None = None
    """A `Command`."""
    target_point: Float[Tensor, "*b 2"] | None = None
    """Next point of the route in metres, (right, forward) of the car."""

    def index(self, view: View) -> int:
        """Return the position of `view` along axis `v`.

        Raises:
            ValueError: if the batch lacks it.
        """
        try:
            return self.views.index(view)
        except ValueError:
            present = ", ".join(map(str, self.views))
            raise DataError(f"view {view} is not in the batch, which has {present}") from None

    def image(self, view: View) -> Float[Tensor, "*b 3 h w"]:
        """Return the image of `view`."""
        return self.images[..., self.index(view), :, :, :]

    def camera(self, view: View) -> Float[Tensor, "*b 3 3"]:
        """Return the intrinsics of `view`."""
        return self.intrinsics[..., self.index(view), :, :]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Inputs:
        """Copy every tensor to `device`."""
        return _each(self, lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Inputs:
        """Page-lock every tensor; torch's DataLoader calls this."""
        return _each(self, Tensor.pin_memory)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Inputs with what only training and evaluation know; an item is the same without the leading axis.

    A batch comes from one data set: a label is there for all its items or for none. Unlabelled pixels
    hold 255 or NaN.
    """

    inputs: Inputs
    clean: Float[Tensor, "*b v 3 h w"]
    """The images before colour jitter, which photometric losses compare."""
    poses: Float[Tensor, "*b v 4 4"]
    """`T_view,target`: maps points of the target camera into the view's; NaN where unknown."""
    labels: Mapping[str, Tensor]
    """By the names of `LABELS`."""
    names: tuple[str, ...] = ()
    """One a item: what a message shows when the item makes trouble, usually its file."""

    @property
    def size(self) -> int:
        """Number of items."""
        return self.inputs.images.shape[0]

    def pose(self, view: View) -> Float[Tensor, "*b 4 4"]:
        """Return `T_view,target`."""
        return self.poses[..., self.inputs.index(view), :, :]

    def reference(self, view: View) -> Float[Tensor, "*b 3 h w"]:
        """Return the clean image of `view`."""
        return self.clean[..., self.inputs.index(view), :, :, :]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Copy every tensor to `device`."""
        return _each(self, lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Page-lock every tensor; torch's DataLoader calls this."""
        return _each(self, Tensor.pin_memory)


def _each(value: Moved, function: Callable[[Tensor], Tensor]) -> Moved:
    """Apply `function` to every tensor of a dataclass, nested ones included."""
    changed: dict[str, Any] = {f.name: _apply(getattr(value, f.name), function) for f in fields(value)}
    return replace(value, **changed)


def _apply(value: object, function: Callable[[Tensor], Tensor]) -> object:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: _apply(x, function) for name, x in value.items()}
    return _each(value, function) if isinstance(value, Inputs) else value


def collate(items: Sequence[Batch]) -> Batch:
    """Stack items of one data set along a new leading axis.

    Raises:
        DataError: if they differ in views, labels, optional inputs or shapes.
    """
    first = items[0]
    for item in items[1:]:
        if _signature(item) != _signature(first):
            raise DataError(
                f"items of one batch must agree: {first.names} has {_signature(first)}, "
                f"{item.names} has {_signature(item)}; give each data set a loader of its own"
            )
    stack = {
        name: torch.stack([getattr(item.inputs, name) for item in items])
        for name, value in vars(first.inputs).items()
        if isinstance(value, Tensor)
    }
    return Batch(
        inputs=Inputs(views=first.inputs.views, **stack),
        clean=torch.stack([item.clean for item in items]),
        poses=torch.stack([item.poses for item in items]),
        labels={name: torch.stack([item.labels[name] for item in items]) for name in first.labels},
        names=tuple(name for item in items for name in item.names),
    )


def _signature(item: Batch) -> dict[str, object]:
    """Return what must be equal throughout a batch."""
    shapes = {name: tuple(x.shape) for name, x in vars(item.inputs).items() if isinstance(x, Tensor)}
    labels = {name: tuple(x.shape) for name, x in sorted(item.labels.items())}
    return {"views": [str(v) for v in item.inputs.views], **shapes, "labels": labels}
