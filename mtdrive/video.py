"""Videos, read and written by ffmpeg in a process of its own.

`imageio-ffmpeg` brings the program. Its own reader is not used: it hides how ffmpeg ended, so that a video
which breaks off would look like a short one.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

from PIL import Image

from mtdrive.errors import DataError, MtdriveError

Size = tuple[int, int]
"""Height and width in pixels."""

# Containers of video alone: ffmpeg would also open text, and playlists that lead to other files or hosts.
_CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,mjpeg"
# Turned upright by itself; square pixels, as a camera matrix supposes.
_UPRIGHT = "scale=round(iw*sar):ih,setsar=1"
QUALITY = 20
"""Constant rate factor of H.264: hardly distinguishable from the original."""


class EndsEarly(DataError):
    """A video breaks off; the frames before were given."""


@dataclass(frozen=True)
class Video:
    """What a video says of itself."""

    path: Path
    size: Size
    """As it is shown: upright, with square pixels."""
    rate: Fraction
    """Frames in a second; the nominal value if it varies."""
    seconds: float | None
    """How long it says to be; not all containers do."""

    @property
    def count(self) -> int | None:
        """About how many frames there are."""
        return None if self.seconds is None else max(round(self.seconds * self.rate), 1)


def open_video(path: Path) -> Video:
    """Return what a video says of itself; its first frame is decoded.

    Raises:
        DataError: if it is missing, not a video, or its start is damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such video; give a file")
    first = ["-vf", _UPRIGHT, "-frames:v", "1", "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"]
    done = subprocess.run([*_input(path), *first], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    log = done.stderr.decode(errors="replace")
    header = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)", done.stdout)
    if header is None:
        raise DataError(
            f"{path}: is not a video that can be read ({_reason(log.splitlines())}); copy it again, or "
            "convert it to MP4"
        )
    width, height, over, under = map(int, header.groups())
    return Video(path, (height, width), Fraction(over, under), _seconds(log))


def read_frames(video: Video, rate: float | None = None) -> Iterator[Image.Image]:
    """Yield the frames as RGB: all of them, or `rate` in a second, those nearest in time.

    ffmpeg is gone when the iterator ends or is closed.

    Raises:
        EndsEarly: after the last whole frame, if there should be more.
    """
    picked = [f"fps={rate}"] if rate is not None and rate < video.rate else []
    filters = ["-vf", ",".join([*picked, _UPRIGHT]), "-fps_mode", "passthrough"]
    raw = ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    quiet = ["-v", "error", "-nostats", "-progress", "pipe:2"]
    height, width = video.size
    count = 0
    with tempfile.TemporaryFile() as log:
        command = [*_input(video.path), *quiet, *filters, *raw]
        with _running(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as process:
            assert process.stdout is not None
            while len(pixels := process.stdout.read(3 * height * width)) == 3 * height * width:
                count += 1
                yield Image.frombytes("RGB", (width, height), pixels)
            status = process.wait()
        _check_end(video, status, count, _text(log))


def _check_end(video: Video, status: int, count: int, log: str) -> None:
    """Raise `EndsEarly` unless all of the video was read.

    Damage in the middle is not an error: players go on, too. Nor is a wrong duration alone.
    """
    messages = [line for line in log.splitlines() if not re.match(r"\w+=", line)]
    reached = [int(t) / 1e6 for t in re.findall(r"^out_time_us=(\d+)", log, re.MULTILINE)]
    end = reached[-1] if reached else 0.0
    # The end is often not written cleanly, and sound may be longer than the picture.
    short = video.seconds is not None and end < 0.95 * video.seconds - 2 / video.rate
    if status or not count or (messages and short):
        whole = "" if video.seconds is None else f" of {video.seconds:.1f} s"
        raise EndsEarly(
            f"{video.path}: breaks off after {count} frames, {end:.1f} s{whole} ({_reason(messages)}); "
            "what comes before was used; copy the video again"
        )


class VideoWriter:
    """Writes an H.264 video that appears whole or not at all; used as a context.

    The size is that of the first frame; an odd height or width is cropped by one pixel. Without a frame, no
    file is written.
    """

    def __init__(self, path: Path, rate: float | Fraction, quality: int = QUALITY) -> None:
        """Remember where to write.

        Args:
            path: a name that ends in `.mp4`.
            rate: frames in a second.
            quality: constant rate factor of H.264; less is better and larger.
        """
        self.path, self.rate = path, Fraction(rate).limit_denominator(1001)
        self.quality = quality
        self.temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
        self.process: subprocess.Popen[bytes] | None = None
        self.log: IO[bytes] | None = None
        self.size = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: Image.Image) -> None:
        """Add a frame, RGB.

        Raises:
            MtdriveError: if ffmpeg cannot write, for a full disk perhaps.
        """
        if self.process is None:
            self._start(frame.size)
        assert frame.size == self.size
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(frame.tobytes())
        except BrokenPipeError:
            self.process.wait()
            raise self._failure() from None

    def _start(self, size: tuple[int, int]) -> None:
        self.size = size
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(self.rate)]
        even = ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"]  # what players expect of yuv420p
        codec = ["-c:v", "libx264", "-crf", str(self.quality), "-pix_fmt", "yuv420p"]
        out = [*even, *codec, "-movflags", "+faststart", "-f", "mp4", f"file:{self.temporary.absolute()}"]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  __exit__ closes it
        command = [_program(), "-v", "error", "-nostdin", "-y", *raw, "-i", "pipe:0", *out]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=self.log)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.process is None:
            return
        try:
            if kind is None:
                self._finish()
        finally:
            _end(self.process)
            self.temporary.unlink(missing_ok=True)
            assert self.log is not None
            self.log.close()

    def _finish(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        if self.process.wait():
            raise self._failure()
        self.temporary.replace(self.path)

    def _failure(self) -> MtdriveError:
        assert self.log is not None
        reason = _reason(_text(self.log).splitlines())
        return MtdriveError(f"{self.path}: the video could not be written ({reason}); is the disk full?")


@cache
def _program() -> str:
    from imageio_ffmpeg import get_ffmpeg_exe

    try:
        return str(get_ffmpeg_exe())
    except RuntimeError:
        raise MtdriveError("there is no ffmpeg for this machine; install it on the path") from None


def _input(path: Path) -> list[str]:
    """Return the start of a command that reads the video of `path`, and no other file."""
    only = ["-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS]
    return [_program(), "-hide_banner", "-nostdin", *only, "-i", f"file:{path.absolute()}", "-map", "0:V:0"]


@contextmanager
def _running(
    command: Sequence[str], *, stdin: int, stdout: int, stderr: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that does not outlive the block."""
    process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process if it still runs, close its pipes, and collect its status."""
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # of what was still buffered for it
                pipe.close()
    process.wait()


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")


def _seconds(log: str) -> float | None:
    found = re.search(r"Duration: (\d+):(\d+):(\d+(?:\.\d+)?)", log)
    return None if found is None else 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])


def _reason(messages: Sequence[str]) -> str:
    """Return the first message of ffmpeg that tells of an error, without the address of its part."""
    telling = [m for m in messages if re.search(r"error|invalid|not found|prematurely|no space", m, re.I)]
    chosen = (telling or list(messages)[-1:] or ["ffmpeg does not say why"])[0]
    return re.sub(r"^(\[[^\]]*\] )+", "", chosen).strip(" .")
