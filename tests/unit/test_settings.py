from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mtdrive.data.drives import Drives
from mtdrive.errors import ConfigError
from mtdrive.experiment import Experiment, instantiate, parser
from mtdrive.settings import check_free, find_config, parse
from mtdrive.tasks.depth import Photometric, Smoothness

SHIPPED = sorted(Path(find_config("first_depth")).parent.rglob("*.yaml"))


def settings(*arguments: str) -> Experiment:
    return instantiate(parse(parser(), arguments))


def stack(path: Path) -> list[str]:
    """Return the arguments for a configuration and what it lies over: a_1024, a_scratch, a_blind over a."""
    base = path.with_stem(re.sub(r"_(1024|scratch|blind)$", "", path.stem))
    return [text for each in dict.fromkeys((base, path)) for text in ("--config", str(each))]


def test_drives_and_their_balance_are_settings() -> None:
    source = (
        "{class_path: Drives, init_args: {root: logs, labels: [depth, waypoints], baseline: [0.5, 2], "
        "cameras: [front, shifted], towns: [Town01]}}"
    )
    data = f"{{logs: {{source: {source}, batch_size: 2, size: [32, 64], balance: {{left: 3, braking: 2}}}}}}"
    given = settings("--data", data, "--tasks", "{}")
    assert given.data["logs"].balance == {"left": 3.0, "braking": 2.0}
    expected = Drives(
        "logs",
        labels=["depth", "waypoints"],
        baseline=(0.5, 2.0),
        cameras=["front", "shifted"],
        towns=["Town01"],
    )
    assert given.data["logs"].source == expected
    given = settings("--data", data.replace("[0.5, 2]", "null"), "--tasks", "{}")
    assert given.data["logs"].source == replace(expected, baseline=None)
    with pytest.raises(ConfigError, match=r"the settings do not fit: .*waypoint"):
        settings("--data", data.replace("waypoints", "waypoint"), "--tasks", "{}")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_configuration_that_ships_fits(path: Path) -> None:
    experiment = settings(*stack(path))
    assert experiment.data
    assert experiment.tasks


@pytest.mark.parametrize(
    "path", [p for p in SHIPPED if p.stem.startswith("monodepth2")], ids=lambda p: p.stem
)
def test_the_recipes_of_monodepth2_differ_where_the_paper_says(path: Path) -> None:
    given = parse(parser(), stack(path))
    depth, name = given.tasks["depth"].init_args, path.stem
    sources = (list(depth.offsets), depth.stereo, depth.baseline)
    assert (
        sources
        == {
            "m": ([-1, 1], False, None),
            "s": ([], True, 0.1),
            "ms": ([-1, 1], True, 0.1),
        }[name.split("_")[1]]
    )
    weights = "none" if name.endswith("scratch") else "timm"
    assert given.encoder.init_args.weights == weights
    assert (depth.pose is None) == (not depth.offsets)
    assert depth.pose is None or depth.pose.init_args.weights == weights
    epochs = 30 if name.endswith("scratch") else 5 if name.endswith("1024") else 20
    assert given.training.epochs == epochs
    fine = (given.data["kitti"].size, given.optimization.learning_rate, list(given.optimization.milestones))
    assert fine == (((320, 1024), 1e-5, []) if name.endswith("1024") else ((192, 640), 1e-4, [14]))


def test_monodepth2_has_the_papers_hyper_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = settings("--config", "systems/monodepth2_m")
    data = experiment.data["kitti"]
    assert (data.batch_size, data.size) == (12, (192, 640))
    assert data.augment is not None
    assert (data.augment.flip, data.augment.jitter) == (0.5, 0.5)
    optimization = experiment.optimization
    assert (optimization.optimizer, optimization.learning_rate, optimization.weight_decay) == (
        "adam",
        1e-4,
        0,
    )
    assert (optimization.milestones, optimization.gamma, experiment.training.epochs) == ([14], 0.1, 20)
    depth = experiment.tasks["depth"].keywords  # type: ignore[attr-defined]
    assert (depth["scales"], depth["min_depth"], depth["max_depth"], depth["offsets"]) == (
        4,
        0.1,
        100.0,
        [-1, 1],
    )
    photometric, smoothness = depth["terms"]["photometric"], depth["terms"]["smoothness"]
    assert isinstance(photometric, Photometric)
    assert isinstance(smoothness, Smoothness)
    assert (photometric.ssim_weight, smoothness.weight) == (0.85, 1e-3)


def test_later_files_lie_over_earlier_ones_and_arguments_over_both(tmp_path: Path) -> None:
    delta = tmp_path / "delta.yaml"
    delta.write_text("seed: 3\ntraining: {epochs: 2}\n")
    experiment = settings("--config", "first_depth", "--config", str(delta), "--seed", "4")
    assert (experiment.seed, experiment.training.epochs) == (4, 2)
    assert experiment.data["city"].batch_size == 6


def test_classes_that_ship_may_be_named_without_their_path() -> None:
    experiment = settings("--config", "first_depth", "--weighting", "Uncertainty")
    assert type(experiment.weighting({"depth": "regression"})).__name__ == "Uncertainty"


def test_abbreviated_settings_are_refused_since_they_change_meaning_when_settings_are_added() -> None:
    with pytest.raises(ConfigError, match="--train"):
        settings("--config", "first_depth", "--training.epoch=3")


OLD = "seed: 0\ntraining: {epochs: 1, precision: 32-true}\ndata: {k: {workers: 1, size: [2, 3]}}\n"


@pytest.mark.parametrize(
    ("new", "changed"),
    [
        (OLD.replace("epochs: 1", "epochs: 9").replace("workers: 1", "workers: 3"), None),
        (OLD.replace("seed: 0", "seed: 1"), "seed"),
        (OLD.replace("32-true", "bf16-mixed"), "training.precision"),
        (OLD.replace("[2, 3]", "[2, 4]"), "data.k.size"),
        (OLD + "encoder: {}\n", "encoder"),
    ],
)
def test_a_run_resumes_only_with_settings_that_learn_the_same(
    new: str, changed: str | None, tmp_path: Path
) -> None:
    check_free(tmp_path, new, resume=False)
    (tmp_path / "config.yaml").write_text(OLD)
    if changed is None:
        check_free(tmp_path, new, resume=True)
    else:
        with pytest.raises(ConfigError, match=f"other settings: {changed};"):
            check_free(tmp_path, new, resume=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        check_free(tmp_path, new, resume=False)
