from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from mtdrive.batch import LABELS, TARGET, Batch, Command, Label, View, collate
from mtdrive.check import example_batch
from mtdrive.data.augment import Augment, mirror
from mtdrive.data.packed import Packed, collate_packed
from mtdrive.data.windows import Windows
from mtdrive.errors import ConfigError, DataError
from mtdrive.geometry import backproject, project, transform
from mtdrive.randomness import generator
from tests.toys import ToySource

VIEWS = (TARGET, View("front", -1), View("front", 1), View("stereo"))


def item(labels: tuple[str, ...] = ("semantics",)) -> Batch:
    return Windows(ToySource(labels=labels), VIEWS, (32, 64))[3]


@cache
def packed() -> Packed:
    return Windows(ToySource(labels=("semantics",)), VIEWS, (32, 64)).packed(3)


def drawn(augment: Augment, seed: int = 0, images: Tensor | None = None) -> Batch:
    given = packed() if images is None else replace(packed(), images=images)
    return augment(given, generator(seed, "test")).to("cpu")


def test_mirroring_twice_changes_nothing() -> None:
    once, twice = mirror(item()), mirror(mirror(item()))
    torch.testing.assert_close(twice.inputs.images, item().inputs.images)
    torch.testing.assert_close(twice.inputs.intrinsics, item().inputs.intrinsics)
    torch.testing.assert_close(twice.poses, item().poses)
    torch.testing.assert_close(twice.labels["semantics"], item().labels["semantics"])
    assert not torch.equal(once.inputs.images, item().inputs.images)


def test_a_mirrored_point_is_seen_in_the_mirrored_column_of_every_view() -> None:
    """The oracle of principal point, stereo side and poses together: project, then mirror, either way."""
    plain, flipped = item(), mirror(item())
    depth = 5 + torch.arange(64.0).expand(1, 1, 32, 64) / 10
    for view in VIEWS:
        points = backproject(depth, plain.inputs.camera(TARGET)[None])
        seen = project(transform(plain.pose(view)[None], points), plain.inputs.camera(view)[None]).pixels
        mirrored = backproject(depth.flip(-1), flipped.inputs.camera(TARGET)[None])
        other = project(
            transform(flipped.pose(view)[None], mirrored), flipped.inputs.camera(view)[None]
        ).pixels
        torch.testing.assert_close(other[:, 0].flip(-1), 63 - seen[:, 0], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(other[:, 1].flip(-1), seen[:, 1], atol=1e-3, rtol=1e-4)


def test_the_stereo_partner_changes_side_in_the_mirror() -> None:
    stereo = View("stereo")
    assert float(item().pose(stereo)[0, 3]) == -0.5
    assert float(mirror(item()).pose(stereo)[0, 3]) == 0.5


def test_unknown_poses_stay_unknown() -> None:
    unknown = replace(item(), poses=torch.full_like(item().poses, torch.nan))
    assert mirror(unknown).poses.isnan().all()


@pytest.mark.parametrize(
    ("command", "mirrored"),
    [
        (
            c,
            {
                "LEFT": "RIGHT",
                "RIGHT": "LEFT",
                "CHANGE_LEFT": "CHANGE_RIGHT",
                "CHANGE_RIGHT": "CHANGE_LEFT",
            }.get(c.name, c.name),
        )
        for c in Command
    ],
)
def test_commands_and_route_follow_the_mirror(command: Command, mirrored: str) -> None:
    plain = item()
    with_route = replace(
        plain,
        inputs=replace(plain.inputs, command=torch.tensor(command), target_point=torch.tensor([3.0, 20.0])),
    )
    flipped = mirror(with_route).inputs
    assert flipped.command is not None
    assert flipped.target_point is not None
    assert Command(int(flipped.command)).name == mirrored
    assert flipped.target_point.tolist() == [-3.0, 20.0]


def test_labels_follow_the_mirror_by_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {
        "m_flow": "flow",
        "m_steer": "lateral",
        "m_speed": "none",
        "m_map": "image",
        "m_points": "points",
    }
    for name, rule in rules.items():
        monkeypatch.setitem(LABELS, name, Label(shape="h w", meaning="for this test", mirror=rule))  # type: ignore[arg-type]
    flow = torch.arange(12.0).reshape(2, 2, 3)
    points = torch.tensor([[1.0, 5.0], [-2.0, torch.nan]])
    labels = {"m_flow": flow, "m_steer": torch.tensor(0.4), "m_speed": torch.tensor(5.0), "m_map": flow[0]}
    labels["m_points"] = points
    flipped = mirror(replace(item(), labels=labels)).labels
    torch.testing.assert_close(flipped["m_flow"], torch.stack([-flow[0].flip(-1), flow[1].flip(-1)]))
    assert (float(flipped["m_steer"]), float(flipped["m_speed"])) == pytest.approx((-0.4, 5.0))
    torch.testing.assert_close(flipped["m_map"], flow[0].flip(-1))
    expected = torch.tensor([[-1.0, 5.0], [2.0, torch.nan]])
    torch.testing.assert_close(flipped["m_points"], expected, equal_nan=True)


def test_an_undeclared_label_is_refused_rather_than_left_unmirrored() -> None:
    with pytest.raises(DataError, match="'mystery' is not declared, so it cannot be mirrored"):
        mirror(replace(item(), labels={"mystery": torch.zeros(2)}))


@given(st.integers(0, 1000))
def test_all_views_share_one_draw_of_colour(seed: int) -> None:
    """Three equal images stay equal, whatever is drawn."""
    images = drawn(Augment(jitter=1.0), seed, packed().images[:1].expand(4, -1, -1, -1)).inputs.images
    assert all(torch.equal(images[0], other) for other in images[1:])


def test_a_batch_holds_each_item_as_it_is_alone() -> None:
    """Jittered items beside plain ones, flipped beside unflipped."""
    items = [Augment()(packed(), generator(s, "test")) for s in range(6)]
    assert {i.jitters == (None,) for i in items} == {True, False}
    batch, alone = collate_packed(items).to("cpu"), collate([i.to("cpu") for i in items])
    assert torch.equal(batch.clean, alone.clean)
    assert torch.equal(batch.inputs.images, alone.inputs.images)
    assert torch.equal(batch.inputs.intrinsics, alone.inputs.intrinsics)


def test_jitter_leaves_the_clean_images_alone_and_flips_take_them_along() -> None:
    jittered = drawn(Augment(flip=0.0, jitter=1.0))
    torch.testing.assert_close(jittered.clean, item().clean)
    assert not torch.equal(jittered.inputs.images, item().inputs.images)
    assert 0 <= jittered.inputs.images.min() <= jittered.inputs.images.max() <= 1
    flipped = drawn(Augment(flip=1.0, jitter=0.0))
    torch.testing.assert_close(flipped.clean, item().clean.flip(-1))
    torch.testing.assert_close(flipped.inputs.images, flipped.clean)


def test_factors_stay_in_their_range_and_reach_its_ends() -> None:
    """Brightness alone, so that the factor can be read off the image."""
    only = Augment(flip=0, jitter=1, brightness=0.2, contrast=0, saturation=0, hue=0)
    grey = torch.full((4, 3, 8, 8), 102, dtype=torch.uint8)
    factors = [float(drawn(only, s, grey).inputs.images[0, 0, 0, 0]) / 0.4 for s in range(300)]
    assert 0.8 <= min(factors) < 0.81
    assert 1.19 < max(factors) <= 1.2


def test_each_kind_of_jitter_is_torchvisions() -> None:
    image = item().inputs.images
    for setting, adjust in (
        ("brightness", F.adjust_brightness),
        ("contrast", F.adjust_contrast),
        ("saturation", F.adjust_saturation),
        ("hue", F.adjust_hue),
    ):
        none = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
        only = Augment(flip=0, jitter=1, **{**none, setting: 0.3})
        draws = generator(5, "test")
        torch.rand(2, generator=draws)
        number = ["brightness", "contrast", "saturation", "hue"].index(setting)
        amount = 0.3 * (2 * float(torch.rand(4, generator=draws)[number]) - 1)
        expected = adjust(image, amount if setting == "hue" else 1 + amount)
        torch.testing.assert_close(drawn(only, 5).inputs.images, expected, atol=1e-5, rtol=0)


def test_probabilities_are_met() -> None:
    augment = Augment(flip=0.25, jitter=0.75)
    items = [augment(packed(), generator(s, "test")) for s in range(400)]
    assert 70 < sum(float(i.rest.pose(View("stereo"))[0, 3]) > 0 for i in items) < 130
    assert 270 < sum(i.jitters != (None,) for i in items) < 330


@pytest.mark.parametrize(("name", "value"), [("flip", 1.1), ("saturation", -0.1), ("hue", 0.6)])
def test_settings_beyond_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"augment\.{name} must be from 0 to .*, found {value}"):
        Augment(**{name: value})


def test_depth_follows_the_image_in_a_batch_as_in_an_item() -> None:
    batch = example_batch((TARGET,), frozenset({"depth"}), (32, 64))
    torch.testing.assert_close(mirror(batch).labels["depth"], batch.labels["depth"].flip(-1))
