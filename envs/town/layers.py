"""Arrays of images as textures, with all their levels.

OpenGL could make the levels itself; Mesa would draw them, in batches whose fences nobody holds: see `pacing`.
"""

from __future__ import annotations

import ctypes

import moderngl
import numpy as np
from jaxtyping import UInt8

from mtdrive.envs.town.contexts import Load

Images = UInt8[np.ndarray, "layers size size channels"]
Level = UInt8[np.ndarray, "layers _ _ channels"]

ARRAY, BYTES = 0x8C1A, 0x1401
"""OpenGL's `TEXTURE_2D_ARRAY` and `UNSIGNED_BYTE`."""
FORMATS = {1: (0x8229, 0x1903), 4: (0x8058, 0x1908)}
"""`R8` and `RED`, `RGBA8` and `RGBA`, by the number of channels."""


def levels(images: Images) -> list[Level]:
    """Return images whose size is a power of two, and their halves down to one pixel."""
    found = [images]
    while (size := found[-1].shape[1]) > 1:
        fours = found[-1].reshape(len(images), size // 2, 2, size // 2, 2, -1)
        found.append(((fours.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8))
    return found


def layered(context: moderngl.Context, load: Load, images: Images, unit: int) -> moderngl.TextureArray:
    """Return a texture with a layer for each image; it is bound to a unit."""
    count, size, _, channels = images.shape
    texture = context.texture_array((size, size, count), channels, images.tobytes(), alignment=1)
    texture.use(unit)
    numbers = [ctypes.c_uint, *[ctypes.c_int] * 6, ctypes.c_uint, ctypes.c_uint]
    put = ctypes.CFUNCTYPE(None, *numbers, ctypes.c_char_p)(load("glTexImage3D"))
    inner, outer = FORMATS[channels]
    for level, image in enumerate(levels(images)):
        side = image.shape[1]
        put(ARRAY, level, inner, side, side, count, 0, outer, BYTES, image.tobytes())
    return texture
