"""Let CARLA's own BehaviorAgent drive to a goal in Town, among other agents and walkers; print what happened.

python -m scripts.behaviour_agent CARLA/PythonAPI/carla --town Grid

The folder is that of CARLA's sources or releases; its agents need the packages networkx and shapely.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import carla

from mtdrive.envs.town import Town

STEP = 0.05
"""Seconds of a tick."""
AGAIN = 5.0
"""Seconds in which touching the same actor is one collision."""


class Log:
    """What the car's sensors told."""

    def __init__(self, world: Any, car: Any) -> None:
        self.collisions: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        self._touched: dict[int, float] = {}
        library = world.get_blueprint_library()
        kinds = {"collision": self._collide, "lane_invasion": self._invade}
        self.sensors = [
            world.spawn_actor(library.find(f"sensor.other.{kind}"), carla.Transform(), attach_to=car)
            for kind in kinds
        ]
        for sensor, hear in zip(self.sensors, kinds.values(), strict=True):
            sensor.listen(hear)

    def _collide(self, event: Any) -> None:
        other, now = event.other_actor, event.timestamp
        if now - self._touched.get(other.id, -AGAIN) >= AGAIN:
            self.collisions[other.type_id] += 1
        self._touched[other.id] = now

    def _invade(self, event: Any) -> None:
        for mark in event.crossed_lane_markings:
            self.lines[str(mark.type)] += 1

    def end(self) -> None:
        """Stop listening."""
        for sensor in self.sensors:
            sensor.stop()
            sensor.destroy()


def spawn_walkers(world: Any, count: int) -> list[Any]:
    """Return the controllers of walkers that are on their way."""
    library = world.get_blueprint_library()
    people = []
    for blueprint in random.choices(library.filter("walker.pedestrian.*"), k=count):
        place = world.get_random_location_from_navigation()
        walker = world.try_spawn_actor(blueprint, carla.Transform(place)) if place else None
        if walker:
            people.append(walker)
    world.tick()
    controller = library.find("controller.ai.walker")
    controllers = [world.spawn_actor(controller, carla.Transform(), attach_to=walker) for walker in people]
    world.tick()
    for each in controllers:
        each.start()
        each.go_to_location(world.get_random_location_from_navigation())
        each.set_max_speed(1.4)
    return controllers


def farthest(places: list[Any], place: Any) -> Any:
    """Return the location that is farthest from a place."""
    return max((p.location for p in places), key=place.location.distance)


def drive(world: Any, agents: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Let the agent drive and return what happened."""
    library, places = world.get_blueprint_library(), world.get_map().get_spawn_points()
    start, *rest = random.sample(places, min(len(places), options.traffic + 1))
    car = world.spawn_actor(library.find("vehicle.tesla.model3"), start)
    others = [world.try_spawn_actor(library.find("vehicle.audi.tt"), place) for place in rest]
    spawn_walkers(world, options.walkers)
    world.tick()
    agent = agents.BehaviorAgent(car, behavior=options.behaviour)
    planner = {"map_inst": world.get_map(), "grp_inst": agent.get_global_planner()}
    goal = farthest(places, start)
    agent.set_destination(goal)
    traffic = [agents.BehaviorAgent(other, behavior="normal", **planner) for other in others if other]
    log, began, first = Log(world, car), time.monotonic(), world.get_snapshot().timestamp.elapsed_seconds
    metres, last = 0.0, car.get_location()
    while not agent.done() and world.get_snapshot().timestamp.elapsed_seconds - first < options.seconds:
        car.apply_control(agent.run_step())
        for other in traffic:
            if other.done():
                other.set_destination(random.choice(places).location)
            other._vehicle.apply_control(other.run_step())
        world.tick()
        here = car.get_location()
        metres, last = metres + here.distance(last), here
    log.end()
    return {
        "reached": bool(agent.done()) and last.distance(goal) < 10,
        "metres": round(metres, 1),
        "seconds": round(world.get_snapshot().timestamp.elapsed_seconds - first, 2),
        "wall_seconds": round(time.monotonic() - began, 1),
        "to_goal": round(last.distance(goal), 1),
        "collisions": dict(log.collisions),
        "lane_invasions": dict(log.lines),
    }


def main() -> None:
    """Start Town, drive, and print a line of JSON."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("folder", type=Path, help="the folder PythonAPI/carla, which holds agents/")
    parser.add_argument("--town", default="Grid")
    parser.add_argument("--behaviour", default="normal", choices=("cautious", "normal", "aggressive"))
    parser.add_argument("--traffic", type=int, default=8, help="other cars with the same agent")
    parser.add_argument("--walkers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=400.0, help="after which the drive ends")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.folder / "agents").is_dir():
        parser.error(f"{options.folder}: expected PythonAPI/carla of CARLA, a folder with agents/ in it")
    sys.path.insert(0, str(options.folder))
    agents = importlib.import_module("agents.navigation.behavior_agent")
    random.seed(options.seed)
    with Town(options.town, seed=options.seed) as server:
        client = carla.Client(server.host, server.port)
        client.set_timeout(60)
        world = client.get_world()
        settings = world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, STEP
        world.apply_settings(settings)
        world = client.reload_world(False)  # from the first step on, the clock is the script's
        world.set_pedestrians_seed(options.seed)
        world.tick()
        found = drive(world, agents, options)
    print(json.dumps({"town": options.town, "seed": options.seed, **found}))


if __name__ == "__main__":
    main()
