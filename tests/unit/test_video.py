"""Videos: what is read is what was written, and what is broken is named."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from mtdrive.errors import DataError, MtdriveError
from mtdrive.video import EndsEarly, VideoWriter, open_video, read_frames

SIZE = (48, 64)
COUNT = 60


def frame(number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A grey that tells the number, above noise that does not compress away."""
    noise = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    noise[: size[0] // 2] = 4 * number
    return Image.fromarray(noise)


def number_of(image: Image.Image) -> int:
    upper = np.asarray(image)[: image.height // 3]
    return round(float(upper.mean()) / 4)


def write(path: Path, count: int = COUNT, rate: float = 20, size: tuple[int, int] = SIZE) -> Path:
    with VideoWriter(path, rate) as video:
        for number in range(count):
            video.write(frame(number, size))
    return path


def remux(path: Path, name: str, *options: str) -> Path:
    """Copy a video into another container, or with another description."""
    to = path.with_name(name)
    command = [get_ffmpeg_exe(), "-v", "error", "-y", *options[:-2], "-i", str(path), "-c", "copy"]
    subprocess.run([*command, *options[-2:], str(to)], check=True, stdin=subprocess.DEVNULL)
    return to


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    to = path.with_name(f"cut{path.suffix}")
    to.write_bytes(content[: int(share * len(content))])
    return to


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("videos") / "clip.mp4")


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Neither running nor a zombie, after whatever a test does."""
    before = children()
    yield
    assert children() <= before


def children() -> set[str]:
    tasks = Path("/proc/self/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}


def test_all_frames_come_back_in_order(clip: Path) -> None:
    video = open_video(clip)
    assert (video.size, video.rate, video.count) == (SIZE, Fraction(20), COUNT)
    frames = list(read_frames(video))
    assert [number_of(image) for image in frames] == list(range(COUNT))
    assert frames[0].size == (SIZE[1], SIZE[0])


def test_a_lower_rate_picks_frames_by_time(clip: Path) -> None:
    numbers = [number_of(image) for image in read_frames(open_video(clip), 5)]
    assert len(numbers) == COUNT // 4
    # One frame from each quarter of a second, evenly.
    assert set(np.diff(numbers)) == {4}
    assert numbers[0] <= 2


def test_a_higher_rate_repeats_no_frame(clip: Path) -> None:
    """Repeated frames would teach a network that nothing moves."""
    assert [number_of(image) for image in read_frames(open_video(clip), 30)] == list(range(COUNT))


def test_a_video_that_is_held_upright_is_read_upright(clip: Path) -> None:
    turned = remux(clip, "turned.mp4", "-display_rotation", "90", "-f", "mp4")
    video = open_video(turned)
    assert video.size == (SIZE[1], SIZE[0])
    image = np.asarray(next(iter(read_frames(video))))
    # The noise of the lower half lies at a side now.
    sides = [float(image[:, :20].std()), float(image[:, -20:].std())]
    assert min(sides) < 5 < max(sides)


def test_pixels_that_are_not_square_are_made_square(clip: Path) -> None:
    wide = remux(clip, "wide.mp4", "-bsf:v", "h264_metadata=sample_aspect_ratio=4/3")
    video = open_video(wide)
    assert video.size == (48, 85)
    assert next(iter(read_frames(video))).size == (85, 48)


def test_an_odd_size_is_written_too(tmp_path: Path) -> None:
    assert open_video(write(tmp_path / "odd.mp4", 2, size=(47, 63))).size == (46, 62)


@pytest.mark.parametrize(("suffix", "share"), [(".mp4", 0.5), (".mkv", 0.5), (".mkv", 0.9)])
def test_a_video_that_breaks_off_gives_its_frames_and_then_says_so(
    suffix: str, share: float, clip: Path, tmp_path: Path
) -> None:
    whole = tmp_path / f"whole{suffix}"
    whole.write_bytes((clip if suffix == ".mp4" else remux(clip, "clip.mkv", "-f", "matroska")).read_bytes())
    broken = cut(whole, share)
    numbers: list[int] = []
    frames = read_frames(open_video(broken))
    with pytest.raises(EndsEarly, match=rf"cut{suffix}: breaks off after \d+ frames, \d\.\d s of 3\.0 s"):
        numbers.extend(map(number_of, frames))
    assert numbers == list(range(len(numbers)))
    assert share * COUNT - 6 < len(numbers) < COUNT


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"a plain text that ffmpeg would play as a film\n" * 50),
        ("empty.mp4", b""),
        ("list.mp4", b"ffconcat version 1.0\nfile clip.mp4\n"),
        ("stream.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"),
    ],
)
def test_what_is_no_video_is_named_and_leads_nowhere(
    name: str, content: bytes, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: is not a video that can be read") as found:
        open_video(tmp_path / name)
    assert "\n" not in str(found.value)


def test_a_video_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.mp4: no such video"):
        open_video(tmp_path / "none.mp4")


def test_reading_may_stop_anywhere(clip: Path) -> None:
    frames = read_frames(open_video(clip))
    next(frames)
    frames.close()  # type: ignore[attr-defined]


def test_names_that_look_like_options_or_addresses_are_files(clip: Path, tmp_path: Path) -> None:
    for name in ("-y.mp4", "http:a.mp4", "a b %d.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
        assert open_video(tmp_path / name).count == COUNT


def test_a_video_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def stop() -> None:
        with VideoWriter(tmp_path / "a.mp4", 10) as video:
            video.write(frame(0))
            assert not (tmp_path / "a.mp4").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(MtdriveError, match="could not be written") as found:
        write(tmp_path / "missing" / "a.mp4", count=400, size=(240, 320))
    assert "\n" not in str(found.value)
