"""More scenarios of the real client: the API call by call, its own maps, cameras, the traffic manager."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable
from typing import Any

import carla
import numpy as np

from tests.town_client import begin, connect, end, sensor, synchronous, vehicle
from tests.town_land import XODR


def attempt(call: Callable[[], Any]) -> Any:
    try:
        value = call()
    except RuntimeError as error:
        return f"error: {error}"
    return value if isinstance(value, (bool, int, float, str, list, type(None))) else str(value)


def sweep(port: int) -> dict[str, Any]:
    """Call everything once."""
    client, world = begin(port)
    synchronous(world)
    town, library = world.get_map(), world.get_blueprint_library()
    spots = town.get_spawn_points()
    car = vehicle(world, 1, "vehicle.lincoln.mkz_2020")
    walker = world.spawn_actor(
        library.find("walker.pedestrian.0009"), carla.Transform(carla.Location(200, 0, 1))
    )
    world.tick()
    light = world.get_actors().filter("traffic.traffic_light")[0]
    calls = {
        **vehicle_calls(world, car, spots),
        **light_calls(world, town, light),
        **world_calls(client, world, library, walker, car),
    }
    found = {name: attempt(call) for name, call in calls.items()}
    synchronous(world, False)
    return found


def vehicle_calls(world: Any, car: Any, spots: list[Any]) -> dict[str, Callable[[], Any]]:
    up = carla.Vector3D(0, 0, 1)

    def teleport() -> bool:
        car.set_transform(spots[5])
        world.tick()
        return bool(car.get_location().distance(spots[5].location) < 0.4)

    def speed(ticks: int) -> float:
        for _ in range(ticks):
            world.tick()
        return float(round(car.get_velocity().length(), 2))

    return {
        "physics mass": lambda: car.get_physics_control().mass,
        "apply physics": lambda: car.apply_physics_control(car.get_physics_control()),
        "telemetry": lambda: len(car.get_telemetry_data().wheels),
        "set lights": lambda: car.set_light_state(carla.VehicleLightState.LowBeam),
        "tick": lambda: world.tick() > 0,
        "lights": lambda: int(car.get_light_state()),
        "open door": lambda: car.open_door(carla.VehicleDoor.FL),
        "close door": lambda: car.close_door(carla.VehicleDoor.All),
        "wheel angle": lambda: car.get_wheel_steer_angle(carla.VehicleWheelLocation.FL_Wheel),
        "box": lambda: car.bounding_box.extent.x,
        "vertices": lambda: len(car.bounding_box.get_world_vertices(car.get_transform())),
        "gravity": lambda: car.set_enable_gravity(True),
        "simulate": lambda: car.set_simulate_physics(True),
        "collisions": lambda: car.set_collisions(True),
        "teleport": teleport,
        "impulse": lambda: car.add_impulse(up),
        "force": lambda: car.add_force(up),
        "torque": lambda: car.add_torque(up),
        "angular impulse": lambda: car.add_angular_impulse(up),
        "target velocity": lambda: car.set_target_velocity(carla.Vector3D()),
        "target spin": lambda: car.set_target_angular_velocity(carla.Vector3D()),
        "constant velocity": lambda: car.enable_constant_velocity(carla.Vector3D(3, 0, 0)),
        "at constant velocity": lambda: speed(10),
        "no constant velocity": lambda: car.disable_constant_velocity(),
        "ackermann": lambda: car.apply_ackermann_control(carla.VehicleAckermannControl(speed=6.0)),
        "at ackermann speed": lambda: speed(100),
        "ackermann settings": lambda: car.get_ackermann_controller_settings().speed_kp > 0,
        "control": lambda: car.apply_control(carla.VehicleControl(brake=1.0)),
        "failure": lambda: str(car.get_failure_state()),
        "speed limit": lambda: round(car.get_speed_limit(), 2),
        "at light": lambda: car.is_at_traffic_light(),
        "tags": lambda: list(car.semantic_tags),
        "attributes": lambda: car.attributes["number_of_wheels"],
    }


def light_calls(world: Any, town: Any, light: Any) -> dict[str, Callable[[], Any]]:
    def shows() -> str:
        world.tick()
        return f"{light.state} {light.is_frozen()} {light.get_green_time()}"

    landmark = town.get_all_landmarks_of_type("1000001")[0]
    return {
        "group": lambda: len(light.get_group_traffic_lights()),
        "stop waypoints": lambda: len(light.get_stop_waypoints()),
        "affected lanes": lambda: len(light.get_affected_lane_waypoints()),
        "opendrive id": lambda: light.get_opendrive_id(),
        "trigger": lambda: light.trigger_volume.extent.x > 0,
        "by opendrive id": lambda: world.get_traffic_light_from_opendrive_id("7").id == light.id,
        "by landmark": lambda: world.get_traffic_light(landmark).id == light.id,
        "green time": lambda: light.set_green_time(4.0),
        "set state": lambda: light.set_state(carla.TrafficLightState.Yellow),
        "freeze": lambda: light.freeze(True),
        "shows": shows,
        "reset group": lambda: light.reset_group(),
        "reset all": lambda: world.reset_all_traffic_lights(),
        "freeze all": lambda: world.freeze_all_traffic_lights(False),
        "pole": lambda: light.get_pole_index(),
        "boxes of heads": lambda: len(light.get_light_boxes()),
    }


def world_calls(client: Any, world: Any, library: Any, walker: Any, car: Any) -> dict[str, Callable[[], Any]]:
    below, under = carla.Location(10, 1, 4), carla.Location(10, 1, -4)
    buildings = carla.CityObjectLabel.Buildings

    def weather() -> float:
        world.set_weather(carla.WeatherParameters(cloudiness=33.0))
        return float(world.get_weather().cloudiness)

    def look() -> float:
        world.get_spectator().set_transform(carla.Transform(below))
        world.tick()
        return float(world.get_spectator().get_location().z)

    def walk() -> float:
        walker.apply_control(carla.WalkerControl(carla.Vector3D(0, 1, 0), 2.0))
        for _ in range(20):
            world.tick()
        return float(round(walker.get_velocity().y, 3))

    def batch() -> list[bool]:
        spot = world.get_map().get_spawn_points()[8]
        commands = [
            carla.command.SpawnActor(library.find("vehicle.audi.a2"), spot),
            carla.command.DestroyActor(9999),
            carla.command.ApplyVehicleControl(car.id, carla.VehicleControl()),
        ]
        return [bool(answer.error) for answer in client.apply_batch_sync(commands, True)]

    long_step = carla.WorldSettings(synchronous_mode=True, fixed_delta_seconds=5.0)
    return {
        "versions": lambda: client.get_client_version() == client.get_server_version(),
        "weather": weather,
        "buildings": lambda: len(world.get_level_bbs(buildings)) > 0,
        "things": lambda: str(world.get_environment_objects(buildings)[0].type),
        "names": lambda: len(world.get_names_of_all_objects()) > 0,
        "street lights": lambda: len(world.get_lightmanager().get_all_lights()),
        "debug": lambda: world.debug.draw_string(carla.Location(), "x"),
        "ground": lambda: round(world.ground_projection(below, 10.0).location.z, 3),
        "ray": lambda: str(world.cast_ray(below, under)[0].label),
        "spectator": look,
        "walk": walk,
        "walker height": lambda: round(walker.bounding_box.extent.z, 3),
        "signs": lambda: len(world.get_actors().filter("traffic.stop")),
        "batch": batch,
        "follower": lambda: end(sensor(world, "camera.rgb", car)),
        "lidar": lambda: sensor(world, "lidar.ray_cast", car),
        "bad town": lambda: client.load_world("Atlantis"),
        "recorder": lambda: client.start_recorder("x.log"),
        "bones": lambda: walker.get_bones(),
        "unknown": lambda: car.get_socket_names(),
        "unknown again": lambda: car.get_socket_names(),
        "step": lambda: world.apply_settings(long_step),
        "still there": lambda: client.get_server_version(),
    }


def maps(port: int) -> dict[str, Any]:
    """Load a map of the client's own, in both modes."""
    client, world = connect(port)
    longer = XODR.replace('length="400"', 'length="300"')
    names = []
    for on in (False, True):
        synchronous(world, on)
        world = client.generate_opendrive_world(longer, reset_settings=not on)
        names.append([world.get_map().name, len(world.get_map().get_spawn_points()), world.id])
        if on:
            world.tick()
        else:
            world.wait_for_tick(5.0)
    synchronous(world, False)
    return {"names": names, "same": world.get_map().to_opendrive() == longer}


def look(port: int) -> dict[str, Any]:
    """See the town from a car, and the car itself from behind."""
    _, world = begin(port)
    synchronous(world)
    car = vehicle(world, 3)
    heard: dict[str, queue.Queue[Any]] = {}
    kinds = ("rgb", "depth", "semantic_segmentation", "instance_segmentation")
    behind = carla.Transform(carla.Location(x=-6.0, z=3.0), carla.Rotation(pitch=-12.0))
    sensors = []
    for kind in kinds:
        blueprint = world.get_blueprint_library().find(f"sensor.camera.{kind}")
        blueprint.set_attribute("image_size_x", "160")
        blueprint.set_attribute("image_size_y", "96")
        sensors.append(world.spawn_actor(blueprint, behind, attach_to=car))
        sensors[-1].listen(heard.setdefault(kind, queue.Queue()).put)
    world.tick()
    messages = {kind: heard[kind].get(timeout=60).raw_data for kind in kinds}
    images = {k: np.frombuffer(raw, np.uint8).reshape(96, 160, 4) for k, raw in messages.items()}
    depth = images["depth"][..., 2::-1].astype(float) @ [1, 256, 65536] / (2**24 - 1) * 1000
    instances = images["instance_segmentation"].astype(int)
    mine = instances[..., 1] + 256 * instances[..., 0] == car.id
    found = {
        "contrast": float(images["rgb"][..., :3].std()),
        "tags": sorted(set(images["semantic_segmentation"][..., 2].ravel().tolist())),
        "mine": float(mine.mean()),
        "tag": sorted(set(images["semantic_segmentation"][..., 2][mine].tolist())),
        "distance": float(np.median(depth[mine])),
    }
    end(*sensors)
    synchronous(world, False)
    return found


def spin(port: int) -> dict[str, Any]:
    """Tick while the server is slow, and take the time."""
    _, world = begin(port)
    synchronous(world)
    heard: queue.Queue[Any] = queue.Queue()
    camera = sensor(world, "camera.rgb", None, heard.put, image_size_x=33)
    world.tick()
    wall, busy = time.perf_counter(), time.process_time()
    for _ in range(10):
        world.tick()
    found = {"wall": time.perf_counter() - wall, "busy": time.process_time() - busy}
    time.sleep(0.5)  # the last image comes in a thread of its own
    found["frames"] = heard.qsize()
    end(camera)
    synchronous(world, False)
    return found


def manage(port: int) -> dict[str, Any]:
    """Reload with a traffic manager, in both modes, and let it drive.

    It drives in asynchronous mode: in the other one, the manager of 0.9.16 may wait for itself for ever.
    """
    client, world = begin(port)
    manager = client.get_trafficmanager(int(sys.argv[3]))
    for _ in range(3):
        world = client.reload_world()
        world.wait_for_tick(5.0)
    synchronous(world)
    for _ in range(3):
        world = client.reload_world(False)
    synchronous(world, False)
    library, spots = world.get_blueprint_library(), world.get_map().get_spawn_points()
    SpawnActor, SetAutopilot = carla.command.SpawnActor, carla.command.SetAutopilot
    commands = [
        SpawnActor(library.find("vehicle.audi.tt"), spot).then(
            SetAutopilot(carla.command.FutureActor, True, manager.get_port())
        )
        for spot in spots[2:4]
    ]
    answers = client.apply_batch_sync(commands, False)
    for _ in range(80):
        world.wait_for_tick(10.0)
    speeds = [a.get_velocity().length() for a in world.get_actors([r.actor_id for r in answers])]
    world = client.reload_world()
    return {
        "errors": [r.error for r in answers],
        "speeds": speeds,
        "left": len(world.get_actors().filter("vehicle.*")),
    }


SCENARIOS = {f.__name__: f for f in (sweep, maps, look, spin, manage)}
