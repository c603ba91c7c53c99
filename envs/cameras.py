"""Cameras of the car: where they are, and what comes of their messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import carla
import numpy as np
from jaxtyping import Float32, UInt8

LabelName = Literal["depth", "semantics", "flow", "pose"]

SENSORS: Mapping[str, str] = {
    "depth": "sensor.camera.depth",
    "semantics": "sensor.camera.semantic_segmentation",
    "flow": "sensor.camera.optical_flow",
}
"""Of the labels that have one of their own."""
FARTHEST = 1000.0
"""Metres; what CARLA gives the sky."""


@dataclass(frozen=True)
class CameraSettings:
    """A camera on the car, in CARLA's frame of the car: metres and degrees."""

    name: str = "front"
    width: int = 320
    height: int = 160
    fov: float = 90.0
    """Horizontal, degrees."""
    x: float = 1.5
    """Forward of the car's middle."""
    y: float = 0.0
    """To the right."""
    z: float = 2.0
    """Above the ground."""
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Further ones of the colour camera's blueprint, such as `gamma`."""

    @property
    def transform(self) -> carla.Transform:
        """Where it is on the car."""
        return carla.Transform(
            carla.Location(self.x, self.y, self.z), carla.Rotation(self.pitch, self.yaw, self.roll)
        )

    def blueprint(self) -> dict[str, str]:
        """Return the attributes that a camera of any kind has."""
        return {"image_size_x": str(self.width), "image_size_y": str(self.height), "fov": str(self.fov)}


CHASE = CameraSettings("chase", 480, 270, 90.0, x=-6.0, z=3.2, pitch=-12.0)
"""Looks at the car from behind."""


def colours(image: carla.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Return red, green and blue."""
    return np.ascontiguousarray(_bytes(image)[..., 2::-1])


def depth(image: carla.Image) -> Float32[np.ndarray, "h w"]:
    """Return metres along the optical axis; the sky has 1000."""
    parts = _bytes(image)[..., :3] @ np.array([65536, 256, 1], np.float32)
    return parts * np.float32(FARTHEST / (2**24 - 1))


def semantics(image: carla.Image) -> UInt8[np.ndarray, "h w"]:
    """Return CARLA's tags (`carla.CityObjectLabel`), 0 where there is none."""
    return np.ascontiguousarray(_bytes(image)[..., 2])


def flow(image: carla.OpticalFlowImage) -> Float32[np.ndarray, "2 h w"]:
    """Return where each pixel was in the camera's image before, as pixels from here, right then down.

    CARLA gives the motion since then in halves of the image's size, y up.
    """
    motion = np.frombuffer(image.raw_data, np.float32).reshape(image.height, image.width, 2)
    scale = np.array([-image.width / 2, image.height / 2], np.float32)
    return np.ascontiguousarray((motion * scale).transpose(2, 0, 1))


DECODERS = {"depth": depth, "semantics": semantics, "flow": flow}


def _bytes(image: Any) -> UInt8[np.ndarray, "h w 4"]:
    """Return blue, green, red and alpha."""
    return np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)
