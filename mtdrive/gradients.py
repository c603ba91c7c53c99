"""The gradients of several losses where they meet: at the shared features, or at the shared parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge

from mtdrive.ranks import average, processes
from mtdrive.task import Pass

Factor = Callable[[str], "Tensor | float"]
"""By the name of a loss."""


@dataclass(frozen=True)
class Rows:
    """One row of gradients for each loss that changes what is shared."""

    names: list[str]
    """Of the losses."""
    to: list[Tensor]
    """What the columns are the gradients of: levels of features, or parameters."""
    blocks: list[Float[Tensor, "k _n"]]
    """The columns of each, at least in float32."""
    joined: bool = True
    """Whether the processes have parts of one gradient each, rather than all of it."""

    def gramian(self) -> Float[Tensor, "k k"]:
        """Return the inner products of the rows, those of all processes together."""
        return torch.stack(self.products()).sum(0)

    def products(self) -> list[Float[Tensor, "k k"]]:
        """Return the inner products over the columns of each block."""
        found = [block @ block.T for block in self.blocks]
        if self.joined:
            # A process has the gradient of its own mean, of which the mean over processes is taken.
            average(found)
            found = [product / processes() for product in found]
        return found

    def combine(self, factors: Float[Tensor, " k"]) -> list[Tensor]:
        """Return the sum of the rows, each times its factor, in the shapes of `to`."""
        return self.shaped([factors.to(block) @ block for block in self.blocks])

    def shaped(self, columns: Sequence[Float[Tensor, " _n"]]) -> list[Tensor]:
        """Return a gradient given as flat columns in the shapes and types of `to`."""
        return [_shaped(flat, like) for flat, like in zip(columns, self.to, strict=True)]

    def backward(self, gradients: Sequence[Tensor]) -> None:
        """Add gradients at `to` to the `grad` of all parameters from which it was computed."""
        leaves = [(x, g) for x, g in zip(self.to, gradients, strict=True) if x.is_leaf]
        inner = [(x, g) for x, g in zip(self.to, gradients, strict=True) if not x.is_leaf]
        for leaf, gradient in leaves:
            accumulate(leaf, gradient)
        if inner:
            torch.autograd.backward([x for x, _ in inner], [g for _, g in inner])


def at_features(pass_: Pass, own: Factor | None = None, keep: bool = False) -> Rows:
    """Return the gradients of the losses at the shared features.

    Args:
        pass_: the losses of a step.
        own: if given, the gradients of the parameters of the heads are added to their `grad`, those of a
            loss times this factor.
        keep: keep the graph above the features for another use.
    """
    levels = [level for level in pass_.shared if level.requires_grad]
    found = {name: above(x, levels) for name, x in pass_.losses.items() if x.requires_grad}
    names = [name for name, (_, reaches) in found.items() if reaches]
    blocks = [level.new_empty((len(names), level.numel()), dtype=_wide(level)) for level in levels]
    for name, (heads, reaches) in found.items():
        wanted = (levels if reaches else []) + (heads if own else [])
        if not wanted:
            continue
        retain = keep or pass_.coupled
        gradients = torch.autograd.grad(pass_.losses[name], wanted, retain_graph=retain, allow_unused=True)
        if reaches:
            _fill(blocks, names.index(name), gradients[: len(levels)], levels)
        if own:
            for parameter, gradient in zip(heads, gradients[len(wanted) - len(heads) :], strict=True):
                if gradient is not None:
                    accumulate(parameter, own(name) * gradient)
    return Rows(names, levels, blocks)


def at_parameters(rows: Rows, parameters: Sequence[nn.Parameter], keep: bool = False) -> Rows:
    """Return the gradients at the shared parameters of losses whose gradients at the features are given.

    The processes then have the same: means over all of them.

    Args:
        rows: at the features.
        parameters: those that are trained.
        keep: keep the graph below the features for another use.
    """
    blocks = [p.new_empty((len(rows.names), p.numel()), dtype=_wide(p)) for p in parameters]
    for row in range(len(rows.names)):
        last = row == len(rows.names) - 1
        gradients = torch.autograd.grad(
            rows.to,
            parameters,
            rows.shaped([block[row] for block in rows.blocks]),
            retain_graph=keep or not last,
            allow_unused=True,
        )
        _fill(blocks, row, gradients, parameters)
    average(blocks)
    return Rows(rows.names, list(parameters), blocks, joined=False)


def cosines(gramian: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """Return the cosines of the angles between rows from their inner products; NaN for a row of zeros."""
    lengths = gramian.diagonal().clamp(min=0).sqrt()
    return gramian / torch.outer(lengths, lengths)


def accumulate(parameter: Tensor, gradient: Tensor) -> None:
    """Add to `grad`, in the memory format of the parameter: fused optimizers pair the two by address."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    else:
        parameter.grad += gradient


def above(tensor: Tensor, levels: Sequence[Tensor]) -> tuple[list[Tensor], bool]:
    """Return the leaves that a tensor depends on other than by levels, and whether it depends on these."""
    cut = {get_gradient_edge(level).node for level in levels}
    seen, leaves, reaches = set(cut), [], False
    nodes: list[Node | None] = [get_gradient_edge(tensor).node]
    while nodes:
        node = nodes.pop()
        reaches = reaches or node in cut
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # where gradients of a leaf are added up
            leaves.append(node.variable)
        nodes.extend(following for following, _ in node.next_functions)
    return leaves, reaches


def _fill(
    blocks: Sequence[Tensor], row: int, gradients: Sequence[Tensor | None], to: Sequence[Tensor]
) -> None:
    for block, gradient, like in zip(blocks, gradients, to, strict=True):
        block[row] = 0 if gradient is None else _flat(gradient, like)


def _flat(gradient: Tensor, like: Tensor) -> Tensor:
    """Return the values in the order in which `like` has its own in memory, so that nothing is moved."""
    return (gradient.permute(0, 2, 3, 1) if _channels_last(like) else gradient).reshape(-1)


def _shaped(flat: Tensor, like: Tensor) -> Tensor:
    flat = flat.to(like.dtype)
    if not _channels_last(like):
        return flat.view(like.shape)
    b, c, h, w = like.shape
    return flat.view(b, h, w, c).permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
