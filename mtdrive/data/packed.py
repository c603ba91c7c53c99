"""How images travel: as bytes, an eighth of the clean and jittered floats that they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mtdrive.batch import Batch, collate
from mtdrive.data.colour import Jitter


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A batch between the disk and the device that jitters it; an item is the same without leading axis."""

    images: UInt8[Tensor, "*b v 3 h w"]
    """Flipped already."""
    jitters: tuple[Jitter | None, ...]
    """One an item."""
    rest: Batch
    """Everything else: its images have no rows."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Unpack on `device`."""
        rest = self.rest.to(device, non_blocking=non_blocking)
        clean, jittered = _floats(self.images.to(device, non_blocking=non_blocking), self.jitters)
        return replace(rest, inputs=replace(rest.inputs, images=jittered), clean=clean)

    def pin_memory(self) -> Packed:
        """Page-lock every tensor; torch's DataLoader calls this."""
        return replace(self, images=self.images.pin_memory(), rest=self.rest.pin_memory())


def collate_packed(items: Sequence[Packed]) -> Packed:
    """Stack items of one data set along a new leading axis.

    Raises:
        DataError: if they differ in views, labels, optional inputs or shapes.
    """
    return Packed(
        rest=collate([item.rest for item in items]),
        images=torch.stack([item.images for item in items]),
        jitters=tuple(jitter for item in items for jitter in item.jitters),
    )


def _floats(
    images: UInt8[Tensor, "*b v 3 h w"], jitters: Sequence[Jitter | None]
) -> tuple[Float[Tensor, "*b v 3 h w"], Float[Tensor, "*b v 3 h w"]]:
    """Return the images in [0, 1], clean and jittered: one tensor where nothing is jittered."""
    clean = torch.empty(images.shape, device=images.device)
    jittered = torch.empty_like(clean) if any(jitters) else clean
    # Item by item, because one fits the processor's cache and a batch does not.
    packed, before, after = (x.view(-1, *images.shape[-4:]) for x in (images, clean, jittered))
    for i, jitter in enumerate(jitters):
        before[i].copy_(packed[i]).div_(255)
        if jittered is not clean:
            after[i].copy_(before[i])
        if jitter:
            jitter.apply_(after[i])
    return clean, jittered
