"""A scene of cars and people that a client moves at every tick, and a client that measures it.

`python benchmarks/town_scene.py PORT JSON` is the client, in a process of its own because a client that ends
with a listening sensor may abort; it prints a line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import queue
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import carla

SIZE = {"image_size_x": "320", "image_size_y": "160", "fov": "90"}
KINDS = ("rgb", "depth", "semantic_segmentation", "optical_flow")
CARS = ("vehicle.tesla.model3", "vehicle.audi.tt", "vehicle.ford.mustang", "vehicle.carlamotors.firetruck")
PERIOD = 400
"""Steps after which all begin their ways anew."""


@dataclass(frozen=True)
class Task:
    """What the client does."""

    vehicles: int = 40
    walkers: int = 20
    cameras: tuple[tuple[str, float], ...] = ()
    """Each by its kind and its yaw in degrees."""
    ticks: int = 200
    warm: int = 30
    seed: int = 0
    driven: bool = False
    """Whether the vehicles and walkers move by controls, drawn anew every second, and by physics."""
    hashed: bool = False
    """Whether to return hashes of all states and of all images."""
    report: int = 0
    """Print the ticks done after so many of them; 0 for never."""


def ways(town: carla.Map, task: Task) -> list[list[carla.Transform]]:
    """Return the places of each actor over a period; vehicles along lanes, walkers beside them."""
    draw = random.Random(task.seed)
    starts = town.generate_waypoints(6.0)
    draw.shuffle(starts)
    cars, people = starts[: task.vehicles], starts[task.vehicles : task.vehicles + task.walkers]
    found = [list(_along(start, draw.uniform(3, 12) / 20, 0.0, draw)) for start in cars]
    found += [list(_along(start, 1.4 / 20, start.lane_width, draw)) for start in people]
    if len(found) < task.vehicles + task.walkers:
        raise SystemExit(f"{town.name} has room for {len(found)} actors; choose a larger town")
    return found


def _along(start: Any, step: float, aside: float, draw: random.Random) -> Iterator[carla.Transform]:
    place = start
    for _ in range(PERIOD):
        pose = place.transform
        right = pose.get_right_vector()
        height = 1.0 if aside else 0.3
        yield carla.Transform(pose.location + aside * right + carla.Location(z=height), pose.rotation)
        place = draw.choice(place.next(step) or [start])


def actors_of(world: carla.World, task: Task, places: list[list[carla.Transform]]) -> list[carla.Actor]:
    """Spawn what moves: physics is off, as in a co-simulation."""
    library = world.get_blueprint_library()
    people = sorted(b.id for b in library.filter("walker.pedestrian.*"))
    found = []
    for i, way in enumerate(places):
        name = CARS[i % len(CARS)] if i < task.vehicles else people[i % len(people)]
        actor = world.try_spawn_actor(library.find(name), _lifted(way[0], 50.0 + 10 * i))
        if actor is None:
            raise SystemExit(f"{name} could not be spawned")
        actor.set_simulate_physics(False)
        found.append(actor)
    return found


def _lifted(place: carla.Transform, height: float) -> carla.Transform:
    return carla.Transform(place.location + carla.Location(z=height), place.rotation)


class Ears:
    """The cameras on the first vehicle."""

    def __init__(self, world: carla.World, holder: carla.Actor, task: Task) -> None:
        self.sensors, self.queues = [], []
        for kind, yaw in task.cameras:
            blueprint = world.get_blueprint_library().find(f"sensor.camera.{kind}")
            for name, value in SIZE.items():
                blueprint.set_attribute(name, value)
            place = carla.Transform(carla.Location(x=1.5, z=2.0), carla.Rotation(yaw=yaw))
            sensor = world.spawn_actor(blueprint, place, attach_to=holder)
            images: queue.Queue[Any] = queue.Queue()
            sensor.listen(images.put)
            self.sensors.append(sensor)
            self.queues.append(images)

    def hear(self, frame: int) -> list[Any]:
        """Return the image of each camera at a frame."""
        return [self._one(images, frame) for images in self.queues]

    def _one(self, images: queue.Queue[Any], frame: int) -> Any:
        while True:
            image = images.get(timeout=60)
            if image.frame == frame:
                return image

    def close(self) -> None:
        """Stop and destroy: a client that ends with a listening sensor may abort."""
        for sensor in self.sensors:
            sensor.stop()
            sensor.destroy()


def run(port: int, task: Task) -> dict[str, Any]:
    """Do the task and return ticks a second, and hashes if asked."""
    client = carla.Client("127.0.0.1", port)
    client.set_timeout(120)
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)
    world = client.reload_world(False)  # of a world that ran freely, the time and so the clouds would vary
    places = ways(world.get_map(), task)
    actors = actors_of(world, task, places)
    ids = [actor.id for actor in actors]
    if task.driven:
        release(client, actors, places)
    ears = Ears(world, actors[0], task)
    draw = random.Random(task.seed)
    states, pictures = hashlib.sha256(), hashlib.sha256()
    begun = 0.0
    for i in range(-task.warm, task.ticks):
        if i == 0:
            begun = time.perf_counter()
        if not task.driven:
            moves = [
                carla.command.ApplyTransform(n, way[i % PERIOD]) for n, way in zip(ids, places, strict=True)
            ]
            client.apply_batch_sync(moves, False)
        elif i % 20 == 0:
            client.apply_batch_sync([control(n, k < task.vehicles, draw) for k, n in enumerate(ids)], False)
        images = ears.hear(world.tick())
        if task.hashed and i >= 0:
            snapshot = world.get_snapshot()
            states.update(repr(snapshot.timestamp.elapsed_seconds).encode())
            for one in sorted(snapshot, key=lambda one: one.id):
                states.update(repr(numbers(one)).encode())
            for image in images:
                pictures.update(bytes(image.raw_data))
        if task.report and i >= 0 and (i + 1) % task.report == 0:
            print(json.dumps({"ticks": i + 1}), flush=True)
    took = time.perf_counter() - begun
    ears.close()
    settings.synchronous_mode, settings.fixed_delta_seconds = False, None
    world.apply_settings(settings)
    hashes = {"states": states.hexdigest(), "images": pictures.hexdigest()} if task.hashed else {}
    return {"ticks_per_second": task.ticks / took, **hashes}


def release(client: carla.Client, actors: list[carla.Actor], places: list[list[carla.Transform]]) -> None:
    """Put the actors where they start and leave them to physics."""
    for actor, way in zip(actors, places, strict=True):
        moved = carla.command.ApplyTransform(actor.id, way[0])
        client.apply_batch_sync([moved, carla.command.SetSimulatePhysics(actor.id, True)], False)


def control(id_: int, vehicle: bool, draw: random.Random) -> Any:
    """Return the command that drives an actor for the next second."""
    if not vehicle:
        direction = carla.Vector3D(draw.uniform(-1, 1), draw.uniform(-1, 1), 0.0)
        return carla.command.ApplyWalkerControl(id_, carla.WalkerControl(direction, draw.uniform(0, 2)))
    pedals = {"throttle": draw.random()} if draw.random() < 0.7 else {"brake": draw.random()}
    return carla.command.ApplyVehicleControl(id_, carla.VehicleControl(steer=draw.gauss(0, 0.2), **pedals))


def numbers(one: carla.ActorSnapshot) -> list[float]:
    """Return the id, the place, the rotation and the velocity of an actor."""
    at, turn, velocity = one.get_transform().location, one.get_transform().rotation, one.get_velocity()
    places = [at.x, at.y, at.z, turn.pitch, turn.yaw, turn.roll, velocity.x, velocity.y, velocity.z]
    return [one.id, *places]


def client(port: int, task: Task) -> subprocess.Popen[str]:
    """Start the client on a task; its last line is the result."""
    command = [sys.executable, __file__, str(port), json.dumps(asdict(task))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a client and return its result."""
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the client ended with status {process.returncode}")
    found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("task", type=json.loads)
    options = parser.parse_args()
    print(json.dumps(run(options.port, Task(**options.task))), flush=True)
