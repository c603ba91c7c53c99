from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mtdrive.batch import TARGET, Batch, View
from mtdrive.check import check_task, example_batch
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError
from mtdrive.geometry import pose_matrix
from mtdrive.model import Model
from mtdrive.tasks.depth import (
    BerHu,
    Depth,
    Geometry,
    L1Depth,
    Photometric,
    ScaleInvariantLog,
    Scene,
    Term,
    Velocity,
)

PREVIOUS, NEXT = View("front", -1), View("front", 1)
SIZE = (8, 12)
TERMS = [L1Depth(), BerHu(), ScaleInvariantLog(), ScaleInvariantLog(invariance=1.0)]


def labelled(truth: Tensor) -> Batch:
    batch = example_batch((TARGET, PREVIOUS, NEXT), frozenset(), SIZE, batch_size=len(truth))
    return replace(batch, labels={"depth": truth})


def predicted(depth: Tensor) -> Geometry:
    return Geometry([((1 / depth - 0.01) / 9.99)[:, None]], {})


def value(term: Term, depth: Tensor, truth: Tensor) -> float:
    return float(term(Scene(predicted(depth), labelled(truth), (), 0.1, 100.0)))


def plain(term: Term, depth: Tensor, truth: Tensor) -> float:
    """Each formula pixel by pixel in float64."""
    known = truth.isfinite() & (truth > 0)
    if isinstance(term, ScaleInvariantLog):
        images = []
        for d, t, k in zip(depth.double(), truth.double(), known, strict=True):
            if k.any():
                e = d[k].log() - t[k].log()
                images.append((e**2).mean() - term.invariance * e.mean() ** 2)
        return float(torch.stack(images).mean())
    error = (depth.double()[known] - truth.double()[known]).abs()
    if isinstance(term, L1Depth):
        return float(error.mean())
    c = float(error.max()) / 5
    return float(torch.stack([e if e <= c else (e**2 + c**2) / (2 * c) for e in error]).mean())


@pytest.mark.parametrize("term", TERMS, ids=["l1", "berhu", "log", "scale-free log"])
def test_a_term_is_its_formula_over_known_pixels(term: Term) -> None:
    draw = torch.Generator().manual_seed(2)
    depth, truth = (1 + 40 * torch.rand(3, *SIZE, generator=draw) for _ in range(2))
    truth[0, :5], truth[1, 2, 3], truth[2] = torch.nan, 0.0, torch.nan
    assert value(term, depth, truth) == pytest.approx(plain(term, depth, truth), rel=1e-4)
    assert value(term, truth.nan_to_num(1).clamp(min=1), truth) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("term", TERMS, ids=["l1", "berhu", "log", "scale-free log"])
def test_unknown_pixels_have_no_gradient_and_never_nan(term: Term) -> None:
    truth = torch.full((2, *SIZE), torch.nan)
    truth[0, :4] = 7.0
    depth = torch.full((2, *SIZE), 5.0, requires_grad=True)
    (slope,) = torch.autograd.grad(term(Scene(predicted(depth), labelled(truth), (), 0.1, 100.0)), depth)
    assert slope.isfinite().all()
    assert not slope[1].any()
    assert not slope[0, 4:].any()
    if not (isinstance(term, ScaleInvariantLog) and term.invariance == 1):
        assert slope[0, :4].all()


def test_the_scale_free_log_sees_shape_alone() -> None:
    truth = 1 + 20 * torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0))
    assert value(ScaleInvariantLog(invariance=1.0), 3 * truth, truth) == pytest.approx(0, abs=1e-5)
    assert value(ScaleInvariantLog(invariance=0.0), 3 * truth, truth) > 1
    with pytest.raises(ConfigError, match="from 0 to 1"):
        ScaleInvariantLog(invariance=1.5)


def test_velocity_is_zero_at_the_true_way_and_grows_by_the_metre() -> None:
    batch = example_batch((TARGET, PREVIOUS, NEXT), frozenset(), SIZE, batch_size=2)
    batch = replace(batch, inputs=replace(batch.inputs, speed=torch.tensor([10.0, -5.0])))

    def loss(ways: list[float]) -> float:
        forward = torch.tensor([[0.0, 0.0, -way] for way in ways])
        motion = pose_matrix(torch.zeros(2, 3), forward)
        geometry = Geometry([torch.full((2, 1, *SIZE), 0.1)], {NEXT: motion, PREVIOUS: motion})
        return float(Velocity(weight=2.0, interval=0.1)(Scene(geometry, batch, (NEXT, PREVIOUS), 0.1, 100.0)))

    assert loss([1.0, 0.5]) == pytest.approx(0, abs=1e-6)
    assert loss([1.3, 0.5]) == pytest.approx(2 * 0.3 / 2, rel=1e-5)


def task(**settings: Any) -> Depth:
    torch.manual_seed(0)
    return Depth(Encoder("test_resnet"), **settings)


def test_supervision_alone_needs_labels_and_no_neighbour() -> None:
    alone: dict[str, Any] = {
        "pose": None,
        "offsets": [],
        "terms": {"log": ScaleInvariantLog(), "l1": L1Depth(0.1)},
    }
    depth = task(**alone)
    assert depth.views == (TARGET,)
    assert depth.needs == {"depth"}
    check_task(lambda encoder: Depth(encoder, **alone), sizes=((64, 64),))


def test_a_batch_trains_with_the_terms_that_it_has_the_data_for() -> None:
    """Semi-supervised: video with speed, video without, and images with LiDAR in one run."""
    terms = {"photometric": Photometric(), "l1": L1Depth(), "velocity": Velocity()}
    encoder = Encoder("test_resnet")
    model = Model(encoder, {"depth": Depth(encoder, terms=terms)})
    batch = example_batch((TARGET, PREVIOUS, NEXT), frozenset({"depth"}), (64, 96))
    silent = replace(batch, inputs=replace(batch.inputs, speed=None))
    video = replace(silent, labels={})
    assert set(model(batch).terms) == {"depth/photometric", "depth/l1", "depth/velocity"}
    assert set(model(silent).terms) == {"depth/photometric", "depth/l1"}
    assert set(model(video).terms) == {"depth/photometric"}


def test_data_that_no_term_is_defined_for_are_named() -> None:
    encoder = Encoder("test_resnet")
    model = Model(encoder, {"depth": Depth(encoder, terms={"velocity": Velocity(), "l1": L1Depth()})})
    batch = example_batch((TARGET, PREVIOUS, NEXT), frozenset(), (64, 96))
    with pytest.raises(DataError, match="velocity, l1"):
        model(replace(batch, inputs=replace(batch.inputs, speed=None)))
