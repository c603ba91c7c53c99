"""The policy task: what it promises, what its errors mean, and that it learns what there is to see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtdrive.batch import TARGET, Batch, Command, View
from mtdrive.check import check_task, example_batch
from mtdrive.compact import Compact
from mtdrive.data.augment import mirror
from mtdrive.errors import ConfigError
from mtdrive.metrics import displacement_errors
from mtdrive.model import Model
from mtdrive.rig import Rig, RigCamera, rows
from mtdrive.tasks.policy import Control, Policy
from mtdrive.tasks.policy.heads import Branches, Trail
from mtdrive.tasks.policy.picture import Lens, project
from mtdrive.tasks.policy.task import FORMS, TRAILS
from tests.drive_tree import MOUNT

SIZE = (64, 96)


def tiny(**settings: Any) -> Model:
    torch.manual_seed(0)
    encoder = Compact([8, 8, 8, 8, 16])
    return Model(encoder, {"policy": Policy(encoder, width=32, **settings)})


def batch_for(model: Model, count: int = 3) -> Batch:
    task = model.task("policy")
    return example_batch(task.views, task.needs, SIZE, batch_size=count)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_keeps_the_contract_of_a_task(form: Any) -> None:
    check_task(lambda encoder: Policy(encoder, form, width=32, target_point=form == "path"), sizes=[SIZE])


@pytest.mark.parametrize(
    "settings",
    [
        {"blind": True},
        {"cameras": ("front", "left"), "speed": False},
        {"form": "waypoints", "blind": True, "control": Control(least_speed=2.0)},
    ],
    ids=["blind", "two cameras", "blind waypoints"],
)
def test_blind_and_wide_policies_keep_the_contract(settings: dict[str, Any]) -> None:
    check_task(lambda encoder: Policy(encoder, width=32, **settings))


def test_a_blind_policy_cannot_look() -> None:
    """Neither the encoder runs nor can another image change the answer."""
    model = tiny(blind=True).eval()
    calls: list[str] = []
    model.encoder.register_forward_hook(lambda *_: calls.append("encoder"))
    inputs = batch_for(model).inputs
    first = model.predict(inputs)["policy"].values
    second = model.predict(replace(inputs, images=1 - inputs.images))["policy"].values
    assert not calls
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("form", ["steer", "waypoints"])
def test_every_command_has_a_branch_of_its_own(form: Any) -> None:
    """Only the layers of the commands that occur get a gradient, and each gives another answer."""
    model = tiny(form=form).eval()
    batch = batch_for(model, 6)
    alike = replace(
        batch.inputs,
        images=batch.inputs.images[:1].expand_as(batch.inputs.images),
        speed=torch.ones(6),
        command=torch.tensor(list(Command)),
    )
    answers = model.predict(alike)["policy"].values[FORMS[form][0]].reshape(6, -1)
    assert len({tuple(row.tolist()) for row in answers}) == len(Command)
    module = next(m for m in model.task("policy").modules() if isinstance(m, Branches))
    joined = torch.randn(2, 32)
    module(joined, torch.tensor([Command.LEFT, Command.CHANGE_RIGHT])).sum().backward()
    used = [
        command
        for command, branch in zip(Command, module.branches, strict=True)
        if any(bool(p.grad is not None and p.grad.any()) for p in branch.parameters())
    ]
    assert used == [Command.LEFT, Command.CHANGE_RIGHT]


def test_a_trail_goes_on_from_where_it_is() -> None:
    """With a GRU that never moves, the places are evenly spaced multiples of one step."""
    trail = Trail(4, 8, points=5, stride=2.0)
    for parameter in trail.move.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        trail.move.bias.copy_(torch.tensor([0.1, 0.5]))
    places = trail(torch.randn(3, 4), torch.tensor([1, 2, 3]))
    expected = torch.arange(1, 6)[:, None] * torch.tensor([0.2, 1.0])
    torch.testing.assert_close(places, expected.expand(3, 5, 2))


def test_hidden_speed_is_hidden_and_known_speed_is_not_touched() -> None:
    """With a dropout of 1 the answer does not depend on the speed while training; in use it does."""
    model = tiny(speed_dropout=1.0)
    inputs = batch_for(model).inputs
    assert inputs.speed is not None
    faster = replace(inputs, speed=inputs.speed + 5)

    def gap() -> float:
        model.encoder.eval()  # batch normalisation aside
        one, other = (model.predict(x)["policy"].values["steer"] for x in (inputs, faster))
        return float((one - other).detach().abs().max())

    model.train()
    assert gap() == 0
    model.eval()
    assert gap() > 1e-4
    assert model.predict(replace(inputs, speed=None))["policy"].values["steer"].isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_unlabelled_values_teach_nothing(form: Any) -> None:
    """NaN in a label changes neither the loss of the others nor makes a gradient NaN."""
    model = tiny(form=form, speed_dropout=0.0).eval()
    batch = batch_for(model)
    task = model.task("policy")

    def terms(labels: dict[str, Tensor]) -> dict[str, Tensor]:
        return task.loss(model.predict(batch.inputs)["policy"], replace(batch, labels=labels))

    for name in FORMS[form]:
        holes = dict(batch.labels)
        holes[name] = holes[name].clone()
        holes[name][1:] = torch.nan
        output = model.predict(batch.inputs)["policy"].values[name]
        found = terms(holes)
        known = (output[0] - batch.labels[name][0]).abs().mean()
        unknown_free = terms(dict(batch.labels))
        assert all(torch.equal(found[n], unknown_free[n]) for n in found if n != name)
        alone = terms({n: x[:1].expand_as(x) for n, x in batch.labels.items()})
        assert float(found[name].detach()) > 0
        everywhere = (output - batch.labels[name][:1]).abs().mean()
        assert float((found[name] / known).detach()) == pytest.approx(
            float((alone[name] / everywhere).detach()), rel=1e-4
        )
        found[name].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        empty = {**batch.labels, name: torch.full_like(batch.labels[name], torch.nan)}
        assert float(terms(empty)[name].detach()) == 0


def test_displacement_errors_count_known_points_only() -> None:
    truth = torch.zeros(3, 4, 2)
    points = torch.tensor([3.0, 4.0]).expand(3, 4, 2) * torch.arange(1, 5)[:, None]
    truth[1, 2:] = torch.nan
    truth[2] = torch.nan
    ade, fde = displacement_errors(points, truth)
    torch.testing.assert_close(ade, torch.tensor([12.5, 7.5, torch.nan]), equal_nan=True)
    torch.testing.assert_close(fde, torch.tensor([20.0, torch.nan, torch.nan]), equal_nan=True)


def test_errors_are_split_by_the_command() -> None:
    task = tiny().task("policy")
    columns = {
        "steer_mae": torch.tensor([1.0, 3.0, torch.nan, 8.0]),
        "command": torch.tensor([Command.LEFT, Command.LEFT, Command.RIGHT, Command.FOLLOW]),
    }
    assert task.summarise(columns) == {"steer_mae": 4.0, "steer_mae/left": 2.0, "steer_mae/follow": 8.0}


def test_the_steering_of_a_mirrored_scene_can_be_learned() -> None:
    """Labels, commands and images are mirrored alike: an image that says which way teaches both ways."""
    model = tiny(speed_dropout=0.0)
    images = torch.zeros(8, 1, 3, *SIZE)
    images[..., : SIZE[1] // 2] = torch.rand(8, 1, 3, SIZE[0], 1)
    batch = batch_for(model, 8)
    left = replace(
        batch,
        inputs=replace(batch.inputs, images=images, command=torch.full((8,), int(Command.FOLLOW))),
        labels={"steer": torch.full((8,), -0.3), "target_speed": torch.full((8,), 6.0)},
    )
    right = mirror(left)
    assert torch.equal(right.labels["steer"], torch.full((8,), 0.3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        total = model(left).losses["policy"] + model(right).losses["policy"]
        total.backward()
        optimizer.step()
    model.train()
    for side in (left, right):
        steer = model.predict(side.inputs)["policy"].values["steer"].detach()
        assert (steer - side.labels["steer"]).abs().mean() < 0.1


def test_places_are_projected_through_mount_and_intrinsics() -> None:
    """Against the pinhole by hand: a level camera 1.5 m up, 2 m before the car's middle."""
    mount = np.eye(4)
    mount[:3, 3] = (0.0, -1.5, 2.0)
    lens = Lens(np.array([[50.0, 0, 48], [0, 60.0, 32], [0, 0, 1]]), mount)
    pixels = project(np.array([[1.0, 12.0], [0.0, 1.0], [-2.0, 22.0]]), lens)
    np.testing.assert_allclose(pixels, np.array([[53, 41], [43, 36.5]]))


def test_the_picture_shows_the_way_in_the_image() -> None:
    """Red and green dots lie on the ground ahead, and without a rig there are none."""
    model = tiny(form="path").eval()
    batch = batch_for(model)
    straight = torch.stack([torch.zeros(20), torch.arange(1.0, 21)], 1)
    batch = replace(
        batch,
        labels={**batch.labels, "path": straight.expand(3, 20, 2)},
        inputs=replace(batch.inputs, images=torch.zeros_like(batch.inputs.images)),
    )
    task = model.task("policy")
    plan = model.predict(batch.inputs)["policy"]
    before = task.picture(plan, batch)
    assert before is not None
    camera = RigCamera(96, 64, 57.6, 57.6, 47.5, 31.5, rows(MOUNT))
    task.rig = Rig(rate=10, cameras={"front": camera}, size=SIZE)
    after = task.picture(plan, batch)
    assert after is not None
    green = (after[1] == 1) & (after[0] == 0)
    way = green[SIZE[0] :].nonzero()
    assert len(way) > len(before[1][SIZE[0] :].nonzero()) + 20
    assert abs(float(way[:, 1].float().mean()) - SIZE[1]) < 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cameras": ("left",)}, "must name front"),
        ({"blind": True, "speed_branch": True}, "blind"),
        ({"weights": {"brake": 2.0}}, "weights name"),
        ({"speed_dropout": 1.5}, "from 0 to 1"),
        ({"form": "pedals", "control": Control(least_speed=1.0)}, "least_speed"),
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**settings)


def test_further_cameras_are_seen() -> None:
    model = tiny(cameras=("front", "left")).eval()
    inputs = batch_for(model).inputs
    assert set(inputs.views) == {TARGET, View("left")}
    images = inputs.images.clone()
    images[:, inputs.index(View("left"))] = 0
    one, other = (
        model.predict(x)["policy"].values["steer"] for x in (inputs, replace(inputs, images=images))
    )
    assert (one - other).abs().max() > 1e-5


def test_trails_have_the_labels_length() -> None:
    for name, (points, _) in TRAILS.items():
        model = tiny(form=name).eval()
        batch = batch_for(model)
        assert model.predict(batch.inputs)["policy"].values[name].shape == (3, points, 2)
        assert batch.labels[name].shape == (3, points, 2)
