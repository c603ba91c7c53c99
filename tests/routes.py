"""What every route on a map must keep."""

from __future__ import annotations

import carla
import numpy as np

from mtdrive.envs.routes import RoadMap, Route
from mtdrive.orders import Command


def check_on_lanes(roads: RoadMap, route: Route) -> None:
    """Check a route against CARLA's map: connected, on driving lanes, and headed along them."""
    gaps = np.linalg.norm(np.diff(route.xyz, axis=0), axis=1)
    assert gaps.max() < 1.5
    assert np.allclose(np.diff(route.distance), np.diff(route.distance)[0])
    assert np.isfinite(route.speed_limit).all()
    assert (route.speed_limit > 0).all()
    ways = np.degrees(np.arctan2(*np.diff(route.xyz[:, :2], axis=0).T[::-1]))
    assert np.abs((ways - route.yaw[:-1] + 180) % 360 - 180).max() < 20
    changing = np.isin(route.commands, (Command.CHANGE_LEFT, Command.CHANGE_RIGHT))
    for i in range(3, len(route.xyz) - 3, 7):
        place = carla.Location(*map(float, route.xyz[i]))
        at = roads.map.get_waypoint(place)
        off, frame = place - at.transform.location, at.transform
        assert abs(off.dot(frame.get_right_vector())) < (at.lane_width / 2 + 0.3 if changing[i] else 0.1)
        assert abs(off.dot(frame.get_up_vector())) < 0.2
        assert abs(off.dot(frame.get_forward_vector())) < 1  # CARLA's search along a lane is no finer
        settled = (route.road[i - 2 : i + 3] == route.road[i]).all() and not changing[i]
        if settled and route.commands[i] == Command.FOLLOW:
            assert (at.road_id, at.lane_id) == tuple(route.road[i])
            assert np.cos(np.radians(at.transform.rotation.yaw - route.yaw[i])) > np.cos(np.radians(5))
