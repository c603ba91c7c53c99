"""What recorded drives cover: a policy cannot learn to brake from drives without a red light or a leader."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mtdrive.batch import Command
from mtdrive.data.drive_files import Drive, read_drive
from mtdrive.data.drive_header import FILE
from mtdrive.errors import DataError
from mtdrive.files import write_atomically

STANDING, NEAR, SPEEDS = 0.1, 20.0, (0.1, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0)
"""Metres a second; metres to a leader; bounds of the table of speeds."""
BRAKING, STEERING = 0.1, 0.1
RED = 0


def coverage(drives: Sequence[Drive]) -> dict[str, Any]:
    """Return counts and shares of frames; minutes, metres."""
    if not drives:
        raise DataError("there are no drives to count; record some with `mtdrive record`")
    columns = {name: np.concatenate([d.columns[name] for d in drives]) for name in drives[0].columns}
    shares = {name: float(np.mean(mask)) for name, mask in _situations(columns).items()}
    edges = [0.0, *SPEEDS, np.inf]
    counts, _ = np.histogram(np.abs(columns["speed"]), edges)
    return {
        "drives": len(drives),
        "frames": sum(len(drive) for drive in drives),
        "minutes": sum(len(drive) / drive.header.rate for drive in drives) / 60,
        "kilometres": sum(_length(drive) for drive in drives) / 1e3,
        "commands": _commands(columns["command"]),
        "situations": shares,
        "speeds": {f"from {low:g} m/s": int(n) for low, n in zip(edges, counts.tolist(), strict=False)},
        **{name: _frames(drives, name) for name in ("town", "weather", "density", "ended")},
    }


def _situations(columns: Mapping[str, Any]) -> dict[str, Bool[np.ndarray, " n"]]:
    """Return which frames show what matters to a driver."""
    red = (columns["light_state"] == RED) & (columns["light_distance"] < NEAR)
    return {
        "standing": np.abs(columns["speed"]) < STANDING,
        "braking": (columns["brake"] > BRAKING) & (np.abs(columns["speed"]) >= STANDING),
        "steering": np.abs(columns["steer"]) > STEERING,
        f"leader within {NEAR:g} m": columns["leader_distance"] < NEAR,
        f"red light within {NEAR:g} m": red,
        f"stop sign within {NEAR:g} m": columns["stop_distance"] < NEAR,
        "pushed off": np.abs(columns["applied_steer"] - columns["steer"]) > 1e-3,
    }


def wished(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of frames in the situations that a recording can be asked for."""
    names = {
        "standing": "standing",
        "braking": "braking",
        "leader": f"leader within {NEAR:g} m",
        "red_light": f"red light within {NEAR:g} m",
        "stop_sign": f"stop sign within {NEAR:g} m",
    }
    return {wish: found["situations"][name] for wish, name in names.items()}


def _commands(values: Int[np.ndarray, " n"]) -> dict[str, int]:
    return {command.name.lower(): int((values == command).sum()) for command in Command}


def _length(drive: Drive) -> float:
    places = drive.columns["pose"][:, :3, 3]
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())


def _frames(drives: Sequence[Drive], name: str) -> dict[str, int]:
    """Return the frames by a value of the header."""
    counts: Counter[str] = Counter()
    for drive in drives:
        counts[str(getattr(drive.header, name))] += len(drive)
    return dict(sorted(counts.items()))


def read_drives(root: Path) -> tuple[list[Drive], list[str]]:
    """Return the whole drives of a folder, and a line about each damaged one."""
    drives, damaged = [], []
    for folder in sorted(path.parent for path in root.glob(f"*/{FILE}") if path.parent.name[0] != "."):
        try:
            drives.append(read_drive(folder))
        except DataError as error:  # noqa: PERF203  a bad drive costs the others nothing
            damaged.append(str(error))
    return drives, damaged


def write_coverage(root: Path, found: Mapping[str, Any]) -> None:
    """Write `coverage.json` and `coverage.png`."""
    write_atomically(root / "coverage.json", (json.dumps(found, indent=1) + "\n").encode())
    write_atomically(root / "coverage.png", _picture(found))


def _picture(found: Mapping[str, Any]) -> bytes:
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(12, 7), layout="constrained")
    groups = ("commands", "situations", "speeds", "town", "weather", "density")
    for axes, name in zip(figure.subplots(2, 3).flat, groups, strict=True):
        counts = found[name]
        total = 1.0 if name == "situations" else max(sum(counts.values()), 1)
        shares = [100 * value / total for value in counts.values()]
        axes.barh(list(counts), shares, color="tab:blue")
        axes.invert_yaxis()
        axes.set(title=name, xlabel="% of frames")
    figure.suptitle(f"{found['drives']} drives, {found['minutes']:.0f} minutes, {found['kilometres']:.1f} km")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=80)
    return content.getvalue()
