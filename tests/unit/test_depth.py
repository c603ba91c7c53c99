from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import plain
from mtdrive.batch import TARGET, Batch, View, collate
from mtdrive.check import check_task, example_batch
from mtdrive.data.augment import mirror
from mtdrive.data.kitti import KittiOdometry
from mtdrive.data.recording import rescale
from mtdrive.data.windows import Windows
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError
from mtdrive.geometry import invert, pose_matrix, shrink_intrinsics
from mtdrive.model import Model
from mtdrive.pose import Frame, Motion, PoseNetwork, SeparatePose, SharedPose
from mtdrive.tasks.depth import Depth, Geometry, Photometric, Scene, Smoothness, Term
from mtdrive.tasks.depth.smoothness import shrunk
from tests.kitti_tree import Scene as Street
from tests.kitti_tree import write_odometry

PREVIOUS, NEXT = View("front", -1), View("front", 1)
SMALL = partial(SeparatePose, name="test_resnet")


def tiny(pose: Callable[[Encoder], PoseNetwork] = SMALL, **settings: Any) -> Depth:
    torch.manual_seed(0)
    return Depth(Encoder("test_resnet"), pose, **settings)


@pytest.mark.parametrize("pose", [SMALL, SharedPose])
def test_depth_keeps_the_contract_of_a_task(pose: Callable[[Encoder], PoseNetwork]) -> None:
    check_task(lambda encoder: Depth(encoder, pose))


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[Street, Batch]:
    """A rendered street with exact depth and poses, and the batch of its frames 1 and 2."""
    root = tmp_path_factory.mktemp("odometry")
    scene = write_odometry(root, frames=4, size=(96, 320), cameras=(2,))
    windows = Windows(KittiOdometry(root, ["00"], poses=True), (PREVIOUS, NEXT), (96, 320))
    return scene, collate([windows[0], windows[1]])


def true_geometry(scene: Street, batch: Batch, factor: float = 1.0) -> Geometry:
    """The prediction of a perfect network; `factor` scales its depth, not its motion."""
    depth = torch.stack([torch.from_numpy(scene.depth(frame, 2)).float() for frame in (1, 2)])[:, None]
    sigmoid = (1 / (factor * depth) - 1 / 100) / (1 / 0.1 - 1 / 100)
    return Geometry([sigmoid.clamp(0, 1)], {view: batch.pose(view) for view in (PREVIOUS, NEXT)})


def photometric(scene: Street, batch: Batch, factor: float) -> float:
    task = tiny(scales=1)
    return float(task.loss(true_geometry(scene, batch, factor), batch)["photometric"])


def test_true_depth_and_motion_explain_the_images_better_than_any_wrong_scale(
    street: tuple[Street, Batch],
) -> None:
    """The oracle of orientation: were a pose inverted or a camera mixed up, the truth would not win."""
    best = photometric(*street, 1.0)
    assert best < 0.05
    for factor in (0.5, 0.8, 1.25, 2.0):
        assert photometric(*street, factor) > 1.2 * best


@pytest.mark.parametrize("flip", [False, True])
def test_true_geometry_is_best_in_the_mirror_too(street: tuple[Street, Batch], flip: bool) -> None:
    scene, batch = street
    seen = mirror(batch) if flip else batch
    geometry = true_geometry(scene, batch)
    if flip:
        geometry = Geometry(
            [x.flip(-1) for x in geometry.disparities], {v: seen.pose(v) for v in (PREVIOUS, NEXT)}
        )
    loss = tiny(scales=1).loss(geometry, seen)["photometric"]
    assert float(loss) == pytest.approx(photometric(scene, batch, 1.0), rel=0.02)


class Told(PoseNetwork):
    """Returns a motion it was told, and remembers the order in which it saw the images."""

    reads_features = False

    def __init__(self, motion: Motion) -> None:
        super().__init__()
        self.motion = motion
        self.seen: list[tuple[float, float]] = []

    def forward(self, earlier: Frame, later: Frame) -> Motion:
        self.seen.append((float(earlier.image.mean()), float(later.image.mean())))
        return self.motion


def test_the_pose_network_sees_frames_in_the_order_of_time_and_the_past_is_inverted() -> None:
    motion = Motion(torch.tensor([[0.0, 0.1, 0.02]]), torch.tensor([[0.1, 0.0, -0.8]]))
    network = Told(motion)
    task = tiny(lambda encoder: network)
    batch = example_batch((TARGET, PREVIOUS, NEXT), frozenset(), (64, 96), batch_size=1)
    brightness = {TARGET: 0.5, PREVIOUS: 0.2, NEXT: 0.9}
    images = torch.stack([torch.full((3, 64, 96), brightness[v]) for v in batch.inputs.views])[None]
    output = Model(Encoder("test_resnet"), {"depth": task}).predict(replace(batch.inputs, images=images))[
        "depth"
    ]
    assert network.seen == [pytest.approx((0.2, 0.5)), pytest.approx((0.5, 0.9))]
    later = pose_matrix(*motion)
    torch.testing.assert_close(output.motions[NEXT], later)
    torch.testing.assert_close(output.motions[PREVIOUS], invert(later))


def test_one_frame_is_enough_to_predict_depth() -> None:
    task = tiny(SharedPose)
    inputs = example_batch((TARGET,), frozenset(), (64, 96)).inputs
    output = Model(Encoder("test_resnet"), {"depth": task}).eval().predict(inputs)["depth"]
    assert output.motions == {}
    assert [tuple(x.shape[-2:]) for x in output.disparities] == [(64, 96), (32, 48), (16, 24), (8, 12)]
    disparity = task.disparity(output)
    assert disparity.shape == (3, 64, 96)
    assert 1 / 100 <= disparity.min() <= disparity.max() <= 1 / 0.1


def plain_loss(output: Geometry, batch: Batch, task: Depth) -> dict[str, Tensor]:
    """Monodepth2's objective scale by scale and source by source, as the paper has it."""
    return plain.objective(
        output.disparities,
        batch.reference(TARGET),
        [batch.reference(view) for view in task.neighbours],
        batch.inputs.camera(TARGET),
        [batch.inputs.camera(view) for view in task.neighbours],
        [output.motions[view] for view in task.neighbours],
        (task.min_depth, task.max_depth),
    )


def doubled(batch: Batch) -> Batch:
    inputs = replace(
        batch.inputs, images=batch.inputs.images.double(), intrinsics=batch.inputs.intrinsics.double()
    )
    return replace(batch, inputs=inputs, clean=batch.clean.double(), poses=batch.poses.double())


def test_the_loss_and_its_gradients_are_those_of_the_plain_objective(street: tuple[Street, Batch]) -> None:
    batch = doubled(street[1])
    task = tiny()
    draw = torch.Generator().manual_seed(3)
    leaves = [
        (0.02 + 0.05 * torch.rand(2, 1, 96 // 2**s, 320 // 2**s, generator=draw)).double().requires_grad_()
        for s in range(4)
    ]
    motions = {v: (batch.pose(v) * 1.0).clone().requires_grad_() for v in task.neighbours}
    output = Geometry(leaves, motions)
    ours, plain = task.loss(output, batch), plain_loss(output, batch, task)
    for name in ("photometric", "smoothness"):
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-9, atol=1e-12)
        wanted = [*leaves, *motions.values()] if name == "photometric" else leaves
        got = torch.autograd.grad(ours[name], wanted, retain_graph=True)
        expected = torch.autograd.grad(plain[name], wanted, retain_graph=True)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-11)


def test_a_standing_camera_trains_nothing_photometric() -> None:
    """Identical frames are explained without any motion, so auto-masking drops every pixel."""
    batch = example_batch((TARGET, PREVIOUS, NEXT), frozenset(), (64, 96))
    still = replace(batch, clean=batch.clean[:, :1].expand(-1, 3, -1, -1, -1))
    encoder = Encoder("test_resnet")
    task = Depth(encoder, SMALL)
    output = Model(encoder, {"depth": task}).predict(batch.inputs)["depth"]
    scene = task.scene(output, still)
    assert not Photometric().errors(scene)[0].mask.any()
    assert float(Photometric()(scene).detach()) == 0.0


@pytest.mark.parametrize("shrink", [1, 4])
def test_the_gradient_of_a_turn_points_home_from_as_far_as_the_blocks_reach(
    shrink: int, street: tuple[Street, Batch]
) -> None:
    """Full size knows the way from one pixel off, blocks of four pixels from six; only they do."""
    scene, batch = street
    truth = true_geometry(scene, batch)
    focal = float(batch.inputs.camera(TARGET)[0, 0, 0])
    reaches = {}
    for pixels in (1.0, 6.0):
        homeward = []
        for sign in (-1, 1):
            turn = torch.tensor(sign * pixels / focal, requires_grad=True)
            twist = pose_matrix(torch.stack([0 * turn, turn, 0 * turn]), torch.zeros(3))
            motions = {NEXT: twist @ truth.motions[NEXT], PREVIOUS: truth.motions[PREVIOUS]}
            task = tiny(scales=1, offsets=(1,))
            loss = Photometric(shrink=shrink)(task.scene(Geometry(truth.disparities, motions), batch))
            (gradient,) = torch.autograd.grad(loss, turn)
            homeward.append(float(gradient) * sign > 0)
        reaches[pixels] = all(homeward)
    assert reaches == {1.0: True, 6.0: shrink == 4}


def test_shrunk_images_have_the_camera_of_their_blocks() -> None:
    camera = torch.tensor([[58.0, 0, 95.5], [0, 61.0, 30.2], [0, 0, 1]])
    torch.testing.assert_close(
        shrink_intrinsics(camera, 4).double(),
        rescale(camera.double(), (64, 192), (16, 48)),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("shrink", [0, 5])
def test_blocks_that_do_not_tile_the_image_are_refused(shrink: int, street: tuple[Street, Batch]) -> None:
    scene = tiny(scales=1).scene(true_geometry(*street), street[1])
    with pytest.raises(ConfigError, match=f"blocks of {shrink} pixels do not tile images of 96x320"):
        Photometric(shrink=shrink)(scene)


def test_metrics_see_exact_depth_as_perfect_and_true_motion_as_correlated(
    street: tuple[Street, Batch],
) -> None:
    scene, batch = street
    depth = torch.stack([torch.from_numpy(scene.depth(frame, 2)).float() for frame in (1, 2)])
    columns = tiny().metrics(true_geometry(scene, batch), replace(batch, labels={"depth": depth}))
    figures = tiny().summarise({name: x.repeat(2) for name, x in columns.items()})
    assert figures["abs_rel"] == pytest.approx(0, abs=1e-4)
    assert figures["a1"] == 1.0
    assert figures["yaw_correlation"] == pytest.approx(1, abs=1e-4)
    assert figures["speed_correlation"] == pytest.approx(1, abs=1e-4)
    assert all(x > 0.3 for x in columns[f"speed_known/{NEXT}"].tolist())
    assert all(x > 0.3 for x in columns[f"speed_known/{PREVIOUS}"].tolist())


def test_unknown_motion_gives_no_correlation() -> None:
    batch = example_batch((TARGET, PREVIOUS, NEXT), frozenset(), (64, 96))
    unknown = replace(batch, poses=torch.full_like(batch.poses, torch.nan))
    encoder = Encoder("test_resnet")
    task = Depth(encoder, SMALL)
    output = Model(encoder, {"depth": task}).predict(batch.inputs)["depth"]
    assert task.summarise(task.metrics(output, unknown)) == {}


def test_terms_are_a_setting() -> None:
    class Flat(Term):
        def __call__(self, scene: Scene) -> Tensor:
            return scene.geometry.disparities[0].var()

    task = tiny(terms={"flat": Flat(), "smooth": Smoothness(0.5)})
    batch = example_batch((TARGET, PREVIOUS, NEXT), frozenset(), (64, 96))
    output = Model(Encoder("test_resnet"), {"depth": task}).predict(batch.inputs)["depth"]
    losses = task.loss(output, batch)
    assert set(losses) == {"flat", "smooth"}
    reference = tiny(terms={"smooth": Smoothness(1.0)}).loss(output, batch)["smooth"]
    torch.testing.assert_close(losses["smooth"], 0.5 * reference)


@pytest.mark.parametrize("offsets", [(-1,), (1,), (-2, -1, 1, 2)])
def test_any_set_of_neighbours_trains(offsets: Sequence[int], tmp_path: Path) -> None:
    check_task(lambda encoder: Depth(encoder, SMALL, offsets=offsets), sizes=((64, 64),))


def test_bf16_autocast_keeps_the_objective_in_float32(street: tuple[Street, Batch]) -> None:
    encoder = Encoder("test_resnet")
    torch.manual_seed(0)
    model = Model(encoder, {"depth": Depth(encoder, SMALL)}).eval()
    with torch.autocast("cpu", torch.bfloat16):
        half = model(street[1])
    full = model(street[1])
    assert half.losses["depth"].dtype == torch.float32
    torch.testing.assert_close(half.losses["depth"], full.losses["depth"], rtol=0.05, atol=0)


@pytest.mark.parametrize("size", [(24, 40), (12, 20), (3, 5), (8, 20), (7, 9)])
def test_images_beside_coarser_disparities_are_means_of_areas(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.adaptive_avg_pool2d(image, size)
    torch.testing.assert_close(shrunk(image, torch.empty(2, 1, *size)), expected)
