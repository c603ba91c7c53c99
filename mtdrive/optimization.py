"""How gradients move the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mtdrive.errors import ConfigError, check_least


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """How the weights move; Monodepth2's settings by default."""

    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    """Of the model; a weighting's own parameters never decay."""
    weighting_learning_rate: float | None = None
    """Of a weighting's own parameters; the model's if none is given."""
    learning_rates: dict[str, float] = field(default_factory=dict)
    """Of parts, such as `{encoder: 1.0e-4, tasks.depth: 2.0e-4}`; `learning_rate` is that of the others."""
    schedule: Literal["steps", "cosine"] = "steps"
    """`steps`: by `milestones`. `cosine`: down to 0 at the last step."""
    milestones: list[int] = field(default_factory=lambda: [14])
    """Finished epochs after which the learning rate is multiplied by `gamma`."""
    gamma: float = 0.1
    clip_gradient: float | None = None
    """Largest norm of all gradients together."""

    def __post_init__(self) -> None:
        check_least("optimization", self, {"learning_rate": 0, "weight_decay": 0, "clip_gradient": 0})
        for part, rate in self.learning_rates.items():
            if rate < 0:
                raise ConfigError(f"optimization.learning_rates.{part} must be at least 0, found {rate}")

    def factor(self, epoch: int, done: float = 0.0) -> float:
        """Return the factor on the learning rates.

        Args:
            epoch: counted from 0.
            done: share of the run's steps that are finished.
        """
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


def make_optimizer(
    model: nn.Module, weighting: nn.Module, optimization: Optimization
) -> torch.optim.Optimizer:
    """Return the optimizer, with parts that have a rate of their own, and the weighting, in further groups.

    Raises:
        ConfigError: if a part that is to have a rate of its own has no parameters.
    """
    groups: list[dict[str, Any]] = [
        {"params": parameters, "lr": rate, "weight_decay": optimization.weight_decay}
        for rate, parameters in _by_rate(model, optimization)
    ]
    own = list(weighting.parameters())
    if own:
        rate = optimization.weighting_learning_rate
        groups.append(
            {"params": own, "lr": optimization.learning_rate if rate is None else rate, "weight_decay": 0.0}
        )
    for group in groups:
        group["initial_lr"] = group["lr"]
    kind = torch.optim.Adam if optimization.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, fused=True)


def _by_rate(model: nn.Module, optimization: Optimization) -> list[tuple[float, list[nn.Parameter]]]:
    """Return the trained parameters by their learning rate; a part within a part has its own."""
    parts: dict[str, list[nn.Parameter]] = {"": [], **{part: [] for part in optimization.learning_rates}}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            within = [part for part in parts if not part or f"{name}.".startswith(f"{part}.")]
            parts[max(within, key=len)].append(parameter)
    if empty := [part for part in optimization.learning_rates if not parts[part]]:
        tops = sorted(
            {".".join(n.split(".")[: 1 + n.startswith("tasks.")]) for n, _ in model.named_parameters()}
        )
        raise ConfigError(
            f"optimization.learning_rates names {empty[0]!r}, which has nothing to train; parts are, with "
            f"what is in them, {', '.join(tops)}"
        )
    rates = {"": optimization.learning_rate, **optimization.learning_rates}
    return [(rates[part], parameters) for part, parameters in parts.items() if parameters]


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its initial rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric) -> None:
    """Replace every gradient by its mean over the processes, in one reduction.

    After the weighting rather than by a DDP wrapper, so that one path serves every method and the weighting's
    own parameters. A gradient that some process lacks counts as zero there; one that all lack stays absent.
    """
    if fabric.world_size == 1:
        return
    present = torch.tensor([float(p.grad is not None) for p in parameters], device=fabric.device)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([present, *(g.float().flatten() for g in grads)])
    torch.distributed.all_reduce(flat)
    counts, *means = flat.split([len(grads), *(g.numel() for g in grads)])
    for parameter, count, mean in zip(parameters, counts.tolist(), means, strict=True):
        if count:
            parameter.grad = _laid_out_as(parameter, (mean / fabric.world_size).view(parameter.shape))


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[list[int]]]:
    """Return an optimizer's state as named tensors, and the parameters' numbers by group."""
    state = optimizer.state_dict()
    tensors = {
        f"optimizer.{number}.{name}": torch.as_tensor(x)
        for number, entries in state["state"].items()
        for name, x in entries.items()
    }
    return tensors, [group["params"] for group in state["param_groups"]]


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[list[int]]
) -> None:
    """Give an optimizer the state that `pack_optimizer` returned."""
    own = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in own] != groups:
        raise ValueError("the optimizer has other parameters")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        state.setdefault(int(number), {})[name] = _laid_out_as(parameters[int(number)], tensor)
    optimizer.load_state_dict({"state": state, "param_groups": own})


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return a gradient or moment in its parameter's memory format: fused optimizers pair them by address."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
