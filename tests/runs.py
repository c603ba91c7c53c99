"""Runs over toy data, small enough for many of them in a test."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mtdrive.data.augment import Augment
from mtdrive.encoder import Encoder
from mtdrive.experiment import DataSet, Experiment, prepare
from mtdrive.optimization import Optimization
from mtdrive.train import Run, State, Training, fit
from mtdrive.weighting.uncertainty import Uncertainty
from tests.toys import Agreement, Ahead, Brightness, Halves, ToySource

SIZE = (32, 64)


def experiment(**training: Any) -> Experiment:
    """Two data sets with different labels and sizes, three tasks, dropout, a coupling, learned weights."""
    settings = {
        "steps": 6,
        "log_every": 1,
        "save_every": 2,
        "evaluate_every": 3,
        "picture_every": 2,
        "accelerator": "cpu",
    }
    return Experiment(
        data={
            "video": DataSet(source=ToySource(9, ["semantics"], "video"), batch_size=2, size=SIZE, workers=0),
            "drives": DataSet(
                source=ToySource(12, ["toy_grade"], "drives"),
                batch_size=3,
                size=(64, 32),
                workers=0,
                augment=Augment(jitter=1.0),
            ),
        },
        encoder=partial(Encoder, "test_resnet"),
        tasks={"grade": partial(Brightness, dropout=0.3), "halves": Halves, "ahead": Ahead},
        couplings={"agree": Agreement},
        weighting=Uncertainty,
        validation={
            "held_out": DataSet(
                source=ToySource(5, ["toy_grade"], "held"), batch_size=2, size=SIZE, workers=0
            )
        },
        optimization=Optimization(learning_rate=1e-3, milestones=[1], clip_gradient=1.0),
        training=Training(**{**settings, **training}),
        seed=1,
    )


def start(
    folder: Path, resume: bool = False, given: Experiment | None = None, **training: Any
) -> tuple[Run, State]:
    """Run an experiment to its end."""
    described = given or experiment(**training)
    run = prepare(described, folder, "seed: 1\n", resume)
    try:
        return run, fit(run, described.optimization, described.training, resume)
    finally:
        run.log.close()


def with_data(base: Experiment, **changes: Any) -> Experiment:
    """Return the experiment with changed data sets."""
    return replace(base, data={name: replace(d, **changes) for name, d in base.data.items()})
