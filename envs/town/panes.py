"""Which parts of the walls' textures are window panes: at night there is light behind them."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from mtdrive.envs.town.materials import FACADES, Material

BLUE = 1.25
"""By how much the blue of glass outweighs the red: walls, frames and blinds have less of it."""


def panes(layers: UInt8[np.ndarray, "layers size size 3"]) -> UInt8[np.ndarray, "layers size size"]:
    """Return 255 where a wall's texture shows glass, 0 elsewhere and in other materials."""
    out = np.zeros(layers.shape[:3], np.uint8)
    for layer in (*FACADES, Material.SHOPS):
        red, _, blue = np.moveaxis(layers[layer].astype(float), -1, 0)
        out[layer] = 255 * (blue > BLUE * red)
    return out
