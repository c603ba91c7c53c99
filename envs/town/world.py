"""The world of an episode: its actors, lights and clock, and one step of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mtdrive.envs.town import blueprints
from mtdrive.envs.town.actors import Actor, Light, Sensor, Sign, Vehicle, Walker, create
from mtdrive.envs.town.attributes import check_sensors, read_attributes
from mtdrive.envs.town.collisions import Hit, blocked, collide
from mtdrive.envs.town.contacts import Grid, rectangle, touch
from mtdrive.envs.town.lights import Group, make_groups
from mtdrive.envs.town.limits import ACTORS, FARTHEST, FASTEST, LONGEST, SHORTEST, SUBSTEPS
from mtdrive.envs.town.stage import Land, Pose, Stage
from mtdrive.envs.town.steps import attach, drive, walk
from mtdrive.envs.town.structs import CallError, Msg, array, flag, number, optional, whole
from mtdrive.envs.town.weather import CLEAR_DAY

LOG = logging.getLogger(__name__)

STEP = 0.05
"""Seconds of a step where the client sets none."""
NEAR = 1.0
"""Metres after which a vehicle's speed limit is looked up again."""

A = TypeVar("A", bound=Actor)


@dataclass(frozen=True)
class Settings:
    """The fields of `carla.WorldSettings` in its order."""

    synchronous: bool = False
    no_rendering: bool = False
    fixed_delta: float | None = None
    substepping: bool = True
    substep: float = 0.025
    substeps: int = 10
    rest: tuple[Any, ...] = (0.0, False, 3000.0, 2000.0, True)
    """Fields about culling and streaming, which mean nothing here."""

    @property
    def dt(self) -> float:
        """Seconds of a step."""
        return self.fixed_delta or STEP

    @property
    def parts(self) -> int:
        """Into how many substeps a step of the vehicles is cut."""
        if not self.substepping:
            return 1
        return min(max(math.ceil(self.dt / self.substep - 1e-9), 1), self.substeps)

    def write(self) -> Msg:
        """Return CARLA's struct."""
        fixed = [True, self.fixed_delta] if self.fixed_delta else [False]
        middle = [self.substepping, self.substep, self.substeps]
        return [self.synchronous, self.no_rendering, fixed, *middle, *self.rest]


def read_settings(value: Any) -> Settings:
    """Read `carla.WorldSettings`.

    Raises:
        CallError: a step would be too long or of no length.
    """
    f = array(value, 6)
    settings = Settings(
        flag(f[0]), flag(f[1]), optional(number)(f[2]) or None, flag(f[3]), number(f[4]), whole(f[5])
    )
    if not SHORTEST <= settings.dt <= LONGEST:
        raise CallError(f"fixed_delta_seconds must be {SHORTEST} to {LONGEST}, found {settings.dt}")
    if settings.substepping and (settings.substep <= 0 or not 1 <= settings.substeps <= SUBSTEPS):
        raise CallError(f"max_substep_delta_time must be above 0 and max_substeps 1 to {SUBSTEPS}")
    rest = [reader(item) for reader, item in zip((number, flag, number, number, flag), f[6:11], strict=False)]
    return replace(settings, rest=(*rest, *Settings().rest[len(rest) :]))


class World:
    """An episode on a map; `begin` starts the next one."""

    def __init__(self, land: Land) -> None:
        self.settings = Settings()
        self.frame = 0
        self.episode = 0
        self.map_changed = False
        self.land = land
        self.begin(land)

    def begin(self, land: Land) -> None:
        """Start an episode: no actors but those of the map, the clock at zero, and a clear day."""
        self.map_changed = self.episode > 0 and land is not self.land
        self.land = land
        self.episode += 1
        self.elapsed = 0.0
        self.weather = CLEAR_DAY
        self.actors: dict[int, Actor] = {}
        self._next = 1
        self.static = Grid(rectangle(box) for box in land.static)
        self.spectator = self._add("spectator", Pose(z=10.0))
        self._place_signals()
        self._fixed = len(self.actors)

    def _place_signals(self) -> None:
        for signal in self.land.stop_signs.values():
            self._keep(Sign(self._next, "traffic.stop", 0, {}, _turned(signal.pose), signal=signal))
        for signal in self.land.signals.values():
            self._keep(Light(self._next, "traffic.traffic_light", 0, {}, _turned(signal.pose), signal=signal))
        lights = self.of(Light)
        self.groups = make_groups(lights)
        self._minders = [light for light in lights for _ in light.signal.triggers]
        self._triggers = Grid(rectangle(box) for light in lights for box in light.signal.triggers)

    def _add(self, type: str, pose: Pose, attributes: Mapping[str, tuple[int, str]] | None = None) -> Actor:
        uid = blueprints.library()[type].uid if type in blueprints.library() else 0
        return self._keep(create(self._next, type, uid, attributes or {}, pose))

    def _keep(self, actor: A) -> A:
        self.actors[actor.id] = actor
        self._next += 1
        return actor

    def of(self, kind: type[A]) -> list[A]:
        """Return the actors of a kind, by their ids."""
        return [actor for actor in self.actors.values() if isinstance(actor, kind)]

    def find(self, id: int, kind: type[A]) -> A:
        """Return an actor.

        Raises:
            CallError: there is none of that id and kind.
        """
        actor = self.actors.get(id)
        if actor is None:
            raise CallError(f"actor {id} not found: it was destroyed, or belongs to an earlier episode")
        if not isinstance(actor, kind):
            raise CallError(f"actor {id} is {actor.type}, expected a {kind.__name__.lower()}")
        return actor

    def group_of(self, light: Light) -> Group:
        """Return the group that a light belongs to."""
        return next(group for group in self.groups if light in group.lights)

    def spawn(self, type: str, given: Mapping[str, str], pose: Pose, parent: int = 0) -> Actor:
        """Add an actor; with a parent, `pose` is relative to it.

        Raises:
            CallError: the blueprint is not there, an attribute is bad, or something stands in the way.
        """
        blueprint = blueprints.find(type)
        attributes = read_attributes(blueprint, given)
        if len(self.actors) - self._fixed >= ACTORS:
            raise CallError(f"there are {ACTORS} actors, the most that Town takes: destroy some")
        if type in blueprints.REMOTE:
            check_sensors(attributes, self.of(Sensor))
        holder = self.find(parent, Actor) if parent else None
        actor = create(self._next, type, blueprint.uid, attributes, pose)
        if holder is not None:
            actor.parent, actor.relative = parent, pose
            attach(actor, holder)
        elif actor.extent[0] and blocked(actor.outline(), self.actors.values(), self.static):
            raise CallError("Spawn failed because of collision at spawn position")
        if isinstance(actor, Sensor):
            actor.due = self.elapsed
        return self._keep(actor)

    def destroy(self, id: int) -> Actor:
        """Remove an actor; what was attached to it stays where it is.

        Raises:
            CallError: there is none, or it belongs to the map.
        """
        actor = self.find(id, Actor)
        if isinstance(actor, Sign) or actor is self.spectator:
            raise CallError(f"actor {id} ({actor.type}) belongs to the map and cannot be destroyed")
        del self.actors[id]
        for child in self.actors.values():
            if child.parent == id:
                child.parent, child.relative = 0, None
        return actor

    def step(self) -> list[Hit]:
        """Let one step pass and return what collided."""
        dt = self.settings.dt
        self.frame += 1
        self.elapsed += dt
        for actor in list(self.actors.values()):
            self._move(actor, dt)
        for group in self.groups:
            group.advance(dt)
        hits = collide(self.actors.values(), self.static)
        for walker in self.of(Walker):
            if walker.end <= self.elapsed:
                self.destroy(walker.id)
        for actor in self._by_depth():
            attach(actor, self.actors[actor.parent])
        for vehicle in self.of(Vehicle):
            self._look_around(vehicle)
        return hits

    def _move(self, actor: Actor, dt: float) -> None:
        """Let an actor move; what leaves the world is taken away, as in CARLA."""
        try:
            if isinstance(actor, Vehicle):
                drive(actor, self.land, dt, self.settings.parts)
            elif isinstance(actor, Walker):
                walk(actor, self.land, dt)
            else:
                return
            lost = not actor.within(FARTHEST, FASTEST)
        except (ArithmeticError, ValueError):
            lost = True
        if lost:
            LOG.warning("actor %d (%s) left the world: it is destroyed", actor.id, actor.type)
            self.destroy(actor.id)

    def _by_depth(self) -> Iterator[Actor]:
        """Yield what is attached, parents before their children: ids rise with age."""
        yield from (a for a in self.actors.values() if a.parent in self.actors)

    def _look_around(self, vehicle: Vehicle) -> None:
        """Find the light and the speed limit that concern a vehicle."""
        place, asked = vehicle.pose, vehicle.asked
        if asked is None or math.hypot(place.x - asked.x, place.y - asked.y) > NEAR:
            vehicle.limit, vehicle.asked = self.land.speed_limit(place.x, place.y), place
        vehicle.light = None
        if self._triggers.lonely(place.x, place.y):
            return
        shape = vehicle.outline()
        for index in self._triggers.near(shape):
            box = self._triggers.items[index]
            if shape.cos * box.cos + shape.sin * box.sin > 0 and touch(shape, box):
                vehicle.light = self._minders[index]
                return

    def stage(self) -> Stage:
        """Return what is to be seen now."""
        bodies = (actor.body() for actor in self.actors.values())
        signals = {light.signal.id: min(light.state, 3) for light in self.of(Light)}
        seen = tuple(body for body in bodies if body)
        return Stage(self.frame, seen, signals, self.weather, self.elapsed)


def _turned(pose: Pose) -> Pose:
    """Return the pose of a signal's actor: in CARLA its x points to the right of the drivers who obey it.

    Clients look for the lanes of a light along that axis of its box.
    """
    return replace(pose, yaw=(pose.yaw + 90) % 360 - 180)
