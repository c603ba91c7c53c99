"""What tasks do to each other, against gradients taken one loss and one data set at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mtdrive.batch import Batch
from mtdrive.checkpoint import load_weights
from mtdrive.errors import ConfigError
from mtdrive.experiment import prepare
from mtdrive.inspection import Seen, affinity, document, locate, observe
from mtdrive.inspection_report import _colour, compare, over_training, write_report
from mtdrive.interference import ALL, angles, look, pairs
from mtdrive.train import Run, forward
from mtdrive.weighting.jacobian import Jacobian
from tests.runs import experiment, start


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two data sets; `ahead` is trained by both."""
    made = prepare(experiment(), tmp_path, "", False)
    made.log.close()
    made.model.train()
    return made


def batches(run: Run) -> list[Batch]:
    return [next(stream(0)).to("cpu") for stream in run.streams.values()]


def plain(run: Run, given: list[Batch]) -> dict[str, Tensor]:
    """The gradient of each loss of each data set, as large as its part in the step."""
    shared = list(run.model.encoder.parameters())
    torch.manual_seed(4)
    passes = forward(run, given)
    total = sum(p.size for p in passes)
    found = {}
    for part, data in zip(passes, run.streams, strict=True):
        for name, loss in part.losses.items():
            twice = name == "ahead"
            share = part.size / total if twice else 1.0
            grads = torch.autograd.grad(share * loss, shared, retain_graph=True, allow_unused=True)
            flat = [torch.zeros_like(p) if g is None else g for p, g in zip(shared, grads, strict=True)]
            found[f"{name}@{data}" if twice else name] = torch.cat([g.flatten() for g in flat])
    return found


def test_cosines_and_lengths_are_those_of_each_loss_alone_also_across_data_sets(run: Run) -> None:
    given = batches(run)
    expected = plain(run, given)
    torch.manual_seed(4)
    seen = look(forward(run, given), list(run.streams), list(run.model.encoder.parameters()))
    assert seen is not None
    assert set(seen.names) == set(expected)
    rows = torch.stack([expected[name] for name in seen.names])
    cosines = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], -1)
    torch.testing.assert_close(seen.cosines(), cosines, atol=1e-5, rtol=1e-4)
    lengths = dict(zip(seen.names, rows.norm(dim=1).tolist(), strict=True))
    assert seen.lengths() == pytest.approx(lengths, rel=1e-4)
    assert abs(pairs(seen.names, seen.cosines())["ahead@video~grade"]) > 1e-4  # not blind to other images


def test_stages_part_the_encoder_and_sum_to_the_whole(run: Run) -> None:
    seen = look(forward(run, batches(run)), list(run.streams), list(run.model.encoder.parameters()))
    assert seen is not None
    assert list(seen.products) == ["1", "2", "4", "8", "16", ALL]
    parts = torch.stack([x for stage, x in seen.products.items() if stage != ALL]).sum(0)
    torch.testing.assert_close(parts, seen.products[ALL])
    assert {f"cosine_{s}/{p}" for s in ("1", "16") for p in pairs(seen.names, parts)} <= angles(seen).keys()


def test_a_look_is_logged_and_changes_no_weight(tmp_path: Path) -> None:
    for folder, every in (("with", 2), ("without", 0)):
        start(tmp_path / folder, share_every=every, picture_every=0, evaluate_every=100)
    one, two = (load_weights(tmp_path / x / "checkpoints" / "last") for x in ("with", "without"))
    assert all(torch.equal(x, two[name]) for name, x in one.items())
    lines = [json.loads(line) for line in (tmp_path / "with" / "log.jsonl").read_text().splitlines()]
    looks = [line for line in lines if "share/grade" in line]
    assert [line["step"] for line in looks] == [2, 4, 6]
    assert sum(x for key, x in looks[0].items() if key.startswith("share/")) == pytest.approx(1)
    assert {"cosine/halves~grade", "cosine_1/halves~grade", "cosine/ahead@video~ahead@drives"} <= looks[
        0
    ].keys()


def test_affinity_is_the_relative_fall_after_a_step_of_that_length_and_leaves_no_trace(run: Run) -> None:
    given, shared = batches(run), list(run.model.encoder.parameters())
    kept = {name: x.clone() for name, x in run.model.state_dict().items()}
    torch.manual_seed(4)
    seen = look(forward(run, given), list(run.streams), shared)
    assert seen is not None
    run.model.load_state_dict(kept)
    found = affinity(run, given, seen, shared, 4, 1e-5)
    assert all(torch.equal(x, kept[name]) for name, x in run.model.state_dict().items())
    for name in seen.names:
        assert found[name][name] > 0
    gradient = plain(run, given)["halves"]
    weights = torch.cat([p.detach().flatten() for p in shared])
    moved = weights - 1e-5 * weights.norm() * gradient / gradient.norm()
    before = _losses(run, given)
    torch.nn.utils.vector_to_parameters(moved, shared)
    after = _losses(run, given)
    for name in ("halves", "grade"):
        assert found["halves"][name] == pytest.approx(1 - after[name] / before[name], rel=2e-2, abs=5e-6)


def _losses(run: Run, given: list[Batch]) -> Mapping[str, float]:
    torch.manual_seed(4)
    return {name: x.item() for part in forward(run, given) for name, x in part.losses.items()}


def test_a_report_of_a_run_has_everything_and_finds_its_way_back(tmp_path: Path, run: Run) -> None:
    given = replace(experiment(share_every=2), weighting=Jacobian)
    start(tmp_path / "joint", given=given)
    run = replace(run, weighting=Jacobian(run.model.kinds))
    seen, before = Seen(), None
    for number in range(3):
        before = observe(run, batches(run), number, seen, before, number < 2, 1e-3)
    checkpoint, folder = locate(tmp_path / "joint")
    assert (checkpoint, folder) == (tmp_path / "joint" / "checkpoints" / "last", tmp_path / "joint")
    assert locate(checkpoint)[1] == (tmp_path / "joint").resolve()
    compared = compare(tmp_path / "joint", {"grade": tmp_path / "joint"})
    assert compared["delta_m"] == 0
    found = {
        "checkpoint": "joint", "step": 6, "batches": 3, **document(seen), "compared": compared,
        "over_training": over_training(tmp_path / "joint"),
    }  # fmt: skip
    page = write_report(tmp_path / "report", found).read_text()
    again = json.loads((tmp_path / "report" / "inspect.json").read_text())
    assert again["cosines"][ALL]["halves~grade"]["batches"] == 3
    assert sum(again["norm_share"][ALL].values()) == pytest.approx(1)
    assert again["affinity"]["grade"]["halves"]["batches"] == 2
    assert again["same_task_on_the_next_batch"]["grade"]["batches"] == 2
    assert again["over_training"]["cosine"]["halves~grade"][0] == [2, 4, 6]
    assert set(again["weights"]) == {"halves", "ahead", "grade", "agree"}
    assert page.count("<img") == 3
    assert 'src="http' not in page


def test_a_picture_of_a_long_run_with_many_pairs_can_be_read() -> None:
    pairs = [f"one~{number}" for number in range(28)]
    steps = list(range(0, 5000, 10))
    cosines = [[math.nan if step == 10 else 0.5 - row / 28 for step in steps] for row in range(28)]
    axes = Figure().add_subplot()
    assert _colour(axes, pairs, steps, cosines) == 0.5
    assert len(axes.get_xticks()) <= 12
    assert axes.get_xticklabels()[1].get_text() == str(steps[int(axes.get_xticks()[1])])
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"one and {n}" for n in range(28)]
    shown = axes.images[0]
    values: np.ndarray = np.ma.filled(np.ma.asarray(shown.get_array()), math.nan)
    assert np.array_equal(values, np.array(cosines), equal_nan=True)
    conflict, agreement = shown.to_rgba(np.array([-0.5, 0.5]))
    assert conflict[0] > conflict[2]  # red
    assert agreement[0] < agreement[2]


def test_delta_m_has_the_sign_of_the_figure(tmp_path: Path) -> None:
    figures = {
        "joint": {"validation/t/depth/abs_rel": 0.09, "validation/t/seg/miou": 0.4, "validation/t/p": 2.0},
        "depth": {"validation/t/depth/abs_rel": 0.1},
        "seg": {"validation/t/seg/miou": 0.5, "validation/t/seg": 1.0},
        "p": {"validation/t/p": 1.0, "validation/t/p/speed": 3.0},
    }
    for name, values in figures.items():
        (tmp_path / name).mkdir()
        lines = [{"step": 0, **dict.fromkeys(values, 77.0)}, {"step": 5, **values}]
        (tmp_path / name / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    singles = {name: tmp_path / name for name in ("depth", "seg", "p")}
    found = compare(tmp_path / "joint", singles)
    assert [row["delta"] for row in found["tasks"]] == pytest.approx([0.1, -0.2, -1.0])
    assert found["delta_m"] == pytest.approx(-1.1 / 3)
    with pytest.raises(ConfigError, match="no validation figure of 'other'"):
        compare(tmp_path / "joint", {"other": tmp_path / "p"})
    with pytest.raises(ConfigError, match=r"is no run, it has no log\.jsonl"):
        compare(tmp_path / "joint", {"p": tmp_path / "nowhere"})


def test_one_loss_has_nothing_to_be_compared_with(run: Run) -> None:
    run.model.encoder.requires_grad_(False)
    with pytest.raises(ConfigError, match="fewer than two losses change the encoder"):
        observe(run, batches(run), 0, Seen(), None, False, 1e-3)
