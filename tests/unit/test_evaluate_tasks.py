"""All tasks in one table: what learned nothing is seen, figures are those of each evaluation alone."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mtdrive.batch import TARGET, Batch, Inputs, View
from mtdrive.cli import main
from mtdrive.compact import Compact
from mtdrive.data.drive_recording import DriveLabel
from mtdrive.data.drives import Drives
from mtdrive.data.kitti import KittiRaw
from mtdrive.drive_plan import DriveSettings, begin
from mtdrive.drive_record import Record, write_record
from mtdrive.drive_scores import figures as driven_figures
from mtdrive.envs.scoring import NAME
from mtdrive.errors import ConfigError, DataError
from mtdrive.evaluate import DepthEvaluation, evaluate_depth
from mtdrive.evaluate_flow import FlowEvaluation, evaluate_flow
from mtdrive.evaluate_odometry import OdometryEvaluation, evaluate_odometry
from mtdrive.evaluate_policy import PolicyEvaluation, evaluate_policy
from mtdrive.evaluate_segmentation import SegmentationEvaluation, evaluate_segmentation
from mtdrive.evaluate_tasks import TasksEvaluation, evaluate_tasks
from mtdrive.metrics import EIGEN, score_depth_map
from mtdrive.model import Model
from mtdrive.pose import SharedPose
from mtdrive.score_tasks import BETTER, NOT_BETTER, Figure, TaskScore
from mtdrive.task import Pyramid, Task
from mtdrive.tasks.depth import Depth
from mtdrive.tasks.flow import Flow
from mtdrive.tasks.policy import Policy
from mtdrive.tasks.segmentation import Segmentation
from tests.drive_tree import write_drive
from tests.policy_runs import RUN, SIZE, carla_header, scene, train, write_config
from tests.toys import Brightness
from tests.trajectories import drive

CPU = torch.device("cpu")
NEXT = View("front", 1)
FRAMES = 48
"""At 10 Hz: more than the 4 s that plans look ahead."""
MAPS = {"depth": ("front",), "semantics": ("front",), "flow": ("front",)}
LABELS: list[DriveLabel] = ["waypoints", "target_speed"]


def write(root: Path, maps: Mapping[str, Any] = MAPS, count: int = 2, frames: int = FRAMES) -> None:
    """Write drives that wind, through scenes with blocks at random depths."""
    for number in range(count):
        rng = np.random.default_rng(number)
        blocks = rng.uniform(3, 60, (frames, SIZE[0] // 16, SIZE[1] // 16))
        rows = [
            {
                "images": {"front": scene(i, False)},
                "target_speed": float(rng.uniform(2, 8)),
                **({"depth": {"front": block.repeat(16, 0).repeat(16, 1)}} if "depth" in maps else {}),
            }
            for i, block in enumerate(blocks)
        ]
        write_drive(root / f"drive_{number}", list(drive(frames, number)), carla_header(maps=maps), rows)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drives")
    write(folder)
    return folder


class Told(NamedTuple):
    disparities: Float[Tensor, "b h w"]
    motions: dict[View, Float[Tensor, "b 4 4"]]


class Teller(Task[Told]):
    """Gives prepared disparities, or motions where the next frame is there, one after the other."""

    views = (TARGET, NEXT)
    reads = ()

    def __init__(self, disparities: np.ndarray, motions: np.ndarray | None) -> None:
        super().__init__()
        self.disparities = torch.from_numpy(disparities).float()
        self.motions = None if motions is None else torch.from_numpy(motions).float()
        self.pose = None if motions is None else SharedPose(Compact([8, 8]))

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Told:
        count = len(inputs.images)
        if NEXT in inputs.views and self.motions is not None:
            now, self.motions = self.motions[:count], self.motions[count:]
            return Told(torch.ones(count, *SIZE), {NEXT: now})
        shown, self.disparities = self.disparities[:count], self.disparities[count:]
        return Told(shown, {})

    def disparity(self, output: Told) -> Float[Tensor, "b h w"]:
        return output.disparities

    def loss(self, output: Told, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError


def recordings(source: Drives) -> list[Any]:
    return list({id(t.recording): t.recording for t in source.targets()}.values())


def true_disparities(source: Drives) -> np.ndarray:
    return np.stack([1 / t.recording.ground_truth(t.frame, "camera") for t in source.targets()])


def true_motions(source: Drives) -> np.ndarray:
    return np.stack([r.motion(i, i + 1) for r in recordings(source) for i in range(FRAMES - 1)])


def score(model: Model, source: Drives, **settings: Any) -> TaskScore:
    return evaluate_tasks(model, TasksEvaluation(source=source, **settings), SIZE, CPU)


def told(source: Drives, disparities: np.ndarray, motions: np.ndarray | None) -> dict[str, Figure]:
    model = Model(Compact([8, 8, 16]), {"depth": Teller(disparities, motions)})
    return {figure.name: figure for figure in score(model, source).figures}


def test_a_head_that_gives_the_truth_is_better_and_one_that_gives_noise_is_not(root: Path) -> None:
    source, rng = Drives(root), np.random.default_rng(5)
    disparities, motions = true_disparities(source), true_motions(source)
    good = told(source, disparities, motions)
    judged = {"abs_rel", "rmse", "a1", "ratio_std", "speed_correlation", "yaw_correlation"}
    judged |= {"rpe_translation", "rpe_rotation"}
    assert judged | {"ratio_median"} <= set(good)
    assert {name: good[name].verdict for name in judged} == dict.fromkeys(judged, BETTER)
    assert good["ratio_median"].verdict == ""
    assert good["abs_rel"].value == pytest.approx(0, abs=1e-3)
    assert good["speed_correlation"].value == pytest.approx(1)

    still = np.tile(np.eye(4), (len(motions), 1, 1))
    still[:, :3, 3] = rng.normal(0, 1, (len(motions), 3))
    turns = rng.permutation(motions)[:, :3, :3]  # of the right size, at the wrong time
    still[:, :3, :3] = turns
    noise = told(source, rng.uniform(0.01, 10, disparities.shape), still)
    assert {name: noise[name].verdict for name in judged} == dict.fromkeys(judged, NOT_BETTER)


def test_a_motion_that_stands_still_is_told_and_costs_no_other_figure(root: Path) -> None:
    source = Drives(root)
    motions = np.tile(np.eye(4), (len(true_motions(source)), 1, 1))
    found = told(source, true_disparities(source), motions)
    assert found["abs_rel"].verdict == BETTER
    for name in ("speed_correlation", "yaw_correlation"):
        assert found[name].verdict == "NOT BETTER: always the same"
    assert "NOT BETTER" in found[""].verdict
    assert "stands still" in found[""].verdict


def whole_model(pose: Any = SharedPose) -> Model:
    torch.manual_seed(0)
    encoder = Compact([8, 8, 8, 8, 16])
    return Model(
        encoder,
        {
            "policy": Policy(encoder, "waypoints", width=16),
            "depth": Depth(encoder, pose),
            "flow": Flow(encoder, width=8),
            "segmentation": Segmentation(encoder, width=16),
        },
    )


def test_figures_are_those_of_each_evaluation_alone_and_labels_need_not_be_asked_for(root: Path) -> None:
    model = whole_model()
    plain = Drives(root, every=3)
    whole = OdometryEvaluation(source=Drives(root, baseline=None))
    alone: dict[str, Mapping[str, float | None]] = {
        "depth": evaluate_depth(model, DepthEvaluation(source=plain, truth="camera"), SIZE, CPU).summary(),
        "flow": evaluate_flow(model, FlowEvaluation(source=plain), SIZE, CPU).summary(),
        "segmentation": evaluate_segmentation(
            model, SegmentationEvaluation(source=replace(plain, labels=("semantics",))), SIZE, CPU
        ).summary(),
        "policy": evaluate_policy(
            model, PolicyEvaluation(source=replace(plain, labels=LABELS)), SIZE, CPU
        ).summary(),
        "depth: motion": evaluate_odometry(model, whole, SIZE, CPU).summary(),
    }
    figures = [f for f in score(model, plain).figures if not f.name.endswith("correlation")]
    assert {f.task for f in figures} == set(alone)
    for figure in figures:
        expected = alone[figure.task][figure.name]
        assert figure.value == (None if expected is None else pytest.approx(expected, rel=1e-5)), figure
    (drift,) = [f for f in figures if f.name == "t_err"]
    assert drift.verdict == "no way is longer than 100 m"
    counted = {f.task: f.over for f in figures}
    assert counted["depth"] == counted["policy"] == f"{2 * FRAMES // 3} frames"
    assert counted["depth: motion"] == f"{2 * (FRAMES - 1)} steps"
    assert {f.name for f in figures if f.task == "policy"} == {"ade", "fde", "target_speed_mae"}


def test_trivial_figures_are_those_of_the_predictor_that_is_named(root: Path) -> None:
    source = Drives(root, every=3)
    found = {(f.task, f.name): f for f in score(whole_model(None), source).figures}
    truths = [t.recording.ground_truth(t.frame, "camera") for t in source.targets()]
    flat = [score_depth_map(np.full(SIZE, 7.0), truth, EIGEN, "median")["abs_rel"] for truth in truths]
    assert found["depth", "abs_rel"].trivial == pytest.approx(np.mean(flat))
    flows = [t.recording.flow_truth(t.frame).flow for t in source.targets() if t.frame]  # type: ignore[union-attr]
    lengths = np.concatenate([np.hypot(*f)[np.isfinite(f).all(0)] for f in flows])
    assert found["flow", "epe"].trivial == pytest.approx(lengths.mean())
    assert found["flow", "fl"].trivial == pytest.approx(100 * (lengths > 3).mean())
    targets = replace(source, labels=LABELS).targets()
    ways = np.stack([t.recording.label("waypoints", t.frame, SIZE).numpy() for t in targets])
    away = np.linalg.norm(ways - np.nanmean(ways, 0), axis=-1)
    known = ~np.isnan(away).all(1)  # not the last frames
    assert found["policy", "ade"].trivial == pytest.approx(np.nanmean(away[known], 1).mean(), rel=1e-4)
    assert found["policy", "fde"].trivial == pytest.approx(np.nanmean(away[:, -1]), rel=1e-4)
    speeds = np.array([float(t.recording.label("target_speed", t.frame, SIZE)) for t in targets])
    expected = np.abs(speeds - speeds.mean()).mean()
    assert found["policy", "target_speed_mae"].trivial == pytest.approx(expected, rel=1e-4)
    assert {f.predictor for f in found.values() if f.task == "depth" and f.trivial} == {"constant depth"}
    assert found["segmentation", "miou"].predictor.startswith("all ")


def test_tasks_whose_labels_are_missing_are_named_with_the_label_and_the_drive(
    root: Path, tmp_path: Path
) -> None:
    write(tmp_path, {"depth": ("front",)}, count=1, frames=6)
    write(tmp_path / "more", {}, count=1, frames=6)
    model = whole_model()
    tasks = {name: model.task(name) for name in ("flow", "segmentation", "depth")}
    tasks["grade"] = Brightness(model.encoder)
    rows = score(Model(model.encoder, tasks), Drives(tmp_path)).figures
    found = {row.task: row.verdict for row in rows if not row.name}
    assert found["flow"].startswith("not scored: no flow in ")
    assert found["flow"].endswith("drive_0/front and 1 more of 2")
    assert "no semantics in" in found["segmentation"]
    assert found["depth"].endswith("more/drive_0/front of 2")
    assert "depth: motion" not in found
    assert "no evaluation" in found["grade"]
    wide = Policy(model.encoder, cameras=["front", "left"], width=16)
    (row,) = score(Model(model.encoder, {"policy": wide}), Drives(root, every=20)).figures
    assert row.note.startswith("not scored: no camera left in ")
    own = Segmentation(model.encoder, width=16, classes=["free", "car"])
    (row,) = score(Model(model.encoder, {"segmentation": own}), Drives(root, every=20)).figures
    assert row.note == "not scored: drives do not have its classes"


def test_depth_without_a_pose_network_has_no_motion_and_one_that_looks_back_alone_says_so(root: Path) -> None:
    encoder = Compact([8, 8, 8, 8, 16])
    source = Drives(root, every=20)
    known = score(Model(encoder, {"depth": Depth(encoder, None)}), source)
    assert {f.task for f in known.figures} == {"depth"}
    back = score(Model(encoder, {"depth": Depth(encoder, SharedPose, offsets=[-1])}), source)
    (row,) = [f for f in back.figures if f.task == "depth: motion"]
    assert "does not predict the motion to the next frame" in row.verdict


@pytest.mark.parametrize(
    ("value", "trivial", "best", "verdict"),
    [
        (0.5, 1.0, 0, BETTER),
        (0.96, 1.0, 0, NOT_BETTER),  # by chance
        (1.5, 1.0, 0, NOT_BETTER),
        (0.999, 0.99, 1, BETTER),  # a share can leave a tenth of the errors, but no more than be 1
        (0.2, 0.3, 1, NOT_BETTER),
        (0.0, 0.0, 0, NOT_BETTER),
        (None, 1.0, 0, ""),
        (3.0, None, None, ""),
    ],
)
def test_better_is_nearer_to_the_best_value_by_more_than_rounding(
    value: float | None, trivial: float | None, best: float | None, verdict: str
) -> None:
    assert Figure(task="t", value=value, trivial=trivial, best=best).verdict == verdict


def test_sources_that_are_no_drives_are_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="recorded drives, found KittiRaw"):
        TasksEvaluation(source=KittiRaw(root))


# ---- the command, on a run of all four tasks


@pytest.fixture(scope="module")
def checkpoint(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step whose video has a stride of 2."""
    folder = tmp_path_factory.mktemp("runs")
    tasks = {
        **RUN["tasks"],
        "flow": {"class_path": "mtdrive.tasks.flow.Flow", "init_args": {"width": 8}},
        "segmentation": {"class_path": "mtdrive.tasks.segmentation.Segmentation", "init_args": {"width": 16}},
    }
    config = write_config(folder / "run.yaml", root, tasks=tasks)
    more = ["--data.video.stride=2", "--data.video.source.labels=[semantics]", "--training.steps=1"]
    assert train(config, folder / "run", *more) == 0
    return folder / "run" / "checkpoints" / "last"


def run(checkpoint: Path, root: Path, *more: str, kind: str = "tasks") -> int:
    source = ["--source", "Drives", "--source.root", str(root), "--source.every", "10"]
    return main(["evaluate", str(checkpoint), "--kind", kind, "--accelerator", "cpu", *source, *more])


ONE = ["--source.drives", "[drive_0]"]


def drive_there(out: Path, agent: str) -> list[Record]:
    """Leave what `mtdrive drive` would, but for one drive."""
    planned = begin(out, DriveSettings(agent=agent, towns=("Small",), routes=3, length=(50, 80)))
    records = [
        Record(plan=plan, agent=agent, ended="completed", completion=1.0, length=60.0, metres=60.0)
        for plan in planned[:2]
    ]
    for record in records:
        write_record(out, record)
    return records


def test_the_command_prints_one_table_and_writes_it_beside_the_driving_figures(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = drive_there(tmp_path / "driven", str(checkpoint))
    options = ["--driven", str(tmp_path / "driven"), "--out", str(tmp_path / "out")]
    capsys.readouterr()
    assert run(checkpoint, root, *options) == 0
    printed = capsys.readouterr()
    assert NAME in printed.out
    for text in ("abs_rel", "correlation of turns", "miou", "epe, pixels", "NOT BETTER", "constant depth"):
        assert text in printed.out
    assert "1 of 3 drives have no record" in printed.err
    assert "whose files are not those" not in printed.err
    document = json.loads((tmp_path / "out" / "tasks.json").read_text())
    rows = {(row["task"], row["name"]): row for row in document["rows"]}
    assert {task for task, _ in rows} == {
        "driving", "policy", "depth", "depth: motion", "flow", "segmentation"
    }  # fmt: skip
    assert rows["driving", "score_2.0"]["value"] == driven_figures(3, records)["score_2.0"]
    by_stride = f"{2 * ((FRAMES - 1) // 2)} steps"
    assert rows["depth: motion", "rpe_rotation"]["over"] == by_stride
    lines = list(csv.DictReader((tmp_path / "out" / "tasks.csv").read_text().splitlines()))
    assert [(line["task"], line["name"]) for line in lines] == list(rows)


def test_a_folder_that_another_agent_drove_is_told(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_there(tmp_path, "expert")
    assert run(checkpoint, root, "--driven", str(tmp_path), "--json", *ONE) == 0
    printed = capsys.readouterr()
    assert "driven by expert, whose files are not those of" in printed.err
    assert json.loads(printed.out)["notes"]


def test_a_folder_where_nothing_was_driven_is_one_clear_line(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint, root, "--driven", str(tmp_path)) == 1
    assert "name a folder of `mtdrive drive`" in capsys.readouterr().err
    begin(tmp_path, DriveSettings(agent="expert", towns=("Small",), routes=1, length=(50, 80)))
    assert run(checkpoint, root, "--driven", str(tmp_path)) == 1
    assert "no drive has a record" in capsys.readouterr().err


def test_a_run_at_several_strides_asks_for_one(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    config = tmp_path / "copy" / "config.yaml"
    config.write_text(config.read_text().replace("views:\n    - front\n", "views: null\n"))
    assert run(tmp_path / "copy", root) == 1
    assert "was trained at the strides [1, 2]; choose one by --stride" in capsys.readouterr().err


def test_segmentation_is_scored_by_itself_too(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--source.labels", "[semantics]", "--out", str(tmp_path), "--json"]
    capsys.readouterr()
    assert run(checkpoint, root, *options, kind="segmentation") == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "segmentation.json").read_text()) == printed
    assert printed["images"] == 10
    assert len((tmp_path / "segmentation.csv").read_text().splitlines()) == 11
    assert run(checkpoint, root, kind="segmentation") == 1
    assert "add --source.labels '[semantics]'" in capsys.readouterr().err


def test_a_drive_that_is_damaged_is_one_clear_line(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, count=1, frames=6)
    (tmp_path / "drive_0" / "depth" / "front" / "000000.png").write_bytes(b"no image")
    capsys.readouterr()
    assert run(checkpoint, tmp_path) == 1
    assert "000000.png" in capsys.readouterr().err


def test_unreadable_drives_raise_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no drives; root must be"):
        score(whole_model(), Drives(tmp_path))
