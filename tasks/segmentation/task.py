"""The segmentation task: its head, losses and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.classes import UNLABELLED, ClassSet, find_classes
from mtdrive.data.labels import check_ids
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError
from mtdrive.show import stacked
from mtdrive.task import Pyramid, Task
from mtdrive.tasks.segmentation.decoders import Decoder, DecoderName
from mtdrive.tasks.segmentation.losses import cross_entropy, dice

LABEL = "semantics"

Logits = Float[Tensor, "b c h w"]


class Segmentation(Task[Logits]):
    """The class of every pixel of the target, as scores of all classes at the size of the image."""

    needs = frozenset({LABEL})
    kind = "classification"

    def __init__(
        self,
        encoder: Encoder,
        decoder: DecoderName = "Unet",
        classes: ClassSet | Sequence[str] = "cityscapes",
        width: int | None = None,
        weights: dict[str, float] | None = None,
    ) -> None:
        """Build the head.

        Args:
            encoder: the shared one.
            decoder: of segmentation-models-pytorch.
            classes: a set of `mtdrive.classes`, or the names of one's own; the data must have the same.
            width: channels of the decoder, those of its coarsest step where it halves them from step to step
                (Unet, UnetPlusPlus, MAnet); the library's own if none is given.
            weights: of the terms `cross_entropy` and `dice`, 1 where none is given; 0 leaves a term out.

        Raises:
            ConfigError: if the settings contradict each other or do not fit the encoder.
        """
        super().__init__()
        self.set = find_classes(classes)
        self.classes = {LABEL: self.set.names}
        self.decoder = Decoder(decoder, encoder.channels, encoder.strides, len(self.set), width)
        self.weights = {"cross_entropy": 1.0, "dice": 1.0}
        self._check(weights or {})
        self.weights |= weights or {}

    def _check(self, weights: Mapping[str, float]) -> None:
        if unknown := sorted(set(weights) - set(self.weights)):
            raise ConfigError(f"weights name {unknown}, but the terms are {', '.join(self.weights)}")
        if min(weights.values(), default=1) < 0 or not any((self.weights | dict(weights)).values()):
            raise ConfigError(f"weights must be at least 0, and one of them more, found {dict(weights)}")

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Logits:
        """Predict the scores, which a softmax turns into shares."""
        scores = self.decoder(features[TARGET])
        size = inputs.images.shape[-2:]
        return functional.interpolate(scores, size, mode="bilinear", align_corners=False)

    def loss(self, output: Logits, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Return the terms whose weight is not 0.

        Raises:
            DataError: if the label does not fit the image or the classes.
        """
        truth = self._truth(output, batch)
        terms = {"cross_entropy": cross_entropy, "dice": dice}
        return {n: self.weights[n] * term(output, truth) for n, term in terms.items() if self.weights[n]}

    def _truth(self, output: Logits, batch: Batch) -> Int64[Tensor, "b h w"]:
        truth = batch.labels[LABEL]
        where = f"the label {LABEL} of {', '.join(batch.names) or 'a batch'} for the task Segmentation"
        expected = (len(output), *output.shape[-2:])
        if tuple(truth.shape) != expected or truth.dtype != torch.int64:
            raise DataError(
                f"{where} is {tuple(truth.shape)} of {truth.dtype}, expected {expected}, as the images, of "
                "torch.int64; convert it in its reader"
            )
        if truth.device.type == "cpu":  # elsewhere looking would wait for the device; loaders looked already
            check_ids(truth, len(self.set), where)
        return truth

    def metrics(self, output: Logits, batch: Batch) -> dict[str, Tensor]:
        """Return how many pixels of each class (row) were taken for which (column), for every item."""
        if LABEL not in batch.labels:
            return {}
        return {"confusion": confusion(output.argmax(1), self._truth(output, batch), len(self.set))}

    def summarise(self, columns: Mapping[str, Tensor]) -> dict[str, float]:
        """Return IoU of the counts summed over all items.

        `miou` is the mean over the classes that occur in labels or predictions, `iou/road` that of one, and
        `accuracy` the share of the pixels whose class is right.
        """
        if "confusion" not in columns:
            return {}
        counts = columns["confusion"].sum(0).double()
        if not counts.any():
            return {}
        right = counts.diagonal()
        ious = right / (counts.sum(0) + counts.sum(1) - right)
        figures = {"miou": float(ious.nanmean()), "accuracy": float(right.sum() / counts.sum())}
        named = zip(self.set.names, ious.tolist(), strict=True)
        return figures | {f"iou/{name}": iou for name, iou in named if iou == iou}

    @torch.no_grad()
    def picture(self, output: Logits, batch: Batch) -> Float[Tensor, "3 _h _w"]:
        """Draw, from top to bottom: image, prediction and, where it is known, truth; no class is black."""
        maps = [output[0].argmax(0)]
        if LABEL in batch.labels:
            maps.append(self._truth(output, batch)[0])
        return stacked([batch.inputs.image(TARGET)[0], *map(self.coloured, maps)])

    def coloured(self, classes: Int64[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
        """Return a map of classes in their colours."""
        colours = torch.zeros(UNLABELLED + 1, 3)
        colours[: len(self.set)] = torch.tensor(self.set.colours) / 255
        return colours[classes.cpu()].permute(2, 0, 1)


def confusion(
    predicted: Int64[Tensor, "b h w"], truth: Int64[Tensor, "b h w"], count: int
) -> Int64[Tensor, "b c c"]:
    """Return the number of labelled pixels by their true class (row) and the predicted one (column)."""
    items = torch.arange(len(truth), device=truth.device)[:, None, None]
    known = truth != UNLABELLED
    pairs = ((items * count + truth) * count + predicted)[known]
    return pairs.bincount(minlength=len(truth) * count * count).view(-1, count, count)
