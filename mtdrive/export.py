"""A policy as one file that needs no mtdrive: tensors in, plan out."""

from __future__ import annotations

import importlib.util
import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mtdrive.batch import TARGET, Command, Inputs
from mtdrive.data.recording import Size
from mtdrive.errors import CheckpointError, ConfigError
from mtdrive.files import write_atomically
from mtdrive.model import Model
from mtdrive.policy_agent import load_policy
from mtdrive.randomness import generator
from mtdrive.rig import load_rig
from mtdrive.tasks.policy import Policy

TOLERANCE = 1e-5
"""By how much the file's plan may differ from the policy's, relative to its largest value or to 1."""
PAIRS = 30
"""How often each of the two is timed."""

Format = Literal["torch", "onnx"]


class Exportable(nn.Module):
    """The encoder and the policy, with plain tensors for inputs and outputs."""

    def __init__(self, model: Model, name: str) -> None:
        super().__init__()
        policy = model.task(name)
        assert isinstance(policy, Policy)
        self.model, self.name = model, name
        self.views = policy.reads or (TARGET,)
        self.outputs = policy.outputs

    def forward(
        self,
        images: Float[Tensor, "1 v 3 h w"],
        speed: Float[Tensor, " 1"],
        command: Int[Tensor, " 1"],
        target_point: Float[Tensor, "1 2"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Return the plan's quantities in the order of `outputs`."""
        cameras = torch.eye(3).expand(*images.shape[:2], 3, 3)
        inputs = Inputs(
            views=self.views, images=images, intrinsics=cameras, speed=speed, command=command,
            target_point=target_point,
        )  # fmt: skip
        values = self.model.predict(inputs, [self.name])[self.name].values
        return tuple(values[name] for name in self.outputs)


@dataclass(frozen=True)
class Exported:
    """What became of an export."""

    inputs: dict[str, tuple[int, ...]]
    """Shapes by name."""
    outputs: dict[str, tuple[int, ...]]
    difference: float
    """Largest difference to the policy, relative to the largest value of a quantity or to 1."""
    milliseconds: dict[str, float]
    """Median time of a prediction on one CPU thread, by who predicts."""
    size: int
    """Of the file in bytes."""

    def figures(self) -> dict[str, object]:
        """Return all of it for a table."""
        shapes = {f"input {n}": _shape(s) for n, s in self.inputs.items()}
        shapes |= {f"output {n}": _shape(s) for n, s in self.outputs.items()}
        times = {f"milliseconds of {name}": x for name, x in self.milliseconds.items()}
        return {**shapes, **times, "difference": f"{self.difference:.1e}", "megabytes": self.size / 1e6}


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def export_policy(checkpoint: Path, out: Path, format: Format = "torch") -> Exported:
    """Write the policy of a checkpoint as a program, once it was seen to equal the policy.

    Args:
        checkpoint: of a training run.
        out: the file: of `torch.export`, or of ONNX.
        format: which of the two.

    Raises:
        CheckpointError: if the checkpoint has no policy, or the program is not equal to it.
        ConfigError: if ONNX is asked for and not installed.
    """
    if format == "onnx":
        _check_onnx()
    model, name = load_policy(checkpoint)
    size = load_rig(checkpoint).size
    assert size is not None
    policy = Exportable(model, name).eval()
    cases = examples(policy, size)
    with torch.no_grad():
        content, run = _WRITERS[format](policy, tuple(cases[0].values()))
        expected = [policy(*case.values()) for case in cases]
        found = [run(*case.values()) for case in cases]
        difference = max(_difference(e, f) for e, f in zip(expected, found, strict=True))
        if not difference <= TOLERANCE:
            raise CheckpointError(
                f"{checkpoint}: the exported program differs from the policy by {difference:.1e}, more than "
                f"{TOLERANCE:.0e}; nothing was written: report this with your versions of torch and mtdrive"
            )
        times = _race({"mtdrive": policy, format: run}, tuple(cases[0].values()))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, content)
    return Exported(
        inputs={n: tuple(x.shape) for n, x in cases[0].items()},
        outputs={n: tuple(x.shape) for n, x in zip(policy.outputs, expected[0], strict=True)},
        difference=difference,
        milliseconds=times,
        size=len(content),
    )


def examples(policy: Exportable, size: Size) -> list[dict[str, Tensor]]:
    """Return inputs to compare on: an image of noise, a speed and a place for every command."""
    draw = generator(0, "export")
    task = policy.model.task(policy.name)
    assert isinstance(task, Policy)
    size = size if task.reads else (2, 2)
    cases = []
    for command in Command:
        case = {
            "images": torch.rand(1, len(policy.views), 3, *size, generator=draw),
            "speed": 15 * torch.rand(1, generator=draw),
            "command": torch.tensor([int(command)]),
        }
        if task.target_point:
            case["target_point"] = 20 * torch.randn(1, 2, generator=draw)
        cases.append(case)
    return cases


def _difference(expected: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> float:
    """Return the largest difference; infinity where one is not a number."""
    largest = [
        float(((e - f).abs().max() / e.abs().max().clamp(min=1)).nan_to_num(nan=torch.inf))
        for e, f in zip(expected, found, strict=True)
    ]
    return max(largest)


def _race(runs: dict[str, Callable[..., Any]], case: tuple[Tensor, ...]) -> dict[str, float]:
    """Return the median milliseconds of each; they take turns, so that a busy machine slows them alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(PAIRS + 3):
            for name, run in runs.items():
                began = time.perf_counter()
                run(*case)
                times[name].append(1e3 * (time.perf_counter() - began))
        return {name: statistics.median(found[3:]) for name, found in times.items()}
    finally:
        torch.set_num_threads(threads)


Writer = Callable[[Exportable, tuple[Tensor, ...]], tuple[bytes, Callable[..., Any]]]


def _write_torch(policy: Exportable, case: tuple[Tensor, ...]) -> tuple[bytes, Callable[..., Any]]:
    """Return the program's file, and the program as it is read back from there."""
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(policy, case), buffer)
    content = buffer.getvalue()
    return content, torch.export.load(io.BytesIO(content)).module()


def _check_onnx() -> None:
    missing = [n for n in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(n) is None]
    if missing:
        raise ConfigError(
            f"the format onnx needs {', '.join(missing)}: run pip install 'mtdrive[onnx]', or take "
            "--format torch"
        )


def _write_onnx(policy: Exportable, case: tuple[Tensor, ...]) -> tuple[bytes, Callable[..., Any]]:
    """Return the model's file, and a function that runs it by onnxruntime."""
    import onnxruntime

    names = ["images", "speed", "command", "target_point"][: len(case)]
    program = torch.onnx.export(
        policy, case, input_names=names, output_names=list(policy.outputs), dynamo=True, verbose=False
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        feeds = {name: x.numpy() for name, x in zip(names, tensors, strict=True)}
        return tuple(map(torch.from_numpy, session.run(None, feeds)))

    return content, run


_WRITERS: dict[Format, Writer] = {"torch": _write_torch, "onnx": _write_onnx}
