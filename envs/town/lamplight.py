"""Draws the light of lamps: onto a map of the ground near the camera, and as halos and glints."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import moderngl
import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.device import SHAPES, Device
from mtdrive.envs.town.patches import PATCH, shapes

Key = tuple[int, int]
Matrix = Float[np.ndarray, "4 4"]

HALF = 80.0
"""Metres from the middle of a map to its edge."""
PIXELS = 320
STEP = 16.0
"""Metres by which the middle moves: a multiple of a pixel's, so that edges do not crawl when it does."""
AHEAD = 56.0
"""Metres from the camera to the wanted middle."""
KEPT = 6
"""Maps of the lamps that stand still that are kept."""
ROOM = 512
"""Patches that there is room for at first."""


class Lamplight:
    """The light of the lamps of a town."""

    def __init__(self, device: Device) -> None:
        self.device, self.context = device, device.context
        self._shapes = device.layered(shapes()[..., None], SHAPES)
        self._shapes.repeat_x = self._shapes.repeat_y = False
        self._shapes.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self._corners = self.context.buffer(np.array([-1, -1, 1, -1, -1, 1, 1, 1], "<f4").tobytes())
        self._make(ROOM)
        self._still: OrderedDict[Key, moderngl.Framebuffer] = OrderedDict()
        self._now = self._map()

    def _make(self, room: int) -> None:
        self._room = room
        self._patches = self.context.buffer(reserve=room * PATCH.itemsize, dynamic=True)
        content = [
            (self._corners, "2f4", "corner"),
            (self._patches, "4f4 3f4 3f4 4f4 /i", "middle", "across", "along", "colour"),
        ]
        self._drawing = self.context.vertex_array(self.device.program("shine"), content)

    def _map(self) -> moderngl.Framebuffer:
        light = self.context.texture((PIXELS, PIXELS), 4, dtype="f2")
        light.repeat_x = light.repeat_y = False
        frame = self.context.framebuffer([light])
        frame.clear()
        self.device.pace.hand_over()
        # What lies outside has the light of the outermost pixels: these stay dark.
        frame.scissor = (1, 1, PIXELS - 2, PIXELS - 2)
        return frame

    def key(self, eye: Float[np.ndarray, "xyz=3"], forward: Float[np.ndarray, "xyz=3"]) -> Key:
        """Return which map a camera needs: by its pose alone, so that images do not depend on their order."""
        level = forward[:2] / max(float(np.linalg.norm(forward[:2])), 1e-6)
        x, y = np.round((eye[:2] + AHEAD * level) / STEP).astype(int).tolist()
        return x, y

    def corner(self, key: Key) -> tuple[float, float, float]:
        """Return x and y where a map begins, and one over its size."""
        return key[0] * STEP - HALF, key[1] * STEP - HALF, 1 / (2 * HALF)

    def light(self, key: Key, fixed: Callable[[], np.ndarray], moving: np.ndarray) -> moderngl.Texture:
        """Return the map of light: `fixed` gives the patches of what stands still, if they are not kept."""
        if key not in self._still:
            _, frame = self._still.popitem(last=False) if len(self._still) >= KEPT else (key, self._map())
            self._still[key] = frame
            frame.clear()
            self._add(frame, key, fixed())
        self._still.move_to_end(key)
        frame = self._still[key]
        if len(moving):
            self.context.copy_framebuffer(self._now, frame)
            frame = self._now
            self._add(frame, key, moving)
        light = frame.color_attachments[0]
        assert isinstance(light, moderngl.Texture)
        return light

    def _add(self, frame: moderngl.Framebuffer, key: Key, patches: np.ndarray) -> None:
        frame.use()
        onto = np.diag([1 / HALF, 1 / HALF, 0, 1])
        onto[:2, 3] = -np.array(key) * STEP / HALF
        self.context.disable(moderngl.DEPTH_TEST)
        self.draw(patches, onto, 0.0)
        self.context.enable(moderngl.DEPTH_TEST)
        self.device.pace.hand_over()

    def draw(self, patches: np.ndarray, onto: Matrix, nearer: float) -> None:
        """Add patches of light to what is drawn into; by `nearer` they are drawn before what is there."""
        if not len(patches):
            return
        if len(patches) > self._room:
            self._drawing.release()
            self._patches.release()
            self._make(2 * len(patches))
        self._patches.write(patches.tobytes())
        self._shapes.use(SHAPES)
        program: Any = self._drawing.program
        program["onto"].write(onto.T.astype("<f4").tobytes())
        program["nearer"].value = nearer
        self.context.disable(moderngl.CULL_FACE)
        self.context.enable(moderngl.BLEND)
        self.context.blend_func = moderngl.ONE, moderngl.ONE
        self._drawing.render(moderngl.TRIANGLE_STRIP, vertices=4, instances=len(patches))
        self.context.disable(moderngl.BLEND)
        self.context.enable(moderngl.CULL_FACE)
