"""The painter: one scene as colours, depth, tags, instances and flow, by OpenGL.

Colours are drawn at twice the width and height and then averaged: on a CPU that is no slower than
multisampling, and textures gain by it, too. Labels are drawn in a second pass at the middles of the pixels,
so that no label is a mixture.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import moderngl
import numpy as np
from jaxtyping import Bool, Float

from mtdrive.envs.town import device as devices
from mtdrive.envs.town import lamps, patches
from mtdrive.envs.town.atmosphere import air_of
from mtdrive.envs.town.crowd import Crowd
from mtdrive.envs.town.device import Device, Quads
from mtdrive.envs.town.lamplight import Lamplight
from mtdrive.envs.town.look import look_of, projection_of, view_of
from mtdrive.envs.town.roads import TownMap
from mtdrive.envs.town.stage import Camera, Layers, Stage
from mtdrive.envs.town.still import SIGHT, Cells, mesh_of
from mtdrive.envs.town.sunlight import Sunlight
from mtdrive.envs.town.tags import Tag

FINER = 2
"""By how much the image is larger, each way, that colours are drawn into."""

KEPT = 16 << 20
"""Pixels of all sizes of images together that are kept to draw into; each takes 56 bytes."""

Ranges = list[tuple[int, int]]
Mask = Bool[np.ndarray, "n"]
Point = Float[np.ndarray, "xyz=3"]


@dataclass(frozen=True)
class _Frames:
    """The images of one size that are drawn into."""

    image: moderngl.Texture
    """Of `large`."""
    large: moderngl.Framebuffer
    colours: moderngl.Framebuffer
    labels: moderngl.Framebuffer

    def release(self) -> None:
        """Free them."""
        for frame in (self.large, self.colours, self.labels):
            for part in (*frame.color_attachments, frame.depth_attachment, frame):
                if part is not None:
                    part.release()


class Renderer:
    """Draws the stages of one town; all its calls come from the thread that made it."""

    def __init__(self, town: TownMap, way: str | None = None) -> None:
        self._thread = threading.get_ident()
        self.device = Device(way)
        self.context = self.device.context
        mesh = mesh_of(town)
        self.cells = Cells(mesh)
        self._still = Quads(self.device, self.cells.vertices)
        self.crowd = Crowd(self.device)
        self.sunlight = Sunlight(self.context)
        self.lamplight = Lamplight(self.device)
        self._fixed = lamps.Fixed(mesh, town.ground)
        self._walls = lamps.Walls([b for b in town.static if b.tag == Tag.BUILDING])
        self._ground = float(np.median(town.surface.land))
        self._slots = tuple(town.signposts)  # the first has slot 1
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
        states = np.array([3, *(stage.signals.get(id_, 3) for id_ in self._slots)], np.uint8)
        self.device.show_signals(states)
        self._stage, self._air = stage, air_of(stage.weather)
        self.sunlight.turn(self._air.sun)
        self._moving = self._lights = lamps.NONE
        if self._air.glare:
            self._moving = self.crowd.lights()
            fixed = self._fixed.shining(states.astype(int), street=self._air.lamps > 0)
            self._lights = lamps.gathered([fixed, self._moving])

    def _draw(self, camera: Camera, before: Camera, colours: bool, labels: bool) -> Layers:
        h, w = camera.height, camera.width
        frames = self._frames.get((w, h)) or self._make_frames(w, h)
        matrix = camera.pose.matrix()
        eye, ahead = matrix[:3, 3], matrix[:3, 0]
        shade = self.sunlight.matrix(self.sunlight.key(eye, ahead))
        spot = self.lamplight.corner(self.lamplight.key(eye, ahead))
        look = look_of(camera, before, self._stage, self._air, shade, spot, self._ground)
        self.device.look.write(look)
        self.context.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        cells, bodies = self.cells.seen(camera), self.crowd.seen(camera)
        rgb = np.zeros((h, w, 3), np.uint8)
        named, measured = np.zeros((h, w, 3), np.uint8), np.zeros((h, w, 3), np.float32)
        if colours:
            self._cast_light(eye, ahead)
            rgb = self._colours(camera, frames, cells, bodies)
        if labels:
            named, measured = self._labels(frames, cells, bodies)
        instances = named[..., 1].astype(np.uint16) | (named[..., 2].astype(np.uint16) << 8)
        return Layers(rgb, measured[..., 0].copy(), named[..., 0].copy(), instances, measured[..., 1:].copy())

    def _cast_light(self, eye: Point, ahead: Point) -> None:
        """Draw the maps of light that this weather has: of the sun's shadows, and of lamps on the ground."""
        if "SUN" in self._air.features:
            place, reach = self.sunlight.key(eye, ahead), self.sunlight.reach
            middle = self.sunlight.middle(place)
            near = self.cells.near(middle, reach), self.crowd.near(middle, reach)
            self.sunlight.still(place, lambda: self._draw_still("shadow", near[0])).use(devices.STILL)
            self.sunlight.moving(lambda: self.crowd.draw("shadow", near[1])).use(devices.MOVING)
        if "LAMPS" in self._air.features:
            moving = np.concatenate([patches.beams(self._moving), patches.glows(self._moving)])
            key = self.lamplight.key(eye, ahead)
            light = self.lamplight.light(key, lambda: patches.pools(self._fixed.street), moving)
            light.use(devices.LAMPLIGHT)

    def _colours(self, camera: Camera, frames: _Frames, cells: Ranges, bodies: Mask) -> np.ndarray:
        self.device.tiles.use(devices.TILES)
        frames.large.use()
        frames.large.clear()
        lit = "lit" + self._air.features
        self._draw_still(lit, cells)
        self.crowd.draw(lit, bodies)
        self._draw_sky("sky" + self._air.sky_features)
        self._draw_lamps(camera, frames)
        frames.colours.use()
        frames.image.use(devices.LARGE)
        self.device.screen("shrink" + self._air.screen_features)
        return _read(frames.colours, 0, "f1")

    def _draw_lamps(self, camera: Camera, frames: _Frames) -> None:
        """Draw what shines into the camera, and its reflections."""
        pose, air = camera.pose, self._air
        eye = np.array([pose.x, pose.y, pose.z])
        lights = self._lights.near(eye, SIGHT)
        if not len(lights.lamp):
            return
        onto = projection_of(camera) @ view_of(camera)
        veil = np.exp(-air.extinction * np.linalg.norm(lights.at - eye, axis=1))[:, None]
        lights = lights._replace(colour=lights.colour * air.glare * veil)
        frames.large.depth_mask = False
        if air.film:
            close = lights.near(eye, patches.GLINTS)
            close = close.chosen(~self._walls.hide(eye, close))
            self.lamplight.draw(patches.glints(close, eye, air.film), onto, patches.GLINT_NEARER)
        self.lamplight.draw(patches.halos(lights, eye, 0.5 / camera.focal, air.spread), onto, 0.0)
        frames.large.depth_mask = True

    def _labels(self, frames: _Frames, cells: Ranges, bodies: Mask) -> tuple[np.ndarray, np.ndarray]:
        frames.labels.use()
        frames.labels.clear()
        self._draw_still("label", cells)
        self.crowd.draw("label", bodies)
        self._draw_sky("sky_label")
        return _read(frames.labels, 0, "f1"), _read(frames.labels, 1, "f4")

    def _draw_still(self, program: str, cells: Ranges) -> None:
        drawing = self._still.under(program)
        for start, count in cells:
            drawing.render(first=start * 6, vertices=count * 6)

    def _draw_sky(self, name: str) -> None:
        """Draw the sky where nothing else is."""
        self.context.depth_func = "<="
        self.device.screen(name)
        self.context.depth_func = "<"

    def _make_frames(self, w: int, h: int) -> _Frames:
        while self._frames and w * h + sum(a * b for a, b in self._frames) > KEPT:
            self._frames.pop(next(iter(self._frames))).release()
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
