"""Shadows of the sun: a map of what stands still is kept while the camera is near; what moves is added."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import moderngl
import numpy as np
from jaxtyping import Float

Key = tuple[int, int, int]
Point = Float[np.ndarray, "3"]

HALF = 64.0
"""Metres from the middle of a map to its edge."""

DEEP = 160.0
"""Metres along the sun's rays from the middle to the ends of what is kept."""

TALLEST = 30.0
"""Metres up to which things cast shadows that are seen: under a low sun, from far away."""

PIXELS = 1024
STEP = 16.0
"""Metres by which the middle moves. A multiple of a pixel's, so that edges do not crawl when it does."""

AHEAD = 26.0
"""Metres from the camera to the wanted middle."""

KEPT = 6
"""Maps of what stands still that are kept."""


class Sunlight:
    """The shadow maps under the sun."""

    def __init__(self, context: moderngl.Context) -> None:
        self.context = context
        self.axes = np.eye(3)
        self._still: OrderedDict[Key, moderngl.Framebuffer] = OrderedDict()
        self._spare: list[moderngl.Framebuffer] = []
        self._now = self._map()

    def turn(self, sun: Point) -> None:
        """Let the sun shine from a direction; the maps of another are dropped."""
        if np.array_equal(sun, self.axes[2]):
            return
        right = np.cross([0.0, 0.0, 1.0], sun)
        right = right / np.linalg.norm(right) if right.any() else np.array([0.0, 1.0, 0.0])
        self.axes = np.stack([right, np.cross(sun, right), sun])
        self._spare += self._still.values()
        self._still.clear()

    @property
    def reach(self) -> float:
        """Metres from the middle of a map within which all stands that casts a shadow there."""
        low = math.hypot(self.axes[2, 0], self.axes[2, 1]) / max(float(self.axes[2, 2]), 0.05)
        return max(1.5 * HALF, HALF + TALLEST * low)

    def _map(self) -> moderngl.Framebuffer:
        depth = self.context.depth_texture((PIXELS, PIXELS))
        depth.compare_func = "<="
        depth.filter = (moderngl.LINEAR, moderngl.LINEAR)
        depth.repeat_x = depth.repeat_y = False
        # Of a frame without colours, nothing would be copied.
        frame = self.context.framebuffer([self.context.renderbuffer((PIXELS, PIXELS), 1)], depth)
        frame.color_mask = False, False, False, False
        return frame

    def key(self, eye: Point, forward: Point) -> Key:
        """Return which map a camera needs: by its pose alone, so that images do not depend on their order."""
        level = np.array([forward[0], forward[1], 0.0])
        middle = self.axes @ (eye + AHEAD * level / max(float(np.linalg.norm(level)), 1e-6))
        a, b, c = np.round(middle / STEP).astype(int).tolist()
        return a, b, c

    def middle(self, key: Key) -> Point:
        """Return the middle of a map in the world."""
        return np.asarray(self.axes.T @ (np.array(key) * STEP))

    def matrix(self, key: Key) -> Float[np.ndarray, "4 4"]:
        """Return what takes points of the world to the map, in OpenGL's cube; near is where the sun is."""
        out = np.eye(4)
        out[:3, :3] = self.axes / np.array([HALF, HALF, -DEEP])[:, None]
        out[:3, 3] = -out[:3, :3] @ self.middle(key)
        return out

    def shadows(self, key: Key, still: Callable[[], None], moving: Callable[[], None]) -> moderngl.Texture:
        """Return the map of all; `still` draws what stands still if that is not kept, `moving` the rest."""
        if key not in self._still:
            if len(self._still) >= KEPT:
                self._spare.append(self._still.popitem(last=False)[1])
            self._still[key] = frame = self._spare.pop() if self._spare else self._map()
            frame.clear()
            self._draw(frame, still)
        self._still.move_to_end(key)
        self.context.copy_framebuffer(self._now, self._still[key])
        self._draw(self._now, moving)
        depth = self._now.depth_attachment
        assert isinstance(depth, moderngl.Texture)
        return depth

    def _draw(self, frame: moderngl.Framebuffer, draw: Callable[[], None]) -> None:
        frame.use()
        self.context.disable(moderngl.CULL_FACE)
        draw()
        self.context.enable(moderngl.CULL_FACE)
