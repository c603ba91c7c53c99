"""The painter: one scene as colours, depth, tags, instances and flow, by OpenGL.

Colours are drawn into an image of one and a half times the width and height, which is then averaged: on a
CPU that is faster than multisampling, and lines are as steady as with twice the width and height. Labels are
drawn in a second pass at the middles of the pixels, so that no label is a mixture.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import moderngl
import numpy as np
from jaxtyping import Float, Int

from mtdrive.envs.town import device as devices
from mtdrive.envs.town import lamps, patches
from mtdrive.envs.town.atmosphere import air_of
from mtdrive.envs.town.crowd import Crowd, Levels
from mtdrive.envs.town.culling import Culling, all_of
from mtdrive.envs.town.device import KINDS, Device, Quads, kinds_of
from mtdrive.envs.town.lamplight import Lamplight
from mtdrive.envs.town.look import look_of, projection_of, view_of
from mtdrive.envs.town.roads import TownMap
from mtdrive.envs.town.stage import Camera, Layers, Stage
from mtdrive.envs.town.still import SIGHT, Cells, mesh_of
from mtdrive.envs.town.sunlight import Sunlight
from mtdrive.envs.town.tags import Tag

KEPT = 16 << 20
"""Pixels of all sizes of images together that are kept to draw into; each takes 42 bytes."""

UNSEEN = ((), np.float32), ((), np.uint8), ((), np.uint16), ((2,), np.float32)
"""Further axes and types of depth, tags, instances and flow."""

Numbers = Int[np.ndarray, "_"]
Point = Float[np.ndarray, "xyz=3"]


@dataclass(frozen=True)
class _Frames:
    """The images of one size that are drawn into."""

    image: moderngl.Texture
    """Of `large`."""
    large: moderngl.Framebuffer
    shrink: str
    """The program that makes an image of `colours` of it."""
    colours: moderngl.Framebuffer
    labels: moderngl.Framebuffer

    def release(self) -> None:
        """Free them."""
        for frame in (self.large, self.colours, self.labels):
            for part in (*frame.color_attachments, frame.depth_attachment, frame):
                if part is not None:
                    part.release()


@dataclass(frozen=True)
class _View:
    """What a camera may see."""

    camera: Camera
    quads: Numbers
    """Of the town."""
    kinds: Numbers
    """How many of them are of each kind; those of a kind follow each other."""
    bodies: Levels


class Renderer:
    """Draws the stages of one town; all its calls come from the thread that made it."""

    def __init__(self, town: TownMap, way: str | None = None) -> None:
        self._thread = threading.get_ident()
        self.device = Device(way)
        self.context = self.device.context
        mesh = mesh_of(town)
        self.cells = Cells(mesh)
        self.culling = Culling(self.cells.vertices["point"], self.cells.ends)
        self._kinds = kinds_of(self.cells.vertices)
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
        if colours:
            self._cast_light(camera, eye, ahead)
        view = self._view(camera)  # while the shadows are filled
        self._still.choose(view.quads)
        drawing = [self._colours(view, frames)] * colours + [self._labels(view, frames)] * labels
        for _ in zip_longest(*drawing):
            pass  # they take turns: the corners of one are worked out while the other is filled
        if colours:
            self._shrink(frames)
        if labels:  # these are there first
            seen = _parts(_read(frames.labels, 4, "f4"))
        else:
            seen = tuple(np.zeros((h, w, *more), kind) for more, kind in UNSEEN)
        rgb = _read(frames.colours, 3, "f1") if colours else np.zeros((h, w, 3), np.uint8)
        self.device.pace.settle()
        return Layers(rgb, *seen)

    def _view(self, camera: Camera) -> _View:
        quads = self.culling.seen(camera, self.cells.seen(camera))
        kinds = self._kinds[quads]
        return _View(
            camera, quads[np.argsort(kinds, kind="stable")],
            np.bincount(kinds, minlength=len(KINDS)), self.crowd.seen(camera),
        )  # fmt: skip

    def _cast_light(self, camera: Camera, eye: Point, ahead: Point) -> None:
        """Draw the maps of light that this weather has: of the sun's shadows, and of lamps on the ground."""
        if "SUN" in self._air.features:
            place, reach = self.sunlight.key(eye, ahead), self.sunlight.reach
            middle = self.sunlight.middle(place)
            bodies = self.crowd.shading(camera, self._air.sun, middle, reach)
            self.sunlight.shadows(
                place, lambda: self._draw_shadows(middle, reach), lambda: self.crowd.draw("shadow", bodies)
            ).use(devices.SHADOWS)
            self.device.pace.hand_over()
        if "LAMPS" in self._air.features:
            moving = np.concatenate([patches.beams(self._moving), patches.glows(self._moving)])
            key = self.lamplight.key(eye, ahead)
            light = self.lamplight.light(key, lambda: patches.pools(self._fixed.street), moving)
            light.use(devices.LAMPLIGHT)

    def _draw_shadows(self, middle: Point, reach: float) -> None:
        self._still.choose(all_of(self.cells.near(middle, reach)))
        self._still.draw("shadow")
        self.device.pace.hand_over()

    def _colours(self, view: _View, frames: _Frames) -> Iterator[None]:
        """Draw the colours part by part: the things of the town, its ground, and the rest."""
        lit, pace = "lit" + self._air.features, self.device.pace
        self.device.tiles.use(devices.TILES)
        frames.large.clear()
        for kind, (first, end) in zip(KINDS, pairwise([0, *view.kinds.cumsum().tolist()]), strict=True):
            if first < end:
                frames.large.use()
                self._still.draw(lit + kind, slice(first, end))
                pace.hand_over()
                yield
        frames.large.use()
        self.crowd.draw(lit + devices.ALL, view.bodies)
        self._draw_sky("sky" + self._air.sky_features)
        self._draw_lamps(view.camera, frames)
        pace.hand_over()

    def _shrink(self, frames: _Frames) -> None:
        frames.colours.use()
        frames.image.use(devices.LARGE)
        self.device.screen(frames.shrink + self._air.screen_features)
        self.device.pace.hand_over()

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

    def _labels(self, view: _View, frames: _Frames) -> Iterator[None]:
        """Draw the labels, in two parts: of the town, and of the rest."""
        frames.labels.use()
        frames.labels.clear()
        self._still.draw("label")
        self.device.pace.hand_over()
        yield
        frames.labels.use()
        self.crowd.draw("label", view.bodies)
        self._draw_sky("sky_label")
        self.device.pace.hand_over()

    def _draw_sky(self, name: str) -> None:
        """Draw the sky where nothing else is."""
        self.context.depth_func = "<="
        self.device.screen(name)
        self.context.depth_func = "<"

    def _make_frames(self, w: int, h: int) -> _Frames:
        while self._frames and w * h + sum(a * b for a, b in self._frames) > KEPT:
            self._frames.pop(next(iter(self._frames))).release()
        context, halved = self.context, w % 2 == h % 2 == 0
        large = (3 * w // 2, 3 * h // 2) if halved else (2 * w, 2 * h)
        image = context.texture(large, 4)
        made = _Frames(
            image,
            context.framebuffer([image], context.depth_renderbuffer(large)),
            "shrink THIRDS" if halved else "shrink",
            context.framebuffer([context.texture((w, h), 4)]),
            context.framebuffer([context.texture((w, h), 4, dtype="f4")], context.depth_renderbuffer((w, h))),
        )
        self._frames[w, h] = made
        return made

    def close(self) -> None:
        """Free the context and what it holds."""
        self.context.__enter__()  # type: ignore[no-untyped-call] # not `with`: a released one cannot be left
        self.context.release()


def _parts(seen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Take apart what the labels are drawn into: depth, flow, and the tag with the instance."""
    named = seen[..., 3].astype(np.uint32)
    tags, instances = (named >> 16).astype(np.uint8), named.astype(np.uint16)
    return seen[..., 0].copy(), tags, instances, seen[..., 1:3].copy()


def _read(frame: moderngl.Framebuffer, parts: int, dtype: str) -> np.ndarray:
    raw = frame.read(components=parts, dtype=dtype, alignment=1)
    w, h = frame.size
    return np.frombuffer(raw, np.uint8 if dtype == "f1" else np.float32).reshape(h, w, parts)[::-1].copy()
