"""Judges a drive: which rules the car breaks, and why its route is over.

All follows from the scene of each tick and the guide's progress. The rules are those of CARLA's Leaderboard
2.0, in atomic_criteria.py and timer.py of https://github.com/carla-simulator/scenario_runner (0.9.16), but
for these:

* a red light is run when the car's front crosses the line, there when its tail does;
* a stop sign is run when the car's middle crosses the line, there also when it turns back before;
* a wrong lane is one whose traffic comes towards the car, there a state that flips where roads change;
* a car that is hit while it stands is not to blame for the next 5 s of that contact either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import carla
import numpy as np

from mtdrive.envs.guide import Guide
from mtdrive.envs.routes import RoadMap, Route
from mtdrive.envs.scene import RED, Actor, Scene
from mtdrive.envs.scoring import Infraction, Kind
from mtdrive.envs.signals import Crossings, StopLine

__all__ = ["BENCH2DRIVE", "Infraction", "Judge", "Rules"]


@dataclass(frozen=True)
class Rules:
    """Thresholds in metres, seconds, m/s and degrees; the names in brackets are scenario_runner's classes."""

    standing: float = 0.1
    """Slower is standing: such a car stops at a sign, is blocked, and is not to blame for a collision."""
    repeat_time: float = 5.0
    """Within it one actor is hit once [CollisionTest], and one light is run once."""
    repeat_distance: float = 5.0
    """Until the car is this far from the last collision, no other counts [CollisionTest]."""
    crossing: float = 1.0
    """Which point of the car runs a red light, in half lengths from its middle; -1 is the tail, about where
    RunningRedLightTest looks."""
    stop_zone: float = 5.6
    """Before a stop line: where the car's middle has to come to stand. RunningStopTest: 4 m from the middle
    of a trigger that ends at the line and is 0.9 lanes long."""
    lane_margin: float = 0.5
    """Beyond the edge of a lane for driving or parking that is not off it yet [OutsideRouteLanesTest]."""
    oncoming: float = 120.0
    """Between the car and its lane's traffic: more is a wrong lane [OutsideRouteLanesTest]."""
    farthest: float = 30.0
    """From the route: more is a deviation [InRouteTest]."""
    far: float = 15.0
    """From the route: more is tolerated over `far_share` of its length [InRouteTest]."""
    far_share: float = 0.3
    blocked: float = 180.0
    """Longest time to stand [ActorBlockedTest]."""
    timeout: float = 300.0
    """Longest time, to which the driven distance adds [RouteTimeoutBehavior]."""
    timeout_speed: float = 0.1
    """Share of the speed limit at which the driven distance adds time; infinite: it adds none."""
    complete: float = 0.99
    """Driven share of the route, to be exceeded at its end [RouteCompletionTest]."""
    goal: float = 10.0
    """Distance to the last point, to be undercut at its end [RouteCompletionTest]."""
    checkpoints: int = 4
    """Stretches over which the speed is compared with the traffic's [MinimumSpeedRouteTest]."""


BENCH2DRIVE = Rules(blocked=60.0, timeout=200.0, timeout_speed=math.inf, checkpoints=20)
"""Bench2Drive 0.0.4: 4,000 ticks of 0.05 s at most."""

Found = Iterator[tuple[Kind, str]]


class Judge:
    """Watches one drive along one route; `lines` are those of the town."""

    def __init__(
        self, roads: RoadMap, route: Route, lines: Sequence[StopLine], rules: Rules | None = None
    ) -> None:
        rules = rules or Rules()
        self.ended: str | None = None
        """Why the route is over: completed, deviation, blocked or timeout."""
        self.completion = 0.0
        """Driven share of the route, 1 once it is completed."""
        self._rules, self._goal = rules, route.xyz[-1]
        self._lanes, self._speeds = _Lanes(roads, rules), _Speeds(route, rules)
        lights = [line for line in lines if line.kind == "light"]
        stops = [line for line in lines if line.kind == "stop"]
        self._watches = (
            _Collisions(rules).see, _Lights(lights, rules).see, _Stops(stops, rules).see, self._lanes.see,
            _Deviation(route, rules).see, _Blocked(rules).see, _Timeout(route, rules).see,
        )  # fmt: skip
        self._found: list[Infraction] = []

    @property
    def infractions(self) -> tuple[Infraction, ...]:
        """All so far; the part driven off the lanes is up to date here, and what scores are made of."""
        part = self._lanes.fraction
        return tuple(replace(i, fraction=part) if i.kind == "off_lane" else i for i in self._found)

    @property
    def speeds(self) -> tuple[tuple[int, float], ...]:
        """The checkpoints of the minimum speed so far: number, and percent of the traffic's speed."""
        return self._speeds.records(self.completion)

    def observe(self, scene: Scene, guide: Guide) -> tuple[Infraction, ...]:
        """Take a tick, after the guide has, and return the new infractions; none once the route is over.

        The one of `off_lane` comes once; how much it weighs in the end is in `infractions`.
        """
        if self.ended is not None:
            return ()
        seen = [item for watch in self._watches for item in watch(scene, guide)]
        self._speeds.see(scene, guide)
        self.completion = guide.completion
        if guide.completion > self._rules.complete and self._at_goal(scene.ego):
            self.ended, self.completion = "completed", 1.0
            seen = [item for item in seen if item[0] not in ENDS]
        self.ended = self.ended or next((kind for kind, _ in seen if kind in ENDS), None)
        place = scene.ego.xyz
        new = [Infraction(kind, scene.time, scene.frame, place, detail) for kind, detail in seen]
        self._found += new
        return self.infractions[len(self._found) - len(new) :]

    def _at_goal(self, ego: Actor) -> bool:
        return math.dist(ego.xyz, self._goal) < self._rules.goal


ENDS: frozenset[Kind] = frozenset({"deviation", "blocked", "timeout"})
"""Infractions that end a route."""


class _Collisions:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._times: dict[int, float] = {}
        self._place: tuple[float, float, float] | None = None
        self._speed: float | None = None

    def see(self, scene: Scene, guide: Guide) -> Found:
        rules, place, now = self._rules, scene.ego.xyz, _pace(scene.ego)
        # Of the last tick: the collision has changed that of this one.
        speed, self._speed = now if self._speed is None else self._speed, now
        if self._place and math.dist(place, self._place) > rules.repeat_distance:
            self._place = None
        for hit in scene.collisions:
            kind = _hit(hit.other_type)
            recent = scene.time - self._times.get(hit.other_id, -math.inf) <= rules.repeat_time
            if kind is None or recent or self._place:
                continue
            if hit.other_id:  # things of the level are all 0
                self._times[hit.other_id] = scene.time
            if speed >= rules.standing:
                self._place = place
                yield kind, f"{hit.other_type} {hit.other_id}"


def _hit(type_id: str) -> Kind | None:
    """Return what was hit; touching the pavement is no collision."""
    if type_id.startswith("walker."):
        return "pedestrian"
    if type_id.startswith("vehicle."):
        return "vehicle"
    return "static" if type_id.startswith(("static.", "traffic.")) and "sidewalk" not in type_id else None


class _Lights:
    def __init__(self, lines: Sequence[StopLine], rules: Rules) -> None:
        self._crossings, self._rules = Crossings(lines, rules.crossing), rules
        self._times: dict[str, float] = {}

    def see(self, scene: Scene, guide: Guide) -> Found:
        for line in self._crossings.step(scene.ego)[0]:
            recent = scene.time - self._times.get(line.signal, -math.inf) <= self._rules.repeat_time
            if scene.lights.get(line.signal) == RED and not recent:
                self._times[line.signal] = scene.time
                yield "red_light", line.signal


class _Stops:
    def __init__(self, lines: Sequence[StopLine], rules: Rules) -> None:
        self._crossings, self._rules = Crossings(lines, 0.0), rules
        self._obeyed: set[str] = set()

    def see(self, scene: Scene, guide: Guide) -> Found:
        crossed, along, in_lane = self._crossings.step(scene.ego)
        yield from (("stop_sign", name) for name in {x.signal for x in crossed} - self._obeyed)
        zone = np.flatnonzero(in_lane & (along < 0) & (along >= -self._rules.stop_zone))
        before = {self._crossings.lines[i].signal for i in zone.tolist()}
        self._obeyed = before if _pace(scene.ego) < self._rules.standing else before & self._obeyed


class _Lanes:
    def __init__(self, roads: RoadMap, rules: Rules) -> None:
        self._map, self._rules = roads.map, rules
        self._travelled = self._outside = 0.0

    @property
    def fraction(self) -> float:
        """The part of the driven route that was outside its lanes."""
        return self._outside / self._travelled if self._outside else 0.0

    def see(self, scene: Scene, guide: Guide) -> Found:
        gone, self._travelled = guide.travelled - self._travelled, guide.travelled
        if gone > 0 and self._astray(scene.ego):
            if not self._outside:
                yield "off_lane", ""
            self._outside += gone

    def _astray(self, ego: Actor) -> bool:
        here = carla.Location(*ego.xyz)
        lane = self._map.get_waypoint(here, lane_type=carla.LaneType.Driving | carla.LaneType.Parking)
        middle = lane.transform.location
        if math.hypot(middle.x - here.x, middle.y - here.y) > lane.lane_width / 2 + self._rules.lane_margin:
            return True
        if lane.lane_type == carla.LaneType.Parking:
            lane = self._map.get_waypoint(here)
        turned = abs((lane.transform.rotation.yaw - ego.yaw + 180) % 360 - 180)
        return not lane.is_junction and turned > self._rules.oncoming


class _Deviation:
    def __init__(self, route: Route, rules: Rules) -> None:
        self._rules, self._tolerated = rules, rules.far_share * route.length
        self._travelled = self._far = 0.0

    def see(self, scene: Scene, guide: Guide) -> Found:
        gone, self._travelled = guide.travelled - self._travelled, guide.travelled
        if guide.deviation > self._rules.far:
            self._far += gone
        if guide.deviation > self._rules.farthest or self._far > self._tolerated:
            yield "deviation", f"{guide.deviation:.1f} m"


class _Blocked:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._moved: float | None = None

    def see(self, scene: Scene, guide: Guide) -> Found:
        if self._moved is None or _pace(scene.ego) >= self._rules.standing:
            self._moved = scene.time
        if scene.time - self._moved > self._rules.blocked:
            yield "blocked", ""


class _Timeout:
    def __init__(self, route: Route, rules: Rules) -> None:
        gained = np.diff(route.distance) / (rules.timeout_speed * route.speed_limit[1:])
        self._allowed = rules.timeout + np.concatenate([[0.0], np.cumsum(gained)])
        self._start: float | None = None

    def see(self, scene: Scene, guide: Guide) -> Found:
        self._start = scene.time if self._start is None else self._start
        if scene.time - self._start > self._allowed[guide.index]:
            yield "timeout", ""


class _Speeds:
    def __init__(self, route: Route, rules: Rules) -> None:
        self._step = route.length / rules.checkpoints
        self._from = 0.0
        self._closed: list[float] = []
        self._mine = self._theirs = 0.0

    def see(self, scene: Scene, guide: Guide) -> None:
        if guide.travelled - self._from > self._step:
            self._closed.append(self._percent())
            self._from, self._mine, self._theirs = guide.travelled, 0.0, 0.0
        speeds = [_pace(other) for other in scene.others if other.kind != "walker"]
        if speeds:
            self._mine += _pace(scene.ego)
            self._theirs += sum(speeds) / len(speeds)

    def records(self, completion: float) -> tuple[tuple[int, float], ...]:
        """Return what was measured; a route ends within its last checkpoint."""
        last = [self._percent()] if completion > 0.95 else []
        return tuple(enumerate(self._closed + last))

    def _percent(self) -> float:
        return 100 * self._mine / self._theirs if self._theirs else 100.0


def _pace(actor: Actor) -> float:
    """Return how fast an actor moves in the plane, whatever the direction."""
    return math.hypot(actor.velocity[0], actor.velocity[1])
