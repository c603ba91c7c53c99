"""`mtdrive record` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mtdrive.cli import main
from mtdrive.data.drive_files import read_drive
from mtdrive.data.drive_header import MAPS

COMMAND = [
    *(
        "--towns",
        "Small",
        "--drives",
        "3",
        "--seconds",
        "3",
        "--densities",
        "empty",
        "--weathers",
        "ClearNoon",
    ),
    *("--size", "64x32", "--labels", "depth,semantics,flow", "--shifted"),
]


def test_a_killed_recording_goes_on_and_ends_with_exactly_the_planned_drives(tmp_path: Path) -> None:
    out = tmp_path / "drives"
    command = [sys.executable, "-m", "mtdrive", "record", "--out", str(out), *COMMAND]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (out / "Small_0000").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = (out / "Small_0000" / "drive.json").stat().st_mtime_ns
    assert main(["record", "--out", str(out), *COMMAND]) == 0
    names = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert names == ["Small_0000", "Small_0001", "Small_0002"]
    assert (out / "Small_0000" / "drive.json").stat().st_mtime_ns == first
    told = json.loads((out / "coverage.json").read_text())
    assert told["frames"] == 90
    assert told["town"] == {"Small": 90}
    drive = read_drive(out / "Small_0002")
    assert set(drive.header.maps) == set(MAPS)
    _check_geometry(drive.folder)


def _check_geometry(folder: Path) -> None:
    """Check that a drive's flow is what its depth and poses say: nothing else moves in an empty town."""
    drive = read_drive(folder)
    camera, last = drive.header.cameras["front"].pinhole, len(drive) - 1
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    depth, flow = drive.map("depth", "front", last), drive.map("flow", "front", last)
    poses = drive.columns["pose"]
    assert drive.columns["speed"][last] > 1
    moved = np.linalg.inv(poses[last - 1]) @ poses[last]
    y, x = np.mgrid[: camera.height, : camera.width]
    points = np.linalg.inv(k) @ np.stack([x, y, np.ones_like(x)]).reshape(3, -1) * depth.reshape(-1)
    seen = k @ (moved[:3, :3] @ points + moved[:3, 3:])
    expected = (seen[:2] / seen[2]).reshape(2, *depth.shape) - np.stack([x, y])
    wrong = np.linalg.norm(flow - expected, axis=0)[np.isfinite(depth)]
    assert np.isfinite(wrong).all()
    assert np.quantile(wrong, 0.99) < 0.1
    assert np.linalg.norm(expected, axis=0)[np.isfinite(depth)].max() > 0.5


def test_a_town_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drives"
    assert main(["record", "--out", str(out), "--towns", "Atlantis", "--drives", "1"]) == 1
    assert "Atlantis" in capsys.readouterr().err
    assert main(["record", "--out", str(out), "--server", "mars", "--drives", "1"]) == 1
    assert "recorded with towns" in capsys.readouterr().err
