"""Lists of frames in Monodepth2's format, one `folder index side` a line, and how the usual ones are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from mtdrive.data.folders import IMAGES, numbered
from mtdrive.errors import DataError
from mtdrive.files import write_atomically
from mtdrive.randomness import derive

Side = Literal["l", "r"]
"""`l` is the left colour camera, image_02; `r` the right one, image_03."""

FOLDERS: dict[Side, str] = {"l": "image_02", "r": "image_03"}

_SEED_RANGE = 2**63


class SplitLine(NamedTuple):
    """One frame of a list."""

    drive: str
    """For example `2011_09_26/2011_09_26_drive_0095_sync`."""
    frame: int
    side: Side

    def __str__(self) -> str:
        return f"{self.drive} {self.frame} {self.side}"


def read_split(path: Path) -> list[SplitLine]:
    """Read a list; entry i is line i + 1 of the file.

    Raises:
        DataError: if the file is missing or empty, or a line is malformed.
    """
    lines = [_parse(text, path, number) for number, text in _lines(path)]
    if not lines:
        raise DataError(f"{path}: the list is empty; expected lines `folder index side`")
    return lines


def write_split(path: Path, lines: Iterable[SplitLine]) -> None:
    """Write a list; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def from_paths(path: Path) -> list[SplitLine]:
    """Convert a list of image paths, such as the 697 test files of Eigen et al.

    Lines look like `2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png`.

    Raises:
        DataError: if the file is missing or a line is no such path.
    """
    return [_parse_path(text, path, number) for number, text in _lines(path)]


def eigen_zhou(
    root: Path,
    test_scenes: Path,
    static_frames: Path,
    seed: int = 0,
    validation: float = 0.1,
    drives: Iterable[str] | None = None,
) -> tuple[list[SplitLine], list[SplitLine]]:
    """Return a training and a validation list of the drives on disk.

    As Zhou et al. (Unsupervised Learning of Depth and Ego-Motion from Video, CVPR 2017,
    https://arxiv.org/abs/1704.07813), with the list of Monodepth2: frames of both cameras with both
    neighbours, outside the test scenes of Eigen et al. and not among the static frames. A static frame
    remains a neighbour. The published lists draw from the 33 training scenes of Eigen et al.; with more
    drives on disk, name these in `drives`.

    Args:
        root: the folder of the days.
        test_scenes: names without `_sync`, one a line.
        static_frames: `day drive index`, one a line.
        seed: of the draw of the validation frames, each of them for itself.
        validation: the share of the validation list.
        drives: folders such as `2011_09_26/2011_09_26_drive_0095_sync`; None takes those on disk.

    Raises:
        DataError: if a list cannot be read or no frame remains.
    """
    scenes = {text for _, text in _lines(test_scenes)}
    static = set(_static(static_frames))
    chosen = sorted(drives) if drives is not None else find_drives(root)
    kept = [drive for drive in chosen if drive.split("/")[-1].removesuffix("_sync") not in scenes]
    lines = [
        line
        for drive in kept
        for line in _with_neighbours(root, drive)
        if (line.drive, line.frame) not in static
    ]
    if not lines:
        raise DataError(
            f"{root}: no target: {len(chosen) - len(kept)} of {len(chosen)} drives are test scenes, "
            "the others have no moving frame with two neighbours; download training drives"
        )
    drawn = [derive(seed, "kitti validation", str(line)) < validation * _SEED_RANGE for line in lines]
    train = [line for line, held_out in zip(lines, drawn, strict=True) if not held_out]
    return train, [line for line, held_out in zip(lines, drawn, strict=True) if held_out]


def find_drives(root: Path) -> list[str]:
    """Return every drive below `root` with colour images, such as `2011_09_26/2011_09_26_drive_0095_sync`."""
    folders = {path.parent for name in FOLDERS.values() for path in root.glob(f"*/*_sync/{name}")}
    return sorted(folder.relative_to(root).as_posix() for folder in folders)


def _with_neighbours(root: Path, drive: str) -> Iterator[SplitLine]:
    for side, folder in FOLDERS.items():
        frames = numbered(root / drive / folder / "data", IMAGES)
        yield from (SplitLine(drive, n, side) for n in frames if n - 1 in frames and n + 1 in frames)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbers and texts of the lines, blank ones at the end excepted."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list cannot be read ({error}); check the path") from None
    yield from enumerate(text.rstrip().splitlines(), start=1)


def _parse(text: str, path: Path, number: int) -> SplitLine:
    match text.split():
        case [drive, frame, ("l" | "r") as side] if frame.isdecimal():
            return SplitLine(drive, int(frame), side)
    raise DataError(f"{path}:{number}: expected `folder index side` with side l or r, found {text!r}")


def _parse_path(text: str, path: Path, number: int) -> SplitLine:
    sides: dict[str, Side] = {folder: side for side, folder in FOLDERS.items()}
    match PurePosixPath(text.strip()).parts:
        case [*drive, folder, "data", name] if drive and folder in sides:
            frame = PurePosixPath(name).stem
            if frame.isdecimal():
                return SplitLine("/".join(drive), int(frame), sides[folder])
    raise DataError(
        f"{path}:{number}: expected a path such as day/drive/image_02/data/0000000069.png, found {text!r}"
    )


def _static(path: Path) -> Iterator[tuple[str, int]]:
    """Yield drive and frame; blank lines between are tolerated, as in the reader of the list's authors."""
    for number, text in _lines(path):
        match text.split():
            case []:
                continue
            case [day, drive, frame] if frame.isdecimal():
                yield f"{day}/{drive}", int(frame)
            case _:
                raise DataError(f"{path}:{number}: expected `day drive index`, found {text!r}")
