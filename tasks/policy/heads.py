"""The layers of a policy: from features to a vector, from the vector to one command's answer."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mtdrive.batch import Command


class Sight(nn.Module):
    """From the last level of each camera's pyramid to one vector that still knows where things are."""

    def __init__(
        self, channels: int, cameras: int, width: int, narrow: int = 64, grid: tuple[int, int] = (3, 6)
    ) -> None:
        """Build the layers.

        Args:
            channels: of the level.
            cameras: how many there are.
            width: of the vector.
            narrow: channels that are left of the level.
            grid: rows and columns that the level is averaged to, whatever the size of the images.
        """
        super().__init__()
        self.grid = grid
        self.narrow = nn.Conv2d(channels, narrow, 1)
        self.join = nn.Linear(cameras * narrow * grid[0] * grid[1], width)

    def forward(self, levels: list[Float[Tensor, "b c _h _w"]]) -> Float[Tensor, "b n"]:
        """Return the vector."""
        maps = [functional.relu(self.narrow(level)) for level in levels]
        cells = [
            m if m.shape[-2:] == self.grid else functional.adaptive_avg_pool2d(m, self.grid) for m in maps
        ]
        return functional.relu(self.join(torch.cat([m.flatten(1) for m in cells], dim=1)))


class Branches(nn.Module):
    """Two layers for each command; that of an item's command answers."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)) for _ in Command
        )

    def forward(self, joined: Float[Tensor, "b n"], command: Int[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Return the answers."""
        every = torch.stack([branch(joined) for branch in self.branches], dim=1)
        chosen = (command.long() - min(Command))[:, None, None].expand(-1, 1, every.shape[-1])
        return every.gather(1, chosen)[:, 0]


class Trail(nn.Module):
    """Places one after another: each step continues from the last place, by a GRU that a branch starts."""

    def __init__(self, inputs: int, hidden: int, points: int, stride: float, state: int = 64) -> None:
        """Build the layers.

        Args:
            inputs: of the vector.
            hidden: of the branches.
            points: how many places there are.
            stride: metres that a place is typically away from the one before.
            state: of the GRU.
        """
        super().__init__()
        self.points, self.stride = points, stride
        self.start = Branches(inputs, hidden, state)
        self.cell = nn.GRUCell(2, state)
        self.move = nn.Linear(state, 2)

    def forward(self, joined: Float[Tensor, "b n"], command: Int[Tensor, " b"]) -> Float[Tensor, "b p 2"]:
        """Return the places, (right, forward) in metres of the car."""
        state = torch.tanh(self.start(joined, command))
        place = state.new_zeros(len(state), 2)
        places = []
        for _ in range(self.points):
            state = self.cell(place / (self.stride * self.points), state)
            place = place + self.stride * self.move(state)
            places.append(place)
        return torch.stack(places, dim=1)
