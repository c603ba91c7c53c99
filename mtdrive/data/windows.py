"""From a target frame to an item with its neighbours: the one place that knows time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.data.augment import Augment
from mtdrive.data.images import resized_pixels, to_pixels
from mtdrive.data.labels import read_label
from mtdrive.data.packed import Packed
from mtdrive.data.recording import Recording, Size, Source, Target
from mtdrive.errors import DataError
from mtdrive.randomness import generator
from mtdrive.rig import Rig

Key = tuple[int, ...]
"""Epoch and position, which an item's augmentation is a function of; and, where an item comes again in an
epoch, how often it came before."""


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
        self._intrinsics: dict[int, Float[Tensor, "v 3 3"]] = {}

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
                f"{lacks}; restore its images, record longer sequences in which the camera moves, or ask for "
                "fewer views"
            )
        return complete

    def _missing(self, target: Target, frames: dict[str, set[int]]) -> View | None:
        """Return the first view that does not exist for `target`."""
        return next((v for v in self.views if self._found(target, v) not in frames[v.camera]), None)

    def _found(self, target: Target, view: View) -> int | None:
        if view.offset == 0:
            return target.frame
        return target.recording.neighbour(target.frame, view.offset, self.stride)

    def _frame(self, target: Target, view: View) -> int:
        """Return the frame of a view of one of the targets, which have all."""
        frame = self._found(target, view)
        assert frame is not None
        return frame

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def recordings(self) -> list[Recording]:
        """Return every recording that the targets are of, once."""
        return list({id(target.recording): target.recording for target in self.targets}.values())

    @property
    def labels(self) -> frozenset[str]:
        """Labels that every item has."""
        return frozenset.intersection(*(t.recording.labels for t in self.targets))

    @property
    def posed(self) -> frozenset[View]:
        """Views whose pose relative to the target every recording knows."""
        firsts = {id(t.recording): t for t in reversed(self.targets)}.values()
        poses = [self._poses(t, [self._frame(t, v) for v in self.views]) for t in firsts]
        return frozenset(v for i, v in enumerate(self.views) if all(p[i].isfinite().all() for p in poses))

    def rig(self, recording: Recording) -> Rig | None:
        """Return how the cameras of a recording sit on its car, with the size of the items' images."""
        rig = recording.car_rig()
        return None if rig is None else replace(rig, size=self.size)

    def __getitem__(self, key: Key | int) -> Batch:
        return self.packed(key).to("cpu")

    def packed(self, key: Key | int) -> Packed:
        """Return an item as it travels between processes."""
        key = key if isinstance(key, tuple) else (0, key)
        item = self._load(self.targets[key[1]])
        if self.augment is None:
            return item
        return self.augment(item, generator(self.seed, "augment", *key))

    def _load(self, target: Target) -> Packed:
        recording = target.recording
        frames = [self._frame(target, view) for view in self.views]
        speed, command = recording.speed(target.frame), recording.command(target.frame)
        no_rows = torch.empty(len(self.views), 3, 0, self.size[1])
        rest = Batch(
            inputs=Inputs(
                views=self.views,
                images=no_rows,
                intrinsics=self._cameras(recording),
                speed=None if speed is None else torch.tensor(speed),
                command=None if command is None else torch.tensor(command),
                target_point=recording.target_point(target.frame),
            ),
            clean=no_rows,
            poses=self._poses(target, frames),
            labels={
                name: read_label(recording, name, target.frame, self.size, len(self.views))
                for name in sorted(recording.labels)
            },
            names=(str(recording.path("front", target.frame)),),
        )
        images = [self._image(recording, *where) for where in zip(self.views, frames, strict=True)]
        return Packed(images=torch.stack(images), jitters=(None,), rest=rest)

    def _cameras(self, recording: Recording) -> Float[Tensor, "v 3 3"]:
        """Return K of every view, which is the same in all frames."""
        if id(recording) not in self._intrinsics:
            matrices = [recording.intrinsics(view.camera, self.size) for view in self.views]
            self._intrinsics[id(recording)] = torch.stack(matrices).float()
        return self._intrinsics[id(recording)].clone()

    def _image(self, recording: Recording, view: View, frame: int) -> UInt8[Tensor, "3 h w"]:
        return resized_pixels(recording.image(view.camera, frame), self.size)

    def _poses(self, target: Target, frames: Sequence[int]) -> Float32[Tensor, "v 4 4"]:
        """Return `T_view,target` of every view, NaN where the recording does not know it."""
        poses = np.full((len(frames), 4, 4), np.nan, np.float32)
        for i, (view, frame) in enumerate(zip(self.views, frames, strict=True)):
            pose = _pose(target, view, frame)
            if pose is not None:
                poses[i] = pose
        return torch.from_numpy(poses)


def _pose(target: Target, view: View, frame: int) -> Float64[np.ndarray, "4 4"] | None:
    """Return `T_view,target`, None where the recording does not know it."""
    moved = np.eye(4) if frame == target.frame else target.recording.motion(target.frame, frame)
    if moved is None or view.camera == TARGET.camera:
        return moved
    rig = target.recording.rig(view.camera, frame)
    return None if rig is None else rig.numpy() @ moved


def resized(image: Image.Image, size: Size) -> Float[Tensor, "3 h w"]:
    """Return `image` in [0, 1], resized with Lanczos where its size differs."""
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return to_pixels(image).contiguous().float().div_(255)
