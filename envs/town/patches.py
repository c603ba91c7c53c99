"""Patches of light: what lamps add to the ground around them, and to the image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from mtdrive.envs.town.furniture import STREET
from mtdrive.envs.town.lamps import Lengths, Lights, Point, Points
from mtdrive.envs.town.people import BRAKE, FRONT, REAR
from mtdrive.envs.town.things import GREEN, RED, YELLOW

POOL, BEAM, HALO, GLINT = range(4)
"""The shapes of light: of a lamp above the ground, ahead of a car, around a lamp, on wet ground."""
SHAPE = 64
"""Pixels along the side of their textures."""

WIDTH = 0.45
"""Of a beam, in relation to its length."""
SIZES = {STREET: 1.1, FRONT: 0.6, BRAKE: 0.4, REAR: 0.3, **dict.fromkeys((RED, YELLOW, GREEN), 0.5)}
"""Metres that the halo of a lamp reaches; of others, `SMALL`."""
SMALL = 0.3
PIXELS = 2.0
"""Pixels that a halo reaches at least, so that lamps far away are seen."""
GLINTS = 90.0
"""Metres to the last lamp that wet ground reflects."""
GLINT_NEARER = 1e-4
"""By how much of OpenGL's depth glints are drawn before the ground, which is not as flat as they are."""
TOWARDS = 0.3
"""Metres by which halos are nearer than their lamps, which would hide them."""
POOLED = 14.0
"""Metres that the pool of a street lamp reaches."""
PATCH = np.dtype(
    [("middle", "<f4", 3), ("shape", "<f4"), ("across", "<f4", 3), ("along", "<f4", 3), ("colour", "<f4", 4)]
)
"""A rectangle of light: half of its sides, and its colour; light is added."""


def patches(count: int) -> np.ndarray:
    """Return so many patches, all zero."""
    return np.zeros(count, PATCH)


def pools(lights: Lights) -> np.ndarray:
    """Return the light of street lamps on the map of light: around them, below their height."""
    out = patches(len(lights.lamp))
    out["middle"], out["shape"] = lights.at, POOL
    out["across"], out["along"] = (POOLED, 0, 0), (0, POOLED, 0)
    return _below(out, lights.colour, lights.at[:, 2] + 0.6)


def glows(lights: Lights) -> np.ndarray:
    """Return the light behind cars on the map of light."""
    lights = lights.chosen(lights.lamp == BRAKE)
    out = patches(len(lights.lamp))
    out["middle"], out["shape"] = lights.at + 1.2 * lights.facing, POOL
    out["across"], out["along"] = (3.2, 0, 0), (0, 3.2, 0)
    return _below(out, 0.3 * lights.colour, lights.ground + 1.6)


def beams(lights: Lights) -> np.ndarray:
    """Return the light of headlights on the map of light."""
    lights = lights.chosen(lights.reach > 0)
    out = patches(len(lights.lamp))
    half = lights.reach[:, None] / 2
    x, y, _ = lights.facing.T
    out["middle"], out["shape"] = lights.at + lights.facing * half, BEAM
    out["along"] = np.stack([x, y, 0 * x], axis=1) * half
    out["across"] = np.stack([-y, x, 0 * x], axis=1) * half * WIDTH
    return _below(out, lights.colour, lights.ground + 2.2)


def _below(out: np.ndarray, colour: Points, top: Lengths) -> np.ndarray:
    out["middle"][:, 2] = 0
    out["colour"][:, :3], out["colour"][:, 3] = colour, colour[:, 1] * top
    return out


def halos(lights: Lights, eye: Point, pixel: float, spread: float) -> np.ndarray:
    """Return what is seen around lamps.

    Args:
        lights: the lamps.
        eye: the place of the camera.
        pixel: metres of a pixel a metre away.
        spread: by how much fog makes halos larger.
    """
    out, (toward, far) = patches(len(lights.lamp)), _toward(lights, eye)
    size = np.array([SIZES.get(i, SMALL) for i in range(STREET + 1)])[lights.lamp] * spread
    size = np.maximum(size, PIXELS * pixel * far)[:, None]
    right = np.cross([0.0, 0.0, 1.0], toward)
    right /= np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-6)
    out["middle"], out["shape"] = lights.at + toward * np.minimum(TOWARDS, 0.5 * far)[:, None], HALO
    out["across"], out["along"] = right * size, np.cross(toward, right) * size
    out["colour"][:, :3] = lights.colour * _shown(lights, toward)
    return out


def glints(lights: Lights, eye: Point, film: float) -> np.ndarray:
    """Return reflections on wet ground: streaks towards the eye, around where a mirror would show lamps."""
    lights = lights.chosen((lights.ground < eye[2] - 0.2) & (lights.at[:, 2] > lights.ground + 0.1))
    out, (toward, _) = patches(len(lights.lamp)), _toward(lights, eye)
    high = (eye[2] - lights.ground) / (eye[2] - lights.ground + lights.at[:, 2] - lights.ground)
    away = lights.at[:, :2] - eye[:2]
    far = np.maximum(np.linalg.norm(away, axis=1), 0.1)
    ahead = np.concatenate([away / far[:, None], np.zeros((len(far), 1))], axis=1)
    length, width = np.clip(0.3 * far * high, 0.3, 9.0), 0.10 + 0.009 * far
    out["middle"][:, :2], out["middle"][:, 2] = eye[:2] + away * high[:, None], lights.ground + 0.02
    out["shape"] = GLINT
    out["along"] = ahead * length[:, None]
    out["across"] = ahead[:, [1, 0, 2]] * [1, -1, 0] * width[:, None]
    out["colour"][:, :3] = lights.colour * _shown(lights, toward) * 0.7 * film
    return out


def _toward(lights: Lights, eye: Point) -> tuple[Points, Lengths]:
    """Return the directions from lamps to the eye, and the distances."""
    way = eye - lights.at
    far = np.maximum(np.linalg.norm(way, axis=1), 0.01)
    return way / far[:, None], far


def _shown(lights: Lights, toward: Points) -> Float[np.ndarray, "n 1"]:
    """Return how brightly lamps shine into a direction."""
    facing = np.einsum("ni,ni->n", lights.facing, toward)
    around = ~lights.facing.any(axis=1)
    return np.where(around, 1.0, 0.05 + 0.95 * np.maximum(facing, 0) ** 2)[:, None]


def shapes() -> UInt8[np.ndarray, "shapes along across"]:
    """Return the shapes of light as images."""
    middle = (np.arange(SHAPE) + 0.5) / SHAPE * 2 - 1
    y, x = np.meshgrid(middle, middle, indexing="ij")
    r, t = np.hypot(x, y), (y + 1) / 2
    rim = np.clip(1 - r, 0, 1)
    sides = np.clip((1 - abs(x)) / 0.15, 0, 1)
    pool = np.clip(1 - r**2, 0, 1) ** 2.2
    beam = np.clip(t / 0.10, 0, 1) ** 2 * (1 - t) ** 1.1 * np.exp(-2.2 * (x / (0.10 + 0.75 * t)) ** 2) * sides
    halo = (np.exp(-((r / 0.10) ** 2)) + 0.3 * np.exp(-((r / 0.32) ** 2))) * np.clip(3 * rim, 0, 1)
    glint = np.exp(-((x / 0.42) ** 2)) * (1 - y**2) ** 1.5 * sides
    return np.asarray((np.clip([pool, beam, halo, glint], 0, 1) * 255).round(), np.uint8)
