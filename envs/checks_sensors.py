"""Checks of a server: when sensors speak, and what their numbers mean."""

from __future__ import annotations

import math
from typing import Any

import carla
import numpy as np
from jaxtyping import Float, Float64

from mtdrive.envs import cameras
from mtdrive.envs.bench import FOV, HEIGHT, WIDTH, Bench, Checks
from mtdrive.envs.coordinates import intrinsics, pose_of
from mtdrive.envs.simulation import Tick

SENSORS = Checks()
Found = tuple[str, bool]
Control = carla.VehicleControl

AHEAD = carla.Transform(carla.Location(x=1.5, z=2.0))
DOWN = carla.Transform(carla.Location(x=8.0, z=10.0), carla.Rotation(pitch=-90))
UP = carla.Transform(carla.Location(z=4.0), carla.Rotation(pitch=90))
ROAD, LINE, SKY = 1, 24, 11
"""Of `carla.CityObjectLabel`."""
ADAPT = 5
"""Ticks that a camera gets to adapt to the light."""
KINDS = ("rgb", "depth", "semantic_segmentation", "optical_flow")


@SENSORS.add("first frames", "a sensor that begins to listen speaks within 20 ticks")
def first_frames(bench: Bench) -> Found:
    """Count the ticks until all cameras of a car sent a frame of a tick."""
    car = bench.park()
    for kind in KINDS:
        bench.camera(kind, car, AHEAD)
    begun = bench.simulation.tick().frame
    ticks = bench.simulation.warm_up().frame - begun
    return f"{ticks} ticks", ticks <= 20


@SENSORS.add("matching frames", "every camera sends each of 20 frames")
def matching_frames(bench: Bench) -> Found:
    """Compare numbers."""
    car = bench.park()
    for kind in KINDS:
        bench.camera(kind, car, AHEAD)
    bench.simulation.warm_up()
    ticks = [bench.simulation.tick() for _ in range(20)]
    good = sum(data.frame == tick.frame for tick in ticks for data in tick.data.values())
    return f"{good} of {20 * len(KINDS)}", good == 20 * len(KINDS)


@SENSORS.add(
    "colours", f"{WIDTH} x {HEIGHT} pixels of blue, green, red and alpha; a sky that is no redder than blue"
)
def colours(bench: Bench) -> Found:
    """Look up and ahead."""
    tick = _look(bench, {"ahead": ("rgb", AHEAD), "up": ("rgb", UP)})
    image = tick.data["ahead"]
    sky, scene = cameras.colours(tick.data["up"]), cameras.colours(image)
    size = image.width, image.height, len(image.raw_data) // (image.width * image.height)
    red, _, blue = sky.mean((0, 1))
    found = f"{size}, deviation {scene.std():.0f}, sky {red:.0f} red and {blue:.0f} blue"
    return found, bool(size == (WIDTH, HEIGHT, 4) and scene.std() > 5 and blue >= red - 5)


@SENSORS.add("depth", "10 m down to the road within 0.5, 1000 m up to the sky")
def depth(bench: Bench) -> Found:
    """Look down from 10 m, and up."""
    tick = _look(bench, {"down": ("depth", DOWN), "up": ("depth", UP)})
    road, sky = (float(np.median(cameras.depth(tick.data[name]))) for name in ("down", "up"))
    return f"{road:.2f} m, {sky:.0f} m", abs(road - 10) < 0.5 and sky > 999


@SENSORS.add("tags", f"{ROAD} or {LINE} on the road, {SKY} in the sky")
def tags(bench: Bench) -> Found:
    """Look down and up."""
    kind = "semantic_segmentation"
    tick = _look(bench, {"down": (kind, DOWN), "up": (kind, UP)})
    road, sky = (int(cameras.semantics(tick.data[n])[HEIGHT // 2, WIDTH // 2]) for n in ("down", "up"))
    return f"{road}, {sky}", road in (ROAD, LINE) and sky == SKY


@SENSORS.add("places of cameras", "in the message what the car's place and the mount give, within 5 cm")
def mounts(bench: Bench) -> Found:
    """Mount one to the right, turned and lifted."""
    mount = carla.Transform(carla.Location(1, 0.5, 2), carla.Rotation(pitch=-10, yaw=30))
    car = bench.park()
    bench.settle(car)
    bench.camera("rgb", car, mount)
    tick = bench.simulation.warm_up()
    expected = pose_of(tick.snapshot.find(car.id).get_transform()) @ pose_of(mount)
    found = pose_of(tick.data["rgb"].transform)
    off = float(np.linalg.norm(found[:3, 3] - expected[:3, 3]))
    turn = math.degrees(math.acos(min(1.0, (np.trace(found[:3, :3].T @ expected[:3, :3]) - 1) / 2)))
    return f"{off:.3f} m, {turn:.2f} degrees off", off < 0.05 and turn < 0.5


@SENSORS.add(
    "depth, poses and flow", "4 of 5 near pixels agree within 0.3 pixels in a bend, with flow above 1"
)
def flow(bench: Bench) -> Found:
    """Move the points of an image by the poses, and compare with what the flow says.

    Each unit, sign and axis of depth, places, turns, field of view and flow has its part in it.
    """
    car = bench.park()
    bench.settle(car)
    bench.drive(car, Control(throttle=0.6), 2.5)
    for kind in ("depth", "optical_flow"):
        bench.camera(kind, car, AHEAD)
    bench.simulation.warm_up()
    bend = [carla.command.ApplyVehicleControl(car.id, Control(throttle=0.6, steer=0.3))]
    before, now = [bench.simulation.tick(bend).data for _ in range(8)][-2:]
    motion = np.linalg.inv(pose_of(before["depth"].transform)) @ pose_of(now["depth"].transform)
    metres, told = cameras.depth(now["depth"]), cameras.flow(now["optical_flow"]).transpose(1, 2, 0)
    expected = moved(metres, motion)
    near = (metres < 30) & (np.abs(expected) < WIDTH / 4).all(-1)
    if not near.any():
        return "nothing near", False
    error = float(np.percentile(np.linalg.norm(told - expected, axis=-1)[near], 80))
    length = float(np.percentile(np.linalg.norm(expected, axis=-1)[near], 95))
    return f"{error:.3f} pixels off, flow up to {length:.1f}", error < 0.3 and length > 1


def moved(metres: Float[np.ndarray, "h w"], motion: Float[np.ndarray, "4 4"]) -> Float64[np.ndarray, "h w 2"]:
    """Return the pixels by which still points move into the camera that `motion` maps to; NaN behind it."""
    matrix = intrinsics(WIDTH, HEIGHT, FOV)
    pixels = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).astype(float)
    rays = np.concatenate([pixels, np.ones((HEIGHT, WIDTH, 1))], -1) @ np.linalg.inv(matrix).T
    points = rays * metres[..., None] @ motion[:3, :3].T + motion[:3, 3]
    points[points[..., 2] < 0.1] = np.nan
    image = points @ matrix.T
    return np.asarray(image[..., :2] / image[..., 2:] - pixels)


@SENSORS.add("collisions", "told with the other's id and type, 500 to 50000 N s in all")
def collisions(bench: Bench) -> Found:
    """Drive into a parked car."""
    car, parked = bench.park(), bench.park(ahead=14.0)
    bench.simulation.listen("bumper", "sensor.other.collision", carla.Transform(), car)
    bench.settle(car)
    hits: list[Any] = []
    command = [carla.command.ApplyVehicleControl(car.id, Control(throttle=0.7))]
    for _ in range(round(5 * bench.simulation.rate)):
        bench.simulation.tick(command)
        hits += bench.simulation.scene(car).collisions
    with_it = [hit for hit in hits if hit.other_id == parked.id and hit.other_type == parked.type_id]
    total = sum(hit.impulse for hit in with_it)
    return f"{len(with_it)} of {len(hits)} with it, {total:.0f} N s", 500 < total < 50000


def _look(bench: Bench, views: dict[str, tuple[str, carla.Transform]]) -> Tick:
    """Return a tick with what cameras of a parked car see, by their names."""
    car = bench.park()
    bench.settle(car)
    for name, (kind, place) in views.items():
        bench.camera(kind, car, place, name)
    return bench.simulation.warm_up(ADAPT)
