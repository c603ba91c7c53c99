"""What the real client sees of a town's signals: `python -m tests.signals_client PORT` prints it as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import astuple
from typing import Any

import carla

from mtdrive.envs.signals import stop_lines
from tests.town_client import connect, say


def main() -> None:
    _, world = connect(int(sys.argv[1]))
    actors = world.get_actors()
    lights = {}
    for light in actors.filter("traffic.traffic_light*"):
        obey = light.get_affected_lane_waypoints()
        lights[light.get_opendrive_id()] = [place(w.transform.location) for w in obey]
    triggers = []
    for sign in actors.filter("traffic.stop*"):
        middle = carla.Location(sign.trigger_volume.location)
        sign.get_transform().transform(middle)  # in place
        triggers.append(place(middle))
    lines = [astuple(line) for line in stop_lines(world)]
    say(json.dumps({"lines": lines, "lights": lights, "triggers": triggers}))


def place(location: Any) -> list[float]:
    return [location.x, location.y]


if __name__ == "__main__":
    main()
