"""The policy task: its inputs, losses and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtdrive.batch import PATH_POINTS, TARGET, WAYPOINTS, Batch, Command, Inputs, View
from mtdrive.encoder import Encoder
from mtdrive.errors import ConfigError
from mtdrive.losses import valid_mean
from mtdrive.metrics import displacement_errors
from mtdrive.task import Pyramid, Task
from mtdrive.tasks.policy.control import Control
from mtdrive.tasks.policy.heads import Branches, Sight, Trail
from mtdrive.tasks.policy.picture import draw_plans, lens_of

Form = Literal["steer", "pedals", "waypoints", "path"]

FORMS: dict[str, tuple[str, ...]] = {
    "steer": ("steer", "target_speed"),
    "pedals": ("steer", "throttle", "brake"),
    "waypoints": ("waypoints", "target_speed"),
    "path": ("path", "target_speed"),
}
"""The labels that each form predicts."""
UNITS = {
    "steer": 0.2,
    "throttle": 0.5,
    "brake": 0.5,
    "target_speed": 5.0,
    "speed": 5.0,
    "waypoints": 2.0,
    "path": 1.0,
}
"""How much is much. Networks predict and losses compare in these units, so that the terms weigh alike."""
TRAILS = {"waypoints": (WAYPOINTS, 4.0), "path": (PATH_POINTS, 1.0)}
"""How many places there are, and how many metres one typically is from the next."""
FASTEST, FARTHEST = 10.0, 20.0
"""What speeds and target points are divided by on their way into the network: m/s, metres."""
SPEED_BRANCH = 0.1
"""Weight of the speed branch, if none is given."""


class Plan(NamedTuple):
    """What a policy wants, by the names of `LABELS`; `speed` is what it takes the own speed to be."""

    values: dict[str, Tensor]


class Policy(Task[Plan]):
    """Says how to drive on, from the images, the speed and the planner's command.

    Every command has layers of its own. L1 losses against what the expert did.
    """

    acts = True

    def __init__(
        self,
        encoder: Encoder,
        form: Form = "steer",
        cameras: Sequence[str] = ("front",),
        blind: bool = False,
        speed: bool = True,
        target_point: bool = False,
        speed_dropout: float = 0.5,
        target_dropout: float = 0.5,
        speed_branch: bool | None = None,
        dropout: float = 0.0,
        width: int = 256,
        weights: dict[str, float] | None = None,
        control: Control | None = None,
    ) -> None:
        """Build the head.

        Args:
            encoder: the shared one.
            form: what is predicted. `steer`: steering and target speed. `pedals`: steering, throttle and
                brake. `waypoints`, `path`: places at even times or distances, and target speed.
            cameras: that it looks through, `front` among them.
            blind: whether it sees no image: the baseline that tells what speed and command alone are worth.
            speed: whether it knows the speed of the car.
            target_point: whether it knows the planner's next point. A blind agent can follow much of a route
                by that alone, so judge what is seen without it.
            speed_dropout: share of the training items that hide the speed. A policy that always knows it
                learns that a car that stands goes on standing.
            target_dropout: share of the training items that hide the target point.
            speed_branch: whether the speed is also predicted, from the images alone; that is so for `pedals`
                unless it is said here.
            dropout: of the joint vector.
            width: of the vectors.
            weights: of the terms by name, 1 where none is given, but 0.1 for the speed branch, `speed`.
            control: how the plan is driven.

        Raises:
            ConfigError: if the settings contradict each other.
        """
        super().__init__()
        self.form, self.blind, self.control = form, blind, control or Control()
        self.speed_branch = form == "pedals" and not blind if speed_branch is None else speed_branch
        self.speed_dropout, self.target_dropout = speed_dropout, target_dropout
        self.cameras = tuple(cameras)
        self.knows_speed, self.target_point = speed, target_point
        seen = tuple(View(name) for name in self.cameras)
        self.views = (TARGET,) if blind else seen
        self.reads = () if blind else seen
        self.needs = frozenset(FORMS[form])
        self.outputs = FORMS[form]
        """What a plan has for driving, in order."""
        self.weights = dict.fromkeys(self.outputs, 1.0) | (
            {"speed": SPEED_BRANCH} if self.speed_branch else {}
        )
        self._check(weights or {})
        self.weights |= weights or {}
        self.sight = None if blind else Sight(encoder.channels[-1], len(seen), width)
        self._build(width, dropout)

    def _build(self, width: int, dropout: float) -> None:
        """Make the layers behind the images."""
        known = max(2 * self.knows_speed + 3 * self.target_point, 1)
        self.measured = nn.Sequential(nn.Linear(known, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        seen = 0 if self.blind else width
        self.join = nn.Sequential(nn.Linear(seen + 64, width), nn.ReLU(), nn.Dropout(dropout))
        if self.form in TRAILS:
            points, stride = TRAILS[self.form]
            self.trail = Trail(width, width // 2, points, stride)
        self.plain = [name for name in self.outputs if name not in TRAILS]
        self.branches = Branches(width, width // 2, len(self.plain))
        if self.speed_branch:
            self.own_speed = nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1))

    def _check(self, weights: Mapping[str, float]) -> None:
        if TARGET.camera not in self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"cameras must name front and others once each, found {list(self.cameras)}")
        if self.blind and (self.speed_branch or len(self.cameras) > 1):
            raise ConfigError(
                "a blind policy has no further cameras and no speed branch, which looks at them"
            )
        if self.form == "pedals" and self.control.least_speed:
            raise ConfigError("the form pedals has no target speed: leave control.least_speed at 0")
        if unknown := sorted(set(weights) - set(self.weights)):
            raise ConfigError(f"weights name {unknown}, but the terms are {', '.join(self.weights)}")
        for name in ("speed_dropout", "target_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be from 0 to 1, found {getattr(self, name)}")

    def forward(self, features: Mapping[View, Pyramid], inputs: Inputs) -> Plan:
        """Predict in the units of the labels; unknown speed and command count as hidden and `FOLLOW`."""
        count = inputs.images.shape[0]
        device = inputs.images.device
        command = inputs.command
        if command is None:
            command = torch.full((count,), int(Command.FOLLOW), device=device)
        seen = self._seen(features, inputs)
        # The vectors are small and their last digits steer the car: they stay out of autocast.
        with torch.autocast(device.type, enabled=False):
            measured = self.measured(self._measured(inputs, count))
            joined = self.join(torch.cat([*(s.float() for s in seen), measured], dim=1))
            values: dict[str, Tensor] = {}
            if self.form in TRAILS:
                values[self.form] = self.trail(joined, command)
            for name, column in zip(self.plain, self.branches(joined, command).unbind(1), strict=True):
                values[name] = UNITS[name] * column
            if self.speed_branch:
                values["speed"] = UNITS["speed"] * self.own_speed(seen[0].float())[:, 0]
        return Plan(values)

    def _seen(self, features: Mapping[View, Pyramid], inputs: Inputs) -> list[Float[Tensor, "b n"]]:
        """Return the vector of the images; a camera that is not there counts as black features."""
        if self.sight is None:
            return []
        level = features[TARGET][-1]
        levels = [features[v][-1] if v in features else torch.zeros_like(level) for v in self.reads]
        return [self.sight(levels)]

    def _measured(self, inputs: Inputs, count: int) -> Float[Tensor, "b n"]:
        """Return speed and target point with a flag each that says whether they are known."""
        like = inputs.images.new_zeros(count, 1, dtype=torch.float32)
        parts = []
        if self.knows_speed:
            parts.append(self._hidden(inputs.speed, like, FASTEST, self.speed_dropout))
        if self.target_point:
            parts.append(self._hidden(inputs.target_point, like.expand(-1, 2), FARTHEST, self.target_dropout))
        return torch.cat(parts, dim=1) if parts else like

    def _hidden(
        self, value: Tensor | None, like: Float[Tensor, "b k"], unit: float, dropout: float
    ) -> Float[Tensor, "b k+1"]:
        """Return a quantity and a flag, both 0 where it is unknown or, in training, dropped."""
        if value is None:
            return torch.cat([like, like[:, :1]], dim=1)
        scaled = value.float().view_as(like) / unit
        flag = torch.ones_like(like[:, :1])
        if self.training and dropout > 0:
            flag = (torch.rand_like(flag) >= dropout).float()
        return torch.cat([scaled * flag, flag], dim=1)

    def loss(self, output: Plan, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Return a term for each quantity that the batch knows."""
        terms = {}
        for name, weight in self.weights.items():
            truth = batch.inputs.speed if name == "speed" else batch.labels[name]
            if truth is not None:
                known = ~truth.isnan()
                error = (output.values[name] - truth.float().nan_to_num()).abs()
                terms[name] = weight * valid_mean(error / UNITS[name], known)
        return terms

    def metrics(self, output: Plan, batch: Batch) -> dict[str, Tensor]:
        """Return absolute errors in the units of the labels, and the command of each item."""
        columns: dict[str, Tensor] = {}
        for name, value in output.values.items():
            truth = batch.inputs.speed if name == "speed" else batch.labels.get(name)
            if truth is None:
                continue
            if name in TRAILS:
                columns["ade"], columns["fde"] = displacement_errors(value, truth)
            else:
                columns[f"{name}_mae"] = (value - truth).abs()
        if columns and batch.inputs.command is not None:
            columns["command"] = batch.inputs.command
        return columns

    def summarise(self, columns: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the mean errors, and those of each command that occurred, `ade/left` and the like."""
        errors = {name: column for name, column in columns.items() if name != "command"}
        figures = super().summarise(errors)
        if "command" in columns:
            for command in Command:
                rows = columns["command"] == command
                for name, column in errors.items():
                    if not column[rows].isnan().all():
                        figures[f"{name}/{command.name.lower()}"] = float(column[rows].nanmean())
        return figures

    @torch.no_grad()
    def picture(self, output: Plan, batch: Batch) -> Float[Tensor, "3 h w"]:
        """Draw the predicted way (red) and the expert's (green) into the first image, with their speeds."""
        inputs = batch.inputs
        truth = {name: batch.labels[name] for name in FORMS[self.form] if name in batch.labels}
        plans = {
            colour: {name: x[0].float().cpu().numpy() for name, x in values.items()}
            for colour, values in (("lime", truth), ("red", output.values))
        }
        pixels = (inputs.image(TARGET)[0].permute(1, 2, 0).cpu() * 255).byte().numpy()
        lens = lens_of(self.rig, inputs.camera(TARGET)[0].cpu().numpy())
        command = None if inputs.command is None else Command(int(inputs.command[0]))
        drawn = draw_plans(pixels, plans, lens, command)
        return torch.from_numpy(drawn).permute(2, 0, 1) / 255
