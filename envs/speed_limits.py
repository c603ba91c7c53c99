"""Speed limits of a map, from its OpenDRIVE text: CARLA's map without a server knows none.

A limit is a `<speed>` of a road's `<type>` or of a lane; the lane's goes first. Roads in junctions seldom
have one. Speed signs are left out: CARLA's maps hold few of those that its towns show, in a unit that is not
meant.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.opendrive import SPEED_UNITS
from mtdrive.errors import DataError

DEFAULT_LIMIT = 30 / 3.6
"""Metres a second where a map says nothing along a whole route: that of towns."""

Changes = list[tuple[float, float]]
"""Where along the road another limit begins, and that limit in m/s; not a number where there is none."""


class SpeedLimits:
    """What a map says of speed.

    Raises:
        DataError: if the text is not XML, or a place in it is not a number.
    """

    def __init__(self, name: str, xodr: str) -> None:
        self.roads: dict[int, Changes] = {}
        self.lanes: dict[tuple[int, int], Changes] = {}
        try:
            for road in ElementTree.fromstring(xodr).iter("road"):
                self._read(int(road.get("id", "")), road)
        except (ElementTree.ParseError, ValueError) as error:
            raise DataError(f"{name}: expected an OpenDRIVE map, found: {error}; give another map") from error

    def _read(self, number: int, road: Element) -> None:
        kinds = ((float(kind.get("s", 0)), kind.find("speed")) for kind in road.findall("type"))
        self.roads[number] = sorted((s, _metres_a_second(speed)) for s, speed in kinds)
        for section in road.findall("lanes/laneSection"):
            start = float(section.get("s", 0))
            for lane in section.iter("lane"):
                known = self.lanes.setdefault((number, int(lane.get("id", ""))), [])
                known.append((start, math.nan))
                known.extend(_of_lane(start, lane.findall("speed")))

    def along(self, road: int, lane: int, s: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Return the limit in m/s at places along a lane; not a number where the map says nothing."""
        own = _at(self.lanes.get((road, lane), []), s)
        return np.where(np.isnan(own), _at(self.roads.get(road, []), s), own)


def without_gaps(limit: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the limits along a way: where the map says nothing, the last one known still holds."""
    known = np.flatnonzero(~np.isnan(limit))
    if not len(known):
        return np.full(len(limit), DEFAULT_LIMIT)
    last = np.searchsorted(known, np.arange(len(limit)), side="right") - 1
    return np.asarray(limit[known[np.maximum(last, 0)]])


def _of_lane(start: float, speeds: Iterable[Element]) -> Iterator[tuple[float, float]]:
    return ((start + float(e.get("sOffset", 0)), _metres_a_second(e)) for e in speeds)


def _metres_a_second(speed: Element | None) -> float:
    """Return the limit; a number is needed, for `max` may also be a word such as `undefined`."""
    text = speed.get("max", "") if speed is not None else ""
    unit = SPEED_UNITS.get(speed.get("unit", "m/s"), 1.0) if speed is not None else 1.0
    return float(text) * unit if text.replace(".", "", 1).isdigit() else math.nan


def _at(changes: Changes, s: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    if not changes:
        return np.full(len(s), math.nan)
    starts, limits = np.array(sorted(changes, key=lambda c: c[0])).T
    return np.asarray(limits[np.maximum(np.searchsorted(starts, s + 1e-6, side="right") - 1, 0)])
