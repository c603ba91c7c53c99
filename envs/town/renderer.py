"""The painter: one scene as colours, depth, tags, instances and flow, by OpenGL.

Colours are drawn at twice the width and height and then averaged: on a CPU that is no slower than
multisampling, and textures gain by it, too. Labels are drawn in a second pass at the middles of the pixels,
so that no label is a mixture.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import moderngl
import numpy as np
from jaxtyping import Bool, Float

from mtdrive.envs.town import device as devices
from mtdrive.envs.town.crowd import Crowd
from mtdrive.envs.town.device import Device
from mtdrive.envs.town.roads import TownMap
from mtdrive.envs.town.stage import Camera, Layers, Stage
from mtdrive.envs.town.still import Cells, mesh_of
from mtdrive.envs.town.sunlight import HALF, Key, Sunlight

NEAR, BEHIND = 0.1, 3000.0
"""Metres to the planes between which things are drawn."""

FINER = 2
"""By how much the image is larger, each way, that colours are drawn into."""

SEE_RIGHT_UP_BACK = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
"""From CARLA's camera to OpenGL's: x right, y up, z back."""


Quads = list[tuple[int, int]]
Mask = Bool[np.ndarray, "n"]


@dataclass(frozen=True)
class Weather:
    """The light; colours are linear."""

    sun: tuple[float, float, float] = (-0.45, -0.55, 0.72)
    """Towards the sun."""
    sunlight: tuple[float, float, float] = (1.75, 1.62, 1.38)
    skylight: tuple[float, float, float] = (0.52, 0.60, 0.72)
    haze: tuple[float, float, float] = (0.78, 0.84, 0.90)
    density: float = 0.0016
    """Of the haze, a metre."""


@dataclass(frozen=True)
class _Frames:
    """The images of one size that are drawn into."""

    image: moderngl.Texture
    """Of `large`."""
    large: moderngl.Framebuffer
    colours: moderngl.Framebuffer
    labels: moderngl.Framebuffer


class Renderer:
    """Draws the stages of one town; all its calls come from the thread that made it."""

    def __init__(self, town: TownMap, weather: Weather | None = None, way: str | None = None) -> None:
        self.weather = weather or Weather()
        self._thread = threading.get_ident()
        self.device = Device(way)
        self.context = self.device.context
        self.cells = Cells(mesh_of(town))
        self._still = self.device.quads(self.cells.vertices)
        self.crowd = Crowd(self.device)
        sun = np.array(self.weather.sun)
        self.sunlight = Sunlight(self.context, sun / np.linalg.norm(sun))
        self._slots = {id_: slot for slot, id_ in enumerate(town.signposts, start=1)}
        self._states = np.full((len(self._slots) // 256 + 1, 256), 3, np.uint8)
        self._signals = self.context.texture((256, len(self._states)), 1, self._states.tobytes(), alignment=1)
        self._frames: dict[tuple[int, int], _Frames] = {}
        self._shown: tuple[Stage, Stage] | None = None
        self._memory: dict[tuple[Camera, Camera, bool, bool], Layers] = {}

    @property
    def description(self) -> str:
        """What draws, in one line."""
        return self.device.description

    def render(
        self,
        camera: Camera,
        previous_camera: Camera,
        stage: Stage,
        previous: Stage,
        *,
        colours: bool = True,
        labels: bool = True,
    ) -> Layers:
        """Return the look of `stage`; the flow is the motion since `previous`, seen by `previous_camera`.

        Without `colours` or `labels` these are zeros and cost nothing. Nothing is drawn twice.
        """
        assert threading.get_ident() == self._thread, "a renderer draws in the thread that made it"
        with self.context:
            if self._shown is None or self._shown[0] is not stage or self._shown[1] is not previous:
                self._show(stage, previous)
            key = (camera, previous_camera, colours, labels)
            if key not in self._memory:
                self._memory[key] = self._draw(*key)
            return self._memory[key]

    def _show(self, stage: Stage, previous: Stage) -> None:
        self._shown, self._memory = (stage, previous), {}
        self.crowd.show(stage, previous)
        states = self._states.reshape(-1)
        for id_, slot in self._slots.items():
            states[slot] = stage.signals.get(id_, 3)
        self._signals.write(states.tobytes())

    def _draw(self, camera: Camera, before: Camera, colours: bool, labels: bool) -> Layers:
        h, w = camera.height, camera.width
        frames = self._frames.get((w, h)) or self._make_frames(w, h)
        matrix = camera.pose.matrix()
        key = self.sunlight.key(matrix[:3, 3], matrix[:3, 0])
        self._write_look(camera, before, self.sunlight.matrix(key))
        self.context.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        cells, bodies = self.cells.seen(camera), self.crowd.seen(camera)
        rgb = np.zeros((h, w, 3), np.uint8)
        named, measured = np.zeros((h, w, 3), np.uint8), np.zeros((h, w, 3), np.float32)
        if colours:
            rgb = self._colours(frames, cells, bodies, key)
        if labels:
            named, measured = self._labels(frames, cells, bodies)
        instances = named[..., 1].astype(np.uint16) | (named[..., 2].astype(np.uint16) << 8)
        return Layers(rgb, measured[..., 0].copy(), named[..., 0].copy(), instances, measured[..., 1:].copy())

    def _colours(self, frames: _Frames, cells: Quads, bodies: Mask, key: Key) -> np.ndarray:
        middle = self.sunlight.middle(key)
        near = self.cells.near(middle, 1.5 * HALF), self.crowd.near(middle, 1.5 * HALF)
        self.sunlight.still(key, lambda: self._draw_still("shadow", near[0])).use(devices.STILL)
        self.sunlight.moving(lambda: self.crowd.draw("shadow", near[1])).use(devices.MOVING)
        self.device.tiles.use(devices.TILES)
        self._signals.use(devices.SIGNALS)
        frames.large.use()
        frames.large.clear()
        self._draw_still("lit", cells)
        self.crowd.draw("lit", bodies)
        self._draw_sky("sky")
        frames.colours.use()
        frames.image.use(devices.LARGE)
        self.device.screens["shrink"].render(moderngl.TRIANGLES, vertices=3)
        return _read(frames.colours, 0, "f1")

    def _labels(self, frames: _Frames, cells: Quads, bodies: Mask) -> tuple[np.ndarray, np.ndarray]:
        frames.labels.use()
        frames.labels.clear()
        self._draw_still("label", cells)
        self.crowd.draw("label", bodies)
        self._draw_sky("sky_label")
        return _read(frames.labels, 0, "f1"), _read(frames.labels, 1, "f4")

    def _draw_still(self, program: str, cells: Quads) -> None:
        for start, count in cells:
            self._still[program].render(first=start * 6, vertices=count * 6)

    def _draw_sky(self, name: str) -> None:
        """Draw the sky where nothing else is."""
        self.context.depth_func = "<="
        self.device.screens[name].render(moderngl.TRIANGLES, vertices=3)
        self.context.depth_func = "<"

    def _write_look(self, camera: Camera, before: Camera, shade: Float[np.ndarray, "4 4"]) -> None:
        matrices = [view_of(camera), view_of(before), projection_of(camera), shade]
        sun = np.array(self.weather.sun) / np.linalg.norm(self.weather.sun)
        slope = 1 / math.tan(math.radians(camera.fov) / 2)
        pose, light = camera.pose, self.weather
        vectors = [
            (slope, slope * camera.width / camera.height, 0, 0),
            (*sun, 0),
            (*light.sunlight, 0),
            (*light.skylight, 0),
            (*light.haze, light.density),
            (pose.x, pose.y, pose.z, 1),
        ]
        content = np.concatenate([*(m.T.reshape(-1) for m in matrices), *map(np.array, vectors)])
        self.device.look.write(content.astype("<f4").tobytes())

    def _make_frames(self, w: int, h: int) -> _Frames:
        context, large = self.context, (FINER * w, FINER * h)
        image = context.texture(large, 4)
        made = _Frames(
            image,
            context.framebuffer([image], context.depth_renderbuffer(large)),
            context.framebuffer([context.texture((w, h), 4)]),
            context.framebuffer(
                [context.texture((w, h), 4), context.texture((w, h), 4, dtype="f4")],
                context.depth_renderbuffer((w, h)),
            ),
        )
        self._frames[w, h] = made
        return made

    def close(self) -> None:
        """Free the context and what it holds."""
        self.context.__enter__()  # type: ignore[no-untyped-call] # not `with`: a released one cannot be left
        self.context.release()


def _read(frame: moderngl.Framebuffer, attachment: int, dtype: str) -> np.ndarray:
    raw = frame.read(components=3, attachment=attachment, dtype=dtype, alignment=1)
    w, h = frame.size
    return np.frombuffer(raw, np.uint8 if dtype == "f1" else np.float32).reshape(h, w, 3)[::-1].copy()


def view_of(camera: Camera) -> Float[np.ndarray, "4 4"]:
    """Return what takes points of the world into OpenGL's camera."""
    matrix = camera.pose.matrix()
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return np.asarray(SEE_RIGHT_UP_BACK @ inverse)


def projection_of(camera: Camera) -> Float[np.ndarray, "4 4"]:
    """Return OpenGL's projection of a camera; its pixels are square."""
    slope = 1 / math.tan(math.radians(camera.fov) / 2)
    span = BEHIND - NEAR
    return np.array(
        [
            [slope, 0, 0, 0],
            [0, slope * camera.width / camera.height, 0, 0],
            [0, 0, -(BEHIND + NEAR) / span, -2 * BEHIND * NEAR / span],
            [0, 0, -1, 0],
        ]
    )
