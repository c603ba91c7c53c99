"""Writing a recorded drive: a folder that appears whole or not at all."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Shaped

from mtdrive.data.drive_files import file_of
from mtdrive.data.drive_header import FILE, MAPS, DriveHeader
from mtdrive.data.drive_images import depth_to_png, flow_to_png, to_jpeg, to_png
from mtdrive.data.drive_table import FILE as TABLE
from mtdrive.data.drive_table import DriveFrame, write_table
from mtdrive.errors import DataError

_WAITING = 32  # images that may wait for a thread: beyond, appending waits, so that memory stays bounded
_KINDS = {
    "images": ((3,), np.uint8),
    "depth": ((), np.floating),
    "semantics": ((), np.uint8),
    "flow": ((2,), np.floating),
}

Array = Shaped[np.ndarray, "h w *c"]


class DriveWriter:
    """Writes a drive to a hidden folder beside its own, which takes its place at `finish`.

    Use it in a `with` block: to leave it without `finish`, by an error or not, leaves nothing. A process that
    is killed leaves the hidden folder, which the next writer of the drive clears. Images are encoded in
    threads; arrays that were handed in must not be changed afterwards.
    """

    def __init__(self, folder: Path, header: DriveHeader, threads: int = 2) -> None:
        """Begin a drive.

        Raises:
            DataError: if it exists, another process is writing it, or the folder cannot be made.
        """
        self.folder, self.header = folder, header
        self._partial = folder.with_name(f".{folder.name}.partial")
        if folder.exists():
            raise DataError(f"{folder}: exists already; delete it to record it anew, or choose another name")
        self._claim: int | None = _claimed(self._partial)
        self._rows: list[dict[str, object]] = []
        self._waiting: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="drive")
        with self._nothing_left():
            for kind, cameras in {"images": header.cameras, **header.maps}.items():
                for camera in cameras:
                    file_of(self._partial, kind, camera, 0).parent.mkdir(parents=True)

    def __enter__(self) -> DriveWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def append(self, frame: DriveFrame) -> None:
        """Add a frame.

        Raises:
            DataError: if its images are not those of the header, or the disk is full; nothing is left then.
        """
        assert self._claim is not None, "the drive is over"
        index = len(self._rows)
        with self._nothing_left():
            for kind, camera, values in self._images(frame):
                path = file_of(self._partial, kind, camera, index)
                self._waiting.append(self._pool.submit(_write, path, self._encoder(kind), values))
            self._rows.append(frame.row())
            self._settle(_WAITING)

    def finish(self, ended: str = "completed") -> None:
        """Make the drive appear; `ended` tells why it was over.

        Raises:
            DataError: if it has no frames or the disk is full; nothing is left then.
        """
        assert self._claim is not None, "the drive is over"
        with self._nothing_left():
            if not self._rows:
                raise DataError(f"{self.folder}: a drive without frames; record for longer")
            self._settle(0)
            write_table(self._partial / TABLE, self._rows)
            header = replace(self.header, frames=len(self._rows), ended=ended)
            (self._partial / FILE).write_text(header.json(), encoding="utf-8")
            _sync(self._claim)
            self._partial.rename(self.folder)
        self._close()

    def abandon(self) -> None:
        """Remove what there is of a drive that is not finished."""
        if self._claim is not None:
            self._pool.shutdown(cancel_futures=True)
            shutil.rmtree(self._partial, ignore_errors=True)
            self._close()

    def _close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    @contextmanager
    def _nothing_left(self) -> Iterator[None]:
        """Remove the drive if an error ends it, and turn errors of files into one line."""
        try:
            yield
        except OSError as error:
            self.abandon()
            raise DataError(
                f"{self.folder}: the drive cannot be written ({error.strerror or error}) and is dropped; "
                "make room on the disk, or choose another one"
            ) from None
        except BaseException:
            self.abandon()
            raise

    def _settle(self, count: int) -> None:
        """Wait until at most `count` images are waiting."""
        while len(self._waiting) > count or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()

    def _images(self, frame: DriveFrame) -> Iterator[tuple[str, str, Array]]:
        """Yield kind, camera and values of every image."""
        for kind in ("images", *MAPS):
            cameras = self.header.cameras if kind == "images" else self.header.maps.get(kind, ())
            given: Mapping[str, Array] = getattr(frame, kind)
            if given.keys() != set(cameras):
                raise DataError(
                    f"{self.folder}: frame {len(self._rows)} has {kind} of {sorted(given)}, but the header "
                    f"says {sorted(cameras)}"
                )
            for camera, values in given.items():
                self._check(kind, camera, values)
                yield kind, camera, values

    def _check(self, kind: str, camera: str, values: Array) -> None:
        channels, numbers = _KINDS[kind]
        expected = (*self.header.cameras[camera].pinhole.size, *channels)
        if values.shape != expected or not np.issubdtype(values.dtype, numbers):
            raise DataError(
                f"{self.folder}: {kind} of {camera} in frame {len(self._rows)} should be {numbers.__name__} "
                f"of {expected}, found {values.dtype} of {values.shape}"
            )

    def _encoder(self, kind: str) -> Callable[[Array], bytes]:
        encoders: dict[str, Callable[[Array], bytes]] = {
            "images": to_jpeg,
            "depth": partial(depth_to_png, farthest=self.header.farthest),
            "semantics": to_png,
            "flow": flow_to_png,
        }
        return encoders[kind]


def _claimed(folder: Path) -> int:
    """Make a folder, or clear what a killed process left, and lock it until this process ends.

    Raises:
        DataError: if another process has locked it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        claim = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The other process may have finished in between: then this is no longer the hidden folder.
        if not os.path.samestat(os.fstat(claim), folder.stat()):
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(claim)
        raise DataError(f"{folder}: another process is writing this drive; choose another name") from None
    for entry in list(folder.iterdir()):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return claim


def _write(path: Path, encode: Callable[[Array], bytes], values: Array) -> None:
    path.write_bytes(encode(values))


def _sync(folder: int) -> None:
    """Bring all files of the file system to the disk.

    One call: a call for each file would take several times as long as to write them.
    """
    if ctypes.CDLL(None, use_errno=True).syncfs(folder):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
