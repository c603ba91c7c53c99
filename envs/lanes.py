"""The driving lanes of a map as lines of points, and which lane follows or lies beside which.

CARLA's frame: x forward, y right, z up, metres, degrees.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import carla
import numpy as np
from jaxtyping import Bool, Float, Int

from mtdrive.envs.speed_limits import SpeedLimits

STEP = 1.0
"""Metres along the road between points; lanes side by side have theirs at the same places."""

NODE = 5
"""Points from one place where a lane may be left for its neighbour to the next."""

ROOM = 2.2
"""Metres of width that a car needs."""

Key = tuple[int, int, int]
"""OpenDRIVE road id, number of the lane section, lane id."""


@dataclass(frozen=True, eq=False)
class Lane:
    """A lane from where a section of its road begins to where the next lanes begin, along the traffic."""

    road: int
    section: int
    id: int
    junction: int
    """CARLA's id of the junction that it leads through, -1 outside."""
    xyz: Float[np.ndarray, "n 3"]
    """The middle; the last point is the first of a lane that follows, if one does."""
    yaw: Float[np.ndarray, " n"]
    along: Float[np.ndarray, " n"]
    """Metres from the first point."""
    limit: Float[np.ndarray, " n"]
    """Metres a second; not a number where the map has none."""
    wide: Bool[np.ndarray, " n"]
    """Whether a car has room: lanes may begin and end with no width."""
    following: tuple[int, ...]
    """Numbers of the lanes that one drives on to."""
    left: Int[np.ndarray, " nodes"]
    """At every `NODE`-th point the number of the lane that the paint lets one change to, -1 where none."""
    right: Int[np.ndarray, " nodes"]

    @property
    def length(self) -> float:
        """Metres to the end."""
        return float(self.along[-1])

    @property
    def nodes(self) -> int:
        """How many of its points one may change at; the first of them is its first point."""
        return (len(self.xyz) - bool(self.following) - 1) // NODE + 1

    @property
    def chord(self) -> Float[np.ndarray, " 2"]:
        """The unit vector from the first point to the last."""
        straight = self.xyz[-1, :2] - self.xyz[0, :2]
        return np.asarray(straight / max(float(np.linalg.norm(straight)), 1e-9))

    def is_beside(self, other: Lane) -> bool:
        """Whether the other lane belongs to the same stretch of road and direction."""
        same = (self.road, self.section) == (other.road, other.section)
        return same and self.junction < 0 and self.id * other.id > 0


def read_lanes(town: carla.Map, limits: SpeedLimits) -> tuple[Lane, ...]:
    """Return the driving lanes of a map, ordered by road, section and id."""
    firsts: dict[Key, carla.Waypoint] = {}
    following: dict[Key, set[Key]] = defaultdict(set)
    for here, there in town.get_topology():
        if here.lane_type == there.lane_type == carla.LaneType.Driving:
            firsts.setdefault(_key(here), here)
            firsts.setdefault(_key(there), there)
            following[_key(here)].add(_key(there))
    for here in town.generate_waypoints(STEP):
        if here.lane_type == carla.LaneType.Driving and (key := _key(here)) not in following:
            firsts[key] = min(firsts.get(key, here), here, key=lambda w: -w.s * w.lane_id)
    numbers = {key: i for i, key in enumerate(sorted(firsts))}
    return tuple(_lane(firsts, key, sorted(following.get(key, ())), numbers, limits) for key in numbers)


def _key(at: carla.Waypoint) -> Key:
    return at.road_id, at.section_id, at.lane_id


def _lane(
    firsts: dict[Key, carla.Waypoint],
    key: Key,
    following: list[Key],
    numbers: dict[Key, int],
    limits: SpeedLimits,
) -> Lane:
    first = firsts[key]
    own = [first, *(w for w in first.next_until_lane_end(STEP) if _key(w) == key)]
    waypoints = [*own, *(firsts[k] for k in following[:1])]
    places = [w.transform for w in waypoints]
    xyz = np.array([(t.location.x, t.location.y, t.location.z) for t in places])
    s = np.array([w.s for w in own] + [own[-1].s] * (len(waypoints) - len(own)))
    nodes = [] if first.is_junction else own[::NODE]
    return Lane(
        *key,
        junction=first.junction_id if first.is_junction else -1,
        xyz=xyz,
        yaw=np.array([t.rotation.yaw for t in places]),
        along=np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(xyz, axis=0), axis=1))],
        limit=limits.along(first.road_id, first.lane_id, s),
        wide=np.array([w.lane_width > ROOM for w in waypoints]),
        following=tuple(numbers[k] for k in following),
        left=np.array([_beside(w, carla.LaneChange.Left, numbers) for w in nodes], dtype=np.int64),
        right=np.array([_beside(w, carla.LaneChange.Right, numbers) for w in nodes], dtype=np.int64),
    )


def _beside(at: carla.Waypoint, side: carla.LaneChange, numbers: dict[Key, int]) -> int:
    """Return the number of the lane beside `at` that one may change to, -1 if there is none."""
    if not at.lane_change & side:
        return -1
    lane = at.get_left_lane() if side == carla.LaneChange.Left else at.get_right_lane()
    if lane is None or lane.lane_type != carla.LaneType.Driving or lane.lane_id * at.lane_id < 0:
        return -1
    return numbers.get(_key(lane), -1) if lane.road_id == at.road_id else -1
