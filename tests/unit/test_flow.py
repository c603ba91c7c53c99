"""The flow task: what it promises, which way its flow points, and that it learns to see motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtdrive.batch import TARGET, Batch, View, collate
from mtdrive.check import check_task, example_batch
from mtdrive.compact import Compact
from mtdrive.data.augment import mirror
from mtdrive.data.kitti import KittiOdometry
from mtdrive.data.windows import Windows
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError
from mtdrive.experiment import Experiment, instantiate, parser
from mtdrive.flow_fields import displace, rescale, visible
from mtdrive.mix import check_mix
from mtdrive.model import Model
from mtdrive.settings import parse
from mtdrive.tasks.flow import Census, Fields, Flow, FlowPhotometric, FlowSmoothness, FlowTerm, KnownFlow
from tests.flow_tree import true_flow
from tests.kitti_tree import Scene, write_odometry
from tests.toys import ToySource

PREVIOUS, NEXT = View("front", -1), View("front", 1)
SMALL = (8, 8, 8, 8, 16)


def tiny(**settings: Any) -> Model:
    torch.manual_seed(0)
    encoder = Compact(SMALL)
    return Model(encoder, {"flow": Flow(encoder, **settings)})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"to": 1, "terms": {"ssim": FlowPhotometric(), "slope": FlowSmoothness(order=1)}, "finest": 8},
        {"terms": {"known": KnownFlow()}, "occlusion": False, "reach": (1, 2)},
    ],
    ids=["census", "next frame by ssim", "supervised"],
)
def test_flow_keeps_the_contract_of_a_task(settings: dict[str, Any]) -> None:
    check_task(lambda encoder: Flow(encoder, **settings))


@pytest.mark.parametrize(
    "make", [lambda: Compact(SMALL), lambda: Encoder("test_convnext")], ids=["compact", "from stride 4"]
)
def test_any_pyramid_gives_flow_from_the_finest_stride_on(make: Callable[[], Encoder]) -> None:
    encoder = make()
    model = Model(encoder, {"flow": Flow(encoder)}).eval()
    fields = model.predict(example_batch(model.views, frozenset(), (64, 96)).inputs)["flow"]
    strides = [s for s in encoder.strides if s >= 4]
    assert [tuple(x.shape[-2:]) for x in fields.flows] == [(64 // s, 96 // s) for s in strides]
    assert [x.shape for x in fields.backward] == [x.shape for x in fields.flows]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Batch]:
    """A rendered street with exact flow, and its frame 1 as a batch."""
    root = tmp_path_factory.mktemp("odometry")
    scene = write_odometry(root, frames=3, size=(64, 160), cameras=(2,))
    windows = Windows(KittiOdometry(root, ["00"], poses=True), (PREVIOUS, NEXT), (64, 160))
    return scene, collate([windows[0]])


def truth(scene: Scene, to: int) -> Fields:
    """What a perfect network predicts."""
    there, back = true_flow(scene, 1, 1 + to), true_flow(scene, 1 + to, 1)
    return Fields([torch.from_numpy(there)[None].float()], [torch.from_numpy(back)[None].float()])


def scaled(fields: Fields, factor: float) -> Fields:
    return Fields([factor * x for x in fields.flows], [factor * x for x in fields.backward])


@pytest.mark.parametrize("term", [Census(), FlowPhotometric()], ids=["census", "ssim"])
@pytest.mark.parametrize("to", [-1, 1])
def test_the_true_flow_explains_the_images_better_than_any_other(
    street: tuple[Scene, Batch], to: int, term: FlowTerm
) -> None:
    """The oracle of direction: were views, axes or a sign mixed up, the truth would not win."""
    scene, batch = street
    task = tiny(to=to, terms={"term": term}).task("flow")

    def loss(fields: Fields, seen: Batch = batch) -> float:
        return float(task.loss(fields, seen)["term"])

    fields = truth(scene, to)
    best = loss(fields)
    for factor in (-1.0, 0.0, 0.7, 1.3):
        assert loss(scaled(fields, factor)) > 1.1 * best
    assert loss(Fields([x.flip(1) for x in fields.flows], [x.flip(1) for x in fields.backward])) > 1.1 * best
    only_forward = Fields(fields.flows, [0 * x for x in fields.backward])
    assert loss(only_forward) > best
    in_mirror = torch.tensor([-1.0, 1.0])[:, None, None]
    flipped = Fields(*([x.flip(-1) * in_mirror for x in part] for part in fields))
    assert loss(flipped, mirror(batch)) == pytest.approx(best, rel=0.02)


def test_hidden_pixels_are_those_that_the_other_image_does_not_show() -> None:
    """A square moves over a ground that stands still: what it uncovers and covers is hidden."""
    forward, backward = torch.zeros(1, 2, 12, 20), torch.zeros(1, 2, 12, 20)
    forward[0, 0, 4:8, 4:8], backward[0, 0, 4:8, 8:12] = 4.0, -4.0
    seen = visible(forward, backward)[0]
    expected = torch.ones(12, 20, dtype=torch.bool)
    expected[4:8, 8:12] = False  # covered by the square
    assert torch.equal(seen, expected)
    out = torch.full((1, 2, 12, 20), 3.0)
    inside = visible(out, -out)[0]
    assert inside[:9, :17].all()
    assert not inside[9:].any()
    assert not inside[:, 17:].any()


def test_unknown_flow_is_not_inside_and_has_no_gradient() -> None:
    """The gradient of grid_sample at NaN would end the process."""
    flow = torch.zeros(2, 1, 2, 6, 8)
    flow[0, 0, 0, 2, 3], flow[1, 0, 1, 1, 1] = torch.nan, torch.inf
    flow.requires_grad_()
    image = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    moved = displace(image, flow)
    (slope,) = torch.autograd.grad(moved.images.square().sum(), flow)
    assert moved.images.isfinite().all()
    assert slope.isfinite().all()
    assert not slope[0, 0, :, 2, 3][0]
    assert moved.inside.sum() == moved.inside.numel() - 2


def test_a_diverged_network_gives_a_loss_that_is_not_finite() -> None:
    model = tiny()
    with torch.no_grad():
        for parameter in model.task("flow").parameters():
            parameter.fill_(torch.nan)
    losses = model(example_batch(model.views, frozenset(), (64, 96))).losses
    losses["flow"].backward()
    assert losses["flow"].isnan()


def test_another_size_changes_numbers_and_unit() -> None:
    flow = torch.tensor([3.0, -2.0])[:, None, None].expand(1, 2, 8, 16)
    torch.testing.assert_close(
        rescale(flow, (32, 32)), torch.tensor([6.0, -8.0])[:, None, None].expand(1, 2, 32, 32)
    )


def test_smoothness_is_free_for_motion_that_changes_steadily_and_at_edges() -> None:
    batch = example_batch((TARGET, PREVIOUS), frozenset(), (16, 32), batch_size=1)
    batch = replace(batch, clean=torch.full_like(batch.clean, 0.5))
    task = tiny().task("flow")

    def value(flow: Tensor, term: FlowSmoothness, seen: Batch = batch) -> float:
        return float(term(task.pair(Fields([flow], [flow]), seen)))  # type: ignore[operator]

    ramp = torch.arange(32.0).expand(1, 2, 16, 32)
    step = (ramp > 15).float()
    assert value(ramp, FlowSmoothness(order=2)) == pytest.approx(0, abs=1e-6)
    assert value(ramp, FlowSmoothness(1.0, order=1)) == pytest.approx(1, rel=1e-5)
    assert value(ramp[..., ::2], FlowSmoothness(1.0, order=1)) == pytest.approx(1, rel=1e-5)
    edge = replace(batch, clean=step[:, None, :1].expand_as(batch.clean))
    for order in (1, 2):
        term = FlowSmoothness(1.0, order=order, edges=10.0)
        assert value(step, term, edge) < 1e-3 * value(step, term)
    with pytest.raises(ConfigError, match="order of smoothness is 1 or 2"):
        FlowSmoothness(order=3)


def test_the_known_flow_is_a_distance_over_known_pixels_alone() -> None:
    batch = example_batch((TARGET, PREVIOUS), frozenset({"flow"}), (16, 32), batch_size=2)
    label = torch.full((2, 2, 16, 32), torch.nan)
    label[0, :, :4] = torch.tensor([30.0, 40.0])[:, None, None]
    batch = replace(batch, labels={"flow": label})
    fine, coarse = torch.zeros(2, 2, 16, 32, requires_grad=True), torch.zeros(2, 2, 8, 16)
    term = KnownFlow(weight=2.0, decay=0.5, softness=1e-3)
    loss = term(tiny().task("flow").pair(Fields([fine, coarse], []), batch))  # type: ignore[operator]
    assert float(loss.detach()) == pytest.approx(2 * (50 + 0.5 * 50), rel=1e-4)
    (slope,) = torch.autograd.grad(loss, fine)
    assert slope[0, :, :4].all()
    assert not slope[0, :, 4:].any()
    assert not slope[1].any()


def test_a_task_without_its_view_predicts_and_measures_nothing() -> None:
    model = tiny().eval()
    batch = example_batch((TARGET,), frozenset({"flow"}), (64, 96))
    fields = model.predict(batch.inputs)["flow"]
    assert (fields.flows, fields.backward) == ([], [])
    assert model.task("flow").metrics(fields, batch) == {}
    assert model.task("flow").summarise({}) == {}
    picture = model.task("flow").picture(fields, batch)
    assert picture is not None
    assert picture.shape == (3, 128, 96)


def test_a_mix_without_a_second_view_or_label_is_refused() -> None:
    def check(model: Model) -> None:
        check_mix(model, {"drives": Windows(ToySource(3), (TARGET,), (32, 64))})

    with pytest.raises(ConfigError, match=r"'flow' would never be trained: it needs views front, front-1"):
        check(tiny())
    with pytest.raises(ConfigError, match=r"and labels flow, but drives has views front"):
        check(tiny(terms={"known": KnownFlow()}))
    with pytest.raises(ConfigError, match=r"or the next one \(to: 1\), found 2"):
        tiny(to=2)
    with pytest.raises(ConfigError, match=r"finest is 64, but the encoder's strides are \[2, 4, 8, 16, 32\]"):
        tiny(finest=64)
    batch = example_batch((TARGET, PREVIOUS), frozenset(), (64, 96))
    model = tiny(terms={"known": KnownFlow()})
    with pytest.raises(DataError, match="is defined without the label 'flow'"):
        model.task("flow").loss(model.predict(batch.inputs)["flow"], batch)


def test_terms_with_and_without_labels_train_together() -> None:
    model = tiny(terms={"census": Census(window=5), "known": KnownFlow()})
    for labels in (frozenset[str](), frozenset({"flow"})):
        terms = model(example_batch(model.views, labels, (64, 96))).terms
        assert set(terms) == {"flow/census"} | ({"flow/known"} if labels else set())


def test_it_learns_to_tell_which_way_images_move() -> None:
    """Smooth noise that shifts by another way in each item, a few pixels; true flow is the teacher."""
    torch.manual_seed(0)
    model = tiny(terms={"known": KnownFlow()}, reach=(2, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(4, 3, 28, 36, generator=draw)
    large = torch.nn.functional.interpolate(noise, (84, 108), mode="bicubic").clamp(0, 1)
    ways = torch.tensor([[4, 0], [-3, 2], [0, -4], [2, 3]])
    moved = [x[:, 10 - v : 74 - v, 6 - u : 102 - u] for x, (u, v) in zip(large, ways.tolist(), strict=True)]
    images = torch.stack([large[..., 10:74, 6:102], torch.stack(moved)], 1)
    given = example_batch((TARGET, PREVIOUS), frozenset(), (64, 96), batch_size=4)
    label = ways[:, :, None, None].float().expand(4, 2, 64, 96)
    batch = replace(given, inputs=replace(given.inputs, images=images), clean=images, labels={"flow": label})
    task = model.task("flow")

    def error() -> float:
        with torch.no_grad():
            output = model.train().predict(batch.inputs)["flow"]
            return task.summarise(task.metrics(output, batch))["epe"]

    before = error()
    for _ in range(60):
        optimizer.zero_grad()
        loss: Tensor = model(batch).losses["flow"]
        loss.backward()
        optimizer.step()
    assert error() < 0.5 * min(before, float(label[..., 0, 0].norm(dim=1).mean()))


def test_the_configuration_that_ships_is_whole(tmp_path: Path) -> None:
    """Its settings fit the classes that they name."""
    given: Experiment = instantiate(parse(parser(), ["--config", "flow"]))
    assert set(given.tasks) == {"policy", "flow"}
    encoder = Compact(SMALL)
    flow: Any = given.tasks["flow"](encoder)
    assert flow.views == (TARGET, PREVIOUS)
