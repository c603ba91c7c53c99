"""Segmentation: that every decoder fits, that the losses and figures are right, and that it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.distributed as dist
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from mtdrive.batch import TARGET, Batch
from mtdrive.check import check_task, example_batch
from mtdrive.classes import CITYSCAPES, UNLABELLED
from mtdrive.compact import Compact
from mtdrive.data.recording import Size
from mtdrive.data.windows import Windows
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError, DataError
from mtdrive.experiment import DataSet, Experiment, windows
from mtdrive.model import Model
from mtdrive.tasks.segmentation import DecoderName, Segmentation
from mtdrive.tasks.segmentation.losses import cross_entropy, dice
from mtdrive.tasks.segmentation.task import confusion
from tests.toys import ToyRecording, ToySource

SIZE = (64, 96)
COUNT = len(CITYSCAPES)


def labels(count: int, height: int, width: int, classes: int = COUNT) -> Tensor:
    """Return random classes, a tenth of them unlabelled."""
    drawn = torch.randint(0, classes, (count, height, width))
    return drawn.masked_fill(torch.rand(drawn.shape) < 0.1, UNLABELLED)


def small(encoder: Encoder, name: DecoderName, **settings: Any) -> Segmentation:
    return Segmentation(encoder, name, width=64 if name == "FPN" else 16, **settings)


def example(size: Size = SIZE, count: int = 3) -> Batch:
    torch.manual_seed(0)
    batch = example_batch((TARGET,), frozenset(), size, batch_size=count)
    return replace(batch, labels={"semantics": labels(count, *size)})


@pytest.mark.parametrize("name", get_args(DecoderName))
def test_every_decoder_keeps_the_contract_of_a_task_on_encoders_with_and_without_stride_2(name: Any) -> None:
    shallow = lambda: Compact([8, 8, 16])  # noqa: E731  PAN needs 8 pixels of the coarsest level
    plain = shallow if name == "PAN" else lambda: Compact([8, 8, 8, 8, 16])
    for encoder in (plain,) if name == "PAN" else (plain, lambda: Encoder("test_convnext")):
        check_task(lambda shared: small(shared, name), {"semantics": labels}, encoder, sizes=[SIZE])


class Plane(nn.Module):
    """Stands for a decoder whose features are those of one level, so that places can be compared."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return features[self.level]


def test_a_level_reaches_the_decoder_at_its_stride() -> None:
    """Levels at strides 4, 8, ... must not slip into the place of finer ones that the encoder lacks."""
    encoder = Encoder("test_convnext")
    pyramid = encoder(torch.rand(2, 3, *SIZE))
    for stride, level in zip(encoder.strides, pyramid, strict=True):
        head: Any = Segmentation(encoder, "Unet", width=16).decoder
        place = stride.bit_length() - 1
        head.decoder, head.head = Plane(place), nn.Identity()
        head.head.weight = nn.Parameter(torch.ones(()))
        assert torch.equal(head(pyramid), level)
        head.decoder = Plane(0)
        assert head(pyramid).shape == (2, 0, *SIZE)
        head.decoder = Plane(1)
        assert head(pyramid).shape == (2, 0, SIZE[0] // 2, SIZE[1] // 2)


@pytest.mark.parametrize(
    ("encoder", "settings", "message"),
    [
        (Compact([8, 8, 16]), {"decoder": "FPN"}, "FPN takes encoders .* end from 16 on, found .*2, 4, 8"),
        (Compact([8] * 6), {"decoder": "PAN"}, "PAN takes .* from 8 to 32, found .*64"),
        (Compact(), {"decoder": "FPN", "width": 96}, "width of FPN must be a multiple of 64, found 96"),
        (Compact(), {"width": 0}, "width must be at least 1, found 0"),
        (
            Compact(),
            {"weights": {"focal": 1.0}},
            r"weights name \['focal'\], but the terms are cross_entropy, ",
        ),
        (Compact(), {"weights": {"dice": -1.0}}, "weights must be at least 0"),
        (Compact(), {"weights": {"dice": 0.0, "cross_entropy": 0.0}}, "and one of them more"),
        (Compact(), {"classes": ["road"]}, "classes must be 2 to 255 different names"),
    ],
)
def test_settings_that_do_not_fit_are_refused_when_the_head_is_built(
    encoder: Encoder, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Segmentation(encoder, **settings)


def test_images_that_are_too_small_or_too_few_for_a_decoder_are_refused() -> None:
    encoder = Compact([8, 8, 8, 8, 16])
    model = Model(encoder, {"s": small(encoder, "PAN")})
    with pytest.raises(ConfigError, match=r"PAN .* takes images of 256x256 pixels or more"):
        model(example())
    assert model(example((256, 288), count=2)).outputs["s"].shape == (2, COUNT, 256, 288)
    model = Model(encoder, {"s": small(encoder, "DeepLabV3Plus")})
    with pytest.raises(ConfigError, match="set batch_size to 2 or more"):
        model(example(count=1))
    model.eval()(example(count=1))


def plain_losses(logits: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return both losses pixel by pixel and class by class."""
    shares = logits.double().softmax(1).permute(0, 2, 3, 1).reshape(-1, logits.shape[1]).numpy()
    true = truth.reshape(-1).numpy()
    known = true != UNLABELLED
    entropy = -np.log([row[t] for row, t in zip(shares[known], true[known], strict=True)]).mean()
    scores = []
    for k in set(true[known]):
        common = shares[known & (true == k), k].sum()
        scores.append(2 * common / (shares[known, k].sum() + (true == k).sum()))
    return float(entropy), 1 - float(np.mean(scores))


def test_losses_are_those_of_a_plain_count_and_of_the_library() -> None:
    torch.manual_seed(1)
    logits = 3 * torch.randn(2, 6, 7, 9, dtype=torch.float64)
    truth = labels(2, 7, 9, classes=4)  # the last two classes are not shown
    entropy, overlap = plain_losses(logits, truth)
    assert float(cross_entropy(logits.float(), truth)) == pytest.approx(entropy, rel=1e-5)
    assert float(dice(logits, truth)) == pytest.approx(overlap, rel=1e-9)
    # The library takes the mean over all classes, with 0 for those that are not shown.
    library = DiceLoss("multiclass", ignore_index=UNLABELLED)(logits, truth)
    assert float(dice(logits, truth)) == pytest.approx(float(library) * 6 / 4, rel=1e-6)


def test_unlabelled_pixels_neither_count_nor_train() -> None:
    torch.manual_seed(2)
    logits = torch.randn(1, 5, 6, 8, requires_grad=True)
    truth = labels(1, 6, 8, classes=5)
    for loss in (cross_entropy, dice):
        (gradient,) = torch.autograd.grad(loss(logits, truth), logits)
        moved = gradient.abs().sum(1) > 0
        assert torch.equal(moved, truth != UNLABELLED)
        nothing = loss(logits, torch.full_like(truth, UNLABELLED))
        (gradient,) = torch.autograd.grad(nothing, logits)
        assert float(nothing.detach()) == 0
        assert not gradient.any()


def test_two_processes_have_the_dice_and_the_gradient_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes average their gradients; each sees other classes."""
    torch.manual_seed(3)
    logits, truth = torch.randn(2, 5, 6, 8, dtype=torch.float64), labels(2, 6, 8, classes=5)
    truth[0] = torch.where(truth[0] < UNLABELLED, truth[0].clamp(max=2), UNLABELLED)
    logits.requires_grad_()
    whole = dice(logits, truth)
    (expected,) = torch.autograd.grad(whole, logits)
    said: list[list[Tensor]] = [[], []]  # by process: what it gives to the sums, in order
    rank = 0

    def all_reduce(values: Tensor) -> None:
        place = len(said[rank])
        said[rank].append(values.clone())
        if len(said[1 - rank]) > place:
            values += said[1 - rank][place]

    for name, answer in (("is_initialized", lambda: True), ("get_world_size", lambda: 2)):
        monkeypatch.setattr(dist, name, answer)
    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    dice(logits[:1], truth[:1])  # the first process speaks before the second one is heard
    results = []
    for rank in (1, 0):
        said[rank].clear()
        value = dice(logits[rank : rank + 1], truth[rank : rank + 1])
        torch.testing.assert_close(value, whole)
        results.append(torch.autograd.grad(value, logits)[0])
    torch.testing.assert_close(torch.stack(results).mean(0), expected)


def test_figures_come_from_counts_over_the_data_set_not_from_means_of_images() -> None:
    """One image has few pixels of a class, all wrong; the other many, all right."""
    task = Segmentation(Compact(), "Segformer", ["free", "car", "sign", "never"], width=8)
    truth = torch.zeros(2, 10, 10, dtype=torch.int64)
    truth[0, 0, :4] = 1
    truth[1, :5] = 1
    truth[1, 9, 9] = UNLABELLED
    predicted = truth.clone()
    predicted[0, 0, :4] = 0
    predicted[1, 9, 8:] = 2
    counts = confusion(predicted, truth, 4)
    plain = np.zeros((2, 4, 4), int)
    for i, t, p in zip(np.repeat([0, 1], 100), truth.ravel(), predicted.ravel(), strict=True):
        if t != UNLABELLED:
            plain[i, t, p] += 1
    np.testing.assert_array_equal(counts, plain)
    figures = task.summarise({"confusion": counts})
    free, car, sign = (96 + 48) / (96 + 49 + 4), 50 / 54, 0.0
    assert figures == pytest.approx(
        {
            "miou": (free + car + sign) / 3,  # a class that is nowhere does not count
            "accuracy": (96 + 48 + 50) / 199,
            "iou/free": free,
            "iou/car": car,
            "iou/sign": sign,
        }
    )
    assert task.summarise({"confusion": torch.zeros(3, 4, 4, dtype=torch.int64)}) == {}


def test_metrics_and_the_loss_take_scores_at_the_size_of_the_image() -> None:
    encoder = Compact([8, 8, 8, 8, 16])
    model = Model(encoder, {"s": small(encoder, "Segformer")}).eval()
    batch = example()
    output = model(batch).outputs["s"]
    assert output.shape == (3, COUNT, *SIZE)
    counts = model.task("s").metrics(output, batch)["confusion"]
    known = batch.labels["semantics"] != UNLABELLED
    assert counts.sum((1, 2)).tolist() == known.sum((1, 2)).tolist()
    assert model.task("s").metrics(output, replace(batch, labels={})) == {}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x: x[..., :32], r"the label semantics of example 0, .* task Segmentation is \(3, 64, 32\)"),
        (lambda x: x.float(), r"of torch.float32, expected \(3, 64, 96\).* of torch.int64; convert"),
        (lambda x: x.masked_fill(x == 3, 19), "class ids such as 19 in .* pixels, expected 0 to 18 or 255"),
        (lambda x: x.masked_fill(x == 3, -1), "class ids such as -1 in"),
    ],
    ids=["size", "type", "too high", "negative"],
)
def test_a_label_that_does_not_fit_is_one_error(damage: Any, message: str) -> None:
    encoder = Compact([8, 8, 8, 8, 16])
    model, batch = Model(encoder, {"s": small(encoder, "Segformer")}), example()
    with pytest.raises(DataError, match=message):
        model(replace(batch, labels={"semantics": damage(batch.labels["semantics"])}))


class OwnRecording(ToyRecording):
    """Gives whatever label it is told to."""

    classes = {"semantics": ("left", "right")}  # noqa: RUF012
    given: Any = None

    def label(self, name: str, frame: int, size: Size) -> Tensor:
        right: Tensor = super().label(name, frame, size)
        return right if self.given is None else self.given(right)


def own_source(given: Any = None) -> ToySource:
    source = ToySource()
    source.recording = OwnRecording("own", 12, ["semantics"])
    source.recording.given = given
    return source


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda x: x[1:], r"own/front/3: the label semantics has the shape \(31, 64\), expected \(32, 64\)"),
        (lambda x: x.short(), "own/front/3: .* is of torch.int16, expected int64"),
        (
            lambda x: 2 * x,
            "own/front/3: the label semantics has class ids such as 2 .* expected 0 to 1 or 255",
        ),
    ],
    ids=["size", "type", "class"],
)
def test_loaders_refuse_the_label_of_a_reader_before_it_reaches_a_task(given: Any, message: str) -> None:
    """On a GPU nobody looks at the values any more."""
    assert Windows(own_source(), (), (32, 64))[3].labels["semantics"].unique().tolist() == [0, 1]
    with pytest.raises(DataError, match=message):
        Windows(own_source(given), (), (32, 64))[3]


def test_data_of_other_classes_than_the_task_are_refused_before_training() -> None:
    data = DataSet(source=own_source(), batch_size=2, size=(32, 64))
    experiment = Experiment(data={"mine": data}, tasks={})
    encoder = Compact([8, 8, 8, 8, 16])
    good = Model(encoder, {"s": Segmentation(encoder, "Segformer", ["left", "right"], width=8)})
    windows(experiment, good, data, "mine", training=False)
    other = Model(encoder, {"s": small(encoder, "Segformer")})
    message = (
        r"'s' takes semantics .* 19 \(road, sidewalk, building, ...\), but own of data set mine names 2 \("
    )
    with pytest.raises(ConfigError, match=message):
        windows(experiment, other, data, "mine", training=True)
    silent = replace(data, source=ToySource(12, ["semantics"]))
    with pytest.raises(ConfigError, match=r"names none; .* or name them in `Recording.classes`"):
        windows(experiment, other, silent, "mine", training=True)


def test_pictures_show_prediction_and_truth_in_the_colours_of_the_classes() -> None:
    task, batch = small(Compact(), "Segformer"), example()
    truth = batch.labels["semantics"]
    scores = functional.one_hot(truth.clamp(max=COUNT - 1), COUNT).permute(0, 3, 1, 2).float()
    image, predicted, true = task.picture(scores, batch).split(SIZE[0], dim=1)
    torch.testing.assert_close(image, batch.inputs.image(TARGET)[0])
    for picture, classes in ((true, truth[0]), (predicted, scores[0].argmax(0))):
        for y, x in ((0, 0), (13, 50), (63, 95)):
            k = int(classes[y, x])
            expected = (0, 0, 0) if k == UNLABELLED else CITYSCAPES.colours[k]
            assert (255 * picture[:, y, x]).round().tolist() == list(expected)
    assert task.picture(scores, replace(batch, labels={})).shape == (3, 2 * SIZE[0], SIZE[1])


def test_it_learns_where_dark_and_bright_are() -> None:
    """From 40 steps on images of bright boxes before dark ground, to new ones."""
    torch.manual_seed(0)
    encoder = Compact([8, 16, 16, 16, 16])
    task = Segmentation(encoder, "FPN", ["ground", "box"], width=64)
    model = Model(encoder, {"s": task})
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)

    def boxes() -> Batch:
        truth = torch.zeros(4, *SIZE, dtype=torch.int64)
        for item in truth:
            top, left = (int(torch.randint(0, 32, ())), int(torch.randint(0, 64, ())))
            item[top : top + 24, left : left + 24] = 1
        images = (0.2 + 0.5 * truth[:, None, None] + 0.1 * torch.rand(4, 1, 3, *SIZE)).float()
        batch = example(count=4)
        return replace(
            batch, inputs=replace(batch.inputs, images=images), clean=images, labels={"semantics": truth}
        )

    def miou() -> float:
        with torch.no_grad():
            batch = boxes()
            output = model.eval().predict(batch.inputs)["s"]
        return task.summarise(task.metrics(output, batch))["miou"]

    before = miou()
    for _ in range(40):
        optimizer.zero_grad()
        model.train()(boxes()).losses["s"].backward()
        optimizer.step()
    assert before < 0.6
    assert miou() > 0.85
