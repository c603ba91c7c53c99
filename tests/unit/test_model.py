from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import TARGET, Batch, View, collate
from mtdrive.check import example_batch
from mtdrive.data.windows import Windows
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError
from mtdrive.model import Model
from mtdrive.task import Coupling, Task, merge
from mtdrive.weighting.fixed import Fixed
from tests.toys import Agreement, Ahead, Brightness, Halves, ToySource

NEXT = View("front", 1)


def build(*names: str, couplings: dict[str, Coupling] | None = None, dropout: float = 0.0) -> Model:
    torch.manual_seed(0)
    encoder = Encoder("test_resnet")
    makers: dict[str, Any] = {"grade": Brightness, "halves": Halves, "ahead": Ahead}
    tasks: dict[str, Task[Any]] = {}
    for name in names:
        torch.manual_seed(len(name))
        tasks[name] = makers[name](encoder, dropout) if name == "grade" else makers[name](encoder)
    return Model(encoder, tasks, couplings)


def batch(
    *labels: str, views: tuple[View, ...] = (TARGET, NEXT), size: tuple[int, int] = (32, 64), n: int = 3
) -> Batch:
    windows = Windows(ToySource(labels=labels), views, size)
    return collate([windows[i + 1] for i in range(n)])


def gradients(model: Model) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_only_tasks_with_their_labels_and_views_train() -> None:
    model = build("grade", "halves", "ahead")
    assert set(model(batch("toy_grade")).losses) == {"grade", "ahead"}
    assert set(model(batch("semantics", views=(TARGET,))).losses) == {"halves"}
    assert set(model(batch("toy_grade", "semantics")).losses) == {"grade", "halves", "ahead"}


def test_a_batch_that_trains_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"views \['front'\] and labels \[\] trains none of the tasks"):
        build("grade", "ahead")(batch(views=(TARGET,)))


def test_terms_add_up_to_the_loss_and_are_named() -> None:
    result = build("ahead")(batch())
    assert set(result.terms) == {"ahead/l2", "ahead/size"}
    torch.testing.assert_close(result.losses["ahead"], result.terms["ahead/l2"] + result.terms["ahead/size"])


def test_the_encoder_runs_once_on_the_union_of_the_views(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("grade", "halves", "ahead")
    shapes: list[torch.Size] = []
    forward = model.encoder.forward

    def watched(images: Tensor) -> list[Tensor]:
        shapes.append(images.shape)
        return forward(images)

    monkeypatch.setattr(model.encoder, "forward", watched)
    model(batch("toy_grade", "semantics"))
    assert shapes == [torch.Size((6, 3, 32, 64))]
    model.predict(batch().inputs, ["grade"])
    assert shapes[1:] == [torch.Size((3, 3, 32, 64))]


def test_each_view_gets_its_own_features() -> None:
    model = build("ahead").eval()
    given = batch()
    with torch.no_grad():
        together = model.predict(given.inputs)["ahead"]
        alone = [model.encoder(given.inputs.image(view))[-1].mean((2, 3)) for view in (TARGET, NEXT)]
        expected = model.tasks["ahead"].head(torch.cat(alone, 1))  # type: ignore[operator]
    torch.testing.assert_close(together, expected)


def test_shared_levels_cut_the_graph_so_that_gradients_through_them_are_right() -> None:
    """The gradient at raw levels would count finer levels twice; at views it chains to plain autograd."""
    model = build("halves", "ahead").eval()
    result = model(batch("semantics"))
    total = torch.stack(list(result.losses.values())).sum()
    at_features = torch.autograd.grad(total, result.shared, retain_graph=True, allow_unused=True)
    used = [(x, g) for x, g in zip(result.shared, at_features, strict=True) if g is not None]
    weights = list(model.encoder.parameters())
    levels, grads = zip(*used, strict=True)
    chained = torch.autograd.grad(levels, weights, grads, retain_graph=True, allow_unused=True)
    plain = torch.autograd.grad(total, weights, allow_unused=True)
    for ours, expected in zip(chained, plain, strict=True):
        assert (ours is None) == (expected is None)
        if ours is not None and expected is not None:
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-7)


def test_prediction_needs_no_labels_and_no_neighbours() -> None:
    model = build("grade", "halves", "ahead").eval()
    outputs = model.predict(batch(views=(TARGET,)).inputs)
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {
        "grade": (3, 1),
        "halves": (3, 2, 32, 64),
        "ahead": (3, 1),
    }
    assert set(model.predict(batch().inputs, ["halves"])) == {"halves"}
    with pytest.raises(ConfigError, match=r"no task \['lanes'\]; the tasks are"):
        model.predict(batch().inputs, ["lanes"])


def test_a_frozen_encoder_still_trains_the_heads() -> None:
    model = build("grade", "halves")
    model.encoder.requires_grad_(False)
    result = model(batch("toy_grade", "semantics"))
    Fixed(model.kinds).backward(result, [], lambda total: total.backward())
    assert all(level.grad_fn is None for level in result.shared)
    assert set(gradients(model)) == {n for n, _ in model.named_parameters() if n.startswith("tasks.")}


def test_a_step_over_two_data_sets_equals_the_gradients_of_both_weighted_by_size() -> None:
    """Different labels and sizes: KITTI-like without a grade, drive-like with everything."""
    model = build("grade", "halves", "ahead").eval()
    kitti, drives = (
        batch("semantics", size=(32, 64), n=3),
        batch("toy_grade", "semantics", size=(64, 96), n=2),
    )
    merged = merge([model(kitti), model(drives)])
    assert set(merged.losses) == {"grade", "halves", "ahead"}
    torch.stack(list(merged.losses.values())).sum().backward()
    together = gradients(model)

    def alone(given: Batch, share: dict[str, float]) -> dict[str, Tensor]:
        model.zero_grad()
        losses = model(given).losses
        torch.stack([share[name] * loss for name, loss in losses.items()]).sum().backward()
        return gradients(model)

    one = alone(kitti, {"halves": 3 / 5, "ahead": 3 / 5})
    two = alone(drives, {"grade": 1, "halves": 2 / 5, "ahead": 2 / 5})
    assert together.keys() == one.keys() | two.keys()
    for name, gradient in together.items():
        parts = [g[name] for g in (one, two) if name in g]
        torch.testing.assert_close(gradient, torch.stack(parts).sum(0), rtol=1e-4, atol=1e-6)


def test_a_coupling_is_a_named_loss_with_gradients_for_both_tasks_and_itself() -> None:
    model = build("grade", "ahead", couplings={"agree": Agreement()})
    result = model(batch("toy_grade"))
    assert set(result.losses) == {"grade", "ahead", "agree"}
    assert "agree/gap" in result.terms
    assert result.coupled
    expected = (result.outputs["grade"] - result.outputs["ahead"]).square().mean()
    torch.testing.assert_close(result.losses["agree"], expected)
    result.losses["agree"].backward()
    reached = set(gradients(model))
    assert {"couplings.agree.gain", "tasks.grade.head.weight", "tasks.ahead.head.weight"} <= reached
    assert any(name.startswith("encoder.") for name in reached)


def test_a_coupling_sits_out_when_one_of_its_tasks_does() -> None:
    result = build("grade", "ahead", couplings={"agree": Agreement()})(batch())
    assert set(result.losses) == {"ahead"}
    assert not result.coupled


def test_a_coupling_between_tasks_that_do_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no task \['ahead'\]; the tasks are \['grade'\]"):
        build("grade", couplings={"agree": Agreement()})


def test_one_name_for_a_task_and_a_coupling_is_refused() -> None:
    with pytest.raises(ConfigError, match="name both a task and a coupling"):
        build("grade", "ahead", couplings={"ahead": Agreement()})


def test_adding_a_task_changes_no_draw_of_another() -> None:
    """Dropout of `grade` is a function of the step's seed and its name, whatever runs before it."""
    given = batch("toy_grade", "semantics")
    losses = []
    for names in (("grade",), ("halves", "ahead", "grade")):
        model = build(*names, dropout=0.5)
        model.train()
        model.encoder.eval()  # batch statistics would depend on the views that others read
        torch.manual_seed(7)
        losses.append(model(given).losses["grade"])
    torch.testing.assert_close(*losses)


def test_kinds_and_views_are_collected_from_all_parts() -> None:
    model = build("grade", "halves", "ahead", couplings={"agree": Agreement()})
    assert model.kinds == {
        "grade": "regression",
        "halves": "classification",
        "ahead": "regression",
        "agree": "regression",
    }
    assert model.views == (TARGET, NEXT)


def test_an_example_batch_has_what_was_asked_for() -> None:
    given = example_batch((TARGET, NEXT), frozenset({"depth"}), (32, 64))
    assert given.labels["depth"].shape == (3, 32, 64)
    assert functional.mse_loss(given.pose(NEXT)[:, 2, 3], torch.full((3,), -0.5)) == 0
