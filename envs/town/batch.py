"""Batches: many commands in one call, and a step after them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mtdrive.envs.town import calls_moving as moving
from mtdrive.envs.town import calls_scene as scene
from mtdrive.envs.town import calls_walking as walking
from mtdrive.envs.town.limits import BATCH, FURTHER
from mtdrive.envs.town.rpc import Call
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.structs import (
    CallError,
    Msg,
    array,
    brief,
    few,
    optional,
    pose,
    read_description,
    whole,
)
from mtdrive.errors import MtdriveError

LOG = logging.getLogger(__name__)

CALLS: Mapping[str, Call] = {**moving.CALLS, **walking.CALLS, **scene.CALLS}
SPAWN, DESTROY, LIGHTS = 0, 1, 18
NAMES = {
    2: "apply_control_to_vehicle",
    3: "apply_ackermann_control_to_vehicle",
    4: "apply_control_to_walker",
    5: "apply_physics_control",
    6: "set_actor_transform",
    7: "set_walker_state",
    8: "set_actor_target_velocity",
    9: "set_actor_target_angular_velocity",
    10: "add_actor_impulse",
    11: "add_actor_force",
    12: "add_actor_angular_impulse",
    13: "add_actor_torque",
    14: "set_actor_simulate_physics",
    15: "set_actor_enable_gravity",
    16: "set_actor_autopilot",
    19: "set_actor_location",
    20: "console_command",
    21: "set_traffic_light_state",
}
"""The calls that commands stand for, by their index in the variant."""


def apply_batch(session: Session, commands: Sequence[Any], tick: bool) -> list[Msg]:
    """Do commands in their order, then a step if asked; one that fails costs the others nothing."""
    results = [_attempt(session, command) for command in few(commands, BATCH)]
    if tick:
        session.tick()
    return results


def _attempt(session: Session, command: Any) -> Msg:
    try:
        index, fields = array(array(command, 1)[0], 2)[:2]
        return [[1, _do(session, whole(index), array(fields))]]
    except (CallError, MtdriveError) as error:
        return [[0, [str(error)]]]
    except Exception as error:
        LOG.exception("a command failed")
        return [[0, [f"Town failed in a command: {brief(error)}; its log says more"]]]


def _do(session: Session, index: int, fields: Sequence[Any]) -> int:
    """Do a command and return the id of its actor."""
    if index == SPAWN:
        return _spawn(session, array(fields, 6))
    id = whole(array(fields, 1)[0]) if index != 20 else 0
    if index == DESTROY:
        session.destroy(id)
    elif index == LIGHTS:
        moving.switch(session.world, id, whole(array(fields, 2)[1]))
    elif index in NAMES:
        call = CALLS[NAMES[index]]
        values = array(fields, len(call.readers))
        call.run(session, *[reader(value) for reader, value in zip(call.readers, values, strict=False)])
    else:
        raise CallError(f"Town does not know the command {index}")
    return id


def _spawn(session: Session, fields: Sequence[Any]) -> int:
    parent = optional(whole)(fields[2]) or 0
    further = [array(array(command, 1)[0], 2) for command in few(fields[5], FURTHER)]
    if any(command[0] == SPAWN for command in further):
        raise CallError("expected commands for the actor that is spawned, found one that spawns another")
    actor = session.spawn(*read_description(fields[0]), pose(fields[1]), parent)
    try:
        for index, rest in (command[:2] for command in further):
            # The client puts 0 where the actor that is spawned here is meant.
            _do(session, whole(index), [actor.id, *array(rest, 1)[1:]])
    except Exception:
        session.destroy(actor.id)  # the client does not learn its id
        raise
    return actor.id
