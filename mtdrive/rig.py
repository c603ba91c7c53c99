"""How a car's cameras look and where they sit: what a trained policy must be given to see as it did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from mtdrive.errors import CheckpointError

FILE = "rig.json"
"""What it is called in a checkpoint."""

_FORMAT = "mtdrive rig 1"


@dataclass(frozen=True)
class RigCamera:
    """One camera, as its images come: `fx` to `cy` are in their pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    mount: tuple[tuple[float, ...], ...]
    """Rows of `T_car,camera`; the car's origin is on the ground."""

    @property
    def pose(self) -> Float64[np.ndarray, "4 4"]:
        """Return `T_car,camera`."""
        return np.array(self.mount)


@dataclass(frozen=True, kw_only=True)
class Rig:
    """The cameras of the car that recorded the data which a policy learned from."""

    rate: float
    """Frames in a second."""
    cameras: Mapping[str, RigCamera]
    size: tuple[int, int] | None = None
    """Height and width that whole images are resized to for the networks; None before it is known."""

    def json(self) -> str:
        """Return the content of the file."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1) + "\n"


def load_rig(checkpoint: Path) -> Rig:
    """Return the rig that a policy was trained with.

    Raises:
        CheckpointError: if the checkpoint has none, or it is damaged.
    """
    path = checkpoint / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(
            f"{checkpoint}: does not say which cameras its policy needs: the data sets that it learned from "
            "have several rigs, rates or sizes, or know none; train it on drives of one rig"
        ) from None
    return _parse_rig(text, path)


def _parse_rig(text: str, origin: Path) -> Rig:
    """Return the rig in a file.

    Raises:
        CheckpointError: if it is damaged or of another version.
    """
    try:
        given = json.loads(text)
        if given["format"] != _FORMAT:
            raise ValueError(f"its format is {given['format']!r}, not {_FORMAT!r}")
        cameras = {str(name): _camera(camera) for name, camera in given["cameras"].items()}
        height, width = given["size"]
        return Rig(rate=float(given["rate"]), cameras=cameras, size=(int(height), int(width)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{origin}: cannot be read ({error}); use another checkpoint") from None


def _camera(given: Mapping[str, Any]) -> RigCamera:
    lens = {name: float(given[name]) for name in ("fx", "fy", "cx", "cy")}
    pose = np.array(given["mount"], dtype=np.float64)
    if pose.shape != (4, 4):
        raise ValueError(f"a mount has the shape {pose.shape}, not 4x4")
    return RigCamera(int(given["width"]), int(given["height"]), **lens, mount=rows(pose))


def rows(pose: Float64[np.ndarray, "4 4"]) -> tuple[tuple[float, ...], ...]:
    """Return a matrix as plain numbers, rounded to a micrometre so that equal mounts compare equal."""
    return tuple(tuple(float(x) for x in row) for row in pose.round(6) + 0.0)
