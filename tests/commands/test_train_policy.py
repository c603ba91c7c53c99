"""A policy with depth beside it, from drives to a program, as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import mtdrive.train as module
from mtdrive import configs
from mtdrive.batch import LABELS, View
from mtdrive.cli import main
from mtdrive.curves import read_curves
from mtdrive.experiment import build_model, instantiate, parser
from mtdrive.settings import parse
from tests.drive_tree import circle, write_drive
from tests.policy_runs import RUN, SIZE, carla_header, train, write_config, write_drives

LAST = "checkpoints/last"


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drives")
    write_drives(root)
    return root


@pytest.fixture(scope="module")
def config(drives: Path) -> Path:
    return write_config(drives / "run.yaml", drives)


@pytest.fixture(scope="module")
def trained(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert train(config, folder, "--training.steps=20") == 0
    return folder


class Killed(Exception):
    pass


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail, and return its one line."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("mtdrive: error: ")]
    assert len(lines) == 1
    return lines[0]


def test_the_policy_learns_and_each_tasks_pull_is_told(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    losses = [line["train/policy"] for line in lines if "train/policy" in line]
    assert losses[-1] < 0.7 * losses[0]
    shares = [line for line in lines if "share/policy" in line]
    assert [line["step"] for line in shares] == [5, 10, 15, 20]
    for line in shares:
        assert line["share/policy"] + line["share/depth"] == pytest.approx(1)
        assert line["gradient/policy"] > 0
        assert line["gradient/depth"] > 0
    weights = read_curves(trained / "log.jsonl", "weight")
    assert set(weights) == {"policy", "depth"}
    assert (trained / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert (trained / "pictures" / "train_drives_policy_00000020.png").exists()


def test_a_killed_policy_that_looks_at_gradients_ends_with_the_same_weights(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cosine schedule is a function of the step, and measuring the tasks' pulls changes nothing."""
    settings = ["--training.steps=4", "--training.save_every=2"]
    assert train(config, tmp_path / "whole", *settings, "--training.share_every=0") == 0
    save = module.save

    def killed(run: Any, optimizer: Any, state: Any, best: bool = False) -> None:
        save(run, optimizer, state, best)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "save", killed)
        with pytest.raises(Killed):
            train(config, tmp_path / "killed", *settings, "--training.share_every=1")
    assert train(config, tmp_path / "killed", *settings, "--training.share_every=1", "--resume") == 0
    one, other = (tmp_path / name / LAST / "model.safetensors" for name in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()


def evaluate(checkpoint: Path, drives: Path, labels: str = "[steer,target_speed]") -> list[str]:
    source = ["--source", "Drives", "--source.root", str(drives), "--source.labels", labels]
    return ["evaluate", str(checkpoint), "--kind", "policy", *source, "--accelerator", "cpu", "--json"]


def test_evaluate_reports_errors_by_manoeuvre(
    trained: Path, drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*evaluate(trained / LAST, drives), "--out", str(tmp_path)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["frames"] == 48
    assert {"steer_mae", "target_speed_mae", "steer_mae/left", "steer_mae/change_right"} <= set(figures)
    lines = (tmp_path / "policy.csv").read_text().splitlines()
    assert lines[0] == "image,steer_mae,target_speed_mae,command"
    assert len(lines) == 49
    mean = sum(float(line.split(",")[1]) for line in lines[1:]) / 48
    assert mean == pytest.approx(figures["steer_mae"], rel=1e-4)


def test_evaluate_needs_the_labels(trained: Path, drives: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, *evaluate(trained / LAST, drives, "[steer]"))
    assert "target_speed" in message
    assert "--source.labels" in message


def test_a_checkpoint_without_a_policy_is_refused(
    drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = {"depth": RUN["tasks"]["depth"]}
    config = write_config(tmp_path / "run.yaml", drives, tasks=tasks)
    settings = yaml.safe_load(config.read_text())
    del settings["data"]["drives"]
    config.write_text(yaml.safe_dump(settings))
    assert train(config, tmp_path / "run", "--training.steps=1") == 0
    assert not (tmp_path / "run" / LAST / "rig.json").exists()
    checkpoint = tmp_path / "run" / LAST
    assert "no task 'policy'" in fails(capsys, *evaluate(checkpoint, drives))
    assert "is no policy" in fails(capsys, *evaluate(checkpoint, drives), "--task", "depth")
    assert "has no policy" in fails(capsys, "export", checkpoint, "--out", tmp_path / "p.pt2")


def test_labels_that_the_drives_lack_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that the configuration left out, and those that no driver gave."""
    write_drives(tmp_path / "drives")
    config = write_config(tmp_path / "run.yaml", tmp_path / "drives")
    arguments = ["train", "--config", config, "--folder", tmp_path / "run"]
    message = fails(capsys, *arguments, "--data.drives.source.init_args.labels", "[steer]")
    assert "'policy' would never be trained" in message
    assert "target_speed" in message
    for number in range(2):
        shutil.rmtree(tmp_path / "drives" / f"drive_{number}")
    write_drive(tmp_path / "drives" / "drive_0", circle(24, 30.0, 5.0), carla_header())
    assert "target_speed, which nobody gave in drives/drive_0/front" in fails(capsys, *arguments)
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_is_refused_and_one_drive_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drives").mkdir()
    config = write_config(tmp_path / "run.yaml", tmp_path / "drives")
    assert "no drives" in fails(capsys, "train", "--config", config, "--folder", tmp_path / "run")
    write_drives(tmp_path / "drives", count=1)
    assert train(config, tmp_path / "run", "--training.steps=2") == 0


def test_the_exported_program_needs_no_mtdrive(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is called with tensors alone; that it equals the policy, export itself has checked."""
    assert main(["export", str(trained / LAST), "--out", str(tmp_path / "p.pt2"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert float(figures["difference"]) < 1e-5
    assert figures["milliseconds of torch"] > 0
    program = torch.export.load(tmp_path / "p.pt2").module()
    steer, speed = program(torch.rand(1, 1, 3, *SIZE), torch.tensor([4.0]), torch.tensor([4]))
    assert steer.shape == speed.shape == (1,)


def test_onnx_is_refused_with_the_line_that_installs_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = fails(capsys, "export", trained / LAST, "--out", tmp_path / "p.onnx", "--format", "onnx")
    assert "pip install 'mtdrive[onnx]'" in message


def test_an_onnx_model_equals_the_policy(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    out = tmp_path / "p.onnx"
    assert main(["export", str(trained / LAST), "--out", str(out), "--format", "onnx", "--json"]) == 0
    assert float(json.loads(capsys.readouterr().out)["difference"]) < 1e-5
    assert out.stat().st_size > 10_000


def shipped(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((Path(configs.__path__[0]) / f"{name}.yaml").read_text())
    return content


@pytest.mark.parametrize("name", ["policy", "policy_depth", "policy_depth_kitti", "segmentation"])
def test_a_shipped_configuration_fits_and_its_policy_is_that_of_the_others(name: str) -> None:
    """So that a comparison of them tells of the auxiliary task alone."""
    first, own = shipped("policy"), shipped(name)
    assert own["tasks"]["policy"] == first["tasks"]["policy"]
    assert own["data"]["drives"] == first["data"]["drives"]
    for key in ("encoder", "seed"):
        assert own[key] == first[key]
    for key in ("optimizer", "learning_rate", "weight_decay", "schedule"):
        assert own["optimization"][key] == first["optimization"][key]
    settings = parse(parser(), ["--config", name])
    assert set(settings.tasks) >= {"policy"}
    assert set(first["data"]["drives"]["source"]["init_args"]["labels"]) <= set(LABELS)


def test_the_blind_configuration_lies_over_the_others() -> None:
    settings = parse(parser(), ["--config", "policy", "--config", "policy_blind"])
    assert settings.tasks["policy"].init_args.blind
    assert settings.tasks["policy"].init_args.form == "steer"
    assert settings.tasks["policy"].init_args.control.least_speed == 2.0


def test_the_weighting_of_a_shipped_configuration_can_be_fixed() -> None:
    given = ["--config", "policy_depth", "--weighting", "Fixed", "--weighting.weights.depth", "0.5"]
    settings = parse(parser(), given)
    assert settings.weighting.class_path == "mtdrive.weighting.fixed.Fixed"
    assert settings.weighting.init_args.weights == {"depth": 0.5}


def test_the_configuration_of_all_tasks_gives_each_of_them_data() -> None:
    """Each task finds its views and labels in one of the data sets, and none of them is left over."""
    given = ["--config", "systems/wayve", "--encoder", "mtdrive.compact.Compact"]
    model = build_model(instantiate(parse(parser(), given)))
    assert set(model.tasks) == {"policy", "depth", "flow", "segmentation"}
    content = shipped("systems/wayve")["data"]
    trained = {
        name: set(
            model.trainable(
                [View.parse(text) for text in part.get("views", ["front", "front-1", "front+1"])],
                part["source"]["init_args"].get("labels", []),
            )
        )
        for name, part in content.items()
    }
    assert trained == {"drives": {"policy"}, "video": {"depth", "flow"}, "pixels": {"segmentation"}}
