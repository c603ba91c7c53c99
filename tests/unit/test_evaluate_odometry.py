from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.data.recording import Source, Target
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError
from mtdrive.evaluate_odometry import NEXT, PREVIOUS, OdometryEvaluation, evaluate_odometry
from mtdrive.model import Model
from mtdrive.score_odometry import OdometryScore
from mtdrive.task import Pyramid, Task
from mtdrive.trajectory import Poses, chain
from tests.toys import Ahead, ToyRecording
from tests.trajectories import drive

CPU = torch.device("cpu")


class Motions(NamedTuple):
    motions: dict[View, Float[Tensor, "b 4 4"]]


class Prophet(Task[Motions]):
    """Knows the motions of the drives that it is shown, item by item."""

    views = (TARGET, NEXT)

    def __init__(self, motions: np.ndarray) -> None:
        super().__init__()
        self.rest = torch.from_numpy(motions).float()

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Motions:
        assert torch.equal(inputs.image(NEXT)[:-1], inputs.image(TARGET)[1:]), (
            "pairs do not follow one another"
        )
        count = len(inputs.image(NEXT))
        now, self.rest = self.rest[:count], self.rest[count:]
        return Motions({NEXT: now})

    def loss(self, output: Motions, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError


class Driven(ToyRecording):
    """A toy recording with the poses of a drive, and perhaps frames that are lacking."""

    def __init__(self, name: str, poses: Poses, lacking: Sequence[int] = ()) -> None:
        super().__init__(name, len(poses))
        self.poses, self.lacking = poses, lacking

    def frames(self, camera: str) -> Sequence[int]:
        return [frame for frame in range(self.length) if frame not in self.lacking]

    def pose(self, frame: int) -> Float[Tensor, "4 4"] | None:
        return torch.from_numpy(self.poses[frame])


class Lost(Driven):
    """Nobody knows where it was in frame 3."""

    def pose(self, frame: int) -> Float[Tensor, "4 4"] | None:
        return None if frame == 3 else super().pose(frame)


@dataclass(frozen=True)
class DrivenSource(Source):
    recordings: Sequence[Driven]
    every: int = 1

    def targets(self) -> list[Target]:
        return [Target(r, frame) for r in self.recordings for frame in r.frames("front")][:: self.every]


def motions(poses: Poses) -> np.ndarray:
    """`T_next,current`, scaled as if from video."""
    found: np.ndarray = np.linalg.inv(poses[1:]) @ poses[:-1]
    found[:, :3, 3] *= 0.1
    return found


def evaluate(source: Source, known: np.ndarray | None = None, **settings: object) -> OdometryScore:
    encoder = Encoder("test_resnet")
    task: Task[Motions] | Ahead = Ahead(encoder) if known is None else Prophet(known)
    evaluation = OdometryEvaluation(source=source, batch_size=4, **settings)  # type: ignore[arg-type]
    return evaluate_odometry(Model(encoder, {"depth": task}), evaluation, (32, 64), CPU)


class Watcher(nn.Module):
    """Tells the motion to both neighbours from the brightness of the target, which is its frame's number."""

    sees_window = True


class Window(Task[Motions]):
    """Like Prophet, but only for windows of three frames."""

    views = (TARGET, PREVIOUS, NEXT)

    def __init__(self, motions: np.ndarray) -> None:
        super().__init__()
        self.pose, self.all, self.start = Watcher(), torch.from_numpy(motions).float(), 0

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Motions:
        assert set(inputs.views) == set(self.views)
        count = len(inputs.image(NEXT))
        before, after = (self.all[self.start + i : self.start + i + count] for i in (0, 1))
        self.start += count
        return Motions({NEXT: after, PREVIOUS: torch.linalg.inv(before)})

    def loss(self, output: Motions, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError


def test_a_network_that_needs_the_frame_before_loses_no_step_of_the_way() -> None:
    poses = drive(9)
    motions = np.linalg.inv(poses[1:]) @ poses[:-1]
    model = Model(Encoder("test_resnet"), {"depth": Window(motions)})
    evaluation = OdometryEvaluation(source=DrivenSource([Driven("a", poses)]), batch_size=3)
    track = evaluate_odometry(model, evaluation, (64, 96), CPU).tracks[0]
    np.testing.assert_allclose(track.pred, chain(motions), atol=1e-5)


def test_motions_are_chained_in_the_right_direction_and_each_recording_by_itself() -> None:
    drives = [drive(11, 1), drive(6, 2)]
    source = DrivenSource([Driven("a/front", drives[0]), Driven("b", drives[1])])
    score = evaluate(source, np.concatenate([motions(x) for x in drives]))
    assert [track.name for track in score.tracks] == ["a/front", "b"]
    for track, poses in zip(score.tracks, drives, strict=True):
        np.testing.assert_allclose(track.pred, chain(motions(poses)), atol=1e-5)
        assert track.truth is not None
        np.testing.assert_allclose(track.truth, poses)
    found = score.document()
    assert found["ate5_mean"] == pytest.approx(0, abs=1e-5)
    assert found["ate"] == pytest.approx(0, abs=1e-4)
    assert found["frames"] == 17
    assert found["sequences"]["a/front"]["scale"] == pytest.approx(10, rel=1e-4)
    assert [note.split(":")[0] for note in score.notes()] == ["a/front", "b"]


@pytest.mark.parametrize("every", [1, 2])
def test_a_stride_leaves_frames_out_of_prediction_and_truth_alike(every: int) -> None:
    poses = drive(12)
    score = evaluate(DrivenSource([Driven("a", poses)], every), motions(poses[::2]), stride=2)
    assert list(score.tracks[0].frames) == [0, 2, 4, 6, 8, 10]
    assert score.summary()["ate"] == pytest.approx(0, abs=1e-4)


def test_unknown_poses_are_an_error_only_where_they_are_asked_for() -> None:
    poses = drive(6)
    source = DrivenSource([Lost("a", poses)])
    with pytest.raises(DataError, match=r"a: 1 of 6 true poses are not known; .*--truth false"):
        evaluate(source, motions(poses))
    score = evaluate(source, motions(poses), truth=False)
    np.testing.assert_allclose(score.tracks[0].pred, chain(motions(poses)), atol=1e-5)
    assert score.summary() == {"frames": 6}


@pytest.mark.parametrize(
    ("source", "stride", "message"),
    [
        (DrivenSource([Driven("a", drive(8), lacking=[5])]), 1, "a: frame 5 is missing"),
        (DrivenSource([Driven("a", drive(8))], every=3), 1, "a: frame 1 is missing, .* set stride"),
        (DrivenSource([Driven("a", drive(2))]), 2, r"a: 2 frame\(s\) give no motion at stride 2"),
        (DrivenSource([]), 1, "no frame to evaluate"),
    ],
)
def test_frames_that_make_no_trajectory_are_named(source: Source, stride: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(source, motions(drive(8)), stride=stride)


def test_a_task_without_motion_is_named() -> None:
    with pytest.raises(ConfigError, match="'depth' does not predict the motion to the next"):
        evaluate(DrivenSource([Driven("a", drive(4))]))
    with pytest.raises(ConfigError, match="no task"):
        evaluate(DrivenSource([Driven("a", drive(4))]), task="detph")
    with pytest.raises(ConfigError, match=r"evaluation\.stride must be at least 1"):
        OdometryEvaluation(source=DrivenSource([]), stride=0)
