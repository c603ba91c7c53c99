"""The privileged driver whose actions policies learn: it sees the whole scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from mtdrive.envs import hazards
from mtdrive.envs.car import Car
from mtdrive.envs.guide import Guide
from mtdrive.envs.hazards import Hazard, Window
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import GREEN, OFF, YELLOW, Actor, Scene
from mtdrive.envs.signals import StopLine, lines_on
from mtdrive.envs.steering import pure_pursuit

STANDING = 0.1
"""Below this speed in m/s a car stands."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How the expert drives; metres, seconds."""

    share_of_limit: float = 1.0
    lateral: float = 3.0
    """The sideways acceleration at which it takes bends."""
    acceleration: float = 3.0
    braking: float = 3.0
    """The comfortable deceleration."""
    hardest: float = 8.0
    """The deceleration in an emergency."""
    headway: float = 1.3
    gap: float = 3.0
    """Metres to a leader at rest."""
    before_line: float = 1.0
    """Metres to a stop line at rest."""
    late: float = 3.5
    """It drives on at a yellow light before which it would have to brake harder than this."""
    stop: float = 0.6
    """Seconds at a stop sign."""
    horizon: float = 1.0
    """The target speed is what it will have after so many seconds."""


@dataclass(frozen=True)
class Decision:
    """What the expert does, and why."""

    steer: float
    """In [-1, 1], right positive."""
    throttle: float
    brake: float
    target_speed: float
    """Metres a second."""
    hazards: tuple[Hazard, ...] = ()
    """All that it minds, the most pressing first."""

    @property
    def action(self) -> Float[np.ndarray, "action=2"]:
        """The action of the driving environment: steering, and throttle minus brake."""
        return np.array([self.steer, self.throttle - self.brake], np.float32)


@dataclass
class Pedals:
    """From a wanted acceleration to throttle and brake: feed-forward with a correcting integral."""

    _wanted: float = field(init=False, default=0.0)
    _sum: float = field(init=False, default=0.0)

    def press(self, acceleration: float, speed: float, dt: float) -> tuple[float, float]:
        """Return throttle and brake for an acceleration in m/s^2 at a speed in m/s."""
        self._wanted = min(max(self._wanted + acceleration * dt, speed - 1.0), speed + 1.0)
        error = self._wanted - speed
        self._sum = min(max(self._sum + 0.25 * error * dt, -0.3), 0.5)
        push = acceleration / 6 + 0.5 * error + self._sum
        if speed < 0.5 and acceleration <= 0:
            self._wanted, self._sum = 0.0, 0.0
            return 0.0, 1.0
        return (min(push, 1.0), 0.0) if push >= 0 else (0.0, min(-push, 1.0))


class Expert:
    """Drives a route by the intelligent driver model, with foresight at crossings, and pure pursuit.

    Treiber, Hennecke, Helbing, Congested traffic states in empirical observations and microscopic
    simulations, Physical Review E 62, 2000 (https://arxiv.org/abs/cond-mat/0002177).
    """

    def __init__(
        self, route: Route, lines: Sequence[StopLine], car: Car | None = None, style: Style | None = None
    ) -> None:
        self.route, self.car, self.style = route, car or Car(), style or Style()
        self.lines = lines_on(route, lines)
        self.speeds = allowed_speeds(route, self.style)
        self._pedals = Pedals()
        self._stopped: dict[int, float] = {}
        """By the index of a stop line: since when the car stands there."""
        self._done: set[int] = set()
        self._yaws: dict[int, tuple[float, float]] = {}
        self._time: float | None = None

    def act(self, scene: Scene, guide: Guide) -> Decision:
        """Return what to do now; to be called at every step."""
        dt = scene.time - self._time if self._time is not None else 0.05
        self._time = scene.time
        ego, style = scene.ego, self.style
        index = min(guide.index, len(self.speeds) - 1)
        free = float(self.speeds[index])
        found = [*self._people(scene, guide, dt), *self._lines(scene, guide)]
        wanted = {hazard: self._follow(ego, free, hazard) for hazard in found}
        found.sort(key=lambda hazard: wanted[hazard])
        acceleration = min([drive(ego.speed, free, style), *wanted.values()])
        acceleration = max(acceleration, -style.hardest)
        throttle, brake = self._pedals.press(acceleration, ego.speed, dt)
        target = min(max(ego.speed + style.horizon * acceleration, 0.0), free)
        if brake == 1.0 and ego.speed < 0.5:
            target = 0.0
        steer = pure_pursuit(ego, self.route, guide.index, self.car)
        return Decision(steer, throttle, brake, target, tuple(found))

    def _people(self, scene: Scene, guide: Guide, dt: float) -> list[Hazard]:
        ego = scene.ego
        near = [a for a in scene.others if math.dist(a.xyz[:2], ego.xyz[:2]) < hazards.AHEAD]
        turns = self._turns(near, scene.time)
        if not near:
            return []
        window = hazards.window_of(self.route, guide)
        crowd = hazards.crowd_of(near, turns)
        speed = self._pace(window, guide)
        found = (
            hazards.leader(window, crowd, ego),
            hazards.crossing(window, crowd, ego, speed, self.style.acceleration),
        )
        # What is nearer than this is being left behind: to stop now would be to stop in its way.
        return [h for h in found if h and (h.kind == "leader" or h.distance > -1.0)]

    def _turns(self, others: Sequence[Actor], time: float) -> dict[int, float]:
        """Return yaw rates in radians a second, from the last step."""
        turns = {}
        for actor in others:
            before = self._yaws.get(actor.id)
            if before and time > before[0]:
                change = (actor.yaw - before[1] + 180) % 360 - 180
                turns[actor.id] = math.radians(change) / (time - before[0])
        self._yaws = {actor.id: (time, actor.yaw) for actor in others}
        return turns

    def _pace(self, window: Window, guide: Guide) -> float:
        """Return the speed that the route allows over the next metres."""
        return float(self.speeds[guide.index : guide.index + 15].min())

    def _lines(self, scene: Scene, guide: Guide) -> list[Hazard]:
        ego, front = scene.ego, guide.travelled + scene.ego.extent[0]
        found = []
        for i, (at, line) in enumerate(self.lines):
            gap = at - front
            if not -1.0 < gap < hazards.AHEAD:
                continue
            if line.kind == "light" and self._halts(ego, gap, scene.lights.get(line.signal, OFF)):
                found.append(Hazard("light", gap - self.style.before_line, 0.0))
            if line.kind == "stop" and not self._has_stopped(i, gap, ego, scene.time):
                found.append(Hazard("stop_sign", gap - self.style.before_line, 0.0))
        return found

    def _halts(self, ego: Actor, gap: float, state: int) -> bool:
        if state in (GREEN, OFF) or gap < 0:
            return False
        return state != YELLOW or ego.speed**2 < 2 * self.style.late * max(gap, 0.1)

    def _has_stopped(self, i: int, gap: float, ego: Actor, time: float) -> bool:
        if i in self._done or gap < -0.5:
            return True
        if ego.speed < STANDING and gap < self.style.before_line + 1.5:
            since = self._stopped.setdefault(i, time)
            if time - since >= self.style.stop:
                self._done.add(i)
        return i in self._done

    def _follow(self, ego: Actor, free: float, hazard: Hazard) -> float:
        style, v = self.style, max(ego.speed, 0.0)
        at_line = hazard.kind != "leader"
        gap = hazard.distance - (0.0 if at_line else style.gap)
        if at_line:
            return approach(v, gap, style)
        closing = v - max(hazard.speed, 0.0)
        wish = v * style.headway + v * closing / (2 * math.sqrt(style.acceleration * style.braking))
        wish = style.gap + max(wish, 0.0)
        ratio = wish / max(hazard.distance, 0.1)
        return (
            drive(v, free, style)
            if ratio < 0.3
            else style.acceleration * (1 - (v / max(free, 0.1)) ** 4 - ratio**2)
        )


def drive(speed: float, free: float, style: Style) -> float:
    """Return the acceleration on a free road; slowing down is comfortable."""
    if free < STANDING:
        return -style.braking
    return max(style.acceleration * (1 - (max(speed, 0.0) / free) ** 4), -style.braking)


def approach(speed: float, gap: float, style: Style) -> float:
    """Return the acceleration that brings a car to rest after `gap` metres; late braking is harder."""
    if gap <= 0.3:
        return -style.hardest if speed > 1.5 else -style.braking
    needed = speed**2 / (2 * gap)
    if needed < 0.6 * style.braking:
        return style.acceleration * (1 - needed / (0.6 * style.braking))
    return -needed


def allowed_speeds(route: Route, style: Style) -> Float[np.ndarray, " n"]:
    """Return the speed in m/s at each point: by the limits, the bends, and braking for either."""
    step = np.maximum(np.diff(route.distance), 1e-3)
    turn = np.abs((np.diff(route.yaw) + 180) % 360 - 180)
    smooth = np.convolve(np.radians(turn), np.ones(5), "same") / np.convolve(step, np.ones(5), "same")
    bend = np.append(smooth, smooth[-1:]) if len(smooth) else np.zeros(1)
    speeds = np.minimum(style.share_of_limit * route.speed_limit, np.sqrt(style.lateral / (bend + 1e-6)))
    for i in range(len(speeds) - 2, -1, -1):
        speeds[i] = min(speeds[i], math.sqrt(speeds[i + 1] ** 2 + 2 * 0.7 * style.braking * step[i]))
    return speeds
