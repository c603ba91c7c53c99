"""A prediction beside the images that it has to explain, and the terms that judge it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import TARGET, Batch, View
from mtdrive.errors import ConfigError
from mtdrive.geometry import Warp, disparity_to_depth, inverse_warp, shrink_intrinsics, upcast


class Geometry(NamedTuple):
    """Depth of the target, and how the camera moved to its neighbours."""

    disparities: list[Float[Tensor, "b 1 _h _w"]]
    """Sigmoid outputs, fine to coarse: 0 is the farthest depth, 1 the nearest."""
    motions: dict[View, Float[Tensor, "b 4 4"]]
    """Predicted `T_view,target` of the views that were there."""
    masks: Sequence[Float[Tensor, "b n _h _w"]] = ()
    """How explainable the target is from each of the sources, before the sigmoid, fine to coarse; empty for
    networks without such masks."""
    limits: tuple[float, float] = (0.1, 100.0)
    """Depth of disparities of 1 and 0, in the unit of the motions."""

    @property
    def depth(self) -> Float[Tensor, "b 1 _h _w"]:
        """Depth at the finest scale."""
        return disparity_to_depth(self.disparities[0], *self.limits)[1]


@dataclass(frozen=True)
class Scene:
    """A prediction beside the images that it has to explain: what the terms of the loss share."""

    geometry: Geometry
    batch: Batch
    sources: tuple[View, ...]
    """Views that the target is synthesised from."""
    min_depth: float
    max_depth: float
    baseline: float | None = None
    """Length of the stereo rig in units of depth; None: as long as it is, in metres."""

    @cached_property
    def target(self) -> Float[Tensor, "b 3 h w"]:
        """The clean target image."""
        return self.batch.reference(TARGET)

    @cached_property
    def depths(self) -> Float[Tensor, "s b 1 h w"]:
        """Depth from every scale, its disparity brought to the size of the image first."""
        full = torch.stack([self._in_full(x) for x in self.geometry.disparities])
        return disparity_to_depth(full, self.min_depth, self.max_depth)[1]

    @cached_property
    def explainable(self) -> Float[Tensor, "s n b h w"] | None:
        """The masks of every scale in (0, 1), at the size of the image; None for networks without masks."""
        if not self.geometry.masks:
            return None
        masks = torch.stack([self._in_full(torch.sigmoid(x)) for x in self.geometry.masks])
        return masks.transpose(1, 2)

    def _in_full(self, x: Float[Tensor, "b c _h _w"]) -> Float[Tensor, "b c h w"]:
        size = (self.target.shape[-2], self.target.shape[-1])
        if x.shape[-2:] == size:
            return upcast(x)
        return functional.interpolate(upcast(x), size, mode="bilinear", align_corners=False)

    def shrunk(self, factor: int) -> Scene:
        """Return the same prediction beside images whose pixels are the means of blocks.

        Raises:
            ConfigError: if blocks do not tile the images.
        """
        if factor == 1:
            return self
        height, width = self.target.shape[-2:]
        if factor < 1 or height % factor or width % factor:
            raise ConfigError(
                f"blocks of {factor} pixels do not tile images of {height}x{width}; "
                "choose a shrink that divides both, such as 2 or 4"
            )
        inputs = self.batch.inputs
        clean = torch.stack([functional.avg_pool2d(x, factor) for x in self.batch.clean.unbind(1)], 1)
        camera = replace(inputs, intrinsics=shrink_intrinsics(inputs.intrinsics, factor))
        return replace(self, batch=replace(self.batch, inputs=camera, clean=clean))

    def scales(self) -> Iterator[Scene]:
        """Give a scene for each scale of the prediction alone, beside images of its own size."""
        for scale, disparity in enumerate(self.geometry.disparities):
            masks = self.geometry.masks[scale : scale + 1]
            geometry = self.geometry._replace(disparities=[disparity], masks=masks)
            yield replace(self.shrunk(2**scale), geometry=geometry)

    def motion(self, view: View) -> Float[Tensor, "b 4 4"]:
        """Return `T_view,target` in units of depth: predicted where a network did, else known."""
        if view in self.geometry.motions:
            return self.geometry.motions[view]
        known = self.batch.pose(view)
        if view.camera == TARGET.camera or self.baseline is None:
            return known
        length = known[..., :3, 3].norm(dim=-1)[..., None, None]
        translation = torch.arange(4, device=known.device) == 3
        return torch.where(translation & ~translation[:, None], known * (self.baseline / length), known)

    @cached_property
    def images(self) -> Float[Tensor, "n b 3 h w"]:
        """The clean images of the sources."""
        return torch.stack([self.batch.reference(view) for view in self.sources])

    @cached_property
    def soundness(self) -> Float[Tensor, ""]:
        """0, or NaN if a depth or a motion is not finite: warped images do not show it."""
        motions = torch.stack([self.motion(view) for view in self.sources])
        return 0 * (self.depths.detach().sum() + motions.detach().sum())

    @cached_property
    def warped(self) -> Warp:
        """The sources as the target camera would see them, by the depth of every scale."""
        inputs = self.batch.inputs
        return inverse_warp(
            self.images,
            self.depths,
            inputs.camera(TARGET),
            torch.stack([inputs.camera(view) for view in self.sources]),
            torch.stack([self.motion(view) for view in self.sources]),
        )


class Term(ABC):
    """A part of the loss: a rule without parameters that a configuration can name."""

    needs: frozenset[str] = frozenset()
    """Labels of the batch without which it is left out."""
    compares: bool = False
    """Whether it compares the target with its sources."""

    def defined(self, batch: Batch) -> bool:
        """Return whether the batch has what the term needs."""
        return self.needs <= batch.labels.keys()

    @abstractmethod
    def __call__(self, scene: Scene) -> Float[Tensor, ""]:
        """Return the weighted term."""
