"""Whether a task keeps the contract: for the tests of this library and of its users."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from mtdrive.batch import LABELS, TARGET, Batch, Inputs, View
from mtdrive.encoder import Encoder
from mtdrive.errors import TaskError
from mtdrive.model import Model
from mtdrive.randomness import generator, seeded
from mtdrive.task import Task

MakeTask = Callable[[Encoder], Task[Any]]
MakeLabel = Callable[[int, int, int], Tensor]
"""From batch size, height and width."""


def check_task(
    make: MakeTask,
    labels: Mapping[str, MakeLabel] | None = None,
    encoder: Callable[[], Encoder] = lambda: Encoder("test_resnet"),
    sizes: Sequence[tuple[int, int]] = ((64, 96), (96, 64)),
) -> None:
    """Check that a task keeps the contract of `mtdrive.task.Task`.

    Its terms are finite scalars; gradients reach the encoder and each of its own parameters; it predicts
    without labels; in evaluation mode items do not depend on each other or on their order; it runs at several
    sizes; it can be copied and its state restored; metrics and pictures have the right form.

    Args:
        make: builds the task on an encoder; usually the class.
        labels: makers of the labels it needs, for those whose random values from `LABELS` do not serve.
        encoder: builds a small encoder.
        sizes: (height, width) to try.

    Raises:
        TaskError: names the first promise that is broken.
    """
    with seeded(0, "check_task"):
        shared = encoder()
        model = Model(shared, {"task": make(shared)})
        for size in sizes:
            batch = example_batch(model.views, model.task("task").needs, size, labels)
            _check_training(model, batch)
            _check_prediction(model, batch)
            _check_reports(model, batch)
        _check_copy(model, batch)


def example_batch(
    views: Sequence[View],
    needs: frozenset[str],
    size: tuple[int, int],
    labels: Mapping[str, MakeLabel] | None = None,
    batch_size: int = 3,
) -> Batch:
    """Return a random batch with these views and labels.

    `T_view,target` are small motions forward, and to the side of other cameras.
    """
    h, w = size
    views = (TARGET, *sorted(set(views) - {TARGET}))
    draw = generator(0, "example_batch")
    images = torch.rand(batch_size, len(views), 3, h, w, generator=draw)
    camera = torch.tensor([[0.6 * w, 0, (w - 1) / 2], [0, 0.6 * w, (h - 1) / 2], [0, 0, 1.0]])
    poses = torch.eye(4).repeat(batch_size, len(views), 1, 1)
    poses[..., 2, 3] = torch.tensor([-0.5 * v.offset for v in views])
    poses[..., 0, 3] = torch.tensor([-0.5 * (v.camera != TARGET.camera) for v in views])
    makers = dict(labels or {})
    return Batch(
        inputs=Inputs(
            views=views,
            images=images,
            intrinsics=camera.repeat(batch_size, len(views), 1, 1),
            speed=5 * torch.rand(batch_size, generator=draw),
            command=torch.randint(1, 7, (batch_size,), generator=draw),
            target_point=torch.randn(batch_size, 2, generator=draw),
        ),
        clean=images,
        poses=poses,
        labels={
            name: makers[name](batch_size, h, w)
            if name in makers
            else _random_label(name, batch_size, len(views), size, draw)
            for name in sorted(needs)
        },
        names=tuple(f"example {i}" for i in range(batch_size)),
    )


def _random_label(
    name: str, batch_size: int, views: int, size: tuple[int, int], draw: torch.Generator
) -> Tensor:
    if name not in LABELS:
        raise TaskError(f"the task needs the label {name!r}, which is not declared; call declare_label")
    lengths = {"h": size[0], "w": size[1], "v": views}
    shape = [batch_size, *(lengths.get(axis) or int(axis) for axis in LABELS[name].shape.split())]
    classes = LABELS[name].classes
    if classes is not None:
        return torch.randint(0, classes, shape, generator=draw)
    return 1 + 9 * torch.rand(shape, generator=draw)


def _require(promise: bool, message: str) -> None:
    if not promise:
        raise TaskError(message)


def _check_training(model: Model, batch: Batch) -> None:
    model.train().zero_grad()
    terms = model.task("task").loss(model.predict(batch.inputs)["task"], batch)
    for name, term in terms.items():
        _require(term.ndim == 0, f"term {name} should be a scalar; found shape {tuple(term.shape)}")
        _require(bool(term.isfinite()), f"term {name} should be finite; found {float(term.detach())}")
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    for name, parameter in model.task("task").named_parameters():
        _require(parameter.grad is not None, f"the loss does not depend on the parameter {name}")
    if model.task("task").reads:
        reached = any(p.grad is not None and p.grad.any() for p in model.encoder.parameters())
        _require(reached, "the task reads features, but its loss has no gradient for the encoder")


def _check_prediction(model: Model, batch: Batch) -> None:
    model.eval()
    with torch.no_grad():
        outputs = _tensors(model.predict(batch.inputs))
        backwards = _tensors(model.predict(_picked(batch.inputs, slice(None, None, -1))))
        single = _tensors(model.predict(_picked(batch.inputs, slice(0, 1))))
    _require(bool(outputs), "the output should hold tensors; found none")
    for one, other, alone in zip(outputs, backwards, single, strict=True):
        _require(
            one.shape[:1] == (batch.size,),
            f"each tensor of the output should have the item as leading axis; found shape {tuple(one.shape)}",
        )
        same = torch.allclose(one, other.flip(0), atol=1e-4) and torch.allclose(one[:1], alone, atol=1e-4)
        _require(same, "in evaluation mode an item's prediction should not depend on the other items")


def _picked(inputs: Inputs, items: slice) -> Inputs:
    """Return some items; a negative step reverses them."""
    order = torch.arange(inputs.images.shape[0]).tolist()[items]
    tensors = {n: x[order] for n, x in vars(inputs).items() if isinstance(x, Tensor)}
    return Inputs(views=inputs.views, **tensors)


def _tensors(outputs: object) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


def _check_reports(model: Model, batch: Batch) -> None:
    task = model.eval().task("task")
    with torch.no_grad():
        output = model.predict(batch.inputs)["task"]
        columns = task.metrics(output, batch)
        picture = task.picture(output, batch)
    for name, column in columns.items():
        _require(
            column.shape[:1] == (batch.size,),
            f"metric {name} should have one row an item; found shape {tuple(column.shape)}",
        )
    task.summarise(columns)
    if picture is not None:
        good = picture.ndim == 3 and picture.shape[0] == 3 and 0 <= picture.min() <= picture.max() <= 1
        _require(bool(good), f"the picture should be (3, h, w) in [0, 1]; found shape {tuple(picture.shape)}")


def _check_copy(model: Model, batch: Batch) -> None:
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for value in twin.state_dict().values():
            value.zero_()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        one, other = (_tensors(m.eval().predict(batch.inputs)) for m in (model, twin))
    same = all(torch.equal(x, y) for x, y in zip(one, other, strict=True))
    _require(same, "a copy with the same state predicts something else: part of the state is no buffer")
