"""Traffic in a process of its own: `python -m tests.traffic_client NAME` prints what it finds as JSON."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from typing import Any

import carla

from mtdrive.envs.demand import Density
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.servers import open_server
from mtdrive.envs.signals import stop_lines
from mtdrive.envs.simulation import Simulation
from mtdrive.envs.traffic import Traffic
from tests.traffic_makers import RedLights, crew, ego_at, front, lights_of, overlaps, route_along, streets_of

Findings = dict[str, Any]


def repeat() -> Findings:
    """Hash all states of 600 steps, twice in this process."""
    roads = RoadMap.named("Small")
    hashes = []
    for _ in range(2):
        traffic, route, show = Traffic(roads, seed=3), route_along(roads), lights_of(roads)
        traffic.begin(route, crew(streets_of(roads), 8, 12, route.start.location, seed=3))
        digest = hashlib.sha256()
        for tick in range(600):
            ego = ego_at(route.xyz[min(tick // 10, 100)], float(route.yaw[min(tick // 10, 100)]))
            commands = traffic.step(ego, show(tick / 20))
            digest.update(repr((len(commands), traffic.users())).encode())
        traffic.close()
        hashes.append(digest.hexdigest())
    return {"hashes": hashes}


def live() -> Findings:
    """Run 200 ticks of a server's own town, with its lights."""
    found: Findings = {"overlaps": 0, "far": 0.0, "off": 0.0}
    with open_server("town", "Grid") as server:
        simulation = Simulation(server, patience=120.0)
        try:
            roads = simulation.roads
            route = route_along(roads)
            start = route.start
            start.location.z += 0.3
            car = simulation.spawn("vehicle.tesla.model3", start, role_name="hero")
            traffic = Traffic(roads, Density(9.5, 4.8), seed=7, rate=simulation.rate)
            traffic.spawn(simulation, route)
            _check(simulation, car, traffic, found)
            traffic.close()
        finally:
            simulation.close()
    return found


def _check(simulation: Simulation, car: Any, traffic: Traffic, found: Findings) -> None:
    lines = [(x.signal, *x.xyz[:2], x.yaw) for x in stop_lines(simulation.world) if x.kind == "light"]
    judge = RedLights(lines)
    scene = simulation.scene(car, traffic)
    first = {u.id: u.xyz for u in traffic.users()}
    for _ in range(200):
        tick = simulation.tick(traffic.step(scene.ego, scene.lights))
        users, lights = traffic.users(), dict(scene.lights)
        scene = simulation.scene(car, traffic)
        found["overlaps"] += len(list(overlaps((scene.ego, *users))))
        judge.see(users, lights)
        for user in users:
            place = tick.snapshot.find(user.id).get_transform().location
            found["far"] = max(found["far"], place.distance(carla.Location(*user.xyz)))
            if user.kind != "walker":
                x, y = front(user)
                near = simulation.map.get_waypoint(carla.Location(x, y, user.xyz[2])).transform.location
                found["off"] = max(found["off"], near.distance_2d(carla.Location(x, y, 0.0)))
    found["kinds"] = [u.kind for u in traffic.users()]
    found["moved"] = sum(carla.Location(*u.xyz).distance(carla.Location(*first[u.id])) > 5 for u in users)
    found["red"], found["green"] = judge.red, judge.green
    found["hit"] = len(scene.collisions)


SCENARIOS: dict[str, Callable[[], Findings]] = {"repeat": repeat, "live": live}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(SCENARIOS[sys.argv[1]]()) + "\n")
