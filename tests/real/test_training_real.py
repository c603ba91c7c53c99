"""The first configuration on real frames: train, resume, evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtdrive.cli import main

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def run(kitti: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty steps on sequence 00, stopped after twenty and resumed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    arguments = ["train", "--config", "first_depth", "--folder", str(folder), "--training.log_every=10"]
    arguments += [f"--data.kitti.source.init_args.root={kitti / 'odometry'}", "--data.kitti.batch_size=4"]
    arguments += [f"--validation.traffic.source.init_args.root={kitti / 'raw'}", "--data.kitti.workers=0"]
    arguments += ["--training.picture_every=0", "--training.accelerator=cpu"]
    assert main([*arguments, "--training.steps=20"]) == 0
    assert main([*arguments, "--training.steps=40", "--resume"]) == 0
    return folder


def test_the_loss_falls_on_real_frames_and_the_log_goes_on_after_resuming(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["train/depth/photometric"] for line in lines if "train/depth" in line}
    assert list(losses) == [10, 20, 30, 40]
    assert min(losses[30], losses[40]) < losses[10]
    assert {"train/depth/yaw_correlation", "train/depth/speed_correlation"} <= set(lines[1])
    validation = {line["step"]: line for line in lines if "validation/traffic/depth/abs_rel" in line}
    assert list(validation) == [0, 20, 40]


def test_a_checkpoint_is_evaluated_on_lidar_that_it_never_saw(
    run: Path, kitti: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--source", "KittiRaw", "--source.root", str(kitti / "raw"), "--source.side", "l"]
    source += ["--source.drives", "[2011_09_26/2011_09_26_drive_0060_sync]"]
    source += ["--source.depth", "lidar", "--source.only_labelled", "true"]
    capsys.readouterr()
    checkpoint = str(run / "checkpoints" / "last")
    assert main(["evaluate", checkpoint, *source, "--json", "--accelerator", "cpu"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["images"] == 8
    assert 0.1 < figures["abs_rel"] < 0.6
