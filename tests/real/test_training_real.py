"""The first configuration on real frames: train, resume, evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mtdrive.cli import main

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def run(kitti: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty steps on sequence 00, stopped after twenty and resumed; frames of it are measured as well."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    source = {"root": str(kitti / "odometry"), "sequences": ["00"], "poses": True, "stop": 60, "every": 3}
    seen = {
        "source": {"class_path": "KittiOdometry", "init_args": source},
        "batch_size": 4,
        "size": [64, 224],
        "workers": 0,
    }
    delta = folder.parent / "delta.yaml"
    delta.write_text(yaml.safe_dump({"validation": {"seen": seen}}))
    arguments = ["train", "--config", "first_depth", "--folder", str(folder), "--training.log_every=10"]
    arguments += [f"--data.city.source.init_args.root={kitti / 'odometry'}", "--data.city.batch_size=3"]
    arguments += [f"--data.road.source.init_args.root={kitti / 'raw'}", "--data.road.batch_size=1"]
    arguments += ["--data.city.workers=0", "--data.road.workers=0"]
    arguments += ["--training.picture_every=0", "--training.accelerator=cpu"]
    arguments += ["--config", str(delta), "--training.monitor=validation/seen/depth"]
    assert main([*arguments, "--training.steps=20"]) == 0
    assert main([*arguments, "--training.steps=40", "--resume"]) == 0
    return folder


def test_the_loss_falls_on_real_frames_and_the_log_goes_on_after_resuming(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/depth" in line] == [10, 20, 30, 40]
    assert {"train/depth/yaw_correlation", "train/depth/speed_correlation"} <= set(lines[1])
    losses = {x["step"]: x["validation/seen/depth"] for x in lines if "validation/seen/depth" in x}
    assert list(losses) == [0, 20, 40]
    assert losses[40] < 0.95 * losses[0]
    assert "validation/seen/depth/yaw_correlation" in lines[0]


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
