"""The graphics context with programs, textures and the buffers of quads."""

from __future__ import annotations

from typing import Any

import moderngl
import numpy as np

from mtdrive.envs.town import contexts, shaders
from mtdrive.envs.town.materials import Material, textures
from mtdrive.envs.town.mesh import LAYOUT
from mtdrive.envs.town.stage import FAR
from mtdrive.envs.town.tags import Tag

NAMES = ("point", "normal", "uv", "colour", "look")
BODY_LAYOUT = "16f4 16f4 4f4 4u4 /i"
BODY_NAMES = ("place", "placed", "paint", "body")

CONSTANTS = {
    **{m.name: f"{int(m)}" for m in (Material.GRASS, Material.GLASS, Material.VARIATION)},
    **{m.name: f"{int(m)}u" for m in (Material.CLOTH,)},
    "SKY": f"{int(Tag.SKY)}.0",
    "FAR": f"{FAR}",
}

LOOK_BYTES = 4 * (4 * 16 + 6 * 4)
"""Four matrices and six vectors."""

TILES, STILL, MOVING, SIGNALS, LARGE = range(5)
"""Texture units."""


class Device:
    """A context and what all drawings share."""

    def __init__(self, way: str | None = None) -> None:
        self.context, self.description = contexts.create(way)
        self.context.front_face = "cw"  # the frame is left-handed
        self.programs = self._programs()
        self.look = self.context.buffer(reserve=LOOK_BYTES)
        self.look.bind_to_uniform_block(0)
        layers = textures()
        size = (layers.shape[2], layers.shape[1], layers.shape[0])
        self.tiles = self.context.texture_array(size, 3, np.ascontiguousarray(layers).tobytes(), alignment=1)
        self.tiles.build_mipmaps()
        self.tiles.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self.tiles.use(TILES)
        self.index = self.context.buffer(reserve=4)
        self._indexed = 0
        corners = np.array([-1, -1, -1, 3, 3, -1], dtype="<f4")
        self._corners = self.context.buffer(corners.tobytes())
        self.screens = {
            name: self.context.vertex_array(self.programs[name], [(self._corners, "2f4", "corner")])
            for name in ("sky", "sky_label", "shrink")
        }

    def _programs(self) -> dict[str, moderngl.Program]:
        pairs = {
            "lit": (shaders.LIT_VERTEX, shaders.LIT_FRAGMENT),
            "label": (shaders.LABEL_VERTEX, shaders.LABEL_FRAGMENT),
            "shadow": (shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT),
        }
        made = {}
        for name, (vertex, fragment) in pairs.items():
            made[name] = self._program(vertex, fragment)
            made[name + "_body"] = self._program(vertex.replace("//BODY", "#define BODY"), fragment)
        made["sky"] = self._program(shaders.SKY_VERTEX, shaders.SKY_FRAGMENT)
        made["sky_label"] = self._program(shaders.SKY_VERTEX, shaders.SKY_LABEL_FRAGMENT)
        made["shrink"] = self._program(shaders.SHRINK_VERTEX, shaders.SHRINK_FRAGMENT)
        return made

    def _program(self, vertex: str, fragment: str) -> moderngl.Program:
        # In GLSL a whole number does not compare with an unsigned one: the coachwork is compared with both.
        flat, unsigned = (f"#define COACHWORK {int(Material.COACHWORK)}{end}\n" for end in ("", "u"))
        common = "".join(f"#define {k} {v}\n" for k, v in CONSTANTS.items())
        first, rest = (x.split("\n", 1) for x in (vertex, fragment)), (unsigned, flat)
        sources = [f"{head}\n{common}{own}{tail}" for (head, tail), own in zip(first, rest, strict=True)]
        program = self.context.program(vertex_shader=sources[0], fragment_shader=sources[1])
        units = {"tiles": TILES, "still": STILL, "moving": MOVING, "signals": SIGNALS, "large": LARGE}
        for name in program:
            member: Any = program[name]
            if name in units:
                member.value = units[name]
            elif isinstance(member, moderngl.UniformBlock):
                member.binding = 0
        return program

    def quads(
        self, vertices: np.ndarray, instances: moderngl.Buffer | None = None
    ) -> dict[str, moderngl.VertexArray]:
        """Return how to draw vertices, four a quad, under each program; once an instance if there are any."""
        buffer = self.context.buffer(np.ascontiguousarray(vertices).tobytes())
        self._grow(vertices.size // 4)
        content: list[tuple[Any, ...]] = [(buffer, LAYOUT, *NAMES)]
        suffix = ""
        if instances is not None:
            content.append((instances, BODY_LAYOUT, *BODY_NAMES))
            suffix = "_body"
        return {
            name: self.context.vertex_array(
                self.programs[name + suffix], content, self.index, skip_errors=True
            )
            for name in ("lit", "label", "shadow")
        }

    def _grow(self, count: int) -> None:
        """Make the shared index long enough for so many quads."""
        if count > self._indexed:
            self._indexed = max(count, 4096)
            first = np.arange(self._indexed, dtype="<u4")[:, None] * 4
            self.index.orphan(self._indexed * 24)
            self.index.write((first + np.array([0, 1, 2, 0, 2, 3], dtype="<u4")).tobytes())
