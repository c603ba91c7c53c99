"""Whether what a reader gives as a label is one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtdrive.batch import LABELS, Label
from mtdrive.classes import UNLABELLED
from mtdrive.data.recording import Recording, Size
from mtdrive.errors import DataError


def read_label(recording: Recording, name: str, frame: int, size: Size, views: int) -> Tensor:
    """Return a label of a frame for images of `size`.

    Raises:
        DataError: if its shape, its type or one of its classes is not as declared.
    """
    label = recording.label(name, frame, size)
    declared = LABELS.get(name)
    if declared is not None:
        where = f"{recording.path('front', frame)}: the label {name}"
        _check_form(label, declared, size, views, where)
        if declared.classes is not None:
            names = recording.classes.get(name)
            check_ids(label, len(names) if names else declared.classes, where)
    return label


def _check_form(label: Tensor, declared: Label, size: Size, views: int, where: str) -> None:
    shape = shape_of(declared, size, views)
    if tuple(label.shape) != shape:
        raise DataError(
            f"{where} has the shape {tuple(label.shape)}, expected {shape} for images of {size[1]}x{size[0]} "
            "pixels; its reader must give it at their size"
        )
    good = label.is_floating_point() if declared.classes is None else label.dtype == torch.int64
    if not good:
        expected = "real numbers" if declared.classes is None else "int64"
        raise DataError(f"{where} is of {label.dtype}, expected {expected}; convert it in its reader")


def shape_of(declared: Label, size: Size, views: int) -> tuple[int, ...]:
    """Return the shape of one item's label."""
    lengths = {"h": size[0], "w": size[1], "v": views}
    return tuple(lengths.get(axis) or int(axis) for axis in declared.shape.split())


def check_ids(label: Tensor, count: int, where: str) -> None:
    """Check that a label has ids of `count` classes.

    Raises:
        DataError: if it has another one.
    """
    bad = label[((label < 0) | (label >= count)) & (label != UNLABELLED)]
    if bad.numel():
        raise DataError(
            f"{where} has class ids such as {int(bad[0])} in {bad.numel()} pixels, expected 0 to {count - 1} "
            f"or {UNLABELLED}, unlabelled; map the ids in its reader"
        )


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return how many names there are, and the first ones."""
    return f"{len(names)} ({', '.join(names[:most])}{', ...' if len(names) > most else ''})"
