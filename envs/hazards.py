"""What an expert must mind on its route: leaders, and whatever will cross its way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mtdrive.envs.guide import Guide
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import Actor

AHEAD = 80
"""Points of the route, about as many metres, that are looked at."""
SIDE = {"vehicle": 0.35, "two_wheeler": 0.5, "walker": 0.7}
"""Metres that are kept free beside a road user."""
HORIZON = np.arange(0.2, 4.81, 0.2)
"""Seconds for which others are thought to go on as they do."""
SAME_WAY = math.cos(math.radians(50))


@dataclass(frozen=True)
class Hazard:
    """Something to stop for or to follow."""

    kind: Literal["leader", "crossing", "light", "stop_sign"]
    distance: float
    """Metres of free road before the front bumper."""
    speed: float
    """Metres a second along the route."""


class Window(NamedTuple):
    """The route from the car onwards."""

    xy: Float[np.ndarray, "n 2"]
    yaw: Float[np.ndarray, " n"]
    """Radians."""
    distance: Float[np.ndarray, " n"]
    """Metres from the car's origin."""


class Crowd(NamedTuple):
    """Others as arrays."""

    xy: Float[np.ndarray, "m 2"]
    velocity: Float[np.ndarray, "m 2"]
    yaw: Float[np.ndarray, " m"]
    """Radians."""
    turn: Float[np.ndarray, " m"]
    """Radians a second."""
    extent: Float[np.ndarray, "m 2"]
    margin: Float[np.ndarray, " m"]


def window_of(route: Route, guide: Guide) -> Window:
    """Return the part of the route that the guide is at."""
    part = slice(guide.index, guide.index + AHEAD)
    return Window(route.xyz[part, :2], np.radians(route.yaw[part]), route.distance[part] - guide.travelled)


def crowd_of(others: Sequence[Actor], turns: Mapping[int, float]) -> Crowd:
    """Return others as arrays; `turns` are the yaw rates of those that are known, by their ids."""
    return Crowd(
        np.array([a.xyz[:2] for a in others]).reshape(-1, 2),
        np.array([a.velocity[:2] for a in others]).reshape(-1, 2),
        np.radians(np.array([a.yaw for a in others])),
        np.array([0.0 if a.kind == "walker" else turns.get(a.id, 0.0) for a in others]),
        np.array([a.extent[:2] for a in others]).reshape(-1, 2),
        np.array([SIDE[a.kind] for a in others]),
    )


def leader(window: Window, crowd: Crowd, ego: Actor) -> Hazard | None:
    """Return the nearest road user that stands or drives on the route."""
    _, gap, along, inside = _placed(window, crowd, ego)
    ahead = inside & (gap > -0.5 * ego.extent[0])
    if not ahead.any():
        return None
    nearest = int(np.argmin(np.where(ahead, gap, np.inf)))
    return Hazard("leader", float(gap[nearest]), float(along[nearest]))


def _placed(
    window: Window, crowd: Crowd, ego: Actor
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Return of each: its distance along the route, the gap, its speed along, whether it is in the way."""
    away = crowd.xy[:, None] - window.xy
    nearest = np.argmin((away**2).sum(-1), axis=1)
    yaw = window.yaw[nearest]
    tangent, normal = np.stack([np.cos(yaw), np.sin(yaw)], -1), np.stack([-np.sin(yaw), np.cos(yaw)], -1)
    rest = np.take_along_axis(away, nearest[:, None, None], axis=1)[:, 0]
    forward, lateral = (rest * tangent).sum(-1), (rest * normal).sum(-1)
    turned = crowd.yaw - yaw
    cos, sin = np.abs(np.cos(turned)), np.abs(np.sin(turned))
    half_length = cos * crowd.extent[:, 0] + sin * crowd.extent[:, 1]
    half_width = sin * crowd.extent[:, 0] + cos * crowd.extent[:, 1]
    at = window.distance[nearest] + forward
    inside = np.abs(lateral) < half_width + ego.extent[1] + crowd.margin
    inside &= np.abs(forward) < half_length + 2.0  # not far behind the first point, or beyond the last
    return at, at - half_length - ego.extent[0], (crowd.velocity * tangent).sum(-1), inside


def crossing(window: Window, crowd: Crowd, ego: Actor, speed: float, acceleration: float) -> Hazard | None:
    """Return where the ego must not be when others will be there, if it went on to `speed` m/s.

    Others keep their speed and their rate of turning. Those that go along the route before the ego, or come
    from behind, are left to `leader` and to their own drivers.
    """
    if not len(crowd.xy):
        return None
    at, _, along, inside = _placed(window, crowd, ego)
    pace = np.linalg.norm(crowd.velocity, axis=1)
    follows = (inside | (at < 0)) & (along > SAME_WAY * pace)
    moving = (pace > 0.3) & ~follows
    moving &= np.linalg.norm(crowd.xy - np.array(ego.xyz[:2]), axis=1) < 70
    if not moving.any():
        return None
    mine = _own_way(window, ego, speed, acceleration)
    touch = _touching(mine[1], ego, _part(crowd, moving))
    if not touch.any():
        return None
    first = mine[0][np.where(touch.any(0))[0][0]]
    return Hazard("crossing", float(first - ego.extent[0] - 1.0), 0.0)


def _part(crowd: Crowd, which: Bool[np.ndarray, " m"]) -> Crowd:
    return Crowd(*(values[which] for values in crowd))


def _own_way(
    window: Window, ego: Actor, speed: float, acceleration: float
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t 3"]]:
    """Return the ego's distances along the route over the horizon, and its x, y, yaw there."""
    now = max(ego.speed, 0.0)
    part = np.minimum(HORIZON, max(speed - now, 0.0) / acceleration)
    way = now * part + acceleration / 2 * part**2 + max(now, speed) * (HORIZON - part)
    columns = [np.interp(way, window.distance, values) for values in (*window.xy.T, np.unwrap(window.yaw))]
    return way, np.stack(columns, -1)


def _touching(mine: Float[np.ndarray, "t 3"], ego: Actor, crowd: Crowd) -> Bool[np.ndarray, "m t"]:
    """Return when the ego, as three discs, touches each other, as three discs that go on as they do."""
    own = _discs(mine[:, :2], mine[:, 2], ego.extent[0], ego.extent[1])
    yaw = crowd.yaw[:, None] + crowd.turn[:, None] * HORIZON
    heading = np.arctan2(crowd.velocity[:, 1], crowd.velocity[:, 0])
    pace = np.linalg.norm(crowd.velocity, axis=1)
    turning = np.where(np.abs(crowd.turn) < 1e-3, 1e-3, crowd.turn)[:, None]
    ahead = heading[:, None] + turning * HORIZON
    step = pace[:, None] / turning
    x = crowd.xy[:, :1] + step * (np.sin(ahead) - np.sin(heading)[:, None])
    y = crowd.xy[:, 1:] - step * (np.cos(ahead) - np.cos(heading)[:, None])
    theirs = _discs(np.stack([x, y], -1), yaw, crowd.extent[:, 0, None], crowd.extent[:, 1, None])
    apart = np.linalg.norm(own[None, :, :, None] - theirs[:, :, None], axis=-1).min(axis=(2, 3))
    reach = ego.extent[1] + crowd.extent[:, 1] + crowd.margin
    return np.asarray(apart < 1.1 * reach[:, None])


def _discs(
    xy: Float[np.ndarray, "*n 2"],
    yaw: Float[np.ndarray, "*n"],
    half_length: float | Float[np.ndarray, "*m"],
    half_width: float | Float[np.ndarray, "*m"],
) -> Float[np.ndarray, "*n 3 2"]:
    """Return the middles of three discs that cover an oblong body."""
    reach = np.broadcast_to(np.maximum(half_length - half_width, 0.0), yaw.shape)
    along = np.stack([np.cos(yaw), np.sin(yaw)], -1) * reach[..., None]
    return np.stack([xy - along, xy, xy + along], axis=-2)
