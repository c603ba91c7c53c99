"""Letters for signs, as meshes."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, quads
from mtdrive.envs.town.tags import Tag

ROWS = 7
GLYPHS = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
}
"""Rows of 5 dots, the highest first."""


def write(
    text: str, middle: tuple[float, float, float], height: float, colour: tuple[float, float, float]
) -> Mesh:
    """Return a text that faces x; what is no known letter is left out."""
    dot = height / ROWS
    start = -3 * dot * len(text) + dot / 2
    runs = []
    for place, glyph in enumerate(text):
        for row, line in enumerate(GLYPHS.get(glyph, "").split()):
            column = 0
            for ink, group in groupby(line):
                wide = len(list(group))
                if ink == "1":
                    # Those who look at it have its y on their left.
                    y = -(start + (6 * place + column) * dot)
                    runs.append((y, height / 2 - row * dot, wide * dot))
                column += wide
    x = middle[0]
    points = [
        [(x, y - w, z - dot), (x, y, z - dot), (x, y, z), (x, y - w, z)]
        for y, z, w in ((middle[1] + y, middle[2] + z, w) for y, z, w in runs)
    ]
    return quads(np.array(points), Material.PLAIN, Tag.TRAFFIC_SIGN, colour=colour)
