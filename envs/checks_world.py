"""Checks of a server: time, the map, and cars with and without physics."""

from __future__ import annotations

import time
from typing import Any

import carla
import numpy as np

from mtdrive.envs.bench import CAR, Bench, Checks, aside, turned
from mtdrive.envs.scene import Actor

WORLD = Checks()
Found = tuple[str, bool]
Control = carla.VehicleControl


@WORLD.add("frames", "each tick is the next frame, one step later")
def frames(bench: Bench) -> Found:
    """Tick, and compare numbers and times."""
    ticks = [bench.simulation.tick() for _ in range(20)]
    numbers = np.diff([tick.frame for tick in ticks])
    steps = np.diff([tick.snapshot.timestamp.elapsed_seconds for tick in ticks]) * bench.simulation.rate
    good = bool((numbers == 1).all() and np.allclose(steps, 1, atol=1e-3))
    return f"{numbers.mean():g} frames, {steps.mean():.4f} steps", good


@WORLD.add("waiting", "less than half a processor while ticks are made")
def waiting(bench: Bench) -> Found:
    """Measure this process while a camera is drawn."""
    car = bench.park()
    bench.camera("rgb", car, carla.Transform(carla.Location(z=2.5)))
    bench.simulation.warm_up()
    begun, busy = time.monotonic(), time.process_time()
    for _ in range(20):
        bench.simulation.tick()
    wall = time.monotonic() - begun
    share = (time.process_time() - busy) / wall
    return f"{share:.2f} processors, {20 / wall:.0f} ticks a second", share < 0.5


@WORLD.add("reload", "a map that is loaded again is young and empty")
def reload(bench: Bench) -> Found:
    """Leave a car behind."""
    bench.park()
    bench.simulation.tick()
    bench.simulation.load(bench.simulation.town)
    age = bench.simulation.tick().snapshot.timestamp.elapsed_seconds
    cars = len(bench.simulation.world.get_actors().filter("vehicle.*"))
    return f"{age:.1f} s old, {cars} cars", age < 20 and cars == 0


@WORLD.add("clearing", "actors that are destroyed are gone with the next tick")
def clearing(bench: Bench) -> Found:
    """Count before and after."""
    before = len(bench.simulation.tick().snapshot)
    bench.park()
    between = len(bench.simulation.tick().snapshot)
    bench.simulation.clear()
    after = len(bench.simulation.tick().snapshot)
    return f"{before}, {between}, {after} actors", before == after == between - 1


@WORLD.add("spawn points", "on driving lanes and along them")
def spawn_points(bench: Bench) -> Found:
    """Compare with the map."""
    town = bench.simulation.map
    places = town.get_spawn_points()
    lanes = [town.get_waypoint(place.location).transform for place in places]
    off = [a.location.distance_2d(b.location) for a, b in zip(places, lanes, strict=True)]
    turn = [
        abs((a.rotation.yaw - b.rotation.yaw + 180) % 360 - 180) for a, b in zip(places, lanes, strict=True)
    ]
    if not places:
        return "none", False
    found = f"{len(places)} points, at most {max(off):.2f} m and {max(turn):.1f} degrees off"
    return found, max(off) < 1 and max(turn) < 20


@WORLD.add("throttle", "3 to 60 m forward in 4 s, hardly aside")
def throttle(bench: Bench) -> Found:
    """Drive straight on."""
    _, start, states = _drive(bench, Control(throttle=0.5), 4)
    forward, right = aside(states, start)
    return f"{forward:.1f} m forward, {right:.2f} m right", 3 < forward < 60 and abs(right) < 0.2 * forward


@WORLD.add("speed", "m/s, within 5 % of the way that is made")
def speed(bench: Bench) -> Found:
    """Compare with places."""
    _, _, states = _drive(bench, Control(throttle=0.5), 4)
    way = float(np.linalg.norm(np.subtract(states[-1].xyz, states[-2].xyz))) * bench.simulation.rate
    return f"{states[-1].speed:.2f} told, {way:.2f} made", abs(states[-1].speed - way) < 0.05 * way


@WORLD.add("steering", "positive goes right, and yaw grows")
def steering(bench: Bench) -> Found:
    """Drive a bend."""
    _, start, states = _drive(bench, Control(throttle=0.4, steer=0.4), 2.5)
    angle, (_, right) = turned(states, start), aside(states, start)
    return f"{angle:.1f} degrees, {right:.2f} m right", angle > 5 and right > 0.1


@WORLD.add("brake", "stands within 5 s")
def brake(bench: Bench) -> Found:
    """Drive and stop."""
    car, _, states = _drive(bench, Control(throttle=0.6), 3)
    before, after = states[-1].speed, bench.drive(car, Control(brake=1.0), 5)[-1].speed
    return f"{before:.1f}, then {after:.2f} m/s", before > 2 and abs(after) < 0.1


def _drive(bench: Bench, control: carla.VehicleControl, seconds: float) -> tuple[Any, Actor, list[Actor]]:
    """Return a car, how it stood, and how it was after each tick of driving."""
    car = bench.park()
    start = bench.settle(car)
    return car, start, bench.drive(car, control, seconds)


@WORLD.add("places without physics", "exactly where a batch put it, in the tick of the batch")
def places(bench: Bench) -> Found:
    """Move a car as traffic is moved."""
    car = bench.park()
    bench.simulation.tick([carla.command.SetSimulatePhysics(car.id, False)])
    worst = 0.0
    place = car.get_transform()
    for _ in range(10):
        place.location += carla.Location(x=0.7, y=-0.3)
        place.rotation.yaw += 5
        state = bench.simulation.tick([carla.command.ApplyTransform(car.id, place)]).snapshot.find(car.id)
        now = state.get_transform()
        turn = abs((now.rotation.yaw - place.rotation.yaw + 180) % 360 - 180)
        worst = max(worst, now.location.distance(place.location), turn / 10)
    return f"{worst:.4f} m or tens of degrees off", worst < 0.01


@WORLD.add("spawning in batches", "one car is made without physics, the second at its place refused")
def batches(bench: Bench) -> Found:
    """Spawn twice at one place."""
    blueprint = bench.simulation.world.get_blueprint_library().find(CAR)
    still = carla.command.SetSimulatePhysics(carla.command.FutureActor, False)
    commands = [carla.command.SpawnActor(blueprint, bench.spot()).then(still) for _ in range(2)]
    first, second = bench.simulation.tick(commands).responses
    return f"{first.error or 'made'}, {second.error or 'made'}", not first.error and bool(second.error)


@WORLD.add("sizes", f"half the size of {CAR} in metres: 2 to 2.8, 0.8 to 1.2, 0.6 to 0.9")
def sizes(bench: Bench) -> Found:
    """Ask for its box."""
    x, y, z = bench.settle(bench.park()).extent
    return f"{x:.2f}, {y:.2f}, {z:.2f}", 2 < x < 2.8 and 0.8 < y < 1.2 and 0.6 < z < 0.9


@WORLD.add("kinds", "cars, two-wheelers and walkers to choose from")
def kinds(bench: Bench) -> Found:
    """Count blueprints."""
    library = bench.simulation.world.get_blueprint_library()
    wheels = [b.get_attribute("number_of_wheels").as_int() for b in library.filter("vehicle.*")]
    counts = wheels.count(4), wheels.count(2), len(library.filter("walker.*"))
    return "{} cars, {} two-wheelers, {} walkers".format(*counts), min(counts) > 0


@WORLD.add("weather", "what was set is what is there")
def weather(bench: Bench) -> Found:
    """Set two."""
    found = []
    for name in ("WetSunset", "ClearNoon"):
        bench.simulation.set_weather(name)
        bench.simulation.tick()
        found.append(bench.simulation.world.get_weather() == getattr(carla.WeatherParameters, name))
    return f"{sum(found)} of 2", all(found)
