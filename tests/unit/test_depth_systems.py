"""Stereo, SfMLearner, the switches of Monodepth2's ablation, known poses: each against its own oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtdrive.batch import TARGET, Batch, View, collate
from mtdrive.check import check_task, example_batch
from mtdrive.data.augment import mirror
from mtdrive.data.kitti import KittiOdometry
from mtdrive.data.windows import Windows
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError
from mtdrive.experiment import instantiate, parser
from mtdrive.model import Model
from mtdrive.pose import CorrelationPose, SeparatePose
from mtdrive.settings import parse
from mtdrive.stacked_pose import StackedPose
from mtdrive.tasks.depth import Depth, Explainability, Geometry, Photometric, Scene, SecondOrderSmoothness
from tests.kitti_tree import BASELINE, write_odometry
from tests.kitti_tree import Scene as Street

PREVIOUS, NEXT, STEREO = View("front", -1), View("front", 1), View("stereo", 0)
SMALL = partial(SeparatePose, name="test_resnet")
SIZE = (96, 320)


def tiny(**settings: Any) -> Depth:
    torch.manual_seed(0)
    return Depth(Encoder("test_resnet"), **{"pose": SMALL, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"pose": None, "offsets": [], "stereo": True, "baseline": 0.1},
        {"stereo": True},
        {"pose": None},
        {"pose": StackedPose, "terms": {"photometric": Photometric(), "masks": Explainability()}},
        {"pose": CorrelationPose},
        {
            "predictive_mask": True,
            "terms": {"photometric": Photometric(automask=False), "m": Explainability()},
        },
        {"terms": {"photometric": Photometric(0.5, 0.0, 1, "mean", False, "native")}},
    ],
    ids=["stereo", "both", "known poses", "stacked", "correlation", "predictive mask", "native"],
)
def test_every_system_keeps_the_contract_of_a_task(settings: dict[str, Any]) -> None:
    check_task(lambda encoder: Depth(encoder, **{"pose": SMALL, **settings}))


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[Street, Batch]:
    """A rendered street with exact depth, poses and rig, and the batch of its frames 1 and 2."""
    root = tmp_path_factory.mktemp("odometry")
    scene = write_odometry(root, frames=4, size=SIZE, cameras=(2, 3))
    windows = Windows(KittiOdometry(root, ["00"], poses=True), (PREVIOUS, NEXT, STEREO), SIZE)
    return scene, collate([windows[0], windows[1]])


def true_geometry(scene: Street, factor: float = 1.0) -> Geometry:
    depth = torch.stack([torch.from_numpy(scene.depth(frame, 2)).float() for frame in (1, 2)])[:, None]
    sigmoid = (1 / (factor * depth) - 1 / 100) / (1 / 0.1 - 1 / 100)
    return Geometry([sigmoid.clamp(0, 1)], {})


def stereo_loss(
    street: tuple[Street, Batch], factor: float, batch: Batch | None = None, **more: Any
) -> float:
    task = tiny(pose=None, offsets=[], stereo=True, scales=1, **more)
    geometry = true_geometry(street[0], factor)
    if batch is not None:
        geometry = Geometry([x.flip(-1) for x in geometry.disparities], {})
    return float(task.loss(geometry, batch or street[1])["photometric"])


def test_the_other_eye_is_explained_by_true_depth_and_by_no_other_scale(street: tuple[Street, Batch]) -> None:
    best = stereo_loss(street, 1.0)
    assert best < 0.06
    for factor in (0.5, 0.8, 1.25, 2.0):
        assert stereo_loss(street, factor) > 1.15 * best
    assert stereo_loss(street, 1.0, mirror(street[1])) == pytest.approx(best, rel=0.03)


def test_a_baseline_only_changes_the_unit_of_depth(street: tuple[Street, Batch]) -> None:
    """A rig of 0.1 sees the same images at depth / 5.4: that is what the factor of evaluation undoes."""
    metric = stereo_loss(street, 1.0)
    assert stereo_loss(street, 0.1 / BASELINE, baseline=0.1) == pytest.approx(metric, rel=1e-3)
    assert stereo_loss(street, 1.0, baseline=0.1) > 1.5 * metric
    scene = tiny(stereo=True, baseline=0.1).scene(true_geometry(street[0]), street[1])
    moved, rig = scene.motion(STEREO), street[1].pose(STEREO)
    torch.testing.assert_close(moved[:, :3, 3].norm(dim=-1), torch.full((2,), 0.1))
    torch.testing.assert_close(moved[:, :3, :3], rig[:, :3, :3])
    torch.testing.assert_close(moved[:, 3], rig[:, 3])


def test_known_poses_take_the_place_of_a_network(street: tuple[Street, Batch]) -> None:
    task = tiny(pose=None, scales=1)
    assert task.poses == (PREVIOUS, NEXT)
    losses = [
        float(task.loss(true_geometry(street[0], f), street[1])["photometric"]) for f in (1.0, 0.8, 1.25)
    ]
    assert losses[0] < 0.05
    assert min(losses[1:]) > 1.2 * losses[0]


def leaves(street: Batch, sources: int, masks: bool) -> Geometry:
    """Random disparities and masks at four scales and near-true motions, in float64, that want gradients."""
    draw = torch.Generator().manual_seed(3)
    b, (h, w) = street.size, SIZE

    def rand(channels: int, s: int) -> Tensor:
        return torch.rand(b, channels, h // 2**s, w // 2**s, generator=draw).double()

    return Geometry(
        [(0.02 + 0.05 * rand(1, s)).requires_grad_() for s in range(4)],
        {v: street.pose(v).double().clone().requires_grad_() for v in (PREVIOUS, NEXT)},
        [(3 * rand(sources, s) - 1).requires_grad_() for s in range(4)] if masks else [],
    )


def doubled(batch: Batch) -> Batch:
    inputs = replace(
        batch.inputs, images=batch.inputs.images.double(), intrinsics=batch.inputs.intrinsics.double()
    )
    return replace(batch, inputs=inputs, clean=batch.clean.double(), poses=batch.poses.double())


def plain_warp(source: Tensor, depth: Tensor, cameras: Sequence[Tensor], motion: Tensor) -> Tensor:
    b, _, h, w = depth.shape
    y, x = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
    points = torch.linalg.inv(cameras[0]) @ torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1)
    seen = cameras[1] @ (motion[:, :3, :3] @ (points * depth.reshape(b, 1, -1)) + motion[:, :3, 3:])
    pixels = (seen[:, :2] / seen[:, 2:]).reshape(b, 2, h, w).permute(0, 2, 3, 1)
    grid = 2 * pixels / torch.tensor([w - 1.0, h - 1.0]).double() - 1
    return functional.grid_sample(source, grid, padding_mode="border", align_corners=True)


def shrunk_camera(camera: Tensor, factor: int) -> Tensor:
    """By the rule of resizing: a coordinate c moves to (c + 1/2) / factor - 1/2."""
    resize = torch.tensor(
        [[1 / factor, 0, 0.5 / factor - 0.5], [0, 1 / factor, 0.5 / factor - 0.5], [0, 0, 1.0]]
    )
    return resize.double() @ camera


def plain_sfmlearner(output: Geometry, batch: Batch) -> Tensor:
    """The published sums, on images from -1 to 1: pixel loss, smoothness 0.5 / 2^s, explainability 0.2."""
    total = torch.zeros((), dtype=torch.float64)
    for s, sigmoid in enumerate(output.disparities):
        size = (sigmoid.shape[-2], sigmoid.shape[-1])
        disparity = 10 * sigmoid + 0.01
        target = 2 * functional.adaptive_avg_pool2d(batch.reference(TARGET), size) - 1
        for i, view in enumerate((PREVIOUS, NEXT)):
            source = 2 * functional.adaptive_avg_pool2d(batch.reference(view), size) - 1
            cameras = [shrunk_camera(batch.inputs.camera(v), 2**s) for v in (TARGET, view)]
            error = (plain_warp(source, 1 / disparity, cameras, output.motions[view]) - target).abs()
            mask = torch.sigmoid(output.masks[s][:, i : i + 1])
            total = total + (error * mask).mean() - 0.2 * mask.log().mean()
        dx, dy = disparity.diff(dim=3), disparity.diff(dim=2)
        for second in (dx.diff(dim=3), dx.diff(dim=2), dy.diff(dim=3), dy.diff(dim=2)):
            total = total + 0.5 / 2**s * second.abs().mean()
    return total


def test_the_recipe_of_sfmlearner_is_the_published_objective(street: tuple[Street, Batch]) -> None:
    """Loss and gradients, to a common factor of 16, with the weights and depths of the shipped recipe."""
    settings = parse(parser(), ["--config", "systems/sfmlearner", "--data.kitti.source.init_args.root=x"])
    settings.data = {}
    task = instantiate(settings).tasks["depth"](Encoder("test_resnet"))
    batch = doubled(street[1])
    output = leaves(batch, 2, masks=True)
    loss = torch.stack(list(task.loss(output, batch).values())).sum()
    wanted = plain_sfmlearner(output, batch)
    torch.testing.assert_close(16 * loss, wanted, rtol=1e-9, atol=0)
    every = [*output.disparities, *output.motions.values(), *output.masks]
    for one, other in zip(
        torch.autograd.grad(16 * loss, every), torch.autograd.grad(wanted, every), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("reprojection", ["minimum", "mean"])
@pytest.mark.parametrize("automask", [True, False])
@pytest.mark.parametrize("multiscale", ["full", "native"])
def test_the_switches_of_the_ablation_are_what_they_say(
    street: tuple[Street, Batch], reprojection: Any, automask: bool, multiscale: Any
) -> None:
    batch = doubled(street[1])
    output = leaves(batch, 2, masks=False)
    term = Photometric(1.0, 0.0, 1, reprojection, automask, multiscale)
    got = term(Scene(output, batch, (PREVIOUS, NEXT), 0.1, 100.0))
    losses = []
    for s, sigmoid in enumerate(output.disparities):
        factor = 2**s if multiscale == "native" else 1
        size = (SIZE[0] // factor, SIZE[1] // factor)
        full = functional.interpolate(sigmoid, size, mode="bilinear", align_corners=False)
        depth = 1 / (0.01 + 9.99 * full)
        target, *images = (
            functional.adaptive_avg_pool2d(batch.reference(v), size) for v in (TARGET, PREVIOUS, NEXT)
        )
        warped = []
        for view, image in zip((PREVIOUS, NEXT), images, strict=True):
            cameras = [shrunk_camera(batch.inputs.camera(v), factor) for v in (TARGET, view)]
            warped.append((plain_warp(image, depth, cameras, output.motions[view]) - target).abs().mean(1))
        still = [(image - target).abs().mean(1) for image in images]
        if reprojection == "mean":
            warped, still = ([torch.stack(x).mean(0)] for x in (warped, still))
        losses.append(torch.stack(warped + (still if automask else [])).amin(0).mean())
    torch.testing.assert_close(got, torch.stack(losses).mean(), rtol=1e-9, atol=0)


def test_masks_of_a_predictive_decoder_weigh_each_source(street: tuple[Street, Batch]) -> None:
    batch = doubled(street[1])
    plain = leaves(batch, 3, masks=False)
    sources = (PREVIOUS, NEXT, STEREO)

    def loss(values: Sequence[float]) -> float:
        masks = [
            torch.tensor(values).double().view(1, 3, 1, 1).expand(2, 3, *x.shape[-2:])
            for x in plain.disparities
        ]
        scene = Scene(plain._replace(masks=masks), batch, sources, 0.1, 100.0)
        return float(Photometric(reprojection="mean", automask=False)(scene).detach())

    whole = loss([50.0, 50.0, 50.0])
    alone = [loss([50.0 if i == j else -50.0 for j in range(3)]) for i in range(3)]
    assert sum(alone) == pytest.approx(whole, rel=1e-6)
    assert len({round(x, 6) for x in alone}) == 3


def test_second_order_smoothness_leaves_planes_alone() -> None:
    """Disparity of a plane is linear in the image, so only curvature costs."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    plane = (0.1 + 0.002 * x + 0.001 * y)[None, None]
    bowl = (0.1 + 1e-4 * (x - 32).square())[None, None]
    batch = example_batch((TARGET, PREVIOUS, NEXT), frozenset(), (32, 64), batch_size=1)

    def loss(disparity: Tensor) -> float:
        return float(SecondOrderSmoothness(1.0)(Scene(Geometry([disparity], {}), batch, (), 0.1, 100.0)))

    assert loss(plane) < 1e-5
    assert loss(bowl) == pytest.approx(2e-4 * 9.99, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pose": None, "offsets": []}, "give offsets, set stereo"),
        ({"baseline": 0.1}, "of a stereo rig only"),
        ({"stereo": True, "baseline": -1.0}, "of a stereo rig only"),
        ({"min_depth": 2.0, "max_depth": 1.0}, "larger max_depth"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**settings)


def test_masks_for_frames_are_refused_beside_a_stereo_eye(street: tuple[Street, Batch]) -> None:
    task = tiny(pose=StackedPose, stereo=True)
    with pytest.raises(ConfigError, match="set its masks to false"):
        Model(Encoder("test_resnet"), {"depth": task})(street[1])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_network_that_broke_gives_a_loss_that_is_not_finite_and_a_process_that_lives(
    street: tuple[Street, Batch], bad: float
) -> None:
    """The gradient of sampling an image at NaN would read out of bounds."""
    geometry = true_geometry(street[0])
    motion = torch.full((2, 4, 4), bad, requires_grad=True)
    disparity = torch.full_like(geometry.disparities[0], torch.nan).requires_grad_()
    for output in (
        geometry._replace(motions={PREVIOUS: motion}),
        Geometry([disparity], {}),
    ):
        loss = tiny(pose=None, scales=1).loss(output, street[1])["photometric"]
        assert not bool(loss.isfinite())
        torch.autograd.backward(loss)
