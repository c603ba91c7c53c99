from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image
from pyarrow import parquet

from mtdrive.data import drive_writer
from mtdrive.data.drive_files import Drive, read_drive
from mtdrive.data.drive_header import MAPS
from mtdrive.data.drive_images import depth_to_png, flow_to_png, to_png
from mtdrive.data.drive_writer import DriveWriter
from mtdrive.data.images import read_rgb16
from mtdrive.errors import DataError
from tests import drive_tree
from tests.drive_tree import MOUNT, frame, header, rigid, straight, write_drive

ALL = dict.fromkeys(MAPS, ("front",))
CARS = straight([1.0] * 4)


def test_a_drive_is_read_as_it_was_written(tmp_path: Path) -> None:
    head = header(cameras={"left": rigid((-0.5, 0, 0), -60)}, maps=ALL, farthest=150.0)
    frames = write_drive(tmp_path / "drive", CARS, head)
    drive = read_drive(tmp_path / "drive")
    assert drive.header.json() == replace(head, frames=5, ended="completed").json()
    for i, wrote in enumerate(frames):
        for name, value in wrote.row().items():
            read = drive.columns[name][i].ravel()
            expected = np.array(np.nan if value is None else value, dtype=read.dtype).ravel()
            np.testing.assert_array_equal(read, expected, err_msg=name)
        np.testing.assert_array_equal(drive.columns["pose"][i], CARS[i] @ MOUNT)
        for camera in head.cameras:
            away = np.asarray(drive.image(camera, i), dtype=int) - wrote.images[camera]
            assert np.abs(away).mean() < 3
        _check_maps(drive, i, wrote.depth["front"], wrote.semantics["front"], wrote.flow["front"])


def _check_maps(drive: Drive, i: int, depth: np.ndarray, semantics: np.ndarray, flow: np.ndarray) -> None:
    read = drive.map("depth", "front", i)
    known = (depth > 0) & (depth <= 150)
    np.testing.assert_array_equal(np.isfinite(read), known)
    step = 150 / 65535
    np.testing.assert_allclose(read[known], depth[known], atol=0.51 * step, rtol=1e-6)
    np.testing.assert_array_equal(
        drive.map("semantics", "front", i), np.where(semantics == 0, 255, semantics)
    )
    expected = np.where(np.abs(flow).max(-1, keepdims=True) < 512, flow, np.nan)
    np.testing.assert_allclose(
        drive.map("flow", "front", i), expected.transpose(2, 0, 1), atol=0.51 / 64, rtol=0
    )


@given(arrays(np.uint16, st.tuples(st.integers(1, 5), st.integers(1, 7))), st.booleans())
def test_other_programs_read_the_greys(values: np.ndarray, small: bool) -> None:
    values = (values >> 8).astype(np.uint8) if small else values
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(to_png(values)))), values)


def _colours(png: bytes, width: int) -> np.ndarray:
    """Return the colours of 16 bits that ffmpeg reads."""
    options = ["-v", "error", "-f", "png_pipe", "-i", "-", "-pix_fmt", "rgb48le", "-f", "rawvideo", "-"]
    run = subprocess.run([get_ffmpeg_exe(), *options], input=png, capture_output=True, check=True)
    return np.frombuffer(run.stdout, "<u2").reshape(-1, width, 3)


def test_other_programs_read_the_colours_of_16_bits() -> None:
    values = np.random.default_rng(0).integers(0, 1 << 16, (50, 30, 3), np.uint16)
    np.testing.assert_array_equal(_colours(to_png(values), 30), values)


def test_the_colours_of_16_bits_that_other_programs_write_are_read(tmp_path: Path) -> None:
    """Ffmpeg uses all of PNG's filters."""
    y, x = np.mgrid[:50, :30]
    values = np.stack([600 * x, 700 * y, 20 * x * y], -1).astype(np.uint16)
    raw = ["-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "30x50", "-i", "-"]
    path = tmp_path / "colours.png"
    subprocess.run(
        [get_ffmpeg_exe(), *raw, "-pred", "mixed", "-pix_fmt", "rgb48be", path],
        input=values.tobytes(),
        check=True,
    )
    np.testing.assert_array_equal(read_rgb16(path), values)


def test_codes_are_those_that_the_formats_publish() -> None:
    """KITTI's flow is (code - 2^15) / 64 with a third channel of ones; depth is code * max / 65535."""
    flow = np.array([[[0.0, 0.0], [1.5, -2.0], [np.nan, 0.0], [-512.0, 511.98], [512.0, 0.0]]])
    codes = _colours(flow_to_png(flow), 5)[0].tolist()
    unknown = [0, 0, 0]
    assert codes == [[32768, 32768, 1], [32864, 32640, 1], unknown, [0, 65535, 1], unknown]
    depth = np.array([[0.0, -1.0, np.nan, np.inf, 1e-9, 40.0, 100.0, 100.01]])
    read = np.asarray(Image.open(io.BytesIO(depth_to_png(depth, 100.0))))
    assert read.tolist() == [[0, 0, 0, 0, 1, 26214, 65535, 0]]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.drive_tree import straight, write_drive

folder, calls = Path(sys.argv[1]), 0
WATCHED = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "ctypes.dlsym", "fcntl.flock")

def watch(event, arguments):
    global calls
    if event in WATCHED:
        calls += 1
        if calls == limit:
            os.kill(os.getpid(), signal.SIGKILL)

for limit in range(1, 99, 2):
    child = os.fork()
    if child == 0:
        sys.addaudithook(watch)
        write_drive(folder / str(limit), straight([1.0]))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(limit)
"""


def test_killed_at_any_moment_leaves_no_drive_or_a_whole_one(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, check=True
    )
    count = int(result.stdout)
    assert 10 < count < 98, "the loop should end with a writer that lived"
    whole = [name for name in map(str, range(1, count + 1, 2)) if (tmp_path / name).exists()]
    assert str(count) in whole
    for name in whole:
        assert len(read_drive(tmp_path / name)) == 2
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(left) >= 5
    for name in left[::4]:
        folder = tmp_path / name.removeprefix(".").removesuffix(".partial")
        write_drive(folder, CARS)
        assert len(read_drive(folder)) == 5
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("writes", [0, 3, 4])
def test_a_full_disk_is_one_error_and_leaves_nothing(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fills up at an image, at the last one, or at the header."""
    real, count = Path.write_bytes, [0]

    def full(path: Path, content: bytes) -> int:
        count[0] += 1
        if count[0] > writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", lambda path, text, encoding: full(path, text.encode()))
    with pytest.raises(DataError, match=r"drive: the drive cannot be written \(No space left on device\)"):
        write_drive(tmp_path / "drive", straight([1.0] * 3))
    assert list(tmp_path.iterdir()) == []


def test_a_drive_left_unfinished_leaves_nothing(tmp_path: Path) -> None:
    def drive(fails: bool) -> None:
        with DriveWriter(tmp_path / "drive", header()) as writer:
            writer.append(frame(0, header(), CARS[0]))
            if fails:
                raise KeyError

    drive(fails=False)
    with pytest.raises(KeyError):
        drive(fails=True)
    assert list(tmp_path.iterdir()) == []


def test_a_drive_is_written_by_one_process_and_never_over_another(tmp_path: Path) -> None:
    with DriveWriter(tmp_path / "drive", header()) as writer:
        writer.append(frame(0, header(), CARS[0]))
        with pytest.raises(DataError, match="another process is writing this drive"):
            DriveWriter(tmp_path / "drive", header())
        writer.finish()
    with pytest.raises(DataError, match="exists already; delete it"):
        DriveWriter(tmp_path / "drive", header())
    assert len(read_drive(tmp_path / "drive")) == 1


def test_writing_waits_for_the_disk_rather_than_to_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_writer, "_WAITING", 2)
    with DriveWriter(tmp_path / "drive", header(), threads=1) as writer:
        for i in range(20):
            writer.append(frame(i, header(), rigid((0, 0, i))))
            assert sum(not w.done() for w in writer._waiting) <= 2
        writer.finish()
    assert len(read_drive(tmp_path / "drive")) == 20


IMAGE = np.zeros((32, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, r"frame 0 has images of \[\], but the header says \['front'\]"),
        (
            {"images": {"front": IMAGE[:30]}},
            r"should be uint8 of \(32, 64, 3\), found uint8 of \(30, 64, 3\)",
        ),
        ({"images": {"front": IMAGE.astype(float)}}, r"should be uint8 .*, found float64 of \(32, 64, 3\)"),
        ({"depth": {"front": IMAGE[..., 0]}}, r"frame 0 has depth of \['front'\], but the header says \[\]"),
        ({"speed": float("nan")}, "speed is not finite in row 0"),
        ({"command": 0}, "command is none in row 0"),
        ({"target_point": (1.0,)}, "a frame does not fit the table"),
        ({"pose": 2 * np.eye(4)}, "a pose is no rigid motion"),
        ({"time": None}, "values of time are missing"),
    ],
)
def test_a_frame_that_no_reader_would_take_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = frame(0, header(), CARS[0])
    for name, value in changes.items():
        object.__setattr__(bad, name, value)  # past the checks of types that run in tests alone
    monkeypatch.setattr(drive_tree, "frame", lambda *_: bad)
    with pytest.raises(DataError, match=message):
        write_drive(tmp_path / "drive", CARS[:1])
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    for changes, message in (
        ({"maps": {"depth": ("rear",)}}, "depth is of rear, not all cameras"),
        ({"cameras": {}}, "no camera is called front"),
        ({"mount": np.diag([1.0, 1, -1, 1])}, "T_car_front is no rigid motion"),
        ({"rate": 0.0}, "rate must be more than 0"),
    ):
        with pytest.raises(DataError, match=message):
            replace(header(), **changes)
    with pytest.raises(DataError, match="a drive without frames"):
        write_drive(tmp_path / "drive", [])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drives") / "drive"
    write_drive(folder, CARS, header(maps=ALL))
    return folder


def _json(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        given = json.loads((folder / "drive.json").read_text())
        change(given)
        (folder / "drive.json").write_text(json.dumps(given))

    return edit


def _table(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "frames.parquet"
        parquet.write_table(change(parquet.read_table(path)), path)

    return edit


def _truncate(folder: Path) -> None:
    path = folder / "frames.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def _speeds(*values: float) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.set_column(t.column_names.index("speed"), "speed", pa.array(values, pa.float32()))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "drive.json").unlink(), r"drive\.json: no such file; name a folder that"),
        (lambda f: (f / "drive.json").write_text("{"), r"drive\.json: cannot be read as JSON"),
        (_json(lambda g: g.update(format="other")), r"drive\.json: is not the header of a drive"),
        (_json(lambda g: g.update(schema=2)), r"drive\.json: is of schema 2, but .* reads 1; use the"),
        (_json(lambda g: g.pop("rate")), r"drive\.json: the header lacks 'rate'"),
        (_json(lambda g: g["cameras"].pop("front")), r"the header is damaged: no camera is called front"),
        (_json(lambda g: g.update(cameras=3)), r"the header is damaged"),
        (
            _json(lambda g: g["maps"]["depth"].update(kind="inverse")),
            r"depth is stored as .*inverse.*, but this version reads .*linear",
        ),
        (_json(lambda g: g.update(frames=4)), r"frames\.parquet: has 5 rows, but drive\.json says 4"),
        (lambda f: (f / "frames.parquet").unlink(), r"frames\.parquet: no such file"),
        (_truncate, r"frames\.parquet: cannot be read as Parquet .*; copy the drive again"),
        (_table(lambda t: t.drop_columns(["brake"])), "expected a column brake of float, found none"),
        (_table(lambda t: t.slice(0, 3)), r"has 3 rows, but drive\.json says 5"),
        (_table(_speeds(1, 2, np.nan, 4, 5)), r"frames\.parquet: speed is not finite in row 2"),
        (_table(lambda t: t.take([0, 1, 3, 2, 4])), r"frames\.parquet: time does not go on in row 3"),
        (
            lambda f: (f / "rgb" / "front" / "000003.jpg").unlink(),
            r"rgb/front/000003\.jpg: is missing, as are 0 more of 5",
        ),
        (
            lambda f: [p.unlink() for p in (f / "depth" / "front").iterdir()],
            r"depth/front/000000\.png: is missing, as are 4 more of 5",
        ),
        (
            lambda f: Image.new("RGB", (60, 32)).save(f / "rgb" / "front" / "000000.jpg"),
            r"000000\.jpg: expected 64x32 pixels as drive\.json says, found 60x32",
        ),
    ],
)
def test_damage_is_one_line_that_names_file_and_remedy(
    damage: Callable[[Path], None], message: str, shared: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "drive"
    subprocess.run(["cp", "-r", shared, folder], check=True)
    damage(folder)
    with pytest.raises(DataError, match=message) as error:
        read_drive(folder)
    assert "\n" not in str(error.value)
    assert ";" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("depth", "L", "expected a PNG of 16-bit greys, found mode L"),
        ("semantics", "RGB", "expected a PNG of 8-bit greys, found mode RGB"),
        ("flow", "RGB", "expected a PNG of 16-bit colours, found mode RGB"),
        ("flow", "I;16", "expected a PNG of 16-bit colours, found mode I;16"),
        ("depth", None, "is not an image"),
    ],
)
def test_maps_of_another_kind_are_named(
    kind: str, name: str | None, message: str, shared: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "drive"
    subprocess.run(["cp", "-r", shared, folder], check=True)
    path = folder / kind / "front" / "000002.png"
    if name is None:
        path.write_bytes(b"nothing")
    else:
        Image.new(name, (64, 32)).save(path)
    with pytest.raises(DataError, match=message):
        read_drive(folder).map(kind, "front", 2)
