"""Depth and motion for images, folders and videos: pictures, arrays, videos and trajectories."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from mtdrive.batch import TARGET, Inputs, View
from mtdrive.data.camera import FILE, KITTI, Camera, from_fov, read_camera
from mtdrive.data.clips import Clip, Named, open_clip
from mtdrive.data.frames import find_camera
from mtdrive.data.recording import Size
from mtdrive.data.windows import resized
from mtdrive.depth_pictures import SteadySpan, paint, side_by_side
from mtdrive.errors import ConfigError, DataError, check_least
from mtdrive.files import write_atomically
from mtdrive.log import progress
from mtdrive.model import Model
from mtdrive.score_odometry import OdometryScore, Track
from mtdrive.trajectory import chain, write_poses
from mtdrive.video import EndsEarly, VideoWriter

NEXT = View("front", 1)
SHAPES = 1.15
"""From which ratio of the shapes of input and training on the user is told."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is written for each input, and how."""

    fov: float | None = None
    """Horizontal field of view in degrees."""
    camera: Path | None = None
    """A camera file. Without both: the `camera.json` of a folder of frames, else the camera of KITTI."""
    fps: float = 10.0
    """Of the videos that are made of folders."""
    video: bool = True
    """Whether to write videos of folders and videos."""
    npy: Literal["depth", "disparity"] | None = None
    """Whether to write arrays (float32, the size of the networks), and of what."""
    task: str = "depth"
    """One with a method `disparity`, such as `mtdrive.tasks.depth.Depth`."""
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_least("predict", self, {"batch_size": 1, "fps": 1e-3})

    def camera_of(self, clip: Clip) -> Camera:
        """Return the camera of a clip."""
        if self.camera is not None:
            return read_camera(self.camera, clip.size)
        if self.fov is not None:
            return from_fov(self.fov, clip.size)
        beside = (clip.path / FILE, clip.path.absolute().parent / FILE)
        if clip.kind == "folder" and any(file.is_file() for file in beside):
            return find_camera(clip.path, clip.size)
        return KITTI


@dataclass(frozen=True)
class Predictor:
    """A model that predicts depth and perhaps motion."""

    model: Model
    size: Size
    """Of the images that it was trained on."""
    device: torch.device
    settings: Prediction

    def __post_init__(self) -> None:
        task = self.settings.task
        if task not in self.model.tasks or not hasattr(self.model.task(task), "disparity"):
            raise ConfigError(
                f"the checkpoint has no task {task!r} that predicts disparity; its tasks are "
                f"{', '.join(self.model.tasks)}"
            )
        self.model.eval()

    @property
    def sees_motion(self) -> bool:
        """Whether the task may predict how the camera moves to the next frame."""
        return NEXT in self.model.task(self.settings.task).views

    @torch.no_grad()
    def __call__(
        self,
        images: Float[Tensor, "b 3 h w"],
        following: Float[Tensor, "b 3 h w"] | None,
        camera: Float[Tensor, "3 3"],
    ) -> tuple[Float[Tensor, "b h w"], Float[np.ndarray, "b 4 4"] | None]:
        """Return disparity in 1/m (up to scale), and `T_next,current` where the task predicts it."""
        views = (TARGET,) if following is None else (TARGET, NEXT)
        stacked = torch.stack([images] if following is None else [images, following], dim=1)
        intrinsics = camera.float().expand(*stacked.shape[:2], 3, 3)
        inputs = Inputs(views=views, images=stacked, intrinsics=intrinsics).to(self.device)
        name = self.settings.task
        output = self.model.predict(inputs, [name])[name]
        task: Any = self.model.task(name)
        disparity: Tensor = task.disparity(output)
        motion = getattr(output, "motions", {}).get(NEXT)
        return disparity.float().cpu(), None if motion is None else motion.double().cpu().numpy()


@dataclass(frozen=True)
class Frame:
    """One image with its prediction."""

    name: str
    image: Image.Image
    disparity: Float[Tensor, "h w"]
    motion: Float[np.ndarray, "4 4"] | None
    """`T_next,current`; the last frame has none."""


def predict(
    predictor: Predictor, path: Path, name: str, out: Path, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Predict on an image, a folder or a video, and write the results to `out`, named after `name`.

    Args:
        predictor: the model and the settings.
        path: of the input.
        name: how the outputs begin.
        out: the folder for them.
        tell: takes a line that the user should know.

    Raises:
        DataError: if the input cannot be used, or images of a folder had to be left out.
        EndsEarly: if a video breaks off; what came before was written.
    """
    clip = open_clip(path)
    if unlike := _unlike(clip, predictor.size):
        tell(unlike)
    out.mkdir(parents=True, exist_ok=True)
    results = _Results(predictor.settings, clip, name, out)
    broken: EndsEarly | None = None
    damaged: list[DataError] = []
    with results.files, progress(f"predicting {name}", clip.count or 0) as report:
        try:
            for done, frame in enumerate(predictions(predictor, clip, damaged), start=1):
                results.add(frame)
                report(done)
        except EndsEarly as error:
            broken = error
    results.write_motion()
    if broken is not None:
        raise broken
    if damaged:
        raise DataError(f"{damaged[0]}; left out {len(damaged)} of {clip.count} images like this one")


def predictions(predictor: Predictor, clip: Clip, damaged: list[DataError]) -> Iterator[Frame]:
    """Yield each image of a clip with its prediction; errors of images left out are appended to `damaged`.

    Raises:
        EndsEarly: after the last frame, if the video breaks off.
    """
    camera = predictor.settings.camera_of(clip).intrinsics(predictor.size)
    held: list[Named] = []
    broken: EndsEarly | None = None
    try:
        for named in clip.frames(damaged):
            held.append(named)
            if len(held) > predictor.settings.batch_size:
                yield from _batch(predictor, held[:-1], held[1:], camera)
                del held[:-1]
    except EndsEarly as error:
        broken = error
    if held:
        yield from _batch(predictor, held, held[1:], camera)
    if broken is not None:
        raise broken


def _batch(
    predictor: Predictor, frames: list[Named], following: list[Named], camera: Float[Tensor, "3 3"]
) -> Iterator[Frame]:
    """Predict `frames`; the last one of a clip is not followed by another."""
    images = _tensors(frames, predictor.size)
    nexts = None
    if following and predictor.sees_motion:
        # The last frame of all is followed by itself, and its motion is dropped below.
        padded = following + frames[len(following) :]
        nexts = _tensors(padded, predictor.size)
    disparities, motions = predictor(images, nexts, camera)
    for i, (name, image) in enumerate(frames):
        motion = motions[i] if motions is not None and i < len(following) else None
        yield Frame(name, image, disparities[i], motion)


def _tensors(frames: list[Named], size: Size) -> Float[Tensor, "b 3 h w"]:
    return torch.stack([resized(image, size) for _, image in frames])


class _Results:
    """The files of one input."""

    def __init__(self, settings: Prediction, clip: Clip, name: str, out: Path) -> None:
        self.settings, self.clip, self.name, self.out = settings, clip, name, out
        self.files = ExitStack()
        self.span = SteadySpan()
        self.motions: list[Float[np.ndarray, "4 4"]] = []
        self.video: VideoWriter | None = None
        if settings.video and clip.kind != "image":
            writer = VideoWriter(out / f"{name}_depth.mp4", clip.rate or settings.fps)
            self.video = self.files.enter_context(writer)

    def add(self, frame: Frame) -> None:
        """Write what belongs to one frame."""
        span = self.span(frame.disparity)
        if self.clip.kind != "video":
            picture = paint(frame.disparity, span, (frame.image.height, frame.image.width))
            _save(self._place(frame, "_depth", ".png"), picture)
        if self.settings.npy is not None:
            values = 1 / frame.disparity if self.settings.npy == "depth" else frame.disparity
            _save(self._place(frame, "_npy", ".npy"), values.numpy())
        if self.video is not None:
            self.video.write(side_by_side(frame.image, frame.disparity, span))
        if frame.motion is not None:
            self.motions.append(frame.motion)

    def _place(self, frame: Frame, kind: str, suffix: str) -> Path:
        """Return the file of a frame; folders and videos have a folder a kind."""
        if self.clip.kind == "image":
            return self.out / f"{self.name}{kind.removesuffix('_npy')}{suffix}"
        folder = self.out / f"{self.name}{kind}"
        folder.mkdir(exist_ok=True)
        return folder / f"{frame.name}{suffix}"

    def write_motion(self) -> None:
        """Write the trajectory and its picture, if the motion is known."""
        if not self.motions:
            return
        poses = chain(np.stack(self.motions))
        write_poses(self.out / f"{self.name}_poses.txt", poses)
        track = Track(self.name, range(len(poses)), poses, None)
        OdometryScore((track,), "none").draw(track, self.out / f"{self.name}_trajectory.png")


def _save(path: Path, content: Image.Image | np.ndarray) -> None:
    buffer = io.BytesIO()
    if isinstance(content, Image.Image):
        content.save(buffer, "PNG")
    else:
        np.save(buffer, content)
    write_atomically(path, buffer.getvalue())


def _unlike(clip: Clip, size: Size) -> str | None:
    """Return a line about an input of another shape than the training, or None."""
    shape, trained = clip.size[1] / clip.size[0], size[1] / size[0]
    if max(shape / trained, trained / shape) < SHAPES:
        return None
    return (
        f"{clip.path}: its shape is {clip.size[1]}x{clip.size[0]} ({shape:.2f}:1), but the network was "
        f"trained on {size[1]}x{size[0]} ({trained:.2f}:1); it sees the images stretched, so depth is worse"
    )
