"""Evaluations of a checkpoint, as a command line describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentParser
from torch import device

from mtdrive.batch import View
from mtdrive.checkpoint import load_config
from mtdrive.data.recording import Size
from mtdrive.devices import make_fabric
from mtdrive.errors import ConfigError
from mtdrive.evaluate import DepthEvaluation, evaluate_depth
from mtdrive.evaluate_flow import FlowEvaluation, evaluate_flow
from mtdrive.evaluate_odometry import OdometryEvaluation, evaluate_odometry
from mtdrive.evaluate_policy import PolicyEvaluation, PolicyScore, evaluate_policy
from mtdrive.evaluate_segmentation import (
    SegmentationEvaluation,
    SegmentationScore,
    evaluate_segmentation,
)
from mtdrive.evaluate_tasks import TasksEvaluation, evaluate_tasks
from mtdrive.experiment import Trained, load_model
from mtdrive.rig import FILE, load_rig
from mtdrive.score import DepthScore
from mtdrive.score_flow import FlowScore
from mtdrive.score_odometry import OdometryScore
from mtdrive.score_tasks import TaskScore
from mtdrive.settings import parse, schema

EVALUATIONS = {
    "depth": DepthEvaluation,
    "flow": FlowEvaluation,
    "odometry": OdometryEvaluation,
    "policy": PolicyEvaluation,
    "segmentation": SegmentationEvaluation,
    "tasks": TasksEvaluation,
}
"""Settings by the kind of the evaluation."""


def evaluation_parser(kind: str) -> ArgumentParser:
    """Return the parser of an evaluation of one of the kinds of `EVALUATIONS`."""
    result = schema(f"evaluate CHECKPOINT --kind {kind}", EVALUATIONS[kind])
    result.add_argument("--accelerator", type=Literal["auto", "cpu", "cuda"], default="auto")
    return result


def depth(checkpoint: Path, arguments: Sequence[str]) -> DepthScore:
    """Score the depth of a checkpoint as a command line asks for.

    Raises:
        ConfigError: if a setting does not fit.
        CheckpointError: if the checkpoint cannot be used.
        DataError: if a frame or its ground truth is missing.
    """
    trained, values, where = _prepare("depth", checkpoint, arguments)
    return evaluate_depth(trained.model, DepthEvaluation(**values), trained.size, where)


def flow(checkpoint: Path, arguments: Sequence[str]) -> FlowScore:
    """Score the optical flow of a checkpoint as a command line asks for.

    Raises:
        ConfigError: if a setting does not fit.
        CheckpointError: if the checkpoint cannot be used.
        DataError: if a frame or its true flow is missing.
    """
    trained, values, where = _prepare("flow", checkpoint, arguments)
    return evaluate_flow(trained.model, FlowEvaluation(**values), trained.size, where)


def odometry(checkpoint: Path, arguments: Sequence[str]) -> OdometryScore:
    """Predict and score the trajectories of a checkpoint as a command line asks for.

    Raises:
        ConfigError: if a setting does not fit.
        CheckpointError: if the checkpoint cannot be used.
        DataError: if a frame or its true pose is missing.
    """
    trained, values, where = _prepare("odometry", checkpoint, arguments)
    return evaluate_odometry(trained.model, OdometryEvaluation(**values), trained.size, where)


def policy(checkpoint: Path, arguments: Sequence[str]) -> PolicyScore:
    """Score the plans of a checkpoint's policy as a command line asks for.

    Raises:
        ConfigError: if a setting does not fit.
        CheckpointError: if the checkpoint cannot be used.
        DataError: if a frame cannot be read.
    """
    trained, values, where = _prepare("policy", checkpoint, arguments)
    size = _acting_size(checkpoint, trained)
    return evaluate_policy(trained.model, PolicyEvaluation(**values), size, where)


def segmentation(checkpoint: Path, arguments: Sequence[str]) -> SegmentationScore:
    """Score the segmentation of a checkpoint as a command line asks for.

    Raises:
        ConfigError: if a setting does not fit.
        CheckpointError: if the checkpoint cannot be used.
        DataError: if a frame or its label is missing.
    """
    trained, values, where = _prepare("segmentation", checkpoint, arguments)
    return evaluate_segmentation(trained.model, SegmentationEvaluation(**values), trained.size, where)


def tasks(checkpoint: Path, arguments: Sequence[str]) -> TaskScore:
    """Score every task of a checkpoint as a command line asks for.

    Raises:
        ConfigError: if a setting does not fit.
        CheckpointError: if the checkpoint cannot be used.
        DataError: if a frame or label cannot be read, or the folder of drives.
    """
    trained, values, where = _prepare("tasks", checkpoint, arguments)
    evaluation = TasksEvaluation(**values)
    if evaluation.stride is None:
        evaluation = replace(evaluation, stride=_trained_stride(checkpoint))
    acting = _acting_size(checkpoint, trained)
    return evaluate_tasks(trained.model, evaluation, trained.size, where, acting, checkpoint)


def _acting_size(checkpoint: Path, trained: Trained) -> Size:
    """Return the size of the images that the policy was trained on."""
    rig = load_rig(checkpoint) if (checkpoint / FILE).exists() else None
    return rig.size if rig and rig.size else trained.size


def _trained_stride(checkpoint: Path) -> int:
    """Return that of the data in which items have neighbours in time."""
    data = (yaml.safe_load(load_config(checkpoint)).get("data") or {}).values()
    in_time = [d for d in data if d.get("views") is None or any(View.parse(v).offset for v in d["views"])]
    strides = {d.get("stride", 1) for d in in_time} or {1}
    if len(strides) > 1:
        raise ConfigError(
            f"the checkpoint was trained at the strides {sorted(strides)}; choose one by --stride"
        )
    return int(strides.pop())


def _prepare(kind: str, checkpoint: Path, arguments: Sequence[str]) -> tuple[Trained, dict[str, Any], device]:
    """Return the model, the settings of the evaluation, and where the model is."""
    by = evaluation_parser(kind)
    values = vars(by.instantiate(parse(by, arguments)))
    values.pop("config", None)
    fabric = make_fabric(values.pop("accelerator"), devices=1)
    return load_model(checkpoint, fabric.device), values, fabric.device
