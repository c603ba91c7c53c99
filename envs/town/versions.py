"""What differs on the wire between releases of the client: a table a release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from mtdrive.errors import ConfigError


@dataclass(frozen=True)
class Wire:
    """The numbers that a release of the client was compiled with."""

    release: str
    world: int
    """The type of the messages with the state of the world."""
    sensors: Mapping[str, int]
    """The type of a sensor's messages; a wrong one crashes the client."""


WIRES = {
    "0.9.16": Wire(
        "0.9.16",
        17,
        {
            "sensor.other.collision": 0,
            "sensor.camera.depth": 1,
            "sensor.other.gnss": 4,
            "sensor.other.imu": 5,
            "sensor.other.obstacle": 7,
            "sensor.camera.optical_flow": 8,
            "sensor.camera.rgb": 13,
            "sensor.camera.semantic_segmentation": 14,
            "sensor.camera.instance_segmentation": 15,
        },
    ),
}
"""The releases whose real client was tried against this server."""


def wire(release: str) -> Wire:
    """Return the table of a release.

    Raises:
        ConfigError: there is none.
    """
    if release not in WIRES:
        served = ", ".join(WIRES)
        raise ConfigError(
            f"Town speaks to the client carla {served}, found {release}; install carla=={list(WIRES)[-1]}"
        )
    return WIRES[release]


def installed_client() -> str:
    """Return the release of the client in this environment.

    Raises:
        ConfigError: there is no client.
    """
    try:
        return version("carla")
    except PackageNotFoundError as error:
        raise ConfigError("expected the package carla; install carla==0.9.16") from error
