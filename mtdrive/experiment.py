"""What a run is: its configuration, and everything built from it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning_fabric import Fabric

from mtdrive.batch import View
from mtdrive.checkpoint import Checkpoints, load_config, load_weights, restore, restore_parts
from mtdrive.curves import draw_curves
from mtdrive.data.augment import Augment
from mtdrive.data.balance import weigh
from mtdrive.data.loaders import Batches, Order, evaluation_batches, training_batches
from mtdrive.data.packed import Packed
from mtdrive.data.recording import Size, Source
from mtdrive.data.windows import Windows
from mtdrive.devices import make_fabric
from mtdrive.encoder import Encoder
from mtdrive.errors import CheckpointError, ConfigError, check_least
from mtdrive.evaluate import measure
from mtdrive.files import write_atomically
from mtdrive.log import Files, Log, Logs, TensorBoard
from mtdrive.mix import check_classes, check_mix, rig_of
from mtdrive.model import Model
from mtdrive.optimization import Optimization
from mtdrive.phases import Phase, Phases
from mtdrive.pretrained import without_pretrained
from mtdrive.randomness import derive, seeded
from mtdrive.settings import check_free, parse, schema
from mtdrive.sharing import Sharing
from mtdrive.task import Coupling, Kind, Task
from mtdrive.train import Run, State, Training, fit
from mtdrive.weighting import Weighting
from mtdrive.weighting.fixed import Fixed


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set of the mix."""

    source: Source
    batch_size: int
    size: Size
    """Of the images that the networks see, in pixels (height, width)."""
    workers: int = 4
    """Processes that load; 0 loads in the training process."""
    stride: int = 1
    """Frames on disk between neighbouring views."""
    views: list[str] | None = None
    """What each item holds, such as `[front, front-1, stereo]`; what the tasks ask for if none is given."""
    augment: Augment | None = field(default_factory=Augment)
    """Flips and jitter of the training data."""
    balance: dict[str, float] | None = None
    """How many times as often training sees frames of a situation, such as `{left: 3, braking: 2}`; the
    factors of all that goes on in a frame are multiplied. An epoch stays as long."""

    def __post_init__(self) -> None:
        check_least("data", self, {"batch_size": 1, "workers": 0, "stride": 1})
        for name, factor in (self.balance or {}).items():
            if not 0 <= factor < math.inf:
                raise ConfigError(f"data.balance.{name} must be a factor of at least 0, found {factor}")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A run, as its configuration describes it."""

    data: dict[str, DataSet]
    """The mix: a step takes one batch of each. The first counts the epochs."""
    tasks: dict[str, Callable[[Encoder], Task[Any]]]
    """The heads by name."""
    initial: Path | None = None
    """A checkpoint whose weights the run starts from, as far as both have the encoder or a task."""
    encoder: Callable[[], Encoder] = Encoder
    """What the tasks share."""
    couplings: dict[str, Callable[[], Coupling]] = field(default_factory=dict)
    """Losses that tie tasks."""
    sharing: dict[str, Sharing] = field(default_factory=dict)
    """How much a task's gradient changes the encoder, by the names of tasks; in full if it is not named."""
    phases: list[Phase] = field(default_factory=list)
    """Stretches of training in which only some tasks, or parts of the network, learn."""
    cycle_phases: bool = False
    """Begin again with the first phase after the last one; otherwise everything learns then."""
    weighting: Callable[[Mapping[str, Kind]], Weighting] = Fixed
    """How the losses become one update."""
    validation: dict[str, DataSet] = field(default_factory=dict)
    """Evaluated now and then, unaugmented."""
    optimization: Optimization = field(default_factory=Optimization)
    training: Training = field(default_factory=Training)
    seed: int = 0


def parser() -> ArgumentParser:
    """Return the parser of training runs."""
    return schema("train", Experiment)


def instantiate(settings: Namespace) -> Experiment:
    """Return the experiment that the settings describe."""
    values = vars(parser().instantiate(settings))
    values.pop("config", None)
    return Experiment(**values)


def build_model(experiment: Experiment) -> Model:
    """Return the model; the initial weights of a part are a function of the seed and its name."""
    with seeded(experiment.seed, "encoder"):
        encoder = experiment.encoder()
    built: dict[str, Task[Any]] = {}
    for name, make in experiment.tasks.items():
        with seeded(experiment.seed, "task", name):
            built[name] = make(encoder)
    couplings: dict[str, Coupling] = {}
    for name, make_coupling in experiment.couplings.items():
        with seeded(experiment.seed, "coupling", name):
            couplings[name] = make_coupling()
    return Model(encoder, built, couplings, experiment.sharing)


def windows(experiment: Experiment, model: Model, data_set: DataSet, name: str, training: bool) -> Windows:
    """Return the items of a data set."""
    model.encoder.check_size(*data_set.size)
    views = model.views if data_set.views is None else [View.parse(text) for text in data_set.views]
    augment = data_set.augment if training else None
    seed = derive(experiment.seed, "data", name)
    items = Windows(data_set.source, views, data_set.size, data_set.stride, augment, seed)
    check_classes(model, name, items)
    return items


def train(arguments: Sequence[str], folder: Path, resume: bool = False) -> State:
    """Train what a command line describes; everything is written to `folder`.

    Raises:
        ConfigError: if the folder holds a run and `resume` is not set, or holds another run.
    """
    settings = parse(parser(), arguments)
    config: str = parser().dump(settings, skip_unset=False)  # a null may replace a default
    check_free(folder, config, resume)
    experiment = instantiate(settings)
    run = prepare(experiment, folder, config, resume)
    try:
        return fit(run, experiment.optimization, experiment.training, resume)
    finally:
        run.log.close()
        if run.fabric.is_global_zero:
            draw_curves(folder)


def prepare(experiment: Experiment, folder: Path, config: str, resume: bool) -> Run:
    """Build everything that training works on; the folder is touched once the settings have proven good."""
    training = experiment.training
    if training.threads:
        torch.set_num_threads(training.threads)
    fabric = launched(training)
    model = build_model(experiment)
    mix = {name: windows(experiment, model, d, name, True) for name, d in experiment.data.items()}
    check_mix(model, mix)
    phases = Phases(experiment.phases, experiment.cycle_phases)
    phases.check(model)
    rig = rig_of(model, mix)
    if experiment.initial and not (resume and Checkpoints(folder / "checkpoints").last()):
        restore_parts(model, load_weights(experiment.initial), experiment.initial)
    model.to(fabric.device)
    if training.channels_last:
        model.to(memory_format=torch.channels_last)
    validate = _validation(experiment, model, fabric)
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "config.yaml", config.encode())
    fabric.barrier()
    checkpoints = Checkpoints(folder / "checkpoints")
    last = checkpoints.last() if resume else None
    step = int(last.name.removeprefix("step_")) if last else 0
    orders = {
        name: partial(
            Order,
            len(mix[name]),
            d.batch_size,
            derive(experiment.seed, "order", name),
            rank=fabric.global_rank,
            ranks=fabric.world_size,
            weights=weigh(mix[name].targets, d.balance) if d.balance else None,
        )
        for name, d in experiment.data.items()
    }
    pin = fabric.device.type == "cuda"

    def stream(name: str, start: int) -> Iterator[Packed]:
        workers = experiment.data[name].workers
        return iter(training_batches(mix[name], orders[name](start=start), workers, pin))

    return Run(
        model=model,
        weighting=experiment.weighting(model.kinds).to(fabric.device),
        streams={name: partial(stream, name) for name in mix},
        steps_per_epoch=orders[next(iter(mix))]().steps,
        validate=validate,
        log=_logs(folder, step) if fabric.is_global_zero else Logs([]),
        checkpoints=checkpoints,
        config=config,
        seed=experiment.seed,
        fabric=fabric,
        rig=rig,
        phases=phases,
    )


def launched(training: Training) -> Fabric:
    """Return the launcher: one process, or those that torchrun started."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = make_fabric(
        training.accelerator,
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=processes // int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        strategy="ddp" if processes > 1 else "auto",
        precision=training.precision,
    )
    fabric.launch()
    return fabric


def _logs(folder: Path, step: int) -> Log:
    return Logs([Files(folder, step), TensorBoard(folder, step)])


def _validation(experiment: Experiment, model: Model, fabric: Fabric) -> Callable[[], dict[str, float]]:
    loaders: dict[str, Batches] = {
        name: evaluation_batches(windows(experiment, model, d, name, False), d.batch_size, d.workers)
        for name, d in experiment.validation.items()
    }

    def validate() -> dict[str, float]:
        return {
            f"validation/{name}/{figure}": value
            for name, loader in loaders.items()
            for figure, value in measure(model, loader, fabric.device).items()
        }

    return validate


@dataclass(frozen=True)
class Trained:
    """The model of a checkpoint."""

    model: Model
    size: Size
    """Of the images that it was trained on: those of its first data set."""


def load_model(checkpoint: Path, device: torch.device | str = "cpu") -> Trained:
    """Return the model of a checkpoint, in evaluation mode.

    Neither the training data nor pretrained files that the configuration names are needed.

    Raises:
        CheckpointError: if it is damaged or belongs to another architecture.
        ConfigError: if its configuration cannot be read.
    """
    text = load_config(checkpoint)
    try:
        settings = parser().parse_string(text)
    except (ArgumentError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{checkpoint / 'config.yaml'}: does not fit this version of mtdrive: {error}"
        ) from error
    size = next(iter(settings.data.values())).size
    settings.data, settings.validation = {}, {}
    with without_pretrained():
        model = build_model(instantiate(settings))
    restore(model, load_weights(checkpoint), checkpoint)
    return Trained(model.to(device).eval(), tuple(size))
