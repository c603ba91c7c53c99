"""Times Town through the real client, and its renderer alone on the same scene.

Usage: python benchmarks/town.py [--town Grid] [--runs 5] [--ticks 300] [--growth] [--out FILE]

Forty vehicles and twenty walkers are moved by one `apply_batch` at every tick; cameras are 320x160. The cases
take turns, and each has its best of so many runs, because a shared machine only ever slows one down. The
renderer alone draws the same actors, from the same places, in this process: what a tick takes longer is wire,
physics and client. `--growth` adds 10 and 160 actors, and one, two and four cameras that look elsewhere.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import carla
import numpy as np
from timing import machine
from town_scene import CARS, KINDS, PERIOD, Task, client, result, ways

from mtdrive.envs.town import Town
from mtdrive.envs.town.renderer import Renderer
from mtdrive.envs.town.roads import load_map
from mtdrive.envs.town.stage import Camera, Pose, Stage
from mtdrive.envs.town.world import World

FRONT = tuple((kind, 0.0) for kind in KINDS)


def tasks(ticks: int, growth: bool) -> dict[str, Task]:
    """Return the cases by their names."""
    found = {
        "state only": Task(ticks=ticks),
        "RGB": Task(ticks=ticks, cameras=FRONT[:1]),
        "RGB, depth, semantics, flow": Task(ticks=ticks, cameras=FRONT),
    }
    if growth:
        for count in (10, 160):
            vehicles = count * 2 // 3
            found[f"all four, {count} actors"] = Task(vehicles, count - vehicles, FRONT, ticks)
        for count in (2, 4):
            cameras = tuple(("rgb", 360.0 / count * i) for i in range(count))
            found[f"RGB, {count} directions"] = Task(ticks=ticks, cameras=cameras)
    return found


class Alone:
    """The renderer without a server, on the scene of the benchmark."""

    def __init__(self, town: str) -> None:
        land = load_map(town)
        world = World(land)
        people = sorted(walkers())
        task = Task()
        places = ways(carla.Map(land.name, land.xodr), task)
        actors = [
            world.spawn(CARS[i % len(CARS)] if i < task.vehicles else people[i % len(people)], {}, lifted(i))
            for i in range(len(places))
        ]
        self.stages, self.cameras = [], []
        for frame in range(PERIOD // 4):
            for actor, way in zip(actors, places, strict=True):
                actor.pose = pose_of(way[frame])
            stage = world.stage()
            self.stages.append(Stage(**{**vars(stage), "frame": frame}))
            first = actors[0].pose
            self.cameras.append(Camera(320, 160, 90.0, Pose(first.x, first.y, first.z + 2.0, yaw=first.yaw)))
        self.renderer = Renderer(land)

    def rate(self, colours: bool, labels: bool) -> float:
        """Return frames a second, over about as many frames as a client's run has."""
        before = self.stages[0], self.cameras[0]
        begun = time.perf_counter()
        for stage, camera in 3 * list(zip(self.stages, self.cameras, strict=True)):
            self.renderer.render(camera, before[1], stage, before[0], colours=colours, labels=labels)
            before = stage, camera
        return 3 * len(self.stages) / (time.perf_counter() - begun)


def walkers() -> list[str]:
    """Return the blueprints of people."""
    from mtdrive.envs.town.blueprints import library

    return [name for name in library() if name.startswith("walker.pedestrian.")]


def lifted(index: int) -> Pose:
    """Return a place in the air for each actor, so that none stands in another's way."""
    return Pose(z=50.0 + 10 * index)


def pose_of(place: carla.Transform) -> Pose:
    """Return CARLA's transform as a pose."""
    at, turn = place.location, place.rotation
    return Pose(at.x, at.y, at.z, turn.pitch, turn.yaw, turn.roll)


def measure(town: str, runs: int, ticks: int, growth: bool) -> dict[str, Any]:
    """Return the rates of every run."""
    cases = tasks(ticks, growth)
    rates: dict[str, list[float]] = {name: [] for name in cases}
    alone: dict[str, list[float]] = {"RGB": [], "RGB, depth, semantics, flow": []}
    renderer = Alone(town)
    begun = time.perf_counter()
    with Town(town) as server:
        start = time.perf_counter() - begun
        for _ in range(runs):
            for name, task in cases.items():
                rates[name].append(result(client(server.port, task))["ticks_per_second"])
            alone["RGB"].append(renderer.rate(True, False))
            alone["RGB, depth, semantics, flow"].append(renderer.rate(True, True))
        status = Path(f"/proc/{server.process.pid}/status").read_text()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return {
        "town": town,
        "machine": machine(),
        "drawn by": renderer.renderer.description,
        "seconds to start": start,
        "peak memory MB": memory / 1e3,
        "ticks a second": rates,
        "frames a second of the renderer alone": alone,
    }


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    print("| | best ticks/s | median | renderer alone | rest of a tick |\n|---|---|---|---|---|")
    for name, rates in found["ticks a second"].items():
        drawn = found["frames a second of the renderer alone"].get(name)
        rest = f"{1 - max(rates) / max(drawn):.0%}" if drawn else ""
        drawn = f"{max(drawn):.0f}" if drawn else ""
        print(f"| {name} | {max(rates):.0f} | {np.median(rates):.0f} | {drawn} | {rest} |")
    print(json.dumps({k: v for k, v in found.items() if not isinstance(v, dict) or k == "machine"}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--town", default="Grid")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ticks", type=int, default=300)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options.town, options.runs, options.ticks, options.growth)
    show(found)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
