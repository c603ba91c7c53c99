"""The depth task: its networks, losses and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.decoders import Decoder, DisparityDecoder
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError
from mtdrive.geometry import disparity_to_depth, euler_angles, invert
from mtdrive.metrics import depth_metrics, pearson
from mtdrive.pose import Frame, MotionNetwork, SeparatePose
from mtdrive.show import coloured, grey, stacked
from mtdrive.task import Pyramid, Task
from mtdrive.tasks.depth.photometric import Photometric
from mtdrive.tasks.depth.scene import Geometry, Scene, Term
from mtdrive.tasks.depth.smoothness import Smoothness


class Depth(Task[Geometry]):
    """Disparity from the shared features of the target, motion from pairs of frames.

    Depth is up to one unknown scale, which the motion shares, unless a stereo rig, known poses, speed or
    depth labels give it.
    """

    def __init__(
        self,
        encoder: Encoder,
        pose: Callable[[Encoder], MotionNetwork] | None = SeparatePose,
        terms: dict[str, Term] | None = None,
        offsets: Sequence[int] = (-1, 1),
        stereo: bool = False,
        baseline: float | None = None,
        predictive_mask: bool = False,
        scales: int = 4,
        min_depth: float = 0.1,
        max_depth: float = 100.0,
    ) -> None:
        """Build the heads; the defaults are Monodepth2's.

        Args:
            encoder: the shared one.
            pose: predicts the motion to the neighbours in time; none takes the known poses of the data.
            terms: of the loss by name; photometric and smoothness if none are given.
            offsets: of the frames that explain the target.
            stereo: whether the other eye of a calibrated rig explains the target, too.
            baseline: length of the rig in units of depth, such as Monodepth2's 0.1; the true length, which
                makes depth metric, if none is given.
            predictive_mask: whether a decoder of its own says how explainable each pixel is from each source
                (the baseline of Godard et al.).
            scales: number of disparity maps, each half as large as the one before.
            min_depth: depth of a disparity of 1, in the unit of the motion.
            max_depth: depth of a disparity of 0.

        Raises:
            ConfigError: if the settings contradict each other.
        """
        super().__init__()
        self.decoder = DisparityDecoder(encoder.channels, encoder.strides, scales)
        self.terms = terms or {"photometric": Photometric(), "smoothness": Smoothness()}
        self.neighbours = tuple(View("front", offset) for offset in offsets)
        self.pose = pose(encoder) if pose and self.neighbours else None
        rig = (View("stereo", 0),) if stereo else ()
        self.sources = (*self.neighbours, *rig)
        self.mask = (
            Decoder(encoder.channels, encoder.strides, len(self.sources), scales) if predictive_mask else None
        )
        self.views = (TARGET, *self.sources)
        self.reads = (TARGET, *self.neighbours) if self.pose and self.pose.reads_features else (TARGET,)
        self.poses = rig if self.pose else self.sources
        self.needs = frozenset.intersection(*(term.needs for term in self.terms.values()))
        self.min_depth, self.max_depth, self.baseline = min_depth, max_depth, baseline
        self._check(stereo)

    def _check(self, stereo: bool) -> None:
        comparing = [name for name, term in self.terms.items() if term.compares]
        if comparing and not self.sources:
            raise ConfigError(
                f"the terms {', '.join(comparing)} compare the target with other views, but there are none; "
                "give offsets, set stereo, or leave the terms out"
            )
        if not 0 < self.min_depth < self.max_depth:
            raise ConfigError(
                f"depth must run from a positive min_depth to a larger max_depth, found {self.min_depth} and "
                f"{self.max_depth}"
            )
        if self.baseline is not None and not (stereo and self.baseline > 0):
            raise ConfigError(f"baseline is {self.baseline}; it is a positive length, of a stereo rig only")

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Geometry:
        """Predict disparity, and the motion to those neighbours that are there."""
        disparities = self.decoder(features[TARGET])
        present = [view for view in self.neighbours if view in inputs.views]
        if self.pose is None or not present:
            return Geometry(disparities, {}, self._masks(features[TARGET], []), self.limits)
        frames = {
            view: Frame(inputs.image(view), features.get(view, ()) if self.pose.reads_features else ())
            for view in (TARGET, *present)
        }
        motions = self.pose.motions(frames)
        masks = self._masks(features[TARGET], motions.masks)
        return Geometry(disparities, motions.poses, masks, self.limits)

    @property
    def limits(self) -> tuple[float, float]:
        """Depth of disparities of 1 and 0."""
        return self.min_depth, self.max_depth

    def _masks(
        self, pyramid: Pyramid, of_pose: list[Float[Tensor, "b n _h _w"]]
    ) -> list[Float[Tensor, "b n _h _w"]]:
        """Return the masks of the decoder, else those that the motion network gave."""
        if self.mask is not None:
            masks: list[Float[Tensor, "b n _h _w"]] = self.mask(pyramid)
            return masks
        if of_pose and len(self.sources) != len(self.neighbours):
            raise ConfigError(
                "the masks of the pose network know nothing of the other eye; set its masks to false"
            )
        return of_pose

    def loss(self, output: Geometry, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Return every term that the batch has the data for.

        Raises:
            DataError: if there is none.
        """
        scene = self.scene(output, batch)
        losses = {name: term(scene) for name, term in self.terms.items() if term.defined(batch)}
        if not losses:
            raise DataError(
                f"no term of the depth loss ({', '.join(self.terms)}) is defined for data with the labels "
                f"{sorted(batch.labels)}; add labels or speed to the data set, or other terms"
            )
        return losses

    def scene(self, output: Geometry, batch: Batch) -> Scene:
        """Return a prediction beside what it has to explain."""
        return Scene(output, batch, self.sources, self.min_depth, self.max_depth, self.baseline)

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
        known = self.pose is None or set(self.neighbours) <= set(output.motions)
        if photometric and known and set(self.views) <= set(batch.inputs.views):
            scene = self.scene(output, batch)
            rows += [warped[0].cpu() for warped in scene.warped.images[0]]
            rows.append(grey(photometric.errors(scene)[0].mask[0, 0]))
        return stacked([row.cpu() for row in rows])
