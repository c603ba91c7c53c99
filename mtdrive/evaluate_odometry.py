"""Open-loop evaluation of ego-motion: the trajectories that a depth task predicts, against true ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from mtdrive.batch import TARGET, View
from mtdrive.data.loaders import evaluation_batches
from mtdrive.data.recording import Recording, Size, Source, Target
from mtdrive.data.windows import Windows
from mtdrive.errors import ConfigError, DataError, check_least
from mtdrive.log import progress
from mtdrive.model import Model
from mtdrive.score_odometry import OdometryScore, Track
from mtdrive.trajectory import Alignment, Poses, chain

PREVIOUS, NEXT = View("front", -1), View("front", 1)


@dataclass(frozen=True, kw_only=True)
class OdometryEvaluation:
    """How to evaluate the motion of a checkpoint."""

    source: Source
    """Its targets are the frames of the trajectories, one for each recording."""
    task: str = "depth"
    """The task to score: one that predicts motions, such as `mtdrive.tasks.depth.Depth`."""
    stride: int = 1
    """Frames on disk from one pose to the next: that of the training."""
    align: Alignment = "scale"
    """How a prediction is brought onto the truth: `scale` by one factor, `similarity` by rotation and
    translation too (7 numbers), `none` as it is, for predictions in metres."""
    truth: bool = True
    """Whether to score against true poses; else trajectories are written and no more."""
    batch_size: int = 8
    workers: int = 0
    """Processes that load; 0 loads in the evaluating process."""

    def __post_init__(self) -> None:
        check_least("evaluation", self, {"stride": 1, "batch_size": 1, "workers": 0})


@dataclass(frozen=True)
class Route(Source):
    """Consecutive frames of a recording, `stride` apart."""

    recording: Recording
    frames: Sequence[int]

    def targets(self) -> list[Target]:
        """Return every frame that another one follows."""
        return [Target(self.recording, frame, required=True) for frame in self.frames[:-1]]


def evaluate_odometry(
    model: Model, evaluation: OdometryEvaluation, size: Size, device: torch.device
) -> OdometryScore:
    """Predict the trajectory of each recording frame by frame, and score it where its truth is known.

    Args:
        model: with the task that `evaluation` names.
        evaluation: the frames and the alignment.
        size: of the images that the network sees.
        device: where the model is.

    Raises:
        ConfigError: if the task predicts no motion to the next frame.
        DataError: if frames or true poses are missing, or a predicted trajectory cannot be aligned.
    """
    model.eval()
    routes = find_routes(evaluation.source, evaluation.stride)
    truths = [_truth(route) if evaluation.truth else None for route in routes]
    tracks = []
    done = 0
    with progress("evaluating", sum(len(route.frames) - 1 for route in routes)) as tell:
        for route, truth in zip(routes, truths, strict=True):
            motions = []
            for part in _motions(model, evaluation, route, size, device):
                motions.append(part)
                done += len(part)
                tell(done)
            tracks.append(Track(route.recording.name, route.frames, chain(np.concatenate(motions)), truth))
    return OdometryScore(tuple(tracks), evaluation.align)


def find_routes(source: Source, stride: int) -> list[Route]:
    """Return a route for each recording, from its first target on.

    Raises:
        DataError: if there is none, or frames are missing in between.
    """
    frames: dict[int, set[int]] = {}
    recordings: dict[int, Recording] = {}
    for target in source.targets():
        recordings[id(target.recording)] = target.recording
        frames.setdefault(id(target.recording), set()).add(target.frame)
    if not frames:
        raise DataError("the source has no frame to evaluate; check its sequences, drives and split")
    routes = [Route(recordings[key], _walk(recordings[key].name, frames[key], stride)) for key in frames]
    for route in routes:
        _check_neighbours(route, stride)
    return routes


def _check_neighbours(route: Route, stride: int) -> None:
    for frame in route.frames[:-1]:
        found = route.recording.neighbour(frame, 1, stride)
        if found != frame + stride:
            raise DataError(
                f"{route.recording.name}: frame {frame} is followed by {found}, not by {frame + stride}, as "
                "neighbours are chosen by distance; a trajectory needs all frames: set baseline to null"
            )


def _walk(name: str, frames: set[int], stride: int) -> Sequence[int]:
    """Return every `stride`-th number from the first frame to the last."""
    route = range(min(frames), max(frames) + 1, stride)
    if len(route) < 2:
        raise DataError(f"{name}: {len(frames)} frame(s) give no motion at stride {stride}; evaluate more")
    missing = [frame for frame in route if frame not in frames]
    if missing:
        raise DataError(
            f"{name}: frame {missing[0]} is missing, so its trajectory breaks there; restore the image, "
            "choose frames without a gap, or set stride to the distance of the frames"
        )
    return route


def _truth(route: Route) -> Poses:
    """Return the true trajectory of the front camera."""
    poses = [route.recording.pose(frame) for frame in route.frames]
    known = [pose.numpy() for pose in poses if pose is not None]
    if len(known) < len(poses):
        raise DataError(
            f"{route.recording.name}: {len(poses) - len(known)} of {len(poses)} true poses are not known; "
            "let the source give them (KittiOdometry: --source.poses true), or set --truth false to get "
            "trajectories without figures"
        )
    return np.stack(known)


def _motions(
    model: Model, evaluation: OdometryEvaluation, route: Route, size: Size, device: torch.device
) -> Iterator[Float64[np.ndarray, "b 4 4"]]:
    """Yield the predicted `T_next,current` of a route, batch by batch."""
    views = _window(model, evaluation.task)
    first = PREVIOUS in views  # the first frame has none before it: its motion is the second one's, inverted
    shown = Route(route.recording, route.frames[1:]) if first else route
    windows = Windows(shown, views, size, evaluation.stride)
    for batch in evaluation_batches(windows, evaluation.batch_size, evaluation.workers):
        with torch.no_grad():
            output = model.predict(batch.to(device).inputs, [evaluation.task])[evaluation.task]
        motions = {v: x.double().cpu().numpy() for v, x in getattr(output, "motions", {}).items()}
        if NEXT not in motions:
            raise ConfigError(
                f"task {evaluation.task!r} does not predict the motion to the next frame; choose one "
                "with the offset 1 and a pose network"
            )
        if first:
            yield np.linalg.inv(motions[PREVIOUS][:1])
        yield motions[NEXT]
        first = False


def _window(model: Model, task: str) -> Sequence[View]:
    """Return the neighbours that the task needs to see for the motion to the next frame.

    Raises:
        ConfigError: if these are more than the two next to the target.
    """
    pose = getattr(model.task(task), "pose", None)
    if pose is None or not pose.sees_window:
        return [NEXT]
    neighbours = [view for view in model.task(task).views if view.camera == TARGET.camera and view != TARGET]
    if not set(neighbours) <= {PREVIOUS, NEXT}:
        raise ConfigError(
            f"the pose network of task {task!r} sees {', '.join(map(str, neighbours))} at once; trajectories "
            "need one with no more than the frame before and the next"
        )
    return neighbours
