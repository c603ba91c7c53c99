from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mtdrive.data.kitti_splits import SplitLine, eigen_zhou, find_drives, from_paths, read_split, write_split
from mtdrive.errors import DataError

DAY = "2011_09_26"
TEST, TRAIN, OTHER = (f"{DAY}/{DAY}_drive_{number}_sync" for number in ("0002", "0095", "0001"))


def drive(root: Path, name: str, frames: Sequence[int], sides: Sequence[str] = ("02", "03")) -> None:
    for side in sides:
        folder = root / name / f"image_{side}" / "data"
        folder.mkdir(parents=True)
        for frame in frames:
            (folder / f"{frame:010d}.jpg").touch()


def lists(folder: Path, static: str = "\n") -> tuple[Path, Path]:
    scenes, frames = folder / "scenes.txt", folder / "static.txt"
    scenes.write_text(f"{DAY}_drive_0002\n")
    frames.write_text(static)
    return scenes, frames


def test_lists_come_back(tmp_path: Path) -> None:
    lines = [SplitLine(TRAIN, 473, "r"), SplitLine(OTHER, 1, "l")]
    write_split(tmp_path / "new" / "a.txt", lines)
    assert (tmp_path / "new" / "a.txt").read_text() == f"{TRAIN} 473 r\n{OTHER} 1 l\n"
    assert read_split(tmp_path / "new" / "a.txt") == lines


def test_leading_zeros_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(f"{TRAIN} 0000000069 l\r\n\r\n".encode())
    assert read_split(tmp_path / "a.txt") == [SplitLine(TRAIN, 69, "l")]


@pytest.mark.parametrize(
    "text", ["x", f"{TRAIN} 5", f"{TRAIN} five l", f"{TRAIN} 5 m", f"{TRAIN} -1 l", "", "a 1 l b"]
)
def test_malformed_line_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(f"{TRAIN} 1 l\n{text}\n{TRAIN} 2 l\n")
    with pytest.raises(DataError, match=r"a\.txt:2: expected `folder index side`") as error:
        read_split(tmp_path / "a.txt")
    assert repr(text) in str(error.value)


def test_missing_and_empty_lists(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the list cannot be read"):
        read_split(tmp_path / "a.txt")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match="the list is empty"):
        read_split(tmp_path / "a.txt")


def test_paths_become_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        f"{TEST}/image_02/data/0000000069.png\n{TRAIN}/image_03/data/0000000000.jpg\n"
    )
    assert from_paths(tmp_path / "a.txt") == [SplitLine(TEST, 69, "l"), SplitLine(TRAIN, 0, "r")]


@pytest.mark.parametrize("text", ["0069.png", f"{TEST}/image_00/data/1.png", f"{TEST}/image_02/data/a.png"])
def test_malformed_path_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(f"{text}\n")
    with pytest.raises(DataError, match=r"a\.txt:1: expected a path"):
        from_paths(tmp_path / "a.txt")


def test_ends_static_frames_and_test_scenes_are_left_out(tmp_path: Path) -> None:
    drive(tmp_path, TEST, range(10))
    drive(tmp_path, TRAIN, [0, 1, 2, 3, 4, 5, 8, 9, 10])
    train, validation = eigen_zhou(
        tmp_path, *lists(tmp_path, f"{DAY} {TRAIN.split('/')[1]} 0000000002\n\n"), validation=0
    )
    assert validation == []
    assert train == [SplitLine(TRAIN, n, side) for side in ("l", "r") for n in (1, 3, 4, 9)]


def test_draw_depends_on_seed_and_frame_alone(tmp_path: Path) -> None:
    drive(tmp_path / "a", TRAIN, range(300), ["02"])
    drive(tmp_path / "b", TRAIN, range(300), ["02"])
    drive(tmp_path / "b", OTHER, range(300))
    alone, more = (eigen_zhou(tmp_path / name, *lists(tmp_path)) for name in "ab")
    assert 0.05 < len(alone[1]) / 298 < 0.15
    assert [line for line in more[1] if line.drive == TRAIN] == alone[1]
    assert not set(more[0]) & set(more[1])
    assert eigen_zhou(tmp_path / "a", *lists(tmp_path), seed=1)[1] != alone[1]


def test_named_drives_alone(tmp_path: Path) -> None:
    drive(tmp_path, TRAIN, range(5))
    drive(tmp_path, OTHER, range(5))
    assert find_drives(tmp_path) == [OTHER, TRAIN]
    train, validation = eigen_zhou(tmp_path, *lists(tmp_path), drives=[OTHER])
    assert {line.drive for line in train + validation} == {OTHER}


def test_nothing_to_train_on(tmp_path: Path) -> None:
    drive(tmp_path, TEST, range(5))
    with pytest.raises(DataError, match="1 of 1 drives are test scenes"):
        eigen_zhou(tmp_path, *lists(tmp_path))


def test_malformed_static_frame(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"static\.txt:1: expected `day drive index`"):
        eigen_zhou(tmp_path, *lists(tmp_path, "a b\n"))
