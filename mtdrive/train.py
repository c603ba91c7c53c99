"""The training loop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mtdrive.batch import Batch
from mtdrive.checkpoint import Checkpoints, Tensors, load_state, load_weights, restore
from mtdrive.data.packed import Packed
from mtdrive.errors import CheckpointError, ConfigError, TrainingError, check_least
from mtdrive.log import Log
from mtdrive.model import Model
from mtdrive.optimization import (
    Optimization,
    average_gradients,
    make_optimizer,
    pack_optimizer,
    set_learning_rates,
    unpack_optimizer,
)
from mtdrive.pace import Pace
from mtdrive.phases import Phases
from mtdrive.randomness import derive
from mtdrive.replay import replay
from mtdrive.reports import Reports
from mtdrive.rig import FILE as RIG
from mtdrive.rig import Rig
from mtdrive.stopping import agreed, stop_signals
from mtdrive.task import Pass, merge
from mtdrive.weighting import Weighting


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long, how exact, and how often to report."""

    epochs: int = 20
    """Of the first data set of the mix."""
    steps: int | None = None
    """Stop after so many steps, whatever the epochs."""
    minutes: float | None = None
    """Stop after so much time, if the last step does not come before; a cosine schedule then follows the
    time. Such a run repeats no other to the bit."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    channels_last: bool = True
    accelerator: str = "auto"
    """`auto`, `cpu` or `cuda`. Several processes are started by torchrun."""
    threads: int | None = None
    """CPU threads of this process; torch's choice if none is given."""
    log_every: int = 50
    """Steps between reports of losses and metrics."""
    picture_every: int = 1000
    """Steps between pictures; 0 draws none."""
    share_every: int = 200
    """Steps between looks at how much each task pulls at what is shared, and against which others; 0 never
    looks. One costs a backward pass through the heads and, for each task, one through the encoder."""
    save_every: int = 1000
    """Steps between checkpoints; one more is written after the last step."""
    evaluate_every: int = 1000
    """Steps between evaluations on the validation data."""
    monitor: str | None = None
    """The figure whose best checkpoint is kept, such as `validation/kitti/depth/abs_rel`."""
    monitor_mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        ones = ("epochs", "steps", "log_every", "save_every", "evaluate_every", "threads")
        zeros = ("picture_every", "share_every")
        check_least("training", self, dict.fromkeys(ones, 1) | dict.fromkeys(zeros, 0))


@dataclass
class State:
    """What changes from step to step besides weights and moments."""

    step: int = 0
    """Finished steps."""
    seconds: float = 0.0
    """Time that these took."""
    best: float | None = None
    """Best value of the monitored figure."""
    stopped_by: int | None = None
    """The signal that ended training before its last step."""


@dataclass(frozen=True)
class Run:
    """Everything that training works on."""

    model: Model
    weighting: Weighting
    streams: Mapping[str, Callable[[int], Iterator[Packed]]]
    """By data set: endless batches from a step on."""
    steps_per_epoch: int
    validate: Callable[[], dict[str, float]]
    """Figures on all of the validation data; empty where there are none."""
    log: Log
    checkpoints: Checkpoints
    config: str
    """YAML, kept in every checkpoint."""
    seed: int
    fabric: Fabric
    rig: Rig | None = None
    """Of the cars that a policy learns from, kept in every checkpoint."""
    phases: Phases = field(default_factory=Phases)
    """What learns when."""


def fit(run: Run, optimization: Optimization, training: Training, resume: bool = False) -> State:
    """Train until the last step, or until Ctrl-C or SIGTERM, which save a checkpoint first.

    Every draw is a function of the seed and the step, so that a run killed at any point and resumed ends with
    the same weights as one that was not.

    Raises:
        TrainingError: if a loss is not finite, or a checkpoint cannot be written.
    """
    optimizer = make_optimizer(run.model, run.weighting, optimization)
    state = _resume(run, optimizer) if resume else State()
    total = training.steps or training.epochs * run.steps_per_epoch
    pace, begun = Pace(total, training.minutes, run.fabric.world_size), time.monotonic() - state.seconds
    streams = [stream(state.step) for stream in run.streams.values()]
    reports = Reports(
        run.model,
        run.weighting,
        list(run.streams),
        run.log,
        run.fabric,
        training.log_every,
        training.picture_every,
        training.share_every,
    )
    first = run.fabric.is_global_zero
    if state.step == 0:
        _evaluate(run, training, state)
    with stop_signals() as stop, pace.progress(state.step, state.seconds, quiet=not first) as tell:
        while (done := pace.share(state.step, state.seconds)) < 1:
            if agreed(stop, state.step % training.log_every == 0, run.fabric):
                break
            epoch = state.step // run.steps_per_epoch
            set_learning_rates(optimizer, optimization.factor(epoch, done))
            run.model.step = state.step
            batches = _next(streams, stop, run.fabric.device)
            if not batches:
                break
            # After loading: a loader draws from the global generator when it starts.
            torch.manual_seed(derive(run.seed, "step", state.step, run.fabric.global_rank))
            step(run, optimizer, optimization, batches, reports, state.step)
            state.step += 1
            state.seconds = time.monotonic() - begun
            if state.step % run.steps_per_epoch == 0:
                run.weighting.epoch_end()
            tell(state.step, state.seconds, reports.after_step(state.step))
            last = pace.share(state.step, state.seconds) >= 1
            _evaluate_and_save(run, optimizer, training, state, last)
        if pace.share(state.step, state.seconds) < 1:
            save(run, optimizer, state)
            state.stopped_by = stop[0] if stop else signal.SIGTERM
    return state


def _next(streams: Sequence[Iterator[Packed]], stop: list[int], device: torch.device) -> list[Batch]:
    """Return a batch of each stream; none if the signal to stop has ended the loading processes, too."""
    try:
        return [next(stream).to(device, non_blocking=True) for stream in streams]
    except RuntimeError:
        if stop:
            return []
        raise


def step(
    run: Run,
    optimizer: torch.optim.Optimizer,
    optimization: Optimization,
    batches: Sequence[Batch],
    reports: Reports,
    number: int = 0,
) -> None:
    """Make one step, after `number` others, on a batch of each data set."""
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    run.model.train()
    run.phases.enter(run.model, trained, number)
    passes = forward(run, batches)
    merged = merge(passes)
    reports.see(merged, passes, batches)
    shared = [p for p in run.model.encoder.parameters() if p.requires_grad]
    reports.share(merged, passes, shared, number + 1)
    run.weighting.backward(merged, shared, run.fabric.backward)
    average_gradients(trained, run.fabric)
    if optimization.clip_gradient is not None:
        nn.utils.clip_grad_norm_(trained, optimization.clip_gradient)
    optimizer.step()
    optimizer.zero_grad()
    seed = derive(run.seed, "step", number, run.fabric.global_rank)  # as before the first forward pass
    run.weighting.after_step(lambda: merge(replay(run.model, batches, run.fabric.autocast(), seed)).losses)


def forward(run: Run, batches: Sequence[Batch]) -> list[Pass]:
    """Run the model on a batch of each data set."""
    with run.fabric.autocast():
        return [run.model(batch) for batch in batches]


def _evaluate_and_save(
    run: Run, optimizer: torch.optim.Optimizer, training: Training, state: State, last: bool
) -> None:
    best = (last or state.step % training.evaluate_every == 0) and _evaluate(run, training, state)
    if best or last or state.step % training.save_every == 0:
        save(run, optimizer, state, best)


def _evaluate(run: Run, training: Training, state: State) -> bool:
    """Log the figures on the validation data and return whether they are the best so far.

    Also done before the first step: it shows what the untrained network is worth, and bad validation data
    before they cost a day.
    """
    # Those of the first process: with batch normalisation each has running statistics of its own.
    figures: dict[str, float] = run.fabric.broadcast(run.validate())
    if figures:
        run.log.numbers(state.step, figures)
    return _improves(figures, training, state)


def _improves(figures: Mapping[str, float], training: Training, state: State) -> bool:
    """Return whether the monitored figure is the best of any trained network so far, and note it.

    Raises:
        ConfigError: if the figure is not measured.
    """
    if training.monitor is None:
        return False
    if training.monitor not in figures:
        raise ConfigError(f"monitor {training.monitor!r} is not measured; choose from {sorted(figures)}")
    if state.step == 0:
        return False
    value = figures[training.monitor]
    sign = 1 if training.monitor_mode == "min" else -1
    if state.best is not None and not sign * value < sign * state.best:
        return False
    state.best = value
    return True


def save(run: Run, optimizer: torch.optim.Optimizer, state: State, best: bool = False) -> None:
    """Write a checkpoint (the first process does).

    Raises:
        TrainingError: if a weight is not finite, or the checkpoint cannot be written.
    """
    if run.fabric.is_global_zero:
        broken = [
            n for n, x in run.model.state_dict().items() if x.is_floating_point() and not x.isfinite().all()
        ]
        if broken:
            raise TrainingError(
                f"weights are not finite after step {state.step}, first {broken[0]}; the last checkpoint is "
                "kept: lower the learning rate or clip gradients"
            )
        tensors, plain = pack_optimizer(optimizer)
        tensors |= {f"weighting.{name}": x for name, x in run.weighting.state_dict().items()}
        run.checkpoints.save(
            state.step,
            model=run.model.state_dict(),
            tensors=tensors,
            state={"best": state.best, "seconds": state.seconds, "optimizer": plain},
            config=run.config,
            best=best,
            files={} if run.rig is None else {RIG: run.rig.json()},
        )
    run.fabric.barrier()


def _resume(run: Run, optimizer: torch.optim.Optimizer) -> State:
    """Load the last checkpoint, or start where there is none."""
    path = run.checkpoints.last()
    if path is None:
        return State()
    restore(run.model, load_weights(path), path)
    tensors, state = load_state(path)
    restore(run.weighting, _with_prefix(tensors, "weighting."), path)
    try:
        unpack_optimizer(optimizer, _with_prefix(tensors, "optimizer."), state["optimizer"])
        return State(step=int(state["step"]), seconds=float(state.get("seconds", 0)), best=state["best"])
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its state does not fit this run ({error})") from error


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
