"""Print how much texture the towns show: the share of pixels beside which the image varies.

MTDRIVE_MAPS=folder/of/carlas/maps python -m scripts.town_looks [name ...]
"""

from __future__ import annotations

import sys

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from mtdrive.envs.town.renderer import Renderer
from mtdrive.envs.town.roads import TownMap, load_map, map_names
from mtdrive.envs.town.stage import Camera, Pose, Stage
from mtdrive.envs.town.tags import Tag

SIZE, FOV = (320, 160), 90.0
WINDOW, LEAST = 7, 3.0
"""Pixels along a side of the square that must vary, and by what standard deviation, in grey levels."""


def varied(rgb: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Return around which pixels the image varies enough to be matched."""
    grey = rgb @ np.array([0.299, 0.587, 0.114])
    mean, square = (ndimage.uniform_filter(x, WINDOW, mode="nearest") for x in (grey, grey**2))
    return np.asarray(square - mean**2 > LEAST**2)


def spots(town: TownMap, count: int) -> list[Camera]:
    """Return cameras of drivers at random places in a town, who look ahead or a little to a side."""
    rng = np.random.default_rng(1)
    cameras = []
    for n in rng.integers(len(town.spawn_points), size=count):
        p = town.spawn_points[int(n)]
        pose = Pose(p.x, p.y, p.z + 1.3, p.pitch - 2, p.yaw + float(rng.uniform(-25, 25)), 0.0)
        cameras.append(Camera(*SIZE, FOV, pose))
    return cameras


def texture(town: TownMap, count: int) -> float:
    """Return the share of pixels that are no sky and vary, the mean over some spots of an empty town."""
    renderer, empty = Renderer(town), Stage(1, (), dict.fromkeys(town.signals, 0))
    shares = []
    for camera in spots(town, count):
        layers = renderer.render(camera, camera, empty, empty)
        shares.append(float(varied(layers.rgb)[layers.tags != Tag.SKY].mean()))
    renderer.close()
    return float(np.mean(shares))


def main() -> None:
    """Print the table."""
    for name in sys.argv[1:] or map_names():
        print(f"{name:10} {texture(load_map(name), 40):.3f}", flush=True)


if __name__ == "__main__":
    main()
