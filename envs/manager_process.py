"""The process of CARLA's traffic manager: `python -m mtdrive.envs.manager_process FD`, FD being its line.

The manager of 0.9.16 may wait for itself for ever in synchronous mode, with Python's lock held. So it has a
process to itself, and who started it watches it from outside. It drives when the client of its own process
ticks: this process ticks when it is told to, and answers when its manager has driven.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import carla

GAP = 2.0
"""Metres that vehicles keep to the one ahead."""


def main() -> None:
    """Serve until the line ends, or something fails, which is told."""
    line = Connection(int(sys.argv[1]))
    with suppress(EOFError, OSError):
        try:
            _serve(line, json.loads(line.recv_bytes()))
        except RuntimeError as error:
            _say(line, error=str(error))
    os._exit(0)  # the client's threads may not let the interpreter end


def _serve(line: Connection, order: dict[str, Any]) -> None:
    client = carla.Client(order["host"], order["port"])
    client.set_timeout(order["patience"])
    world = client.get_world()
    manager = client.get_trafficmanager(order["manager"])
    manager.set_random_device_seed(order["seed"])
    manager.set_synchronous_mode(True)
    manager.set_global_distance_to_leading_vehicle(GAP)
    for vehicle in world.get_actors(order["vehicles"]):
        vehicle.set_autopilot(True, order["manager"])
    _say(line, ready=True)
    walking = False
    try:
        while True:
            patience = json.loads(line.recv_bytes())
            _say(line, frame=world.tick(patience))
            if not walking:  # a client that has not ticked does not know where anybody is
                _send_walkers(world, order)
                walking = True
    except EOFError:
        manager.shut_down()  # else CARLA believes for ever that there is a manager at its port


def _send_walkers(world: Any, order: dict[str, Any]) -> None:
    """Let walkers stroll; from goal to goal by themselves."""
    world.set_pedestrians_seed(order["seed"])
    walkers: dict[str, float] = order["walkers"]
    for controller in world.get_actors([int(id) for id in walkers]):
        controller.start()
        goal = world.get_random_location_from_navigation()
        if goal is not None:
            controller.go_to_location(goal)
        controller.set_max_speed(walkers[str(controller.id)])


def _say(line: Connection, **what: Any) -> None:
    line.send_bytes(json.dumps(what).encode())


if __name__ == "__main__":
    main()
