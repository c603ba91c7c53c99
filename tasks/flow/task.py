"""The flow task: its network, losses and metrics."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.utils import flow_to_image

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError
from mtdrive.flow_fields import enlarge
from mtdrive.metrics_flow import flow_metrics, pooled_columns
from mtdrive.show import grey, stacked
from mtdrive.task import Pyramid, Task
from mtdrive.tasks.flow.network import FlowDecoder
from mtdrive.tasks.flow.pair import Fields, FlowTerm, Pair
from mtdrive.tasks.flow.terms import Census, FlowSmoothness

LABELS = {-1: "flow", 1: "flow_next"}
"""The label with the true flow to the frame before, and to the next one."""


class Flow(Task[Fields]):
    """Flow from the target to the frame before or after it, and back."""

    def __init__(
        self,
        encoder: Encoder,
        to: int = -1,
        terms: dict[str, FlowTerm] | None = None,
        occlusion: bool = True,
        finest: int = 4,
        reach: tuple[int, int] = (3, 4),
        width: int = 32,
    ) -> None:
        """Build the network.

        Args:
            encoder: the shared one.
            to: where the flow leads: -1 is the frame before the target, 1 the next one.
            terms: of the loss by name; census and smoothness if none are given.
            occlusion: whether only pixels that both images show are compared, as far as flow and flow back
                agree on it.
            finest: stride of the finest flow; it is enlarged to the size of the image.
            reach: largest correction in cells of a level, (down and up, right and left).
            width: channels of the features that are compared.

        Raises:
            ConfigError: if `to` is another number, or the encoder has no level of that stride.
        """
        super().__init__()
        if to not in LABELS:
            raise ConfigError(f"flow leads to the frame before (to: -1) or the next one (to: 1), found {to}")
        self.decoder = FlowDecoder(encoder.channels, encoder.strides, finest, reach, width)
        self.terms = terms or {"census": Census(), "smoothness": FlowSmoothness()}
        self.other, self.label, self.occlusion = View("front", to), LABELS[to], occlusion
        self.views = self.reads = (TARGET, self.other)
        if all(term.supervised for term in self.terms.values()):
            self.needs = frozenset({self.label})

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Fields:
        """Predict flow in both directions, in one batch."""
        if self.other not in features:
            return Fields([], [])
        here, there = features[TARGET], features[self.other]
        first = [torch.cat(levels) for levels in zip(here, there, strict=True)]
        second = [torch.cat(levels) for levels in zip(there, here, strict=True)]
        both = [flow.chunk(2) for flow in self.decoder(first, second)]
        return Fields([forward for forward, _ in both], [backward for _, backward in both])

    def loss(self, output: Fields, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Return every term that the batch has the data for.

        Raises:
            DataError: if there is none.
        """
        pair = self.pair(output, batch)
        known = self.label in batch.labels
        losses = {name: term(pair) for name, term in self.terms.items() if known or not term.supervised}
        if not losses:
            raise DataError(
                f"no term of the flow loss ({', '.join(self.terms)}) is defined without the label "
                f"{self.label!r}; add it to the labels of the data set, or other terms"
            )
        return losses

    def pair(self, output: Fields, batch: Batch) -> Pair:
        """Return a prediction beside what it has to explain."""
        return Pair(output, batch, self.other, self.label, self.occlusion)

    def flow(self, output: Fields, size: tuple[int, int]) -> Float[Tensor, "b 2 h w"]:
        """Return the finest flow to the other view at the size of the image, in its pixels."""
        return enlarge(output.flows[0], size)

    def metrics(self, output: Fields, batch: Batch) -> dict[str, Tensor]:
        """Return the errors against the true flow, and those of no motion, if the batch knows it."""
        if self.label not in batch.labels or not output.flows:
            return {}
        truth = batch.labels[self.label]
        flow = self.flow(output, (truth.shape[-2], truth.shape[-1]))
        still = flow_metrics(torch.zeros_like(flow), truth)
        return {**flow_metrics(flow, truth), "epe_still": still["epe"]}

    def summarise(self, columns: Mapping[str, Tensor]) -> dict[str, float]:
        """Return means over all pixels of the data set, as KITTI's development kit does."""
        return pooled_columns(columns) if columns else {}

    @torch.no_grad()
    def picture(self, output: Fields, batch: Batch) -> Float[Tensor, "3 h w"]:
        """Draw, from top to bottom: input, flow, the other view moved back, compared pixels, true flow."""
        rows = [batch.inputs.image(TARGET)[0]]
        if output.flows:
            pair = self.pair(output, batch)
            rows += [_coloured(pair.flows[0, 0]), pair.warped.images[0, 0], grey(pair.compared[0, 0])]
        if self.label in batch.labels:
            rows.append(_coloured(batch.labels[self.label][0]))
        return stacked([row.cpu() for row in rows])


def _coloured(flow: Float[Tensor, "2 h w"]) -> Float[Tensor, "3 h w"]:
    """Return the colours of Baker et al., IJCV 2011: the hue is the direction; white does not move."""
    picture: Tensor = flow_to_image(flow.detach().float().cpu().nan_to_num(0.0))
    return picture.float() / 255
