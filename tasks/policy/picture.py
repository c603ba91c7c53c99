"""Pictures of plans: where a car means to go, drawn into what its camera sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from mtdrive.batch import TARGET, Command
from mtdrive.rig import Rig
from mtdrive.tasks.policy.control import arc

Figures = Float[np.ndarray, "*n"]

NEAREST = 0.5
"""Metres before the camera from which on points are drawn."""
LARGE = 2
"""Pixels are so many times as wide in the picture, or letters would fill it."""
WHEELBASE, LARGEST_STEER, ARC = 2.9, math.radians(70), 12.0
"""Of a middling car, and the metres of the arc that stands for a steering angle."""


@dataclass(frozen=True)
class Lens:
    """A camera on a car."""

    intrinsics: Float[np.ndarray, "3 3"]
    mount: Float[np.ndarray, "4 4"]
    """`T_car,camera`, the car's origin on the ground."""


def lens_of(rig: Rig | None, intrinsics: Float[np.ndarray, "3 3"]) -> Lens | None:
    """Return the front camera on its car; None where the data did not say how it is mounted."""
    return None if rig is None else Lens(intrinsics, rig.cameras[TARGET.camera].pose)


def project(places: Float[np.ndarray, "n 2"], lens: Lens) -> Float[np.ndarray, "m 2"]:
    """Return the pixels of places on flat ground, (right, forward) metres of the car; those in sight only."""
    n = len(places)
    car = np.stack([places[:, 0], np.zeros(n), places[:, 1], np.ones(n)])
    camera = (np.linalg.inv(lens.mount) @ car)[:3]
    camera = camera[:, (camera[2] > NEAREST) & np.isfinite(camera).all(axis=0)]
    pixels: Float[np.ndarray, "m 2"] = (lens.intrinsics @ (camera / camera[2]))[:2].T
    return pixels


def places_of(values: Mapping[str, Figures]) -> Float[np.ndarray, "n 2"]:
    """Return the way that a plan or the labels describe: as places, or as the arc of the steering."""
    for name in ("waypoints", "path"):
        if name in values:
            return values[name]
    if "steer" not in values:
        return np.zeros((0, 2))
    return arc(float(np.clip(values["steer"], -1, 1)) * LARGEST_STEER, ARC, WHEELBASE)


def draw_plans(
    image: UInt8[np.ndarray, "h w 3"],
    plans: Mapping[str, Mapping[str, Figures]],
    lens: Lens | None,
    command: Command | None,
) -> UInt8[np.ndarray, "_h _w 3"]:
    """Return an image, enlarged, with plans and their figures.

    Args:
        image: of the front camera.
        plans: by colour; values by the names of labels.
        lens: of that camera; without it no way is drawn.
        command: of the planner.
    """
    height, width = image.shape[:2]
    canvas = Image.fromarray(image).resize((LARGE * width, LARGE * height), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(canvas)
    lines = [("white", command.name.lower().replace("_", " "))] if command is not None else []
    lines += [(colour, _words(values)) for colour, values in plans.items()]
    for row, (colour, text) in enumerate(lines):
        pen.text((4, 2 + 11 * row), text, fill=colour)
    for colour, values in plans.items():
        if lens is not None:
            _way(pen, places_of(values), lens, colour, LARGE)
    return np.asarray(canvas).copy()


def draw_way(
    image: UInt8[np.ndarray, "h w 3"],
    values: Mapping[str, Figures],
    lens: Lens,
    colour: str,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image with the way of one plan."""
    canvas = Image.fromarray(image)
    _way(ImageDraw.Draw(canvas), places_of(values), lens, colour, 1)
    return np.asarray(canvas).copy()


def _way(
    pen: ImageDraw.ImageDraw, places: Float[np.ndarray, "n 2"], lens: Lens, colour: str, scale: int
) -> None:
    pixels = scale * (project(places, lens) + 0.5)
    corners = [(float(x), float(y)) for x, y in pixels.clip(-1e4, 1e4)]
    if len(corners) > 1:
        pen.line(corners, fill=colour, width=scale)
    for x, y in corners:
        pen.ellipse((x - scale, y - scale, x + scale, y + scale), fill=colour)


def _words(values: Mapping[str, Figures]) -> str:
    """Return the figures of a plan in a line."""
    texts = {"steer": "steer {:+.2f}", "target_speed": "to {:.1f} m/s", "throttle": "throttle {:.2f}"}
    texts |= {"brake": "brake {:.2f}", "speed": "at {:.1f} m/s"}
    return "  ".join(text.format(float(values[name])) for name, text in texts.items() if name in values)
