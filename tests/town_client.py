"""What the real client does with a server, each in a process: `python -m tests.town_client NAME PORT`.

A scenario prints its findings as JSON. One that has to wait for the test prints a line and reads one.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import sys
import time
from collections.abc import Callable
from typing import Any

import carla

Findings = dict[str, Any]


def connect(port: int, timeout: float = 120.0) -> tuple[Any, Any]:
    client = carla.Client("127.0.0.1", port)
    client.set_timeout(timeout)
    return client, client.get_world()


def begin(port: int, timeout: float = 120.0) -> tuple[Any, Any]:
    """Connect and start a new episode."""
    client, _ = connect(port, timeout)
    return client, client.reload_world()


def synchronous(world: Any, on: bool = True) -> None:
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = on, 0.05 if on else None
    world.apply_settings(settings)


def sensor(
    world: Any, kind: str, parent: Any = None, hear: Callable[[Any], None] | None = None, **values: Any
) -> Any:
    blueprint = world.get_blueprint_library().find(f"sensor.{kind}")
    if kind.startswith("camera."):
        values = {"image_size_x": 32, "image_size_y": 16, **values}
    for name, value in values.items():
        blueprint.set_attribute(name, str(value))
    actor = world.spawn_actor(blueprint, carla.Transform(carla.Location(x=1.5, z=2.4)), attach_to=parent)
    if hear:
        actor.listen(hear)
    return actor


def vehicle(world: Any, spot: int = 0, name: str = "vehicle.tesla.model3") -> Any:
    return world.spawn_actor(
        world.get_blueprint_library().find(name), world.get_map().get_spawn_points()[spot]
    )


def end(*sensors: Any) -> None:
    for actor in sensors:
        actor.stop()
        actor.destroy()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def wait_for_test(word: str) -> None:
    say(word)
    sys.stdin.readline()


def first_frames(port: int) -> Findings:
    """Listen and tick at once, many times."""
    _, world = begin(port)
    synchronous(world)
    car = vehicle(world)
    missed = 0
    for _ in range(8):
        heard: list[queue.Queue[Any]] = [queue.Queue() for _ in range(4)]
        kinds = ("camera.rgb", "camera.depth", "other.imu", "other.gnss")
        sensors = [sensor(world, k, car, q.put) for k, q in zip(kinds, heard, strict=True)]
        frame = world.tick()
        for q in heard:
            missed += q.get(timeout=10).frame != frame
        end(*sensors)
    synchronous(world, False)
    return {"missed": missed}


def all_sensors(port: int) -> Findings:
    """Drive into a parked car with every sensor."""
    _, world = begin(port)
    synchronous(world)
    car = vehicle(world)
    world.tick()
    ahead = car.get_transform()
    ahead.location += 14 * ahead.get_forward_vector() + carla.Location(z=0.3)
    parked = world.spawn_actor(world.get_blueprint_library().find("vehicle.audi.tt"), ahead)
    heard: dict[str, list[Any]] = {}
    kinds = [
        f"camera.{k}"
        for k in ("rgb", "depth", "semantic_segmentation", "instance_segmentation", "optical_flow")
    ]
    kinds += [f"other.{k}" for k in ("collision", "obstacle", "gnss", "imu", "lane_invasion")]
    more: dict[str, Any] = {
        "other.obstacle": {"distance": 30, "hit_radius": 1.5},
        "other.gnss": {"sensor_tick": 0.5},
    }
    sensors = [sensor(world, k, car, heard.setdefault(k, []).append, **more.get(k, {})) for k in kinds]
    for _ in range(60):
        car.apply_control(carla.VehicleControl(throttle=0.6))
        world.tick()
    car.set_transform(carla.Transform(carla.Location(100.0, -1.0, 0.0)))
    car.set_simulate_physics(False)
    for _ in range(40):
        world.tick()
    time.sleep(0.3)
    truth = world.get_map().transform_to_geolocation(sensors[7].get_transform().location)
    depth, flow = heard["camera.depth"][-1], heard["camera.optical_flow"]
    last = depth.raw_data[-4:]
    metres = (last[2] + 256 * last[1] + 65536 * last[0]) / (2**24 - 1) * 1000
    instances = bytes(heard["camera.instance_segmentation"][0].raw_data)
    ids = {
        instances[i + 1] + 256 * instances[i] for i in range(0, len(instances), 4) if instances[i + 2] == 14
    }
    obstacle = heard["other.obstacle"][0]
    gnss, hit = heard["other.gnss"], heard["other.collision"][0]
    found = {
        "counts": {kind: len(messages) for kind, messages in heard.items()},
        "classes": {kind: type(messages[0]).__name__ for kind, messages in heard.items()},
        "metres": metres,
        "flow": [memoryview(bytes(m.raw_data)).cast("f")[0] for m in flow[:2]],
        "saw_parked": parked.id in ids,
        "hit": hit.other_actor.id == parked.id and hit.actor.id == car.id,
        "impulse": hit.normal_impulse.length(),
        "obstacle": [obstacle.other_actor.id == parked.id, obstacle.distance],
        "gnss": [m.timestamp for m in gnss[1:4]],
        "gnss_error": abs(gnss[-1].latitude - truth.latitude) + abs(gnss[-1].longitude - truth.longitude),
        "imu": heard["other.imu"][0].accelerometer.z,
        "fov": depth.fov,
    }
    end(*sensors)
    parked.destroy()
    car.destroy()
    synchronous(world, False)
    return found


def drive(world: Any, ticks: int) -> str:
    """Return a hash of all states of a drive with two cars and a walker, in a new episode."""
    library = world.get_blueprint_library()
    cars = [vehicle(world, i, n) for i, n in ((0, "vehicle.tesla.model3"), (3, "vehicle.yamaha.yzf"))]
    walker = world.spawn_actor(
        library.find("walker.pedestrian.0002"), carla.Transform(carla.Location(200, 0, 1.5))
    )
    imu_queue: queue.Queue[Any] = queue.Queue()
    imu = sensor(world, "other.imu", cars[0], imu_queue.put, noise_accel_stddev_x=0.2)
    digest = hashlib.sha256()
    for tick in range(ticks):
        for i, car in enumerate(cars):
            car.apply_control(carla.VehicleControl(throttle=0.8, steer=0.3 * (-1) ** (i + tick // 20)))
        walker.apply_control(carla.WalkerControl(carla.Vector3D(1, tick % 7, 0), 1.5))
        frame = world.tick()
        snapshot = world.get_snapshot()
        assert snapshot.frame == frame
        for actor in sorted(snapshot, key=lambda a: a.id):
            t, v = actor.get_transform(), actor.get_velocity()
            values = (
                t.location.x,
                t.location.y,
                t.location.z,
                t.rotation.yaw,
                t.rotation.pitch,
                v.x,
                v.y,
                v.z,
            )
            digest.update(repr((actor.id, values)).encode())
        a = imu_queue.get(timeout=10).accelerometer
        digest.update(repr((snapshot.timestamp.elapsed_seconds, a.x, a.y, a.z)).encode())
    end(imu)
    return digest.hexdigest()


def repeat(port: int) -> Findings:
    """Drive the same way in two episodes."""
    client, world = begin(port)
    synchronous(world)
    hashes = []
    for _ in range(2):
        world = client.reload_world(False)
        assert world.get_settings().synchronous_mode
        hashes.append(drive(world, 60))
    synchronous(world, False)
    return {"hashes": hashes}


def vanish(port: int) -> Findings:
    """Leave in synchronous mode, with a listener, without a word."""
    _, world = begin(port)
    synchronous(world)
    car = vehicle(world)
    camera = sensor(world, "camera.rgb", car, lambda image: None)
    world.tick()
    say(json.dumps({"id": car.id, "camera": camera.id}))
    os._exit(0)


def arrive(port: int) -> Findings:
    """Come after one that vanished."""
    _, world = connect(port)
    before = len(world.get_actors())
    snapshot = world.wait_for_tick(5.0)
    cars = world.get_actors().filter("vehicle.*")
    found = {
        "actors": before,
        "synchronous": world.get_settings().synchronous_mode,
        "frame": snapshot.frame,
        "cars": [car.id for car in cars],
        "extent": cars[0].bounding_box.extent.x,
    }
    for car in cars:
        assert car.destroy()
    world.wait_for_tick(5.0)
    try:
        cars[0].bounding_box  # noqa: B018  it is a call
        found["gone"] = ""
    except RuntimeError as error:
        found["gone"] = str(error)
    return found


def survive(port: int) -> Findings:
    """Outlive the server with a listener, and see what comes from the next one at the same port."""
    client, world = begin(port)
    synchronous(world)
    car = vehicle(world)
    old: list[Any] = []
    new: list[Any] = []
    camera = sensor(world, "camera.rgb", car, old.append)
    for _ in range(3):
        world.tick()
    place = car.get_location()
    client.set_timeout(1.0)
    wait_for_test("kill")
    began = time.monotonic()
    error = complaint(world.tick)
    found = {
        "error": error,
        "seconds": time.monotonic() - began,
        "control": complaint(lambda: car.apply_control(carla.VehicleControl(throttle=1.0))),
        "stale": car.get_location() == place,
        "alive": car.is_alive,
    }
    seen = len(old)
    wait_for_test("restarted")
    found["again"] = complaint(world.tick)
    time.sleep(1.5)
    _, other = connect(port)
    synchronous(other)
    depth = sensor(other, "camera.depth", vehicle(other), new.append)
    for _ in range(5):
        other.tick()
    time.sleep(0.2)
    found |= {"late": len(old) - seen, "new": len(new)}
    end(depth)
    camera.stop()
    synchronous(other, False)
    return found


def complaint(call: Callable[[], Any]) -> str:
    """Return the error of a call, empty if there is none."""
    try:
        call()
    except RuntimeError as error:
        return str(error)
    return ""


def listeners(port: int) -> list[Any]:
    """Return sensors that have heard something."""
    _, world = connect(port)
    synchronous(world)
    heard: queue.Queue[Any] = queue.Queue()
    kinds = ("camera.rgb", "camera.depth", "other.imu")
    sensors = [sensor(world, kind, None, heard.put) for kind in kinds]
    world.tick()
    for _ in kinds:
        heard.get(timeout=60)
    return sensors


def polite(port: int) -> Findings:
    """End as one should."""
    end(*listeners(port))
    return {}


KEPT: list[Any] = []


def rude(port: int) -> Findings:
    """End with listening sensors, in synchronous mode."""
    KEPT.extend(listeners(port))
    return {}


SCENARIOS = {
    f.__name__: f for f in (first_frames, all_sensors, repeat, vanish, arrive, survive, polite, rude)
}


def main() -> None:
    from tests import town_sweep, town_walkers

    scenarios = {**SCENARIOS, **town_sweep.SCENARIOS, **town_walkers.SCENARIOS}
    say(json.dumps(scenarios[sys.argv[1]](int(sys.argv[2]))))
    if sys.argv[1] == "manage":
        os._exit(
            0
        )  # a traffic manager of the client may abort the process as it ends (close: Bad file descriptor)


if __name__ == "__main__":
    main()
