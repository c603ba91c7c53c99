"""Who is in the world: kinds and sizes are asked for once an actor, all else comes with each tick."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import carla

from mtdrive.envs.scene import OFF, Actor, ActorKind, Collision, Scene
from mtdrive.errors import SimulatorError

if TYPE_CHECKING:
    from mtdrive.envs.simulation import Tick


@dataclass(frozen=True)
class _Known:
    """What does not change of a road user."""

    kind: ActorKind
    extent: tuple[float, float, float]


class Roster:
    """The actors of a map that is loaded."""

    def __init__(self, world: Any, remote: Callable[[str], AbstractContextManager[None]]) -> None:
        """Take a world that has made a step, and what gives errors of remote calls their shape."""
        self._world, self._remote = world, remote
        self._known: dict[int, _Known | None] = {}
        with remote("reading the traffic lights"):
            lights = world.get_actors().filter("traffic.traffic_light*")
            self._lights = {light.get_opendrive_id(): light for light in lights}

    def scene(self, tick: Tick, ego: int, users: Sequence[Actor]) -> Scene:
        """Return the scene of a tick; of `users` it is already known how they are."""
        others = {actor.id for actor in tick.snapshot} - {ego, *(user.id for user in users)}
        self._meet({*others, ego})
        seen = [self._actor(tick.snapshot, id) for id in sorted(others) if self._known[id] is not None]
        return Scene(
            frame=tick.frame,
            time=tick.time,
            ego=self._actor(tick.snapshot, ego),
            others=(*users, *seen),
            lights={name: min(int(light.state), OFF) for name, light in self._lights.items()},
            collisions=tuple(_collision(event) for _, event in tick.events if _hit(event, ego)),
        )

    def forget(self, ids: Collection[int]) -> None:
        """Forget actors that were destroyed."""
        for id in ids:
            self._known.pop(id, None)

    def _meet(self, ids: set[int]) -> None:
        """Ask for what is not known yet; a remote call if there is anyone, and one for each road user."""
        new = [id for id in ids if id not in self._known]
        if new:
            with self._remote("asking who is there"):
                found = {actor.id: actor for actor in self._world.get_actors(new)}
                self._known |= {id: _describe(found[id]) if id in found else None for id in new}

    def _actor(self, snapshot: Any, id: int) -> Actor:
        known, state = self._known[id], snapshot.find(id)
        if known is None or state is None:
            raise SimulatorError(f"actor {id} is gone: another client destroyed it or loaded a map")
        place, velocity = state.get_transform(), state.get_velocity()
        return Actor(
            id=id,
            kind=known.kind,
            xyz=(place.location.x, place.location.y, place.location.z),
            yaw=place.rotation.yaw,
            velocity=(velocity.x, velocity.y, velocity.z),
            extent=known.extent,
            pitch=place.rotation.pitch,
            roll=place.rotation.roll,
        )


def _describe(actor: Any) -> _Known | None:
    """Return what does not change of a road user, None for anything else."""
    if actor.type_id.startswith("walker."):
        kind: ActorKind = "walker"
    elif actor.type_id.startswith("vehicle."):
        kind = "two_wheeler" if actor.attributes.get("number_of_wheels") == "2" else "vehicle"
    else:
        return None
    extent = actor.bounding_box.extent
    return _Known(kind, (extent.x, extent.y, extent.z))


def _hit(event: Any, ego: int) -> bool:
    return isinstance(event, carla.CollisionEvent) and event.actor.id == ego


def _collision(event: Any) -> Collision:
    other = event.other_actor
    return Collision(other.id, other.type_id, event.normal_impulse.length())
