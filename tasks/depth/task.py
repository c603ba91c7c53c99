"""The depth task: its networks, losses and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.decoders import DisparityDecoder
from mtdrive.encoder import Encoder
from mtdrive.geometry import disparity_to_depth, euler_angles, invert, pose_matrix
from mtdrive.metrics import depth_metrics, pearson
from mtdrive.pose import Frame, PoseNetwork, SeparatePose
from mtdrive.show import coloured, grey, stacked
from mtdrive.task import Pyramid, Task
from mtdrive.tasks.depth.photometric import Photometric
from mtdrive.tasks.depth.scene import Geometry, Scene, Term
from mtdrive.tasks.depth.smoothness import Smoothness


class Depth(Task[Geometry]):
    """Disparity from the shared features of the target, motion from pairs of frames.

    Depth is up to one unknown scale, which the motion shares.
    """

    def __init__(
        self,
        encoder: Encoder,
        pose: Callable[[Encoder], PoseNetwork] = SeparatePose,
        terms: dict[str, Term] | None = None,
        offsets: Sequence[int] = (-1, 1),
        scales: int = 4,
        min_depth: float = 0.1,
        max_depth: float = 100.0,
    ) -> None:
        """Build the heads; the defaults are Monodepth2's.

        Args:
            encoder: the shared one.
            pose: predicts motion from two frames.
            terms: of the loss by name; photometric and smoothness if none are given.
            offsets: of the frames that explain the target.
            scales: number of disparity maps, each half as large as the one before.
            min_depth: depth of a disparity of 1, in the unit of the motion.
            max_depth: depth of a disparity of 0.
        """
        super().__init__()
        self.decoder = DisparityDecoder(encoder.channels, encoder.strides, scales)
        self.pose = pose(encoder)
        self.terms = terms or {"photometric": Photometric(), "smoothness": Smoothness()}
        self.neighbours = tuple(View("front", offset) for offset in offsets)
        self.views = (TARGET, *self.neighbours)
        self.reads = self.views if self.pose.reads_features else (TARGET,)
        self.min_depth, self.max_depth = min_depth, max_depth

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Geometry:
        """Predict disparity, and the motion to those neighbours that are there."""
        present = [view for view in self.neighbours if view in inputs.views]
        motions = {view: self._motion(view, features, inputs) for view in present}
        return Geometry(self.decoder(features[TARGET]), motions)

    def _motion(self, view: View, features: Mapping[View, Pyramid], inputs: Inputs) -> Float[Tensor, "b 4 4"]:
        """Return `T_view,target`; the network sees the frames in the order of time."""
        earlier, later = sorted((view, TARGET), key=lambda v: v.offset)
        frames = [Frame(inputs.image(v), features.get(v, ())) for v in (earlier, later)]
        pose = pose_matrix(*self.pose(*frames))
        return pose if earlier == TARGET else invert(pose)

    def loss(self, output: Geometry, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Return every term."""
        scene = self.scene(output, batch)
        return {name: term(scene) for name, term in self.terms.items()}

    def scene(self, output: Geometry, batch: Batch) -> Scene:
        """Return a prediction beside what it has to explain."""
        return Scene(output, batch, self.neighbours, self.min_depth, self.max_depth)

    def disparity(self, output: Geometry) -> Float[Tensor, "b h w"]:
        """Return disparity in 1/m (up to the unknown scale) at the finest scale."""
        return disparity_to_depth(output.disparities[0][:, 0], self.min_depth, self.max_depth)[0]

    def metrics(self, output: Geometry, batch: Batch) -> dict[str, Tensor]:
        """Return depth errors after median scaling, and predicted beside known motion, as far as known."""
        columns: dict[str, Tensor] = {}
        if "depth" in batch.labels:
            columns |= depth_metrics(1 / self.disparity(output), batch.labels["depth"])
        for view, motion in output.motions.items():
            known = batch.pose(view)
            for name, pose in (("predicted", motion), ("known", known)):
                # Towards the later frame, so that the columns of both directions agree in sign.
                forward = pose.detach() if view.offset > 0 else invert(pose.detach())
                columns[f"yaw_{name}/{view}"] = euler_angles(forward)[:, 1]
                columns[f"speed_{name}/{view}"] = -forward[:, 2, 3]
        return columns

    def summarise(self, columns: Mapping[str, Tensor]) -> dict[str, float]:
        """Return mean depth errors, and how predicted yaw and forward motion correlate with known ones."""
        motions = {n: x for n, x in columns.items() if n.startswith(("yaw_", "speed_"))}
        figures = super().summarise({n: x for n, x in columns.items() if n not in motions})
        for kind in ("yaw", "speed"):
            predicted, known = (
                [x for name, x in sorted(motions.items()) if name.startswith(f"{kind}_{which}")]
                for which in ("predicted", "known")
            )
            if predicted and not torch.cat(known).isnan().all():
                pair = pearson(torch.cat(predicted)[None], torch.cat(known)[None])
                figures[f"{kind}_correlation"] = float(pair)
        return figures

    @torch.no_grad()
    def picture(self, output: Geometry, batch: Batch) -> Float[Tensor, "3 h w"]:
        """Draw, from top to bottom: input, disparity, each warped neighbour, the pixels that train."""
        rows = [batch.inputs.image(TARGET)[0], coloured(output.disparities[0][0, 0])]
        photometric = next((t for t in self.terms.values() if isinstance(t, Photometric)), None)
        if set(self.neighbours) <= set(output.motions) and photometric:
            scene = self.scene(output, batch)
            rows += [warped[0].cpu() for warped in scene.warped.images[0]]
            rows.append(grey(photometric.errors(scene).mask[0, 0]))
        return stacked([row.cpu() for row in rows])
