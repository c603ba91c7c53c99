"""A route as points with commands, drawn over stretches of lanes. CARLA's frame: metres, degrees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import carla
import numpy as np
from jaxtyping import Float, Int

from mtdrive.envs.lane_graph import Stretch
from mtdrive.envs.lanes import Lane
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.speed_limits import without_gaps
from mtdrive.orders import Command

SPACING = 1.0
"""Metres between the points of a route, about: they are evenly apart."""

TURN = math.cos(math.radians(35))
"""Below 35 degrees a way through a junction is straight: CARLA's threshold."""


@dataclass(frozen=True, eq=False)
class Route:
    """A way along lanes, as points about a metre apart."""

    id: str
    town: str
    xyz: Float[np.ndarray, "n 3"]
    """Lane centres; in a change of lane, between two of them."""
    yaw: Float[np.ndarray, " n"]
    """Degrees, -180 to 180."""
    commands: Int[np.ndarray, " n"]
    """`mtdrive.orders.Command` of each point: a turn has its command inside the junction only."""
    distance: Float[np.ndarray, " n"]
    """Metres from the start."""
    road: Int[np.ndarray, "n 2"]
    """OpenDRIVE road id and lane id of each point."""
    speed_limit: Float[np.ndarray, " n"]
    """Metres a second."""

    @property
    def length(self) -> float:
        """Metres from the first point to the last."""
        return float(self.distance[-1])

    @property
    def start(self) -> carla.Transform:
        """The first place, on the ground, x along the lane."""
        return carla.Transform(
            carla.Location(*map(float, self.xyz[0])), carla.Rotation(yaw=float(self.yaw[0]))
        )

    @property
    def turns(self) -> int:
        """How many junctions are left to the left or to the right."""
        runs = (command for command, _ in groupby(self.commands.tolist()))
        return sum(command in (Command.LEFT, Command.RIGHT) for command in runs)

    def until(self, index: int) -> Route:
        """Return the route up to a point."""
        parts = ("xyz", "yaw", "commands", "distance", "road", "speed_limit")
        return replace(self, **{name: getattr(self, name)[: index + 1] for name in parts})


def trace(roads: RoadMap, stretches: Sequence[Stretch], id: str) -> Route:
    """Return the route over stretches that continue each other."""
    parts = [
        _points(roads, s, command) for s, command in zip(stretches, _commands(roads, stretches), strict=True)
    ]
    xyz, yaw, tags = (np.concatenate([p[k] for p in parts]) for k in range(3))
    gaps = np.linalg.norm(np.diff(xyz, axis=0), axis=1)
    fresh = np.r_[True, gaps > 1e-3]
    xyz, yaw, tags = xyz[fresh], yaw[fresh], tags[fresh]
    along = np.r_[0.0, np.cumsum(gaps[gaps > 1e-3])]
    even = np.linspace(0, along[-1], max(2, round(along[-1] / SPACING) + 1))
    nearest = np.searchsorted((along[1:] + along[:-1]) / 2, even)
    turned = np.interp(even, along, np.unwrap(yaw, period=360))
    return Route(
        id,
        roads.name,
        xyz=np.stack([np.interp(even, along, axis) for axis in xyz.T], axis=1),
        yaw=(turned + 180) % 360 - 180,
        commands=tags[nearest, 0].astype(np.int64),
        distance=even,
        road=tags[nearest, 1:3].astype(np.int64),
        speed_limit=without_gaps(tags[:, 3])[nearest],
    )


Points = tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"], Float[np.ndarray, "n 4"]]


def _points(roads: RoadMap, stretch: Stretch, command: Command) -> Points:
    """Return places, headings, and command, road, lane and limit of the points of a stretch."""
    part, lane = slice(stretch.start, stretch.stop + 1), roads.lanes[stretch.lane]
    xyz, yaw, tags = lane.xyz[part], lane.yaw[part], _tags(lane, part, command)
    if stretch.onto < 0:
        return xyz, yaw, tags
    other = roads.lanes[stretch.onto]
    share = np.linspace(0, 1, len(xyz))[:, None]
    moved = share * share * (3 - 2 * share)
    xyz = (1 - moved) * xyz + moved * other.xyz[part]
    ahead = np.gradient(xyz[:, :2], axis=0)
    slant = np.degrees(np.arctan2(ahead[:, 1], ahead[:, 0]))
    return xyz, slant, np.where(moved < 0.5, tags, _tags(other, part, command))


def _tags(lane: Lane, part: slice, command: Command) -> Float[np.ndarray, "n 4"]:
    limit = lane.limit[part]
    return np.stack([np.full(len(limit), x) for x in (command, lane.road, lane.id)] + [limit], axis=1)


def _commands(roads: RoadMap, stretches: Sequence[Stretch]) -> Iterator[Command]:
    """Give the command of each stretch."""
    for inside, pairs in groupby(enumerate(stretches), lambda pair: roads.lanes[pair[1].lane].junction >= 0):
        passed = list(pairs)
        if not inside:
            yield from (_along(roads, s) for _, s in passed)
            continue
        run = [roads.lanes[s.lane] for _, s in passed]
        first = passed[0][0]
        begin = roads.lanes[stretches[first - 1].lane].following if first else ()
        others = [lane for k in begin if (lane := roads.lanes[k]) is not run[0]]
        yield from [turn(others, run)] * len(passed)


def _along(roads: RoadMap, stretch: Stretch) -> Command:
    if stretch.onto < 0:
        return Command.FOLLOW
    left = stretch.onto in roads.lanes[stretch.lane].left
    return Command.CHANGE_LEFT if left else Command.CHANGE_RIGHT


def turn(others: Sequence[Lane], run: Sequence[Lane]) -> Command:
    """Return the command of a way through a junction, as CARLA's planner decides it.

    It compares the headings at the entry and at the exit. Beyond the threshold, what is left of all other
    ways that begin there is left, and what is right of them is right, wherever they point.
    """
    ahead, after = (_unit(float(yaw)) for yaw in (run[0].yaw[0], run[-1].yaw[-1]))
    if float(ahead @ after) > TURN:
        return Command.STRAIGHT
    bends = [_cross(ahead, way.chord) for way in others] or [0.0]
    bend = _cross(ahead, after)
    left = bend < min(bends) or (bend < 0 and bend <= max(bends))
    return Command.LEFT if left else Command.RIGHT


def _unit(yaw: float) -> Float[np.ndarray, " 2"]:
    return np.array([math.cos(math.radians(yaw)), math.sin(math.radians(yaw))])


def _cross(a: Float[np.ndarray, " 2"], b: Float[np.ndarray, " 2"]) -> float:
    return float(a[0] * b[1] - a[1] * b[0])
