"""From one's own video to predictions, by the commands of docs/own_videos.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mtdrive.batch import TARGET, Inputs, View
from mtdrive.cli import main
from mtdrive.data.frames import Frames, image_names
from mtdrive.data.images import read_size
from mtdrive.data.windows import resized
from mtdrive.experiment import load_model
from mtdrive.trajectory import read_poses
from mtdrive.video import VideoWriter, open_video, read_frames
from tests.kitti_scene import make_scene

SIZE = (64, 96)
COUNT = 7
NEXT = View("front", 1)

TINY = [
    "--encoder.init_args.name=test_resnet",
    "--encoder.init_args.weights=none",
    "--data.own.size=[64,96]",
    "--data.own.batch_size=2",
    "--data.own.workers=0",
    "--training.steps=2",
    "--training.threads=1",
    "--training.accelerator=cpu",
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video, its frames, and a network that two steps trained on them."""
    folder = tmp_path_factory.mktemp("own")
    scene = make_scene(COUNT, SIZE)
    with VideoWriter(folder / "street.mp4", 10) as video:
        for number in range(COUNT):
            video.write(scene.image(number))
    out = ["--out", str(folder / "frames"), "--fov", "80"]
    assert main(["frames", str(folder / "street.mp4"), *out]) == 0
    root = f"--data.own.source.init_args.root={folder / 'frames'}"
    assert main(["train", "--config", "own_videos", "--folder", str(folder / "run"), root, *TINY]) == 0
    return folder


def predict(work: Path, out: Path, *inputs: Path | str) -> int:
    checkpoint = work / "run" / "checkpoints" / "last"
    options = ["--out", str(out), "--accelerator", "cpu"]
    return main(["predict", str(checkpoint), *map(str, inputs), *options])


def written(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_video_gives_a_video_of_both_and_the_trajectory(work: Path, tmp_path: Path) -> None:
    assert predict(work, tmp_path, work / "street.mp4") == 0
    assert written(tmp_path) == ["street_depth.mp4", "street_poses.txt", "street_trajectory.png"]
    video = open_video(tmp_path / "street_depth.mp4")
    assert (video.size, float(video.rate)) == ((2 * SIZE[0], SIZE[1]), 10)
    frames = [np.asarray(image).astype(float) for image in read_frames(video)]
    assert len(frames) == COUNT
    for image, original in zip(frames, read_frames(open_video(work / "street.mp4")), strict=True):
        assert abs(image[: SIZE[0]] - np.asarray(original)).mean() < 8
    assert len(read_poses(tmp_path / "street_poses.txt")) == COUNT


def test_what_is_written_is_what_the_network_predicts_frame_by_frame(work: Path, tmp_path: Path) -> None:
    frames = work / "frames" / "street"
    for kind in ("depth", "disparity"):
        assert predict(work, tmp_path / kind, frames, "--npy", kind, "--batch-size", "3") == 0
    trained = load_model(work / "run" / "checkpoints" / "last")
    targets = Frames(work / "frames").targets()
    images = [resized(t.recording.image("front", t.frame), SIZE) for t in targets]
    task = trained.model.task("depth")
    pose = np.eye(4)
    poses = read_poses(tmp_path / "depth" / "street_poses.txt")
    for number, target in enumerate(targets):
        following = images[min(number + 1, COUNT - 1)]
        inputs = Inputs(
            views=(TARGET, NEXT),
            images=torch.stack([images[number], following])[None],
            intrinsics=target.recording.intrinsics("front", SIZE).float().expand(1, 2, 3, 3),
        )
        with torch.no_grad():
            output = trained.model.predict(inputs)["depth"]
        expected = task.disparity(output)[0].numpy()  # type: ignore[operator]
        name = f"street_npy/{number:06d}.npy"
        disparity = np.load(tmp_path / "disparity" / name)
        assert disparity.dtype == np.float32
        np.testing.assert_allclose(disparity, expected, rtol=1e-4)
        np.testing.assert_allclose(np.load(tmp_path / "depth" / name), 1 / expected, rtol=1e-4)
        np.testing.assert_allclose(poses[number], pose, atol=1e-5)
        pose = pose @ np.linalg.inv(output.motions[NEXT][0].double().numpy())


def test_a_folder_gives_pictures_and_without_video_no_video(work: Path, tmp_path: Path) -> None:
    assert predict(work, tmp_path, work / "frames" / "street", "--no-video") == 0
    pictures = image_names(tmp_path / "street_depth")
    assert pictures == [f"{number:06d}.png" for number in range(COUNT)]
    assert read_size(tmp_path / "street_depth" / pictures[0]) == SIZE
    assert not (tmp_path / "street_depth.mp4").exists()


def test_bad_inputs_are_reported_in_a_line_each_and_cost_the_others_nothing(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (work / "street.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 3 // 5])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "empty").mkdir()
    make_scene(1, SIZE).image(0).resize((90, 200)).save(tmp_path / "tall.jpg")
    names = ["text.mp4", "damaged.png", "empty", "missing.mov", "cut.mp4", "tall.jpg"]
    assert predict(work, tmp_path / "out", *(tmp_path / name for name in names)) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mtdrive: ")]
    expected = [
        ("error", "text.mp4: is not a video"),
        ("error", "damaged.png"),
        ("error", "empty: no images"),
        ("error", "missing.mov: does not exist"),
        ("error", "cut.mp4: breaks off after"),
        ("warning", "tall.jpg: its shape is 90x200 (0.45:1), but the network was trained on 96x64 (1.50:1)"),
    ]
    assert len(said) == len(expected)
    for line, (kind, text) in zip(said, expected, strict=True):
        assert line.startswith(f"mtdrive: {kind}: {tmp_path}/{text}")
    results = ["cut_depth.mp4", "cut_poses.txt", "cut_trajectory.png", "tall_depth.png"]
    assert written(tmp_path / "out") == results
    kept = len(list(read_frames(open_video(tmp_path / "out" / "cut_depth.mp4"))))
    assert 0 < kept < COUNT
    assert len(read_poses(tmp_path / "out" / "cut_poses.txt")) == kept
    assert read_size(tmp_path / "out" / "tall_depth.png") == (200, 90)


def test_a_damaged_image_in_a_folder_costs_itself_alone(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(work / "frames" / "street", tmp_path / "street")
    images = [folder / name for name in image_names(folder)]
    images[1].write_bytes(b"nothing")
    assert predict(work, tmp_path / "out", folder) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mtdrive: error")]
    assert len(said) == 1
    assert str(images[1]) in said[0]
    assert f"left out 1 of {COUNT} images" in said[0]
    kept = [image.stem for image in images if image != images[1]]
    assert [Path(name).stem for name in image_names(tmp_path / "out" / "street_depth")] == kept
    assert len(list(read_frames(open_video(tmp_path / "out" / "street_depth.mp4")))) == COUNT - 1


def test_a_checkpoint_without_the_task_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(work, tmp_path, work / "street.mp4", "--task", "flow") == 1
    assert "no task 'flow' that predicts disparity; its tasks are depth" in capsys.readouterr().err


def test_frames_reports_each_bad_video_and_extracts_the_others(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "there.mp4").touch()
    (tmp_path / "out" / "there").mkdir(parents=True)
    videos = [str(tmp_path / "text.mp4"), str(tmp_path / "there.mp4"), str(work / "street.mp4")]
    assert main(["frames", *videos, "--out", str(tmp_path / "out"), "--fps", "5", "--size", "32x48"]) == 1
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("mtdrive: error: ")]
    assert len(errors) == 2
    assert "text.mp4: is not a video" in errors[0]
    assert "there: exists already" in errors[1]
    assert said.out == f"{tmp_path / 'out' / 'street'}: 4 frames\n"
    assert read_size(tmp_path / "out" / "street" / "000003.jpg") == (32, 48)


@pytest.mark.parametrize("wrong", [["--size", "0"], ["--fps", "0"], ["--fov", "70", "--camera", "c.json"]])
def test_options_of_frames_that_make_no_sense_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["frames", "a.mp4", "--out", "b", *wrong])
