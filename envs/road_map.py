"""The lanes of a town, from its OpenDRIVE text; no server is needed."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import NamedTuple

import carla
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from mtdrive.envs.lane_graph import Graph, Spot
from mtdrive.envs.lanes import read_lanes
from mtdrive.envs.speed_limits import SpeedLimits
from mtdrive.envs.town.roads import map_text
from mtdrive.errors import ConfigError, DataError

LEVEL = 3.0
"""Metres of height within which lanes are on one level: a bridge is another."""

OVERLAP, BESIDE = 1.0, 12.0
"""Metres beyond the nearest lane within which others may be meant, and its neighbours are looked for."""

SPAWN_STEP, SPAWN_MARGIN = 20.0, 7.0
"""Metres between places to start along a lane, and from them to the lane's ends."""


class Candidate(NamedTuple):
    """A lane's nearest point to a place, and the metres between, seen from above."""

    spot: Spot
    gap: float


class RoadMap:
    """A `carla.Map` with its lanes as a graph; `of` keeps one per town in a process.

    Raises:
        DataError: if the text is no OpenDRIVE map with driving lanes.
    """

    def __init__(self, name: str, xodr: str) -> None:
        self.name, self.xodr = name, xodr
        self.map = _carla_map(name, xodr)
        self.lanes = read_lanes(self.map, SpeedLimits(name, xodr))
        if not self.lanes:
            raise DataError(f"{name}: expected a map with driving lanes, found none; give another map")

    @staticmethod
    def of(name: str, xodr: str) -> RoadMap:
        """Return the map of a town; the name may be a path such as `Carla/Maps/Town01`."""
        return _known(name.rsplit("/", 1)[-1], xodr)

    @staticmethod
    def named(name: str) -> RoadMap:
        """Return Town's or CARLA's map of that name, without a server.

        Raises:
            DataError: if none of `mtdrive.envs.town.roads.map_names` is called so.
        """
        try:
            return RoadMap.of(*map_text(name))
        except ConfigError as error:
            raise DataError(str(error)) from error

    @cached_property
    def graph(self) -> Graph:
        """The lanes as a graph."""
        return Graph(self.lanes)

    @cached_property
    def spots(self) -> tuple[Spot, ...]:
        """Places to start: on driving lanes outside junctions, away from the lanes' ends."""
        return tuple(
            Spot(number, int(np.searchsorted(lane.along, metres)))
            for number, lane in enumerate(self.lanes)
            for metres in (() if lane.junction >= 0 else _spread(lane.length))
            if lane.wide[np.searchsorted(lane.along, metres)]
        )

    @cached_property
    def places(self) -> tuple[carla.Transform, ...]:
        """The same on the ground, x along the traffic; a map without a server has no spawn points."""
        return tuple(self.transform(spot) for spot in self.spots)

    def transform(self, spot: Spot) -> carla.Transform:
        """Return where a point of a lane is, x along the traffic."""
        lane = self.lanes[spot.lane]
        location = carla.Location(*map(float, lane.xyz[spot.point]))
        return carla.Transform(location, carla.Rotation(yaw=float(lane.yaw[spot.point])))

    def near(self, place: carla.Location, beside: bool = False) -> list[Candidate]:
        """Return the lanes of a place: the nearest, and those that lie at most `OVERLAP` farther.

        In junctions, lanes lie above each other. With `beside`, also the nearest one's neighbours of the same
        direction.
        """
        _, first = self._tree.query((place.x, place.y, place.z))
        level = self._points[first, 2]
        away = float(np.hypot(*(self._points[first, :2] - (place.x, place.y))))
        close = np.array(self._tree.query_ball_point((place.x, place.y, level), away + BESIDE + LEVEL))
        close = close[np.abs(self._points[close, 2] - level) <= LEVEL]
        gaps = np.hypot(*(self._points[close, :2] - (place.x, place.y)).T)
        order = np.lexsort((close, gaps))
        owners, gaps = self._owners[close[order]], gaps[order]
        firsts = np.sort(np.unique(owners[:, 0], return_index=True)[1])
        nearest, *others = (
            Candidate(Spot(lane, index), gap)
            for (lane, index), gap in zip(owners[firsts].tolist(), gaps[firsts].tolist(), strict=True)
        )
        own = self.lanes[nearest.spot.lane]
        return [nearest] + [
            c
            for c in others
            if c.gap <= nearest.gap + OVERLAP
            or (beside and c.gap <= nearest.gap + BESIDE and own.is_beside(self.lanes[c.spot.lane]))
        ]

    @cached_property
    def _owners(self) -> Int[np.ndarray, "points 2"]:
        """The lane and index of each point; a lane's last point belongs to the next."""
        counts = [len(lane.xyz) - bool(lane.following) for lane in self.lanes]
        lanes = np.repeat(np.arange(len(counts)), counts)
        return np.stack([lanes, np.concatenate([np.arange(n) for n in counts])], axis=1)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self._points)

    @cached_property
    def _points(self) -> Float[np.ndarray, "points 3"]:
        return np.concatenate([x.xyz[: len(x.xyz) - bool(x.following)] for x in self.lanes])


@lru_cache(maxsize=8)
def _known(name: str, xodr: str) -> RoadMap:
    return RoadMap(name, xodr)


def _carla_map(name: str, xodr: str) -> carla.Map:
    try:
        return carla.Map(name, xodr)
    except RuntimeError as error:
        raise DataError(f"{name}: expected an OpenDRIVE map, found: {error}; give another map") from error


def _spread(length: float) -> Float[np.ndarray, " n"]:
    """Return metres along a lane, evenly apart, in its middle."""
    room = length - 2 * SPAWN_MARGIN
    count = int(room / SPAWN_STEP) + 1 if room >= 0 else 0
    return length / 2 + (np.arange(count) - (count - 1) / 2) * SPAWN_STEP
