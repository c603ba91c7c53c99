"""Follows a route: how far the car is, how far off it, and what it is told to do next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mtdrive.envs.coordinates import relative
from mtdrive.envs.routes import Route
from mtdrive.orders import Command

if TYPE_CHECKING:
    from mtdrive.envs.scene import Actor

SPARSE = 50.0
"""Metres that the Leaderboard leaves at most between the places that it tells a policy."""

NEAR, HORIZON = 7.5, 50.0
"""TransFuser's `RoutePlanner`: metres at which a place counts as reached, and over which it looks ahead."""

CREDIT = 20.0
"""Metres of route that may be passed at once; apart from that, two for each that the car moved. So a car that
cuts across a loop does not gain all of it."""

TOLD = 20.0
"""Metres before a junction or a change of lane from which its command is told."""

CHANGES = (Command.CHANGE_LEFT, Command.CHANGE_RIGHT)


class Guide:
    """Follows one route; a step takes constant time on average, and progress never goes back.

    A point of the route is passed when the car crosses the line through it, across its heading; points are
    passed one after the other, so a route that crosses itself leads on where it came from.

    `command` is that of conditional imitation learning (https://arxiv.org/abs/1710.02410): it is told shortly
    before a junction or a change of lane, and holds until that is done. `far_command` and `target_point` are
    what a policy gets under the Leaderboard: those of the next far place, so that a turn is told on the way
    to its junction, and no longer in it.
    """

    def __init__(self, route: Route) -> None:
        self.route = route
        self.index = 0
        """The last point that was passed."""
        self.travelled = 0.0
        """Metres along the route."""
        self.offset = 0.0
        """Metres right of the line through the last two points."""
        self.deviation = 0.0
        """Metres from the route as it is there."""
        self._last = len(route.distance) - 1
        self._xy: list[tuple[float, float]] = [(x, y) for x, y, _ in route.xyz.tolist()]
        yaw = np.radians(route.yaw)
        self._ahead: list[tuple[float, float]] = list(
            zip(np.cos(yaw).tolist(), np.sin(yaw).tolist(), strict=True)
        )
        self._orders = orders(route)
        self._nodes = far_nodes(route)
        self._node = 0
        self._credit, self._place = CREDIT, self._xy[0]

    @property
    def completion(self) -> float:
        """The driven share of the route, in [0, 1]."""
        return self.travelled / self.route.length

    @property
    def command(self) -> Command:
        """The command of where the car is, or else the next one that comes soon."""
        return self._orders[self.index]

    @property
    def far_command(self) -> Command:
        """The command of the next far place."""
        return Command(int(self.route.commands[self._nodes[self._node + 1]]))

    def target_point(self, ego: Actor) -> tuple[float, float]:
        """Return the next far place as (right, forward) metres of the ego."""
        place = np.array(self._xy[self._nodes[self._node + 1]])
        right, forward = relative(place, ego.xyz[:2], ego.yaw).tolist()
        return right, forward

    def advance(self, xy: tuple[float, float]) -> None:
        """Take the car's new place."""
        xy = float(xy[0]), float(xy[1])
        gained = 2 * math.dist(xy, self._place)
        self._credit, self._place = min(self._credit + gained, max(CREDIT, gained)), xy
        distance = self.route.distance
        while self.index < self._last and self._passed(xy, self.index + 1):
            step = float(distance[self.index + 1] - distance[self.index])
            if step > self._credit:
                break
            self._credit -= step
            self.index += 1
        self._measure(xy)
        self._drop_nodes(xy)

    def _passed(self, xy: tuple[float, float], point: int) -> bool:
        (x, y), (ahead_x, ahead_y) = self._xy[point], self._ahead[point]
        return (xy[0] - x) * ahead_x + (xy[1] - y) * ahead_y > 0

    def _measure(self, xy: tuple[float, float]) -> None:
        first = min(self.index, self._last - 1)
        (x, y), (end_x, end_y) = self._xy[first], self._xy[first + 1]
        length = math.dist((x, y), (end_x, end_y))
        ahead_x, ahead_y = (end_x - x) / length, (end_y - y) / length
        along = (xy[0] - x) * ahead_x + (xy[1] - y) * ahead_y
        self.offset = (xy[1] - y) * ahead_x - (xy[0] - x) * ahead_y
        within = min(max(along, 0.0), length)
        self.deviation = math.hypot(self.offset, along - within)
        done = self.route.distance[first] + within if self.index < self._last else self.route.length
        self.travelled = max(self.travelled, float(done))

    def _drop_nodes(self, xy: tuple[float, float]) -> None:
        """Drop the far places that are reached.

        As TransFuser's planner does, the farthest of the places within `NEAR` becomes the first. Before that,
        those are dropped that the car passed at a greater distance, where that planner would stay behind.
        """
        while self._node + 2 < len(self._nodes) and self._nodes[self._node + 1] < self.index:
            self._node += 1
        ahead, farthest, reached = 0.0, -1.0, self._node
        for k in range(self._node + 1, len(self._nodes)):
            if ahead > HORIZON:
                break
            here = self._xy[self._nodes[k]]
            ahead += math.dist(here, self._xy[self._nodes[k - 1]])
            away = math.dist(here, xy)
            if farthest < away <= NEAR:
                farthest, reached = away, k
        self._node = min(reached, len(self._nodes) - 2)


def orders(route: Route) -> list[Command]:
    """Return for each point the first command but FOLLOW from there to `TOLD` metres on, FOLLOW if none."""
    found, coming, at = [], Command.FOLLOW, math.inf
    for command, distance in zip(route.commands[::-1].tolist(), route.distance[::-1].tolist(), strict=True):
        if command != Command.FOLLOW:
            coming, at = Command(command), distance
        found.append(coming if at - distance <= TOLD else Command.FOLLOW)
    return found[::-1]


def far_nodes(route: Route) -> list[int]:
    """Return the points that the Leaderboard tells a policy (`downsample_route`).

    They are the first and the last, those where the command changes, both ends of a change of lane (which are
    all that CARLA's planner has of it), and others so that no two are more than about `SPARSE` metres apart.
    """
    commands, distance = route.commands.tolist(), route.distance.tolist()
    kept = [0]
    for i in range(1, len(commands) - 1):
        before, command, after = commands[i - 1 : i + 2]
        if command in CHANGES:
            keep = not before == command == after
        else:
            keep = before != command and not (before in CHANGES and command == Command.FOLLOW)
        if keep or distance[i - 1] - distance[kept[-1]] > SPARSE:
            kept.append(i)
    return [*kept, len(commands) - 1]
