"""The coupling of depth and motion with optical flow, on a street where both are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mtdrive.batch import TARGET, Batch, View, collate
from mtdrive.check import example_batch
from mtdrive.compact import Compact
from mtdrive.data.kitti import KittiOdometry
from mtdrive.data.windows import Windows
from mtdrive.errors import ConfigError
from mtdrive.model import Model
from mtdrive.pose import SharedPose
from mtdrive.task import Task
from mtdrive.tasks.depth import Depth, Geometry
from mtdrive.tasks.flow import Fields, Flow
from mtdrive.tasks.rigid_flow import RigidFlow
from mtdrive.weighting import Weighting
from mtdrive.weighting.fixed import Fixed
from mtdrive.weighting.uncertainty import Uncertainty
from tests.flow_tree import true_flow
from tests.kitti_tree import Scene, make_scene, write_odometry

PREVIOUS = View("front", -1)
Case = tuple[Batch, Geometry, Fields]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A street, its true depth and motion, and its true flow to the frame before."""
    root = tmp_path_factory.mktemp("odometry")
    scene = write_odometry(root, frames=2, size=(64, 160), cameras=(2,))
    batch = collate([Windows(KittiOdometry(root, ["00"], poses=True), (PREVIOUS,), (64, 160))[0]])
    return batch, geometry(scene, batch), fields(scene)


def geometry(scene: Scene, batch: Batch, factor: float = 1.0) -> Geometry:
    """The prediction of a perfect network, whose depth and motion are in units of `factor` metres."""
    depth = torch.from_numpy(scene.depth(1, 2)).float()[None, None] / factor
    pose = batch.pose(PREVIOUS).clone()
    pose[:, :3, 3] /= factor
    return Geometry([(1 / depth - 1 / 80) / (1 / 0.5 - 1 / 80)], {PREVIOUS: pose}, limits=(0.5, 80.0))


def fields(scene: Scene) -> Fields:
    there, back = true_flow(scene, 1, 0), true_flow(scene, 0, 1)
    return Fields([torch.from_numpy(there)[None].float()], [torch.from_numpy(back)[None].float()])


def distance(depth: Geometry, flow: Fields, batch: Batch, **settings: Any) -> Tensor:
    coupling = RigidFlow(weight=1.0, **settings)
    result: Tensor = coupling({"depth": depth, "flow": flow}, batch)["distance"]
    return result


def test_true_depth_motion_and_flow_agree_and_wrong_ones_do_not(case: Case) -> None:
    """The oracle of direction: with an inverted pose or a flow the other way, they would not."""
    batch, depth, flow = case
    assert distance(depth, flow, batch) < 0.02
    inverted = depth._replace(motions={PREVIOUS: torch.linalg.inv(depth.motions[PREVIOUS])})
    assert distance(inverted, flow, batch, margin=1.0) > 1
    turned = Fields([-x for x in flow.flows], [-x for x in flow.backward])
    assert distance(depth, turned, batch, margin=1.0) > 1


def test_the_unit_of_depth_does_not_matter_but_that_of_known_motion_does(case: Case) -> None:
    batch, _, flow = case
    shrunk = geometry(make_scene(2, (64, 160), 0), batch, 2.0)
    assert distance(shrunk, flow, batch) < 0.02
    assert distance(shrunk, flow, batch, motion="known", margin=1.0) > 0.5
    assert RigidFlow(motion="known").poses == (PREVIOUS,)
    assert RigidFlow().poses == ()


def test_what_moves_by_itself_or_is_hidden_does_not_count(case: Case) -> None:
    batch, depth, flow = case
    place = (slice(None), slice(None), slice(30, 44), slice(60, 84))
    moving = flow.flows[0].clone()
    moving[place] += torch.tensor([9.0, 0.0])[:, None, None]
    back = flow.backward[0].clone()
    one_way = Fields([moving], [back])
    # Nothing leads back along that flow, so it is taken for hidden.
    assert distance(depth, one_way, batch, margin=1.0) < 0.1
    # A car that drives by: the image changes with the flow, and the flow back undoes it.
    images = batch.clean.clone()
    car = torch.rand(3, 14, 24, generator=torch.Generator().manual_seed(0))
    images[0, 0, :, 30:44, 60:84] = car
    images[0, 1, :, 30:44, 66:90] = car
    there, again = flow.flows[0].clone(), flow.backward[0].clone()
    there[place] = torch.tensor([6.0, 0.0])[:, None, None]
    again[..., 30:44, 66:90] = torch.tensor([-6.0, 0.0])[:, None, None]
    seen = replace(batch, clean=images)
    passing = Fields([there], [again])
    assert distance(depth, passing, seen, margin=1.0) > 0.15
    assert distance(depth, passing, seen) < 0.05


def model_of() -> Model:
    torch.manual_seed(0)
    encoder = Compact([8, 8, 8, 8, 16])
    tasks: dict[str, Task[Any]]
    tasks = {"depth": Depth(encoder, SharedPose), "flow": Flow(encoder, reach=(1, 2))}
    return Model(encoder, tasks, {"rigid": RigidFlow()})


@pytest.mark.parametrize("make", [Fixed, Uncertainty], ids=["fixed", "uncertainty"])
def test_it_trains_what_it_ties_and_the_encoder(make: Callable[..., Weighting]) -> None:
    model = model_of()
    weighting = make(model.kinds)
    batch = example_batch((TARGET, PREVIOUS, View("front", 1)), frozenset(), (64, 96))
    result = model(batch)
    assert result.coupled
    alone = replace(result, losses={"rigid": result.losses["rigid"]})
    weighting.backward(alone, list(model.encoder.parameters()), lambda x: torch.autograd.backward(x))
    parts = [model.get_submodule(name) for name in ("encoder", "tasks.flow", "tasks.depth.decoder")]
    for part in parts:
        assert any(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in part.parameters())
    # A step so short that no pixel is hidden by it that was seen before.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(1e-5 * parameter.grad)
    with torch.no_grad():
        assert 0 < model(batch).losses["rigid"] < result.losses["rigid"]


def test_settings_that_do_not_fit_each_other_are_told() -> None:
    batch = example_batch((TARGET, PREVIOUS), frozenset(), (64, 96))
    encoder = Compact([8, 8, 8, 8, 16])
    tasks: dict[str, Task[Any]]
    tasks = {"depth": Depth(encoder, SharedPose), "flow": Flow(encoder, to=1)}
    outputs = Model(encoder, tasks).predict(batch.inputs)
    with pytest.raises(ConfigError, match=r"'flow' predicts no flow to front-1; .* same setting `to`"):
        RigidFlow()(outputs, batch)
    flow = Flow(encoder)
    outputs = Model(encoder, {"depth": Depth(encoder, None), "flow": flow}).predict(batch.inputs)
    with pytest.raises(ConfigError, match="'depth' predicts no motion to front-1; add the offset"):
        RigidFlow()(outputs, batch)
    with pytest.raises(ConfigError, match="found 0"):
        RigidFlow(to=0)
