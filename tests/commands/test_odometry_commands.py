"""Odometry as a user evaluates it: from a checkpoint, and from files of poses."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mtdrive.cli import main
from mtdrive.trajectory import chain, read_poses, write_poses
from tests.kitti_tree import write_odometry
from tests.trajectories import drive, jittered

SIZE = (64, 64)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of 8 and 7 frames."""
    root = tmp_path_factory.mktemp("odometry")
    for sequence, frames in (("00", 8), ("01", 7)):
        write_odometry(root, frames, SIZE, cameras=(0,), suffix=".jpg", grey=True, sequence=sequence)
    return root


@pytest.fixture(scope="module")
def checkpoint(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step."""
    folder = tmp_path_factory.mktemp("runs")
    source = {"root": str(street), "sequences": ["00"], "camera": "image_0"}
    pose = {"class_path": "mtdrive.pose.SharedPose", "init_args": {"forward_start": 0.01}}
    run = {
        "encoder": {"class_path": "mtdrive.encoder.Encoder", "init_args": {"name": "test_resnet"}},
        "tasks": {"depth": {"class_path": "mtdrive.tasks.depth.Depth", "init_args": {"pose": pose}}},
        "data": {
            "street": {
                "source": {"class_path": "mtdrive.data.kitti.KittiOdometry", "init_args": source},
                "batch_size": 2,
                "size": list(SIZE),
                "workers": 0,
            }
        },
        "training": {"steps": 1, "accelerator": "cpu", "threads": 1, "picture_every": 0},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    assert main(["train", "--config", str(folder / "run.yaml"), "--folder", str(folder / "run")]) == 0
    return folder / "run" / "checkpoints" / "last"


def evaluation(checkpoint: Path, street: Path, *more: str, sequences: str = '["00"]') -> list[str]:
    source = ["--source", "KittiOdometry", "--source.root", str(street), "--source.sequences", sequences]
    rest = ["--source.camera", "image_0", "--accelerator", "cpu"]
    return ["evaluate", str(checkpoint), "--kind", "odometry", *source, *rest, *more]


def output(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        return image.format == "PNG" and len(image.convert("RGB").getcolors(10_000) or ()) > 3


def test_a_checkpoint_gives_files_whose_scores_are_its_figures(
    checkpoint: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores" / "odometry"
    both = evaluation(
        checkpoint, street, "--source.poses", "true", "--out", str(out), sequences='["00", "01"]'
    )
    figures = output(both, capsys)
    assert json.loads((out / "odometry.json").read_text()) == figures
    assert figures["align"] == "scale"
    assert figures["frames"] == 15
    for name, frames in (("00", 8), ("01", 7)):
        pred = out / f"{name}_image_0.txt"
        scored = output(["score", "odometry", str(pred), str(street / "poses" / f"{name}.txt")], capsys)
        expected = figures["sequences"][f"{name}/image_0"]
        assert expected.pop("t_err") is scored.pop("t_err") is None
        assert expected.pop("r_err") is scored.pop("r_err") is None
        assert scored == pytest.approx(expected, rel=1e-5)
        assert scored["frames"] == frames == len(read_poses(pred))
        assert scored["ate5_mean"] > 0
        assert is_picture(out / f"{name}_image_0.png")
    with (out / "odometry.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == [*map(str, range(7)), *map(str, range(6))]
    assert np.mean([float(row["ate5"]) for row in rows]) == pytest.approx(figures["ate5_mean"])


def test_a_sequence_without_poses_is_an_error_or_gives_a_trajectory_alone(
    checkpoint: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--source.poses true" in failure(evaluation(checkpoint, street), capsys)
    alone = evaluation(checkpoint, street, "--truth", "false", "--out", str(tmp_path))
    assert output(alone, capsys)["sequences"] == {}
    assert len(read_poses(tmp_path / "00_image_0.txt")) == 8
    assert is_picture(tmp_path / "00_image_0.png")


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("mtdrive: error: ")
    assert err.count("\n") == 1, f"more than one line: {err}"
    return err


def test_poses_of_any_program_are_scored_listed_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred, truth = tmp_path / "pred.txt", tmp_path / "truth.txt"
    write_poses(truth, drive(300))
    write_poses(pred, jittered(drive(300), 0.1))
    files = ["--csv", str(tmp_path / "a" / "rows.csv"), "--plot", str(tmp_path / "b" / "path.png")]
    found = output(["score", "odometry", str(pred), str(truth), *files], capsys)
    assert {"ate5_mean", "ate5_std", "t_err", "r_err", "rpe_translation", "rpe_rotation", "scale"} <= set(
        found
    )
    assert 0 < found["t_err"] < 1
    assert found["scale"] == pytest.approx(1, abs=0.01)
    assert len((tmp_path / "a" / "rows.csv").read_text().splitlines()) == 300
    assert is_picture(tmp_path / "b" / "path.png")
    aligned = output(["score", "odometry", str(pred), str(truth), "--align", "similarity"], capsys)
    assert aligned["ate"] < found["ate"]


def test_a_short_path_has_no_drift_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_poses(tmp_path / "short.txt", drive(20))
    arguments = ["score", "odometry", *[str(tmp_path / "short.txt")] * 2]
    assert output(arguments, capsys)["t_err"] is None
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "│ t_err                │ -" in shown.out
    assert shown.err.splitlines() == [
        "mtdrive: short: the true path is no longer than 100 m, the shortest segment of KITTI's t_err and "
        "r_err, so both are absent"
    ]


GOOD = "1 0 0 0 0 1 0 0 0 0 1 0\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + "1 0 0 0 0 1 0 0 0 0 1\n", "pred.txt:2: expected 12 finite numbers"),
        (GOOD + "1 0 0 0 0 1 0 0 0 0 1 nan\n", "pred.txt:2: expected 12 finite numbers"),
        (3 * GOOD, "pred.txt has 3 poses and"),
        (2 * GOOD, "stands still"),
        (None, "pred.txt: the poses cannot be read"),
    ],
)
def test_bad_poses_give_one_line_that_names_them(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_poses(tmp_path / "truth.txt", chain(np.tile(np.eye(4), (1, 1, 1))))
    if content is not None:
        (tmp_path / "pred.txt").write_text(content)
    arguments = ["score", "odometry", str(tmp_path / "pred.txt"), str(tmp_path / "truth.txt")]
    assert message in failure(arguments, capsys)


def test_a_single_pose_is_no_trajectory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.txt").write_text(GOOD)
    assert "at least two" in failure(["score", "odometry", *[str(tmp_path / "one.txt")] * 2], capsys)


def test_the_settings_of_each_kind_are_listed(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, setting in (("depth", "--protocol"), ("odometry", "--align")):
        assert main(["evaluate", str(checkpoint), "--kind", kind, "--settings"]) == 0
        assert setting in capsys.readouterr().out


def test_scoring_starts_without_torch() -> None:
    code = "import sys, mtdrive.commands.score, mtdrive.score_odometry; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
