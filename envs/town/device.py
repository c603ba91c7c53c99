"""The graphics context with programs, textures and the buffers of quads."""

from __future__ import annotations

from typing import Any

import moderngl
import numpy as np
from jaxtyping import Int, UInt8

from mtdrive.envs.town import contexts, screens, shaders
from mtdrive.envs.town.layers import Images, layered
from mtdrive.envs.town.materials import Material, textures
from mtdrive.envs.town.mesh import LAYOUT
from mtdrive.envs.town.pacing import Pace
from mtdrive.envs.town.panes import panes
from mtdrive.envs.town.stage import FAR
from mtdrive.envs.town.tags import Tag

States = UInt8[np.ndarray, "n"]
Numbers = Int[np.ndarray, "n"]
Kinds = UInt8[np.ndarray, "n"]

NAMES = ("point", "normal", "uv", "colour", "look")
BODY_LAYOUT = "16f4 16f4 4f4 4u4 /i"
BODY_NAMES = ("place", "placed", "paint", "body")

SIGNAL_WORDS = 1024
"""Each holds the states of 16 signals."""

MIRRORS = (Material.GLASS, Material.COACHWORK)
"""Materials that mirror the sky."""
GROUND = (*(m for m in Material if m <= Material.GRASS), Material.PAINT)
"""Materials that are stained, and wet after rain."""
KINDS = ("", " MIRROR", " GROUND")
"""What a program has to draw of a kind of surfaces more than of others, as its name has it."""
ALL = KINDS[1]
"""What draws all kinds, without stains."""

CONSTANTS = {
    **{
        m.name: f"{int(m)}"
        for m in (Material.KERB, Material.GRASS, Material.PAINT, Material.GLASS, Material.VARIATION)
    },
    **{m.name: f"{int(m)}u" for m in (Material.CLOTH, Material.DENIM, Material.SKIN)},
    "SKY": f"{int(Tag.SKY)}.0",
    "FAR": f"{FAR}",
    "SIGNAL_WORDS": f"{SIGNAL_WORDS}",
}

LOOK_BYTES = 4 * (5 * 16 + 14 * 4)
"""Five matrices and fourteen vectors."""

TILES, SHADOWS, LARGE, LAMPLIGHT, SHAPES = range(5)
"""Texture units."""

UNITS = {
    "tiles": TILES, "shadows": SHADOWS, "large": LARGE, "lamplight": LAMPLIGHT, "shapes": SHAPES,
}  # fmt: skip

BLOCKS = {"Look": 0, "Signals": 1}
"""Where the buffers of the blocks of uniforms are bound."""


SOURCES = {
    "lit": (shaders.LIT_VERTEX, shaders.LIT_FRAGMENT),
    "label": (shaders.LABEL_VERTEX, shaders.LABEL_FRAGMENT),
    "shadow": (shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT),
    "sky": (screens.SKY_VERTEX, screens.SKY_FRAGMENT),
    "sky_label": (screens.SKY_VERTEX, screens.SKY_LABEL_FRAGMENT),
    "shrink": (screens.SHRINK_VERTEX, screens.SHRINK_FRAGMENT),
    "shine": (screens.SHINE_VERTEX, screens.SHINE_FRAGMENT),
}


class Device:
    """A context and what all drawings share."""

    def __init__(self, way: str | None = None) -> None:
        self.context, self._load, self.description = contexts.create(way)
        self.pace = Pace(self._load)
        self.context.front_face = "cw"  # the frame is left-handed
        self._programs: dict[str, moderngl.Program] = {}
        self.look = self.context.buffer(reserve=LOOK_BYTES)
        self.look.bind_to_uniform_block(BLOCKS["Look"])
        self._signals = self.context.buffer(reserve=16 * SIGNAL_WORDS, dynamic=True)
        self._signals.bind_to_uniform_block(BLOCKS["Signals"])
        layers = textures()
        self.tiles = self.layered(np.concatenate([layers, panes(layers)[..., None]], axis=-1), TILES)
        self.tiles.filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)
        corners = np.array([-1, -1, -1, 3, 3, -1], dtype="<f4")
        self._corners = self.context.buffer(corners.tobytes())
        self._screens: dict[str, moderngl.VertexArray] = {}

    def layered(self, images: Images, unit: int) -> moderngl.TextureArray:
        """Return a texture with a layer for each image, bound to a unit."""
        return layered(self.context, self._load, images, unit)

    def program(self, name: str) -> moderngl.Program:
        """Return a program; after its name there may be what shall be defined in it, as in "lit SUN FOG"."""
        if name not in self._programs:
            self._programs[name] = self._compiled(*name.split())
        return self._programs[name]

    def _compiled(self, name: str, *features: str) -> moderngl.Program:
        # In GLSL a whole number does not compare with an unsigned one: the coachwork is compared with both.
        flat, unsigned = (f"#define COACHWORK {int(Material.COACHWORK)}{end}\n" for end in ("", "u"))
        common = "".join(f"#define {k} {v}\n" for k, v in (CONSTANTS | dict.fromkeys(features, "1")).items())
        first, rest = (x.split("\n", 1) for x in SOURCES[name]), (unsigned, flat)
        sources = [f"{head}\n{common}{own}{tail}" for (head, tail), own in zip(first, rest, strict=True)]
        program = self.context.program(vertex_shader=sources[0], fragment_shader=sources[1])
        for part in program:
            member: Any = program[part]
            if part in UNITS:
                member.value = UNITS[part]
            elif isinstance(member, moderngl.UniformBlock):
                member.binding = BLOCKS[part]
        return program

    def show_signals(self, states: States) -> None:
        """Set the states of the signals by their slots."""
        words = np.zeros((-(-len(states) // 16), 4), "<u4")
        padded = np.pad(states, (0, -len(states) % 16)).reshape(-1, 16).astype("<u4")
        words[:, 0] = (padded << np.arange(0, 32, 2, dtype="<u4")).sum(axis=1, dtype="<u4")
        self._signals.write(words[:SIGNAL_WORDS].tobytes())

    def screen(self, program: str) -> None:
        """Run a program for every pixel."""
        if program not in self._screens:
            content = [(self._corners, "2f4", "corner")]
            self._screens[program] = self.context.vertex_array(self.program(program), content)
        self._screens[program].render(moderngl.TRIANGLES, vertices=3)


def kinds_of(vertices: np.ndarray) -> Kinds:
    """Return the kind of each quad, as an index into `KINDS`."""
    material = vertices["look"].reshape(-1, 4, 4)[:, 0, 0]
    return (np.isin(material, MIRRORS) + 2 * np.isin(material, GROUND)).astype(np.uint8)


class Quads:
    """Vertices, four a quad, some of which are drawn under any program; once an instance if there are any."""

    def __init__(
        self, device: Device, vertices: np.ndarray, instances: moderngl.Buffer | None = None
    ) -> None:
        self.device = device
        self._vertices = device.context.buffer(np.ascontiguousarray(vertices).tobytes())
        self._content: list[tuple[Any, ...]] = [(self._vertices, LAYOUT, *NAMES)]
        self._features = ""
        if instances is not None:
            self._content.append((instances, BODY_LAYOUT, *BODY_NAMES))
            self._features = " BODY"
        self._index = device.context.buffer(reserve=24 * (vertices.size // 4), dynamic=True)
        self._arrays: dict[str, moderngl.VertexArray] = {}
        self.choose(np.arange(vertices.size // 4))

    def choose(self, quads: Numbers) -> None:
        """Let these be drawn from now on, in this order."""
        self._count = len(quads)
        corners = quads[:, None] * 4 + np.array([0, 1, 2, 0, 2, 3])
        self._index.write(corners.astype("<u4").tobytes())

    def draw(self, program: str, part: slice = slice(None), instances: int = -1) -> None:
        """Draw the chosen ones under a program, or a part of them."""
        first, end, _ = part.indices(self._count)
        if end > first:
            drawing = self._under(program)
            drawing.render(moderngl.TRIANGLES, 6 * (end - first), first=6 * first, instances=instances)

    def _under(self, program: str) -> moderngl.VertexArray:
        if program not in self._arrays:
            self._arrays[program] = self.device.context.vertex_array(
                self.device.program(program + self._features), self._content, self._index, skip_errors=True
            )
        return self._arrays[program]

    def release(self) -> None:
        """Free them."""
        for array in self._arrays.values():
            array.release()
        self._arrays.clear()
        self._index.release()
        self._vertices.release()
