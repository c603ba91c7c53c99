"""Own recordings: cameras from a file or a field of view, frames in the order of time."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mtdrive.batch import View
from mtdrive.data.camera import Camera, from_fov, read_camera
from mtdrive.data.clips import by_name
from mtdrive.data.folders import GapWarning
from mtdrive.data.frames import Frames, frame_folder, image_names
from mtdrive.data.windows import Windows
from mtdrive.errors import ConfigError, DataError
from mtdrive.extract import Extraction, extract
from mtdrive.video import EndsEarly, VideoWriter

SIZE = (36, 64)
FULL = {"width": 1920, "height": 1080, "fx": 1400.0, "fy": 1410.0, "cx": 950.0, "cy": 530.0}


def put(path: Path, size: tuple[int, int] = SIZE, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), (colour, colour, colour)).save(path)


def drive(folder: Path, names: list[str]) -> Path:
    for name in names:
        put(folder / name)
    return folder


def numbered(start: int, stop: int) -> list[str]:
    return [f"{n:06d}.jpg" for n in range(start, stop)]


@given(degrees=st.floats(5, 170), width=st.integers(2, 4000), height=st.integers(2, 4000))
def test_a_field_of_view_reaches_from_edge_to_edge(degrees: float, width: int, height: int) -> None:
    camera = from_fov(degrees, (height, width))
    # The edges lie half a pixel outside of the centres of the first and the last column.
    left, right = (math.atan((x - camera.cx) / camera.fx) for x in (-0.5, width - 0.5))
    assert math.degrees(right - left) == pytest.approx(degrees)
    assert left == pytest.approx(-right)
    assert (camera.fy, camera.cy) == (camera.fx, (height - 1) / 2)


def test_a_file_is_rescaled_to_the_images_and_the_networks(tmp_path: Path) -> None:
    root = drive(tmp_path / "a", numbered(0, 3)).parent
    (tmp_path / "a" / "camera.json").write_text(json.dumps(FULL))
    recording = Frames(root).targets()[0].recording
    x = recording.intrinsics("front", (540, 960)) @ torch.tensor([0.1, 0.2, 1.0], dtype=torch.float64)
    # The same ray in the calibrated image, whose pixels are half as large.
    full = torch.tensor([1400 * 0.1 + 950, 1410 * 0.2 + 530], dtype=torch.float64)
    torch.testing.assert_close(x[:2], (full + 0.5) / 2 - 0.5)


def test_the_setting_goes_before_the_drives_file_and_that_before_the_roots(tmp_path: Path) -> None:
    for name in ("a", "b"):
        drive(tmp_path / name, numbered(0, 3))
    (tmp_path / "camera.json").write_text('{"fov": 60}')
    (tmp_path / "b" / "camera.json").write_text('{"fov": 90}')

    def focal(source: Frames) -> dict[str, float]:
        return {
            t.recording.name: float(t.recording.intrinsics("front", SIZE)[0, 0]) for t in source.targets()
        }

    assert focal(Frames(tmp_path)) == pytest.approx({"a": 32 / math.tan(math.radians(30)), "b": 32})
    assert focal(Frames(tmp_path, fov=2 * math.degrees(math.atan(0.5)))) == pytest.approx({"a": 64, "b": 64})
    assert set(focal(Frames(tmp_path, drives=["b"]))) == {"b"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[70]", "something else than numbers"),
        ('{"fov": "wide"}', "something else than numbers"),
        ('{"fov": NaN}', "something else than numbers"),
        ('{"fov": 190}', "undistorted first"),
        ('{"focal": 26}', 'expected {"width"'),
        (json.dumps({**FULL, "width": 1440}), "calibrated for 1440x1080, but the images are 64x36"),
        (json.dumps({**FULL, "cx": 0.49, "cy": -0.51}), "outside of the 1920x1080 image"),
        (json.dumps({**FULL, "fx": 0}), "must be greater than 0"),
    ],
)
def test_a_camera_file_that_does_not_fit_is_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    path.write_text(content)
    with pytest.raises(DataError) as found:
        read_camera(path, SIZE)
    assert message in str(found.value)


def test_without_a_camera_the_message_says_how_to_give_one(tmp_path: Path) -> None:
    drive(tmp_path / "a", numbered(0, 3))
    with pytest.raises(DataError, match=r"a: no camera\.json here or in the folder above; set fov"):
        Frames(tmp_path).targets()


def test_frames_come_in_natural_order_whatever_they_are_called(tmp_path: Path) -> None:
    drive(tmp_path, ["shot 10.png", "shot 9.JPG", "shot 9b.jpeg", "notes.bmp", ".hidden.jpg"])
    assert image_names(tmp_path) == ["shot 9.JPG", "shot 9b.jpeg", "shot 10.png"]
    assert dict(frame_folder(tmp_path).names) == {0: "shot 9.JPG", 1: "shot 9b.jpeg", 2: "shot 10.png"}


def test_one_frame_in_two_formats_counts_once(tmp_path: Path) -> None:
    drive(tmp_path, ["1.jpg", "1.png", "2.jpg"])
    assert image_names(tmp_path) == ["1.png", "2.jpg"]


def test_a_deleted_frame_leaves_a_gap_that_no_window_spans(tmp_path: Path) -> None:
    drive(tmp_path, [f"GX{n}.jpg" for n in (7, 8, 9, 10, 12, 13, 14)])
    with pytest.warns(GapWarning, match=r"1 frame\(s\) are missing, the first is 11"):
        items = Windows(Frames(tmp_path, fov=70), [View("front", -1), View("front", 1)], SIZE)
    assert [t.frame for t in items.targets] == [8, 9, 13]


def test_times_as_names_are_not_taken_for_numbers_of_frames(tmp_path: Path) -> None:
    """Else no frame would have a neighbour."""
    drive(tmp_path, [f"{1700000000 + 33 * n}.png" for n in range(4)])
    assert frame_folder(tmp_path).frames == (0, 1, 2, 3)


def test_a_part_of_each_drive_can_be_chosen(tmp_path: Path) -> None:
    for name in ("a", "b"):
        drive(tmp_path / name, numbered(0, 9))
    targets = Frames(tmp_path, fov=70, start=2, stop=8, every=3).targets()
    assert [(t.recording.name, t.frame) for t in targets] == [("a", 2), ("a", 5), ("b", 2), ("b", 5)]
    with pytest.raises(DataError, match="no frame from 20 up to None; its frames are 0 to 8"):
        Frames(tmp_path, fov=70, start=20).targets()
    with pytest.raises(ConfigError, match="every must be at least 1"):
        Frames(tmp_path, every=0)


def test_images_of_another_size_are_found_before_training(tmp_path: Path) -> None:
    drive(tmp_path, numbered(0, 3))
    put(tmp_path / "000003.jpg", (36, 48))
    with pytest.raises(DataError, match=r"000003\.jpg: is 48x36, but 000000\.jpg is 64x36"):
        Frames(tmp_path, fov=70).targets()


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_images_says_what_to_do(made: bool, tmp_path: Path) -> None:
    root = tmp_path / "frames"
    if made:
        put(root / ".video.partial" / "000000.jpg")
    with pytest.raises(DataError, match="mtdrive frames"):
        Frames(root, fov=70).targets()


def test_recordings_travel_to_worker_processes(tmp_path: Path) -> None:
    drive(tmp_path, numbered(0, 3))
    recording = pickle.loads(pickle.dumps(Frames(tmp_path, fov=70).targets()[0].recording))
    assert recording.image("front", 2).size == (SIZE[1], SIZE[0])
    assert recording.frames("stereo") == ()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    with VideoWriter(tmp_path / "videos.mp4", 20) as writer:
        for number in range(60):
            writer.write(Image.effect_noise((64, 36), 60 + number).convert("RGB"))
    return tmp_path / "videos.mp4"


def test_extracted_frames_are_a_drive_with_its_camera(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames" / "videos"
    assert extract(video, folder, Extraction(fps=5, size=(None, 32), fov=90)) == 15
    assert image_names(folder) == numbered(0, 15)
    camera = Camera(**json.loads((folder / "camera.json").read_text()))
    assert camera.size == (18, 32)
    torch.testing.assert_close(camera.intrinsics((18, 32)), from_fov(90, (18, 32)).intrinsics((18, 32)))
    assert len(Frames(tmp_path / "frames").targets()) == 15


def test_a_stretched_drive_keeps_its_rays(video: Path, tmp_path: Path) -> None:
    extract(video, tmp_path / "out", Extraction(size=(36, 32), fov=90))
    camera = Camera(**json.loads((tmp_path / "out" / "camera.json").read_text()))
    assert camera.fx == pytest.approx(16)
    assert camera.fy == pytest.approx(32)


def test_extraction_does_not_overwrite(video: Path, tmp_path: Path) -> None:
    put(tmp_path / "out" / "mine.jpg")
    with pytest.raises(DataError, match="out: exists already"):
        extract(video, tmp_path / "out", Extraction())
    assert image_names(tmp_path / "out") == ["mine.jpg"]


def test_an_interrupted_extraction_leaves_no_drive(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "save", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extract(video, tmp_path / "frames" / "out", Extraction())
    assert list((tmp_path / "frames").iterdir()) == []


def test_a_video_that_breaks_off_still_gives_a_drive(video: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(EndsEarly):
        extract(broken, tmp_path / "out", Extraction(fov=70))
    assert 5 < len(Frames(tmp_path / "out").targets()) < 30


def test_outputs_that_would_have_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigError, match="would both be written as 'a'"):
        by_name([tmp_path / "a.mp4", tmp_path / "a"])
    assert set(by_name([tmp_path / "a.b.mp4", tmp_path / "a" / ".." / "a"])) == {"a.b", "a"}
