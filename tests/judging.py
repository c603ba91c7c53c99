"""A judge, hand-made scenes of a straight street, and a guide that is told where it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from mtdrive.batch import Command
from mtdrive.envs.guide import Guide
from mtdrive.envs.judge import Infraction, Judge, Rules
from mtdrive.envs.routes import RoadMap, Route
from mtdrive.envs.scene import Actor, Collision, Scene
from mtdrive.envs.signals import StopLine
from tests.town_land import XODR

LANE = 1.75
"""Where y is in the middle of the lane along x; that of the other direction is -LANE."""
LENGTH = 300
LIMIT = 10.0
TICK = 0.05
HALF = 2.0
CAR = Actor(1, "vehicle", (0.0, LANE, 0.0), 0.0, (5.0, 0.0, 0.0), (HALF, 0.9, 0.8))
LIGHT = StopLine("7", "light", (100.0, LANE, 0.0), 0.0, 3.5)
STOP = StopLine("8", "stop", (200.0, LANE, 0.0), 0.0, 3.5)


def straight(length: int = LENGTH) -> Route:
    x = np.arange(length + 1.0)
    points = np.stack([x, np.full_like(x, LANE), np.zeros_like(x)], axis=1)
    return Route(
        "straight",
        "street",
        points,
        np.zeros_like(x),
        np.full(len(x), int(Command.FOLLOW)),
        x,
        np.tile([1, -1], (len(x), 1)),
        np.full_like(x, LIMIT),
    )


class Led(Guide):
    """A guide that is told where it is."""

    def __init__(self, travelled: float = 0.0, deviation: float = 0.0) -> None:
        self.index, self.travelled, self.deviation = int(travelled), travelled, deviation

    @property
    def completion(self) -> float:
        return self.travelled / LENGTH


def judge(lines: Sequence[StopLine] = (), rules: Rules | None = None) -> Judge:
    return Judge(RoadMap.of("street", XODR), straight(), lines, rules)


def scene(
    tick: int,
    x: float = 0.0,
    y: float = LANE,
    *,
    z: float = 0.0,
    yaw: float = 0.0,
    speed: float = 5.0,
    lights: dict[str, int] | None = None,
    hits: Iterable[Collision] = (),
    others: Iterable[Actor] = (),
    tick_length: float = TICK,
) -> Scene:
    turn = math.radians(yaw)
    velocity = (speed * math.cos(turn), speed * math.sin(turn), 0.0)
    ego = replace(CAR, xyz=(x, y, z), yaw=yaw, velocity=velocity)
    return Scene(tick, tick * tick_length, ego, tuple(others), lights or {}, tuple(hits))


def kinds(found: Iterable[Infraction]) -> list[str]:
    return [i.kind for i in found]


def hit(id: int = 5, type: str = "vehicle.audi.tt") -> Collision:
    return Collision(id, type, 100.0)
