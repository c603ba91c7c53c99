"""What goes on in the frames of a recorded drive, in words that `balance` may weigh."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from mtdrive.batch import Command
from mtdrive.data.drive_table import Columns

_SPEEDS = {"standing": 0.1, "slow": 4.0, "medium": 9.0, "fast": np.inf}  # m/s that each stays below
_BRAKING, _TURNING, _NEAR = 0.1, 0.1, 20.0  # of the pedal, of the wheel; metres
_STARTING = 0.5, 1.0  # m/s: slower than this, and aiming for more than that


def situations(columns: Columns) -> dict[str, Bool[np.ndarray, " n"]]:
    """Return which frames show each: the command, the range of the speed, what else calls for attention."""
    speed, edges = columns["speed"], [-np.inf, *_SPEEDS.values()]
    return {
        **{command.name.lower(): columns["command"] == command for command in Command},
        **{
            name: (speed >= low) & (speed < high)
            for name, low, high in zip(_SPEEDS, edges[:-1], edges[1:], strict=True)
        },
        "braking": (columns["brake"] > _BRAKING) & (speed >= _SPEEDS["standing"]),
        "starting": (speed < _STARTING[0]) & (columns["target_speed"] > _STARTING[1]),
        "turning": np.abs(columns["steer"]) > _TURNING,
        "leader": columns["leader_distance"] < _NEAR,
        "red_light": (columns["light_state"] == 0) & (columns["light_distance"] < _NEAR),
        "stop_sign": columns["stop_distance"] < _NEAR,
    }
