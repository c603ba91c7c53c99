"""Levels of textures against means in float64, and what a shader reads of them."""

from __future__ import annotations

import moderngl
import numpy as np
import pytest

from mtdrive.envs.town.device import Device
from mtdrive.envs.town.layers import levels

READER = (
    "#version 330\nin vec2 corner; void main() { gl_Position = vec4(corner, 0, 1); }",
    """#version 330
    uniform sampler2DArray images; uniform int level; uniform int layer; out vec4 seen;
    void main() { seen = texelFetch(images, ivec3(ivec2(gl_FragCoord.xy), layer), level); }""",
)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_shader_reads_in_each_level_the_means_of_the_images(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, channels), np.uint8)
    device = Device()
    device.layered(images, 5).filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)
    program = device.context.program(*READER)
    program["images"] = 5
    corners = device.context.buffer(np.array([-1, -1, -1, 3, 3, -1], "<f4").tobytes())
    drawing = device.context.vertex_array(program, [(corners, "2f4", "corner")])
    frame = device.context.framebuffer([device.context.renderbuffer((16, 16), 4)])
    frame.use()
    for level, made in enumerate(levels(images)):
        side = 16 >> level
        wide = images.reshape(3, side, 1 << level, side, 1 << level, channels).mean(axis=(2, 4))
        assert made.shape == wide.shape
        assert abs(made - wide).max() <= 0.5 * max(level, 0.01)  # each level rounds once
        for layer in range(3):
            program["level"], program["layer"] = level, layer
            drawing.render(moderngl.TRIANGLES, vertices=3)
            seen = np.frombuffer(frame.read(components=4), np.uint8).reshape(16, 16, 4)
            assert np.array_equal(seen[:side, :side, :channels], made[layer])
    device.context.release()
