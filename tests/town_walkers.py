"""More scenarios of the real client: walkers that its navigation moves."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from typing import Any

import carla

from tests.town_client import begin, end, sensor, synchronous
from tests.town_land import XODR

X, Y = 100.0, 60.0
"""Where the street of `PAVED` begins in the map: far from the origin."""

WALKWAY = """<lane id="{}" type="sidewalk" level="false">
  <width sOffset="0" a="2.5" b="0" c="0" d="0"/></lane>"""
CROSSING = """<objects><object id="9" type="crosswalk" s="100" t="0" zOffset="0" orientation="none" hdg="0"
  pitch="0" roll="0" width="7" length="3" name="crossing"><outline>
  <cornerLocal u="-1.5" v="-3.5" z="0" height="0"/><cornerLocal u="1.5" v="-3.5" z="0" height="0"/>
  <cornerLocal u="1.5" v="3.5" z="0" height="0"/><cornerLocal u="-1.5" v="3.5" z="0" height="0"/>
  </outline></object></objects>"""

PAVED = (
    XODR.replace('x="0" y="0" hdg="0"', f'x="{X:g}" y="{Y:g}" hdg="0"')
    .replace("</left>", WALKWAY.format(2) + "</left>")
    .replace("</right>", WALKWAY.format(-2) + "</right>")
    .replace("<signals>", CROSSING + "<signals>")
)
"""The street with a pavement of 2.5 m on each side and a crossing of 3 m, 100 m from its start."""


def street(place: Any) -> tuple[float, float]:
    """Return metres along the street and to its right."""
    return place.x - X, place.y + Y


def where(place: Any) -> str:
    """Return what of the street is there, for the middle of a body that keeps 15 cm from all edges."""
    along, aside = street(place)
    if 3.65 < abs(aside) < 5.85:
        return "pavement"
    return "crossing" if abs(aside) < 3.9 and abs(along - 100) < 1.6 else f"{along:.1f} {aside:.1f}"


def stop_traffic(world: Any) -> None:
    """Make the lights red for ever: walkers wait while the nearest is green."""
    for light in world.get_actors().filter("traffic.traffic_light"):
        light.set_state(carla.TrafficLightState.Red)
    world.freeze_all_traffic_lights(True)


def people(world: Any, places: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return walkers at places and their controllers."""
    library = world.get_blueprint_library()
    up = carla.Location(z=1.0)
    walkers = [
        world.spawn_actor(library.find(f"walker.pedestrian.{1 + i:04}"), carla.Transform(place + up))
        for i, place in enumerate(places)
    ]
    world.tick()
    blueprint = library.find("controller.ai.walker")
    controllers = [world.spawn_actor(blueprint, carla.Transform(), attach_to=walker) for walker in walkers]
    world.tick()
    return walkers, controllers


def stroll(port: int) -> dict[str, Any]:
    """Let walkers go to random places, one of them across the street, in two episodes."""
    client, world = begin(port)
    synchronous(world)
    found = [stroll_once(client.reload_world(False)) for _ in range(2)]
    synchronous(client.get_world(), False)
    return {"first": found[0], "same": found[0] == found[1]}


def stroll_once(world: Any) -> dict[str, Any]:
    world.set_pedestrians_seed(5)
    world.tick()
    stop_traffic(world)
    places = [carla.Location(X + 97, -Y + 4.8, 0.1)]
    places += [world.get_random_location_from_navigation() for _ in range(9)]
    walkers, controllers = people(world, places)
    over = carla.Location(X + 103, -Y - 4.8, 0.1)
    pace = 1.0 + 0.1 * len(controllers)
    for controller, goal in zip(controllers, [over, *places[:0:-1]], strict=True):
        controller.start()
        controller.go_to_location(goal)
        controller.set_max_speed(pace)
    for _ in range(5):
        world.tick()
    digest, crossed = hashlib.sha256(), set()
    seen: Counter[str] = Counter()
    metres, fastest, wrong, arrived = [0.0] * len(walkers), 0.0, 0.0, 1e9
    before = [w.get_location() for w in walkers]
    for _ in range(200):
        world.tick()
        for i, walker in enumerate(walkers):
            place, speed = walker.get_location(), walker.get_velocity().length()
            step = place.distance(before[i])
            metres[i], before[i] = metres[i] + step, place
            fastest, wrong = max(fastest, step / 0.05), max(wrong, abs(step / 0.05 - speed))
            seen[where(place)] += 1
            digest.update(repr((place.x, place.y, place.z, speed)).encode())
        crossed.add(where(before[0]))
        arrived = min(arrived, before[0].distance(over))
    feet = [w.get_location().z - w.bounding_box.extent.z for w in walkers]
    for controller in controllers:
        controller.stop()
    world.tick()
    before = [w.get_location() for w in walkers]
    for _ in range(5):
        world.tick()
    return {
        "seen": dict(seen), "least": min(metres), "pace": pace, "fastest": fastest, "wrong": wrong,
        "crossed": sorted(crossed), "arrived": arrived, "feet": [min(feet), max(feet)],
        "drift": max(w.get_location().distance(b) for w, b in zip(walkers, before, strict=True)),
        "still": max(w.get_velocity().length() for w in walkers), "hash": digest.hexdigest(),
        "places": [where(p) for p in places],
    }  # fmt: skip


def run_over(port: int) -> dict[str, Any]:
    """Drive into a walker that has a controller."""
    _, world = begin(port)
    synchronous(world)
    world.tick()
    (walker,), (controller,) = people(world, [carla.Location(X + 50, -Y + 4.8, 0.1)])
    controller.start()
    car = world.spawn_actor(
        world.get_blueprint_library().find("vehicle.tesla.model3"),
        carla.Transform(carla.Location(X + 50, -Y - 2.0, 0.3), carla.Rotation(yaw=90.0)),
    )
    hits: list[Any] = []
    feel = sensor(world, "other.collision", car, hits.append)
    car.enable_constant_velocity(carla.Vector3D(6.0, 0, 0))
    ticks = 0
    while not hits and ticks < 100:
        world.tick()
        time.sleep(0.005)
        ticks += 1
    car.disable_constant_velocity()
    car.apply_control(carla.VehicleControl(hand_brake=True))
    for _ in range(20):
        world.tick()
    actors = {actor.id for actor in world.get_actors()}
    lives = [walker.id in actors, controller.id in actors]
    for _ in range(200):
        world.tick()
    end(feel)
    found = {
        "ticks": ticks,
        "hit": bool(hits) and hits[0].other_actor.id == walker.id,
        "lives": lives,
        "left": len(world.get_actors().filter("walker.*")),
    }
    car.destroy()
    synchronous(world, False)
    return found


def blunder(port: int) -> dict[str, Any]:
    """Do with controllers what would crash the client."""
    client, world = begin(port)
    synchronous(world)
    library = world.get_blueprint_library()
    walker, controller = (library.find(n) for n in ("walker.pedestrian.0001", "controller.ai.walker"))
    world.tick()
    far = world.spawn_actor(walker, carla.Transform(carla.Location(X + 50, -Y + 60, 1)))
    world.tick()
    found: dict[str, Any] = {}
    try:
        world.spawn_actor(controller, carla.Transform(), attach_to=far)
    except RuntimeError as error:
        found["far"] = str(error)
    early = world.spawn_actor(walker, carla.Transform(carla.Location(X + 50, -Y + 4.8, 1)))
    hasty = world.spawn_actor(controller, carla.Transform(), attach_to=early)
    hasty.start()
    hasty.go_to_location(world.get_random_location_from_navigation())
    for _ in range(150):
        world.tick()
    # A new map while walkers walk, one without a pavement, and back.
    world = client.generate_opendrive_world(XODR, reset_settings=False)
    world.tick()
    found["nowhere"] = world.get_random_location_from_navigation() is None
    _, (idle,) = people(world, [carla.Location(20, 5, 0)])
    idle.start()
    idle.go_to_location(carla.Location(30, 5, 0))
    for _ in range(100):
        world.tick()
    world = client.generate_opendrive_world(PAVED, reset_settings=False)
    world.tick()
    found["somewhere"] = where(world.get_random_location_from_navigation())
    synchronous(world, False)
    return found


SCENARIOS = {f.__name__: f for f in (stroll, run_over, blunder)}
