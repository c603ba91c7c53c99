"""The table of a recorded drive, `frames.parquet`: a row a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Float64, Shaped, UInt8
from pyarrow import parquet

from mtdrive.batch import PATH_POINTS, Command
from mtdrive.data.drive_header import is_rigid
from mtdrive.errors import DataError

FILE = "frames.parquet"
Columns = Mapping[str, Shaped[np.ndarray, "n ..."]]
"""By name, a row a frame. What was unknown is NaN."""

_REAL = pa.float32()
_REQUIRED = {
    "time": pa.float64(),
    "number": pa.int64(),
    "pose": pa.list_(pa.float64(), 16),
    "speed": _REAL,
    "acceleration": _REAL,
    "command": pa.int8(),
    "target_point": pa.list_(_REAL, 2),
    **dict.fromkeys(("steer", "throttle", "brake"), _REAL),
    **dict.fromkeys(("applied_steer", "applied_throttle", "applied_brake"), _REAL),
    **dict.fromkeys(("shift_right", "shift_yaw"), _REAL),
}
_ROUTE = {"route": pa.list_(_REAL, 2 * PATH_POINTS)}
_OPTIONAL = {
    **dict.fromkeys(("target_speed", "leader_distance", "light_distance", "stop_distance"), _REAL),
    "light_state": pa.int8(),
    "speed_limit": _REAL,
}
_TYPES = {**_REQUIRED, **_ROUTE, **_OPTIONAL}


@dataclass(frozen=True, kw_only=True, eq=False)
class DriveFrame:
    """A frame of a drive, as it is recorded.

    Metres, seconds, m/s; pairs are (right, forward) of the car. Controls are CARLA's: steer from -1 to 1,
    positive to the right, throttle and brake from 0 to 1. None is what there is not or nobody knows.
    """

    time: float
    """Since the drive began."""
    number: int
    """Of the frame at the server."""
    pose: Float64[np.ndarray, "4 4"]
    """`T_world,front`."""
    speed: float
    """Forward."""
    acceleration: float
    """Forward, in m/s²."""
    command: int
    """A `Command`."""
    target_point: tuple[float, float]
    steer: float
    """What the agent wants, before noise; so are the next two."""
    throttle: float
    brake: float
    applied: tuple[float, float, float]
    """Steer, throttle and brake as the car got them."""
    route: Float[np.ndarray, "n 2"]
    """Points of the route 1, 2, ... 20 m ahead; fewer near its end."""
    target_speed: float | None = None
    """What the agent wants."""
    leader_distance: float | None = None
    """Of the road user ahead."""
    light_state: int | None = None
    """Of the next traffic light: CARLA's number, 0 red, 1 yellow, 2 green, 3 off."""
    light_distance: float | None = None
    """To its stop line."""
    stop_distance: float | None = None
    """To the line of the next stop sign."""
    speed_limit: float | None = None
    shift: tuple[float, float] = (0.0, 0.0)
    """Of the shifted camera: metres to the right, and degrees that it is turned to the right."""
    images: Mapping[str, UInt8[np.ndarray, "h w 3"]]
    """Of every camera."""
    depth: Mapping[str, Float[np.ndarray, "h w"]] = field(default_factory=dict)
    """Metres along the optical axis of each camera that has it; unknown ones are not positive or NaN."""
    semantics: Mapping[str, UInt8[np.ndarray, "h w"]] = field(default_factory=dict)
    """CARLA's tags."""
    flow: Mapping[str, Float[np.ndarray, "h w 2"]] = field(default_factory=dict)
    """Pixels (x, y) to where the frame before shows the same point; NaN where unknown."""

    def row(self) -> dict[str, object]:
        """Return the values of the table."""
        names = ("time", "number", "speed", "acceleration", "command", "steer", "throttle", "brake")
        route = np.full((PATH_POINTS, 2), np.nan)
        route[: len(self.route)] = self.route[:PATH_POINTS]
        return {
            **{name: getattr(self, name) for name in (*names, *_OPTIONAL)},
            "pose": self.pose.ravel().tolist(),
            "target_point": list(self.target_point),
            **dict(zip(("applied_steer", "applied_throttle", "applied_brake"), self.applied, strict=True)),
            "shift_right": self.shift[0],
            "shift_yaw": self.shift[1],
            "route": route.ravel().tolist(),
        }


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write the rows of a drive.

    Raises:
        DataError: if they are not what a reader takes.
    """
    try:
        table = pa.Table.from_pylist(list(rows), schema=pa.schema(_TYPES))
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise DataError(f"{path}: a frame does not fit the table: {error}") from None
    _check(_columns(table, path), path)
    parquet.write_table(table, path, compression="zstd")


def read_table(path: Path) -> Columns:
    """Return the columns of a drive; poses are (n 4 4), routes (n 20 2).

    Raises:
        DataError: if the file is missing, truncated, or its columns are not those of a drive.
    """
    try:
        # One thread: forking a process that had more may hang the new one.
        table = parquet.ParquetFile(path).read(use_threads=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; copy the drive again") from None
    except (pa.ArrowException, OSError) as error:
        line = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as Parquet ({line}); copy the drive again") from None
    columns = _columns(table, path)
    _check(columns, path)
    return columns


def _columns(table: pa.Table, path: Path) -> Columns:
    for name, expected in _TYPES.items():
        found = table.schema.field(name).type if name in table.column_names else "none"
        if found != expected:
            raise DataError(
                f"{path}: expected a column {name} of {expected}, found {found}; record the drive again"
            )
        if name not in _OPTIONAL and table.column(name).null_count:
            raise DataError(f"{path}: values of {name} are missing; record the drive again")
    columns = {name: _values(table.column(name)) for name in _TYPES}
    columns["pose"] = columns["pose"].reshape(-1, 4, 4)
    columns["route"] = columns["route"].reshape(-1, PATH_POINTS, 2)
    return columns


def _values(column: pa.ChunkedArray) -> Shaped[np.ndarray, "n ..."]:
    if not pa.types.is_fixed_size_list(column.type):
        return np.array(column.to_numpy())
    values = np.array(pa.chunked_array(column.combine_chunks().flatten()).to_numpy())
    return values.reshape(-1, column.type.list_size)


def _check(columns: Columns, path: Path) -> None:
    """Raise `DataError` naming the first row whose values cannot be."""
    good = {f"{name} is not finite": _finite(columns[name]) for name in _REQUIRED}
    time, command = columns["time"], columns["command"]
    good["time does not go on"] = np.append(True, time[1:] > time[:-1])
    good["command is none"] = (command >= min(Command)) & (command <= max(Command))
    for what, rows in good.items():
        if not rows.all():
            raise DataError(f"{path}: {what} in row {int(rows.argmin())}; record the drive again")
    if not is_rigid(columns["pose"]):
        raise DataError(f"{path}: a pose is no rigid motion; record the drive again")


def _finite(values: Shaped[np.ndarray, "n ..."]) -> Bool[np.ndarray, " n"]:
    finite: Bool[np.ndarray, " n"] = np.isfinite(values).reshape(len(values), -1).all(1)
    return finite
