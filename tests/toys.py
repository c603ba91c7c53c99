"""Toy tasks and sources: small enough to reason about, real enough for every part of the line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from mtdrive.batch import TARGET, Batch, Inputs, Label, View, declare_label
from mtdrive.data.recording import Recording, Size, Source, Target
from mtdrive.encoder import Encoder
from mtdrive.losses import valid_mean
from mtdrive.task import Coupling, Pyramid, Task

declare_label("toy_grade", Label(shape="1", meaning="how bright the target is, in [0, 1]", mirror="none"))


class Brightness(Task[Float[Tensor, "b 1"]]):
    """Predicts a label of its own, `toy_grade`; NaN where unlabelled."""

    needs = frozenset({"toy_grade"})

    def __init__(self, encoder: Encoder, dropout: float = 0.0) -> None:
        super().__init__()
        self.head = nn.Linear(encoder.channels[-1], 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Float[Tensor, "b 1"]:
        out: Tensor = self.head(self.dropout(features[TARGET][-1].mean((2, 3))))
        return out

    def loss(self, output: Float[Tensor, "b 1"], batch: Batch) -> dict[str, Tensor]:
        truth = batch.labels["toy_grade"]
        return {"l2": valid_mean((output - truth.nan_to_num()).square(), ~truth.isnan())}

    def metrics(self, output: Float[Tensor, "b 1"], batch: Batch) -> dict[str, Tensor]:
        if "toy_grade" not in batch.labels:
            return {}
        return {"error": (output - batch.labels["toy_grade"]).abs()[:, 0]}


class Halves(Task[Float[Tensor, "b 2 h w"]]):
    """Tells two classes of pixels apart; unlabelled ones are 255."""

    needs = frozenset({"semantics"})
    kind = "classification"

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.head = nn.Conv2d(encoder.channels[0], 2, 1)

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Float[Tensor, "b 2 h w"]:
        return functional.interpolate(self.head(features[TARGET][0]), inputs.images.shape[-2:])

    def loss(self, output: Float[Tensor, "b 2 h w"], batch: Batch) -> dict[str, Tensor]:
        truth = batch.labels["semantics"] % 2
        return {"cross_entropy": functional.cross_entropy(output, truth)}


class Ahead(Task[Float[Tensor, "b 1"]]):
    """Needs no label: tells from two views which is brighter."""

    views = (TARGET, View("front", 1))
    reads = (TARGET, View("front", 1))

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.head = nn.Linear(2 * encoder.channels[-1], 1)

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Float[Tensor, "b 1"]:
        both = [features.get(view, features[TARGET])[-1].mean((2, 3)) for view in self.reads]
        out: Tensor = self.head(torch.cat(both, 1))
        return out

    def loss(self, output: Float[Tensor, "b 1"], batch: Batch) -> dict[str, Tensor]:
        truth = batch.reference(TARGET).mean((1, 2, 3)) - batch.reference(self.views[1]).mean((1, 2, 3))
        return {"l2": (output[:, 0] - truth).square().mean(), "size": 1e-3 * output.square().mean()}


class Agreement(Coupling):
    """Ties `grade` and `ahead`."""

    between = ("grade", "ahead")
    views = (TARGET, View("front", 1))

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, outputs: Mapping[str, Any], batch: Batch) -> dict[str, Tensor]:
        return {"gap": (self.gain * outputs["grade"] - outputs["ahead"]).square().mean()}


class ToyRecording(Recording):
    """Images drawn by a formula, in memory."""

    def __init__(self, name: str, length: int, labels: Sequence[str] = (), size: Size = (40, 72)) -> None:
        self.name, self.length, self.size, self._labels = name, length, size, frozenset(labels)

    def frames(self, camera: str) -> Sequence[int]:
        return range(self.length) if camera in ("front", "stereo") else ()

    def path(self, camera: str, frame: int) -> Path:
        return Path(self.name) / camera / str(frame)

    def image(self, camera: str, frame: int) -> Image.Image:
        rng = np.random.default_rng([frame, len(camera)])
        return Image.fromarray(rng.integers(0, 256, (*self.size, 3), dtype=np.uint8))

    def intrinsics(self, camera: str, size: Size) -> Float[Tensor, "3 3"]:
        h, w = size
        return torch.tensor([[0.6 * w, 0, w / 2], [0, 0.6 * w, h / 2], [0, 0, 1]], dtype=torch.float64)

    def rig(self, camera: str, frame: int) -> Float[Tensor, "4 4"]:
        rig = torch.eye(4, dtype=torch.float64)
        rig[0, 3] = -0.5 * (camera == "stereo")
        return rig

    def pose(self, frame: int) -> Float[Tensor, "4 4"] | None:
        pose = torch.eye(4, dtype=torch.float64)
        pose[2, 3] = 0.8 * frame
        return pose

    @property
    def labels(self) -> frozenset[str]:
        return self._labels

    def label(self, name: str, frame: int, size: Size) -> Tensor:
        if name == "toy_grade":
            return torch.tensor([frame / self.length if frame % 3 else torch.nan])
        if name == "semantics":
            return torch.arange(size[1]).expand(size) // (size[1] // 2)
        return super().label(name, frame, size)


class ToySource(Source):
    """One toy recording."""

    def __init__(self, length: int = 12, labels: Sequence[str] = (), name: str = "toy") -> None:
        self.recording = ToyRecording(name, length, labels)

    def targets(self) -> Sequence[Target]:
        return [Target(self.recording, frame) for frame in range(self.recording.length)]
