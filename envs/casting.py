"""Actors for road users: spawned in a few batches, their boxes asked for once for each blueprint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import carla

from mtdrive.envs.demand import Choice
from mtdrive.envs.scene import Actor
from mtdrive.envs.simulation import Simulation
from mtdrive.envs.streets import Place

ROUNDS = 3
"""In which those get another place who were in the way."""
ABOVE = 0.5
"""Metres above the ground at which actors appear, so that they do not touch it."""


class Cast(NamedTuple):
    """An actor without physics at its place."""

    choice: Choice
    place: Place
    actor: Actor
    """On the ground."""
    middle: float
    """Metres from its origin forward to the middle of its box."""
    lift: float
    """Metres from the ground up to its origin."""


def cast(simulation: Simulation, choices: Sequence[Choice], places: Sequence[Place]) -> list[Cast]:
    """Spawn an actor for each choice as long as there are places; a tick passes for each round."""
    spots, left, found = iter(places), list(choices), []
    for _ in range(ROUNDS):
        tried = list(zip(left, spots, strict=False))
        commands = [_spawn(simulation, choice, place) for choice, place in tried]
        responses = simulation.tick(commands).responses if commands else ()
        ids = [0 if r.error else r.actor_id for r in responses]
        found += [(c, p, i) for (c, p), i in zip(tried, ids, strict=True) if i]
        left = [c for (c, _), i in zip(tried, ids, strict=True) if not i]
    return list(_measured(simulation, found))


def _spawn(simulation: Simulation, choice: Choice, place: Place) -> Any:
    blueprint = simulation.world.get_blueprint_library().find(choice.type_id)
    for name, value in choice.attributes.items():
        blueprint.set_attribute(name, value)
    location = carla.Location(place.x, place.y, place.z + ABOVE + (1.0 if choice.kind == "walker" else 0.0))
    command = carla.command.SpawnActor(blueprint, carla.Transform(location, carla.Rotation(yaw=place.yaw)))
    return command.then(carla.command.SetSimulatePhysics(carla.command.FutureActor, False))


def _measured(simulation: Simulation, found: Sequence[tuple[Choice, Place, int]]) -> Iterator[Cast]:
    boxes: dict[str, Any] = {}
    for actor in simulation.world.get_actors([i for _, _, i in found]) if found else ():
        if actor.type_id not in boxes:
            boxes[actor.type_id] = actor.bounding_box  # a remote call
    for choice, place, id in found:
        box = boxes[choice.type_id]
        extent = (box.extent.x, box.extent.y, box.extent.z)
        # Walkers have their origin in the middle, vehicles on the ground.
        lift = extent[2] - box.location.z if choice.kind == "walker" else 0.0
        xyz = (place.x, place.y, place.z + lift)
        actor = Actor(id, choice.kind, xyz, place.yaw, (0.0, 0.0, 0.0), extent)
        yield Cast(choice, place, actor, box.location.x, lift)
