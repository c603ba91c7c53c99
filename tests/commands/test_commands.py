"""The commands as a user runs them, on a tree of an analytic street with known depth."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mtdrive.checkpoint import Checkpoints
from mtdrive.cli import main
from mtdrive.data.kitti import KittiRaw
from mtdrive.evaluate import DepthEvaluation, predict_disparities
from mtdrive.experiment import load_model
from tests.kitti_tree import DRIVE, write_odometry, write_raw

SIZE = (64, 192)

RUN = {
    "encoder": {"class_path": "mtdrive.encoder.Encoder", "init_args": {"name": "test_resnet"}},
    "tasks": {
        "depth": {
            "class_path": "mtdrive.tasks.depth.Depth",
            "init_args": {
                "pose": {
                    "class_path": "mtdrive.pose.SeparatePose",
                    "init_args": {"name": "test_resnet", "forward_start": 0.01},
                }
            },
        }
    },
    "weighting": {"class_path": "mtdrive.weighting.uncertainty.Uncertainty"},
    "optimization": {"learning_rate": 1e-3, "milestones": [1000]},
    "training": {"accelerator": "cpu", "threads": 1},
}


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    write_raw(root / "raw", frames=20, size=SIZE, suffix=".jpg")
    write_odometry(root / "odometry", frames=8, size=SIZE, suffix=".jpg", cameras=(2,))
    return root


@pytest.fixture(scope="module")
def config(street: Path) -> Path:
    data = {
        "street": {
            "source": {
                "class_path": "mtdrive.data.kitti.KittiRaw",
                "init_args": {"root": str(street / "raw"), "side": "l", "depth": "lidar", "speed": True},
            },
            "batch_size": 4,
            "size": list(SIZE),
            "workers": 0,
        }
    }
    path = street / "run.yaml"
    path.write_text(yaml.safe_dump({**RUN, "data": data}))
    return path


def train(config: Path, folder: Path, *more: str) -> int:
    return main(["train", "--config", str(config), "--folder", str(folder), *more])


@pytest.fixture(scope="module")
def trained(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 120 steps."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    settings = ["--training.steps=120", "--training.log_every=10", "--training.picture_every=60"]
    assert train(config, folder, *settings) == 0
    return folder


def test_the_loss_falls_and_everything_is_written(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    losses = [line["train/depth/photometric"] for line in lines]
    assert losses[-1] < 0.8 * losses[0]
    assert {"train/depth/abs_rel", "weight/depth", "steps_per_second"} <= set(lines[0])
    assert sorted(p.name for p in (trained / "pictures").iterdir()) == [
        "train_street_depth_00000060.png",
        "train_street_depth_00000120.png",
    ]
    assert (trained / "checkpoints" / "last" / "model.safetensors").exists()
    assert yaml.safe_load((trained / "config.yaml").read_text())["training"]["steps"] == 120


def evaluate(
    trained: Path, street: Path, capsys: pytest.CaptureFixture[str], *more: str, truth: str = "camera"
) -> dict[str, float]:
    source = ["--source", "KittiRaw", "--source.root", str(street / "raw"), "--source.side", "l"]
    rest = ["--truth", truth, "--accelerator", "cpu", "--json"]
    capsys.readouterr()
    assert main(["evaluate", str(trained / "checkpoints" / "last"), *source, *rest, *more]) == 0
    figures: dict[str, float] = json.loads(capsys.readouterr().out)
    return figures


def test_trained_depth_beats_the_constant(
    trained: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = evaluate(trained, street, capsys, "--out", str(tmp_path))
    recording = KittiRaw(street / "raw", side="l").targets()[0].recording
    (tmp_path / "gt").mkdir()
    (tmp_path / "constant").mkdir()
    for frame in recording.frames("front"):
        np.save(tmp_path / "gt" / f"{frame:04d}.npy", recording.ground_truth(frame, "camera"))
        np.save(tmp_path / "constant" / f"{frame:04d}.npy", np.ones((4, 8), np.float32))
    assert main(["score", "depth", str(tmp_path / "constant"), str(tmp_path / "gt"), "--json"]) == 0
    constant = json.loads(capsys.readouterr().out)
    assert figures["images"] == constant["images"] == 20
    assert figures["abs_rel"] < 0.85 * constant["abs_rel"]
    assert figures["a1"] > constant["a1"]
    assert json.loads((tmp_path / "depth.json").read_text()) == figures
    assert len((tmp_path / "depth.csv").read_text().splitlines()) == 21


def test_scoring_saved_predictions_gives_the_figures_of_evaluation(
    trained: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = evaluate(trained, street, capsys, "--flip", "true")
    model = load_model(trained / "checkpoints" / "last")
    source = KittiRaw(street / "raw", side="l")
    targets = source.targets()
    evaluation = DepthEvaluation(source=source, flip=True)
    disparities = predict_disparities(model.model, evaluation, targets, model.size, torch.device("cpu"))
    for name in ("pred", "gt"):
        (tmp_path / name).mkdir()
    for target, disparity in zip(targets, disparities, strict=True):
        np.save(tmp_path / "pred" / f"{target.frame}.npy", disparity)
        np.save(
            tmp_path / "gt" / f"{target.frame}.npy", target.recording.ground_truth(target.frame, "camera")
        )
    arguments = [str(tmp_path / "pred"), str(tmp_path / "gt"), "--csv", str(tmp_path / "rows.csv")]
    assert main(["score", "depth", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pytest.approx(figures, rel=1e-5)
    assert main(["score", "depth", *arguments]) == 0
    assert "abs_rel" in capsys.readouterr().out


@pytest.mark.parametrize("truth", ["eigen", "benchmark"])
def test_the_other_ground_truths_are_scored_too(
    truth: str, trained: Path, street: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = evaluate(trained, street, capsys, "--protocol", truth, truth=truth)
    assert 0 < figures["abs_rel"] < 1
    assert figures["images"] == 20


def run_detached(config: Path, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-m", "mtdrive", "train", "--config", str(config)]
    return subprocess.Popen(
        [*command, "--folder", str(folder), *more], stderr=subprocess.DEVNULL, start_new_session=True
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


SHORT = [
    "--training.steps=8",
    "--training.save_every=2",
    "--training.log_every=1",
    "--training.picture_every=0",
]


@pytest.fixture(scope="module")
def uninterrupted(config: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert train(config, folder, *SHORT) == 0
    return (folder / "checkpoints" / "last" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_killed_outright_resumes_to_the_same_bits(
    workers: str, config: Path, uninterrupted: bytes, tmp_path: Path
) -> None:
    folder, load = tmp_path / "killed", f"--data.street.workers={workers}"
    process = run_detached(config, folder, *SHORT, load)
    try:
        wait_for(lambda: (folder / "checkpoints" / "step_00000002").exists(), process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    last = Checkpoints(folder / "checkpoints").last()
    assert last is not None
    assert last.name < "step_00000008"
    assert train(config, folder, *SHORT, load, "--resume") == 0
    assert (folder / "checkpoints" / "last" / "model.safetensors").read_bytes() == uninterrupted


def test_sigterm_to_the_whole_job_saves_after_the_step(
    config: Path, uninterrupted: bytes, tmp_path: Path
) -> None:
    """Schedulers signal the loading processes too; their end must not break the step that is running."""
    folder = tmp_path / "stopped"
    process = run_detached(config, folder, *SHORT, "--data.street.workers=2")
    wait_for(lambda: (folder / "checkpoints" / "step_00000002").exists(), process)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert train(config, folder, *SHORT, "--data.street.workers=2", "--resume") == 0
    assert (folder / "checkpoints" / "last" / "model.safetensors").read_bytes() == uninterrupted


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str], last_line: bool = False) -> str:
    """Return the message of a command that fails; before the `last_line` it may have told of its progress."""
    capsys.readouterr()
    assert main(arguments) == 1
    err = capsys.readouterr().err
    if last_line:
        err = err.splitlines(keepends=True)[-1]
    assert err.startswith("mtdrive: error: ")
    assert err.count("\n") == 1, f"more than one line: {err}"
    return err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--optimization.learning_rat=1", "learning_rat"),
        ("--optimization.learning_rate=fast", "Got value: fast"),
        ("--data.street.batch_size=four", "Got value: four"),
        ("--tasks.depth.init_args.scals=3", "'scals' is not accepted"),
        ("--weighting.class_path=mtdrive.weighting.nothing.Nothing", "nothing"),
        ("--data.street.size=[60,128]", "multiples of 32, found 60x128; 32x128 and 64x128 fit"),
        (
            "--data.street.batch_size=999",
            "a step takes 999 items in each of 1 processes, but there are only 18",
        ),
        ("--data.street.source.init_args.root=/nowhere", "/nowhere"),
        ("--data.street.stride=12", "no frame of"),
        ("--data.street.batch_size=0", "data.batch_size must be at least 1, found 0"),
        ("--training.save_every=0", "training.save_every must be at least 1, found 0"),
        ("--training.monitor=loss", "monitor 'loss' is not measured"),
        ("--data.street.views=[front]", "'depth' would never be trained"),
        ("--encoder.init_args.name=resnet", "timm has no backbone 'resnet'"),
    ],
)
def test_a_bad_setting_gives_one_line_that_names_it(
    override: str, message: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--config", str(config), "--folder", str(tmp_path / "run"), override]
    assert message in failure(arguments, capsys)


def test_a_config_that_does_not_exist_is_named_with_those_that_ship(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = failure(["train", "--config", "monodepth3", "--folder", str(tmp_path)], capsys)
    assert "there is no configuration monodepth3; give a file, or one of " in message
    assert {"first_depth", "systems/monodepth2_m"} <= set(message.rstrip().split("one of ")[1].split(", "))


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(
    trained: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["train", "--config", str(config), "--folder", str(trained), "--training.steps=120"]
    assert "already holds a run; add --resume" in failure(base, capsys)
    changed = [*base, "--resume", "--optimization.learning_rate=0.5"]
    assert "other settings: optimization.learning_rate" in failure(changed, capsys)


def test_a_checkpoint_that_is_damaged_or_of_another_network_is_named(
    trained: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--source", "KittiRaw", "--source.root", str(street / "raw")]
    assert "is no checkpoint" in failure(["evaluate", str(tmp_path), *source], capsys)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (trained / "checkpoints" / "last").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("scales: 4", "scales: 3"))
    assert "belongs to another architecture" in failure(["evaluate", str(copy), *source], capsys)
    (copy / "model.safetensors").write_bytes(pickle.dumps(print))
    assert "nothing in it was run" in failure(["evaluate", str(copy), *source], capsys)


def test_evaluation_needs_neither_the_training_data_nor_pretrained_weights(
    trained: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "checkpoints" / "last"
    copy.mkdir(parents=True)
    for file in (trained / "checkpoints" / "last").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = copy / "config.yaml"
    moved = (
        config.read_text()
        .replace(str(street / "raw"), "/moved/away")
        .replace("weights: none", "weights: timm")
    )
    config.write_text(moved)
    assert evaluate(tmp_path, street, capsys) == evaluate(trained, street, capsys)


def test_split_writes_lists_that_training_reads(
    street: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = tmp_path / "scenes.txt"
    scenes.write_text("2011_09_28_drive_0002\n")
    static = tmp_path / "static.txt"
    static.write_text("2011_09_26 2011_09_26_drive_0001_sync 0000000005\n")
    files = ["--test-scenes", str(scenes), "--static-frames", str(static)]
    arguments = ["split", str(street / "raw"), *files, "--out", str(tmp_path)]
    assert main(arguments) == 0
    lists = {
        name: (tmp_path / name).read_text().splitlines() for name in ("train_files.txt", "val_files.txt")
    }
    assert sum(map(len, lists.values())) == 2 * 17
    assert all(line.startswith(DRIVE) for lines in lists.values() for line in lines)
    split = f"--data.street.source.init_args.split={tmp_path / 'train_files.txt'}"
    assert train(config, tmp_path / "run", "--training.steps=1", split) == 0


def test_odometry_trains_with_the_shared_pose_and_logs_how_motion_correlates(
    street: Path, config: Path, tmp_path: Path
) -> None:
    delta = tmp_path / "delta.yaml"
    source = {
        "class_path": "mtdrive.data.kitti.KittiOdometry",
        "init_args": {"root": str(street / "odometry"), "sequences": ["00"], "poses": True},
    }
    pose = {"class_path": "mtdrive.pose.SharedPose", "init_args": {}}
    delta.write_text(
        yaml.safe_dump(
            {
                "data": {"street": {"source": source, "batch_size": 4, "size": list(SIZE), "workers": 0}},
                "tasks": {"depth": {"class_path": "mtdrive.tasks.depth.Depth", "init_args": {"pose": pose}}},
            }
        )
    )
    settings = ["--training.steps=2", "--training.log_every=1", "--training.precision=bf16-mixed"]
    assert train(config, tmp_path / "run", "--config", str(delta), *settings) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"train/depth/yaw_correlation", "train/depth/speed_correlation"} <= set(lines[0])


def test_settings_are_listed_with_their_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--settings"]) == 0
    listed = capsys.readouterr().out
    assert "--training.save_every" in listed
    assert "Steps between checkpoints" in listed


def test_a_file_that_cannot_be_written_is_named(
    trained: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    source = ["--source", "KittiRaw", "--source.root", str(street / "raw"), "--source.every", "20"]
    arguments = ["evaluate", str(trained / "checkpoints" / "last"), *source, "--truth", "camera"]
    message = failure([*arguments, "--out", str(tmp_path / "file" / "scores")], capsys, last_line=True)
    assert str(tmp_path / "file") in message


def test_unknown_arguments_of_other_commands_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["score", "depth", "a", "b", "--protocl", "eigen"])
    assert "unrecognised arguments: --protocl eigen" in capsys.readouterr().err
