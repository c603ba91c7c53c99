"""Draw docs/town.png, towns by sensors, and docs/town_weathers.png, weathers by towns.

MTDRIVE_MAPS=folder/of/carlas/maps python -m scripts.contact_sheet [folder]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import carla
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import hsv_to_rgb
from PIL import Image, ImageDraw

from mtdrive.envs.town.models import VEHICLES, VehicleModel
from mtdrive.envs.town.renderer import Renderer
from mtdrive.envs.town.roads import TownMap, load_map, map_names
from mtdrive.envs.town.stage import Body, Camera, Layers, Pose, Stage
from mtdrive.envs.town.tags import Tag
from mtdrive.envs.town.weather import Weather

SIZE, FOV, GAP = (384, 192), 90.0, 4
HEAD = 22
"""Pixels of the line of names above a row."""

PLACES = {"Small": 21, "Grid": 40, "Large": 62, "New": 8, "Town01": 130, "Town04": 300, "Town10HD": 30}
"""The spawn points from which the towns are seen."""

SENSORS = ("rgb", "depth", "semantics", "instances", "optical flow")

SMALL = (240, 120)
"""The size of the pictures of weathers."""
WEATHER_PLACES = {"Grid": 10, "Town01": 130, "Town10HD": 30}
WEATHERS = (
    "ClearNoon", "WetNoon", "HardRainNoon", "ClearSunset", "SoftRainSunset", "WetSunset", "ClearNight",
    "HardRainNight", "DustStorm", "fog",
)  # fmt: skip

PALETTE = {
    Tag.ROAD: (128, 64, 128), Tag.SIDEWALK: (244, 35, 232), Tag.BUILDING: (70, 70, 70),
    Tag.POLE: (153, 153, 153), Tag.TRAFFIC_LIGHT: (250, 170, 30), Tag.TRAFFIC_SIGN: (220, 220, 0),
    Tag.VEGETATION: (107, 142, 35), Tag.TERRAIN: (152, 251, 152), Tag.SKY: (70, 130, 180),
    Tag.PEDESTRIAN: (220, 20, 60), Tag.RIDER: (255, 0, 0),
    Tag.CAR: (0, 0, 142), Tag.TRUCK: (0, 0, 70), Tag.BUS: (0, 60, 100), Tag.MOTORCYCLE: (0, 0, 230),
    Tag.BICYCLE: (119, 11, 32), Tag.ROAD_LINE: (157, 234, 50), Tag.BRIDGE: (150, 100, 100),
}  # fmt: skip
"""CityScapes' colours, as CARLA uses them."""


def coloured(layers: Layers) -> list[np.ndarray]:
    """Return the five layers as pictures."""
    ids = layers.instances.astype(int)
    names = (
        np.stack([ids * 37 % 200 + 55, ids * 91 % 200 + 55, ids * 153 % 200 + 55], -1) * (ids > 0)[..., None]
    )
    h, w = layers.depth.shape
    motion = layers.flow.transpose(2, 0, 1) * np.array([w / 2, -h / 2]).reshape(2, 1, 1)
    depth, tags, flow = painted(layers.depth, layers.tags, motion)
    return [layers.rgb, depth, tags, names.astype(np.uint8), flow]


def painted(depth: np.ndarray, tags: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return depth in metres, tags, and flow in pixels (x, y first) as pictures."""
    share = np.log(np.clip(depth, 1, 300)) / np.log(300)
    colours = np.zeros((256, 3), np.uint8)
    for tag, colour in PALETTE.items():
        colours[tag] = colour
    x, y = flow
    speed = np.clip(np.hypot(x, y) / 12, 0, 1)
    hue = np.arctan2(y, x) / (2 * np.pi) % 1
    motion = hsv_to_rgb(np.stack([hue, speed, np.full(depth.shape, 0.9)], -1))
    return to_bytes(colormaps["magma"](1 - share)[..., :3]), colours[tags], to_bytes(motion)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Return an image of 0 to 1 in bytes."""
    return np.asarray(np.round(image * 255)).astype(np.uint8)


def stages(town: TownMap, here: Pose) -> tuple[Stage, Stage]:
    """Return two stages with traffic and people around a place."""
    rng = np.random.default_rng(3)
    colours = [(190, 30, 30), (235, 235, 235), (30, 60, 150), (25, 25, 28), (200, 160, 30), (120, 125, 130)]
    kinds = list(VEHICLES.values())
    now: list[Body] = []
    before: list[Body] = []
    near = [p for p in town.spawn_points if 7 < np.hypot(p.x - here.x, p.y - here.y) < 120]
    for number, p in enumerate(near):
        kind = kinds[int(rng.integers(len(kinds)))]
        pose = Pose(p.x, p.y, p.z - 0.3, p.pitch, p.yaw, 0.0)
        moved = pose.matrix() @ np.array([-0.5, 0, 0, 1])
        last = Pose(*map(float, moved[:3]), p.pitch, p.yaw, 0.0)
        for stage, at in ((now, pose), (before, last)):
            stage.append(body(100 + number, at, kind, colours[number % 6]))
        side = pose.matrix() @ np.array([4.0, 4.2 + rng.uniform(0, 1), 0, 1])
        x, y = map(float, side[:2])
        walker = Pose(x, y, town.ground(x, y, pose.z) + 0.93, 0.0, p.yaw + 180 * (number % 2), 0.0)
        colour = colours[(number + 2) % 6]
        for stage in (now, before):
            stage.append(Body(900 + number, "walker", walker, (0.2, 0.2, 0.93), colour, Tag.PEDESTRIAN, 0))
    lights = {key: i % 3 for i, key in enumerate(town.signals)}
    return Stage(2, tuple(now), lights), Stage(1, tuple(before), lights)


def body(number: int, pose: Pose, kind: VehicleModel, colour: tuple[int, int, int]) -> Body:
    """Return a vehicle of a model."""
    extent, tag = kind.size.half, kind.tag
    return Body(number, "vehicle", pose, extent, colour, tag, 0x1)


def sensors(name: str) -> list[np.ndarray]:
    """Return the pictures of one town by all sensors."""
    town = load_map(name)
    here = town.spawn_points[PLACES[name] % len(town.spawn_points)]
    renderer = Renderer(town)
    now, before = stages(town, here)
    camera = driver(here, SIZE)
    back = here.matrix() @ np.array([-0.6, 0, 1.3, 1])
    earlier = Camera(*SIZE, FOV, Pose(*map(float, back[:3]), here.pitch - 2, here.yaw - 0.5, 0.0))
    pictures = coloured(renderer.render(camera, earlier, now, before))
    renderer.close()
    return pictures


def driver(here: Pose, size: tuple[int, int]) -> Camera:
    """Return the camera of a driver at a spawn point."""
    return Camera(*size, FOV, Pose(here.x, here.y, here.z + 1.3, here.pitch - 2, here.yaw, 0.0))


def weather_of(name: str) -> Weather:
    """Return a preset of CARLA by its name, or fog."""
    found = getattr(carla.WeatherParameters, "ClearNoon" if name == "fog" else name)
    weather = Weather(*(getattr(found, f.name) for f in fields(Weather)))
    return replace(weather, fog_density=70.0) if name == "fog" else weather


def weathers(name: str) -> list[np.ndarray]:
    """Return the pictures of one town in all weathers; at night all cars, the driver's too, are lit."""
    town = load_map(name)
    here = town.spawn_points[WEATHER_PLACES[name] % len(town.spawn_points)]
    renderer = Renderer(town)
    day, _ = stages(town, here)
    ground = replace(here, z=here.z - 0.3)
    own = Body(99, "vehicle", ground, VEHICLES["vehicle.tesla.model3"].size.half, (0, 0, 0), Tag.CAR, 0x3)
    lit = (own, *(replace(b, lights=0x3) if b.tag != Tag.PEDESTRIAN else b for b in day.bodies))
    ahead = here.matrix() @ np.array([2.4, 0, 0, 1])
    camera = driver(Pose(*map(float, ahead[:3]), here.pitch, here.yaw), SMALL)
    pictures = []
    for weather in map(weather_of, WEATHERS):
        bodies = lit if weather.sun_altitude_angle < 0 else day.bodies
        stage = replace(day, weather=weather, bodies=bodies)
        pictures.append(renderer.render(camera, camera, stage, stage, labels=False).rgb)
    renderer.close()
    return pictures


def sheet(path: Path, rows: dict[str, list[np.ndarray]], columns: Sequence[str]) -> None:
    """Write rows of pictures with their names above them."""
    h, w = next(iter(rows.values()))[0].shape[:2]
    image = Image.new("RGB", (len(columns) * (w + GAP) - GAP, len(rows) * (h + HEAD)), "white")
    draw = ImageDraw.Draw(image)
    for i, (name, pictures) in enumerate(rows.items()):
        for k, (column, picture) in enumerate(zip(columns, pictures, strict=True)):
            draw.text((k * (w + GAP) + 4, i * (h + HEAD) + 5), f"{name}: {column}", fill="black")
            image.paste(Image.fromarray(picture), (k * (w + GAP), i * (h + HEAD) + HEAD))
    image.save(path, optimize=True)
    print(f"{path} written")


def main() -> None:
    """Write the sheets of all towns that are there."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs"
    there = map_names()
    sheet(folder / "town.png", {n: sensors(n) for n in PLACES if n in there}, SENSORS)
    towns = {n: weathers(n) for n in WEATHER_PLACES if n in there}
    rows = {name: [pictures[k] for pictures in towns.values()] for k, name in enumerate(WEATHERS)}
    sheet(folder / "town_weathers.png", rows, list(towns))


if __name__ == "__main__":
    main()
