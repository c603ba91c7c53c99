"""Predicted flow beside the two images that it has to explain, and the terms that judge it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import TARGET, Batch, View
from mtdrive.errors import ConfigError
from mtdrive.flow_fields import Displaced, displace, enlarge, visible
from mtdrive.geometry import pixel_grid

LEAST_VISIBLE = 0.5
"""Share of an image that the forward-backward check must find visible to be believed."""


class Fields(NamedTuple):
    """Flow between the target and another view; empty if that view was not there."""

    flows: Sequence[Float[Tensor, "b 2 _h _w"]]
    """From the target to the other view, fine to coarse, in pixels of the image, x then y."""
    backward: Sequence[Float[Tensor, "b 2 _h _w"]]
    """From the other view to the target."""


@dataclass(frozen=True)
class Pair:
    """A prediction beside the images that it has to explain, each in turn the one that is explained.

    The leading axis `p` has the targets first, then the other views.
    """

    fields: Fields
    batch: Batch
    other: View
    """The view that the flow leads to."""
    label: str
    """The name of the label with the true flow."""
    occlusion: bool
    """Whether only pixels that the other image shows, too, are compared."""

    @cached_property
    def images(self) -> Float[Tensor, "p 3 h w"]:
        """The clean images that are explained."""
        return torch.cat([self.batch.reference(TARGET), self.batch.reference(self.other)])

    @property
    def size(self) -> tuple[int, int]:
        """Of the images, in pixels."""
        return self.images.shape[-2], self.images.shape[-1]

    @cached_property
    def levels(self) -> list[Float[Tensor, "p 2 _h _w"]]:
        """Flow of both directions at the size of its level."""
        both = zip(self.fields.flows, self.fields.backward, strict=True)
        return [torch.cat(directions) for directions in both]

    @cached_property
    def flows(self) -> Float[Tensor, "s p 2 h w"]:
        """Flow of every level brought to the size of the image."""
        return torch.stack([enlarge(level, self.size) for level in self.levels])

    @cached_property
    def warped(self) -> Displaced:
        """The images that explain, moved back by the flow of every level."""
        first, second = self.images.chunk(2)
        return displace(torch.cat([second, first]), self.flows)

    @cached_property
    def compared(self) -> Bool[Tensor, "s p h w"]:
        """Which pixels count.

        Where most pixels of an image look hidden, the flow is not good enough yet to tell: then all count.
        Otherwise flow that is wrong everywhere would cost nothing, and nothing would mend it.
        """
        if not self.occlusion:
            return self.warped.inside
        forward, backward = self.flows[0].detach().chunk(2)
        seen = torch.cat([visible(forward, backward), visible(backward, forward)])
        trusted = seen.float().mean((1, 2)) >= LEAST_VISIBLE
        return self.warped.inside & (seen | ~trusted[:, None, None])

    @cached_property
    def leaving(self) -> Float[Tensor, ""]:
        """How far the flow leads out of the image, as a share of its size; mean over all pixels.

        Pixels outside are not compared, so that nothing else would bring them back.
        """
        grid = pixel_grid(self.images)[:2]
        limits = grid.new_tensor([self.size[1] - 1, self.size[0] - 1])[:, None, None]
        place = (grid + self.flows) / limits
        return (functional.relu(-place) + functional.relu(place - 1)).mean()

    def shrunk(self, factor: int) -> Pair:
        """Return the same prediction beside images whose pixels are the means of blocks.

        Raises:
            ConfigError: if blocks do not tile the images.
        """
        if factor == 1:
            return self
        height, width = self.size
        if factor < 1 or height % factor or width % factor:
            raise ConfigError(
                f"blocks of {factor} pixels do not tile images of {height}x{width}; choose a shrink that "
                "divides both, such as 2 or 4"
            )
        clean = torch.stack([functional.avg_pool2d(x, factor) for x in self.batch.clean.unbind(1)], 1)
        flows, backward = ([x / factor for x in part] for part in self.fields)
        return replace(self, fields=Fields(flows, backward), batch=replace(self.batch, clean=clean))

    @cached_property
    def soundness(self) -> Float[Tensor, ""]:
        """0, or NaN if a flow is not finite: warped images do not show it."""
        return 0 * self.flows.detach().sum()


class FlowTerm(ABC):
    """A part of the loss: a rule without parameters that a configuration can name."""

    supervised: bool = False
    """Whether it needs the true flow."""

    @abstractmethod
    def __call__(self, pair: Pair) -> Float[Tensor, ""]:
        """Return the weighted term."""
