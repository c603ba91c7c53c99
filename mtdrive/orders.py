"""What a planner tells a driver; apart from `mtdrive.batch`, since environments need no torch."""

from __future__ import annotations

from enum import IntEnum


class Command(IntEnum):
    """The planner's order, with the numbers of CARLA's `RoadOption`."""

    LEFT = 1
    RIGHT = 2
    STRAIGHT = 3
    FOLLOW = 4
    CHANGE_LEFT = 5
    CHANGE_RIGHT = 6
