"""From a target frame to an item with its neighbours: the one place that knows time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.data.augment import Augment
from mtdrive.data.images import resized_pixels, to_pixels
from mtdrive.data.packed import Packed
from mtdrive.data.recording import Recording, Size, Source, Target
from mtdrive.errors import DataError
from mtdrive.randomness import generator

Key = tuple[int, int]
"""Epoch and position: an item's augmentation is a function of both."""


class Windows(Dataset[Batch]):
    """Items of a source: every target for which all views exist, loaded, resized and augmented."""

    def __init__(
        self,
        source: Source,
        views: Iterable[View],
        size: Size,
        stride: int = 1,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """List the targets.

        Args:
            source: the data set.
            views: what each item holds; the target comes first.
            size: of the images, in pixels (height, width).
            stride: how many frames on disk one step of `View.offset` is.
            augment: flips and jitter, or none.
            seed: of the augmentation.

        Raises:
            DataError: if no target has all views.
        """
        self.views = (TARGET, *sorted(set(views) - {TARGET}))
        self.size, self.stride, self.augment, self.seed = size, stride, augment, seed
        self.targets = self._complete(source.targets())

    def _complete(self, targets: Sequence[Target]) -> list[Target]:
        cameras = {view.camera for view in self.views}
        recordings = {id(t.recording): t.recording for t in targets}
        frames = {key: {c: set(r.frames(c)) for c in cameras} for key, r in recordings.items()}
        complete = []
        lacking: set[View] = set()
        for target in targets:
            missing = self._missing(target, frames[id(target.recording)])
            if missing is None:
                complete.append(target)
                continue
            lacking.add(missing)
            if target.required:
                raise DataError(
                    f"{target.recording.name}: frame {target.frame} is listed, but its view {missing} "
                    f"(stride {self.stride}) is not on disk; take it off the list or restore the image"
                )
        if not complete:
            names = ", ".join(sorted({t.recording.name for t in targets})) or "the source"
            views, lacks = (", ".join(map(str, which)) for which in (self.views, sorted(lacking)))
            raise DataError(
                f"no frame of {names} has all of the views {views} at stride {self.stride}, they lack "
                f"{lacks}; restore its images, record longer sequences, or ask for fewer views"
            )
        return complete

    def _missing(self, target: Target, frames: dict[str, set[int]]) -> View | None:
        """Return the first view that does not exist for `target`."""
        return next((v for v in self.views if self._frame(target, v) not in frames[v.camera]), None)

    def _frame(self, target: Target, view: View) -> int:
        return target.frame + view.offset * self.stride

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labels(self) -> frozenset[str]:
        """Labels that every item has."""
        return frozenset.intersection(*(t.recording.labels for t in self.targets))

    @property
    def posed(self) -> frozenset[View]:
        """Views whose pose relative to the target every recording knows."""
        firsts = {id(t.recording): t for t in reversed(self.targets)}.values()
        return frozenset(v for v in self.views if all(self._pose(t, v).isfinite().all() for t in firsts))

    def __getitem__(self, key: Key | int) -> Batch:
        return self.packed(key).to("cpu")

    def packed(self, key: Key | int) -> Packed:
        """Return an item as it travels between processes."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        item = self._load(self.targets[index])
        if self.augment is None:
            return item
        return self.augment(item, generator(self.seed, "augment", epoch, index))

    def _load(self, target: Target) -> Packed:
        recording = target.recording
        intrinsics = torch.stack([recording.intrinsics(v.camera, self.size) for v in self.views])
        speed = recording.speed(target.frame)
        no_rows = torch.empty(len(self.views), 3, 0, self.size[1])
        rest = Batch(
            inputs=Inputs(
                views=self.views,
                images=no_rows,
                intrinsics=intrinsics.float(),
                speed=None if speed is None else torch.tensor(speed),
            ),
            clean=no_rows,
            poses=torch.stack([self._pose(target, view) for view in self.views]).float(),
            labels={n: recording.label(n, target.frame, self.size) for n in sorted(recording.labels)},
            names=(str(recording.path("front", target.frame)),),
        )
        images = torch.stack([self._image(target, view) for view in self.views])
        return Packed(images=images, jitters=(None,), rest=rest)

    def _image(self, target: Target, view: View) -> UInt8[Tensor, "3 h w"]:
        return resized_pixels(target.recording.image(view.camera, self._frame(target, view)), self.size)

    def _pose(self, target: Target, view: View) -> Float[Tensor, "4 4"]:
        """Return `T_view,target`, NaN where the recording does not know it."""
        moved = _motion(target.recording, target.frame, self._frame(target, view))
        rig = target.recording.rig() if view.camera == "stereo" else torch.eye(4, dtype=torch.float64)
        if moved is None or rig is None:
            return torch.full((4, 4), torch.nan, dtype=torch.float64)
        return rig @ moved


def _motion(recording: Recording, target: int, other: int) -> Float[Tensor, "4 4"] | None:
    """Return `T_other,target` of the front camera."""
    if target == other:
        return torch.eye(4, dtype=torch.float64)
    here, there = recording.pose(target), recording.pose(other)
    return None if here is None or there is None else torch.linalg.inv(there) @ here


def resized(image: Image.Image, size: Size) -> Float[Tensor, "3 h w"]:
    """Return `image` in [0, 1], resized with Lanczos where its size differs."""
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return to_pixels(image).contiguous().float().div_(255)
