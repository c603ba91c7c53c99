"""What touches: it is parted, and both take an impulse."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from mtdrive.envs.town.actors import Actor, Prop, Vehicle, Walker
from mtdrive.envs.town.contacts import Contact, Grid, Mass, Rectangle, impulse, pairs, touch
from mtdrive.envs.town.motion import kick
from mtdrive.envs.town.structs import ZERO, Vector

WALKER_MASS = 75.0
WALL = Mass(0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0))


@dataclass(frozen=True)
class Hit:
    """Two things that touched; `static` is the index of a box of the map where there is no second actor."""

    actor: Actor
    other: Actor | None
    static: int
    impulse: Vector
    """On the first, N s in the world."""


def collide(actors: Iterable[Actor], static: Grid) -> list[Hit]:
    """Part what overlaps and return what touched, in the order of the ids."""
    bodies = [a for a in actors if isinstance(a, (Vehicle, Walker, Prop)) and a.collides]
    # Things that neither move by themselves nor are moved cannot collide, and no collision makes them move.
    moves = [movable(a) or a.velocity != ZERO for a in bodies]
    if not any(moves):
        return []
    shapes = [a.outline() for a in bodies]
    hits = []
    for i, j in sorted(pairs(shapes)):
        contact = touch(shapes[i], shapes[j]) if moves[i] or moves[j] else None
        if contact:
            hits.append(_meet(bodies[i], bodies[j], contact))
            shapes[i], shapes[j] = bodies[i].outline(), bodies[j].outline()
    for body, shape in zip(bodies, shapes, strict=True):
        if movable(body):
            hits += _meet_static(body, shape, static)
    return hits


def movable(actor: Actor) -> bool:
    """Return whether a collision can move an actor."""
    return isinstance(actor, (Vehicle, Walker)) and actor.simulated


def _meet(a: Actor, b: Actor, contact: Contact) -> Hit:
    ma, mb = _mass(a), _mass(b)
    push = impulse(ma, mb, contact)
    share = ma.inverse + mb.inverse
    if share > 0:
        _take(a, push, contact, contact.depth * ma.inverse / share)
        _take(b, (-push[0], -push[1]), contact, -contact.depth * mb.inverse / share)
    return Hit(a, b, -1, (push[0], push[1], 0.0))


def _meet_static(body: Actor, shape: Rectangle, static: Grid) -> list[Hit]:
    hits = []
    for index in static.near(shape):
        contact = touch(shape, static.items[index])
        if contact:
            push = impulse(_mass(body), WALL, contact)
            _take(body, push, contact, contact.depth)
            shape = body.outline()
            hits.append(Hit(body, None, index, (push[0], push[1], 0.0)))
    return hits


def _mass(actor: Actor) -> Mass:
    v, centre = actor.velocity, (actor.pose.x, actor.pose.y)
    if isinstance(actor, Vehicle) and actor.simulated:
        chassis, motion = actor.chassis, actor.motion
        offset = chassis.centre * math.cos(motion.yaw), chassis.centre * math.sin(motion.yaw)
        middle = motion.x + offset[0], motion.y + offset[1]
        return Mass(1 / chassis.mass, 1 / chassis.inertia, motion.vx, motion.vy, motion.spin, middle)
    if isinstance(actor, Walker) and actor.simulated:
        return Mass(1 / WALKER_MASS, 0.0, v[0], v[1], 0.0, centre)
    return Mass(0.0, 0.0, v[0], v[1], math.radians(actor.spin[2]), centre)


def _take(actor: Actor, push: tuple[float, float], contact: Contact, depth: float) -> None:
    """Change an actor's velocity by an impulse and move it out of the other by `depth`."""
    dx, dy = depth * contact.normal[0], depth * contact.normal[1]
    p = actor.pose
    if isinstance(actor, Vehicle) and actor.simulated:
        motion, middle = actor.motion, _mass(actor).centre
        arm = contact.point[0] - middle[0], contact.point[1] - middle[1]
        kick(motion, actor.chassis, (*push, 0.0), arm)
        motion.x, motion.y = motion.x + dx, motion.y + dy
        actor.pose = replace(p, x=motion.x, y=motion.y)
        actor.velocity = (motion.vx, motion.vy, actor.velocity[2])
        actor.spin = (0.0, 0.0, math.degrees(motion.spin))
    elif isinstance(actor, Walker) and actor.simulated:
        vx, vy, _ = actor.shoved
        actor.shoved = (vx + push[0] / WALKER_MASS, vy + push[1] / WALKER_MASS, 0.0)
        actor.pose = replace(p, x=p.x + dx, y=p.y + dy)


def blocked(shape: Rectangle, others: Iterable[Actor], static: Grid) -> bool:
    """Return whether something stands where a body is to be put."""
    bodies = (a for a in others if isinstance(a, (Vehicle, Walker, Prop)) and a.collides)
    walls = (static.items[index] for index in static.near(shape))
    return any(touch(shape, a.outline()) for a in bodies) or any(touch(shape, w) for w in walls)
