"""The calls about traffic lights, weather, the things of the map, and what Town accepts without effect."""

from __future__ import annotations

import math
from typing import Any

from mtdrive.envs.town.actors import Light, Walker
from mtdrive.envs.town.chassis import GRAVITY
from mtdrive.envs.town.limits import POINTS
from mtdrive.envs.town.rays import beside, land_on, meet
from mtdrive.envs.town.rpc import Table
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.stage import Box
from mtdrive.envs.town.structs import (
    CallError,
    Msg,
    Vector,
    anything,
    array,
    array_of,
    flag,
    number,
    vector,
    whole,
    word,
    write_box,
    write_pose,
)

CALLS = Table()

ROAD = 1
"""The semantic tag of what a ray finds on the ground."""
ANY = 255
"""`carla.CityObjectLabel.Any`."""


@CALLS.void(whole, whole)
def set_traffic_light_state(session: Session, id: int, state: int) -> None:
    """Show a state until the light's group moves on."""
    if not 0 <= state <= 4:
        raise CallError(f"expected a carla.TrafficLightState, found {state}")
    light = session.world.find(id, Light)
    light.state, light.elapsed = state, 0.0


@CALLS.void(whole, number)
def set_traffic_light_green_time(session: Session, id: int, seconds: float) -> None:
    """Set how long a light and those of its controller are green."""
    for light in _together(session, id):
        light.green = seconds


@CALLS.void(whole, number)
def set_traffic_light_yellow_time(session: Session, id: int, seconds: float) -> None:
    """Set how long they are yellow."""
    for light in _together(session, id):
        light.yellow = seconds


@CALLS.void(whole, number)
def set_traffic_light_red_time(session: Session, id: int, seconds: float) -> None:
    """Set how long all of the group are red after their turn."""
    for light in _together(session, id):
        light.red = seconds


def _together(session: Session, id: int) -> list[Light]:
    light = session.world.find(id, Light)
    return next(list(t) for t in session.world.group_of(light).turns if light in t)


@CALLS.void(whole, flag)
def freeze_traffic_light(session: Session, id: int, frozen: bool) -> None:
    """Stop the group of a light, or let it go on."""
    session.world.group_of(session.world.find(id, Light)).freeze(frozen)


@CALLS.void(flag)
def freeze_all_traffic_lights(session: Session, frozen: bool) -> None:
    """Stop all groups, or let them go on."""
    for group in session.world.groups:
        group.freeze(frozen)


@CALLS.void(whole)
def reset_traffic_light_group(session: Session, id: int) -> None:
    """Begin the cycle of a light's group anew."""
    session.world.group_of(session.world.find(id, Light)).reset()


@CALLS.void()
def reset_all_traffic_lights(session: Session) -> None:
    """Begin all cycles anew."""
    for group in session.world.groups:
        group.reset()


@CALLS.serve(whole)
def get_group_traffic_lights(session: Session, id: int) -> list[int]:
    """Return the lights that share a cycle."""
    light = session.world.find(id, Light)
    return [other.id for other in session.world.group_of(light).lights]


@CALLS.serve(whole)
def get_light_boxes(session: Session, id: int) -> list[Msg]:
    """Return the boxes of a light's heads: Town has one head on the pole, which is not told apart."""
    session.world.find(id, Light)
    return []


@CALLS.serve()
def get_weather_parameters(session: Session) -> list[float]:
    """Return the weather."""
    return session.world.weather.write()


@CALLS.void(array_of(number, POINTS))
def set_weather_parameters(session: Session, weather: list[float]) -> None:
    """Set the weather of the next frame; what an older client leaves out stays as it is."""
    session.world.weather = session.world.weather.changed(weather)


def _boxes(session: Session, tag: int) -> list[tuple[int, Box]]:
    boxes = enumerate(session.world.land.static, start=1)
    return [(index, box) for index, box in boxes if tag in (ANY, box.tag)]


def _rotation(box: Box) -> Vector:
    return box.pose.pitch, box.pose.yaw, box.pose.roll


@CALLS.serve(whole)
def get_all_level_BBs(session: Session, tag: int) -> list[Msg]:
    """Return the boxes of the map's things of a semantic tag, in the world."""
    boxes = _boxes(session, tag)
    return [write_box((b.pose.x, b.pose.y, b.pose.z), b.extent, _rotation(b)) for _, b in boxes]


@CALLS.serve(whole)
def get_environment_objects(session: Session, tag: int) -> list[Msg]:
    """Return the map's things of a semantic tag."""
    found = []
    for index, box in _boxes(session, tag):
        shape = write_box((box.pose.x, box.pose.y, box.pose.z), box.extent, _rotation(box))
        found.append([write_pose(box.pose), shape, index, f"thing_{index}", box.tag])
    return found


@CALLS.serve()
def get_names_of_all_objects(session: Session) -> list[str]:
    """Return the names of the map's things."""
    return [f"thing_{index}" for index, _ in _boxes(session, ANY)]


@CALLS.serve(vector, vector, number)
def project_point(session: Session, start: Vector, direction: Vector, reach: float) -> Msg:
    """Return the first point of the scene along a direction."""
    length = math.hypot(*direction)
    if length == 0 or not 0 < reach <= 10000:
        raise CallError("project_point: expected a direction and a distance of at most 10000 m")
    x, y, z = direction
    found = _cast(session, start, (x / length, y / length, z / length), reach)
    return [True, found[0]] if found else [False, [[0.0, 0.0, 0.0], 0]]


@CALLS.serve(vector, vector)
def cast_ray(session: Session, start: Vector, end: Vector) -> list[Msg]:
    """Return the points where the line between two points enters things, nearest first."""
    x, y, z = (e - s for s, e in zip(start, end, strict=True))
    length = math.hypot(x, y, z)
    if not 0 < length <= 10000:
        raise CallError("cast_ray: expected two points at most 10000 m apart")
    return _cast(session, start, (x / length, y / length, z / length), length)


def _cast(session: Session, start: Vector, ahead: Vector, reach: float) -> list[Msg]:
    world = session.world
    bodies = [actor.solid() for actor in world.actors.values() if actor.body()]
    boxes = [box for box in (*world.land.static, *bodies) if beside(box, start, ahead, reach)]
    met = [(meet(box, start, ahead), box.tag) for box in boxes]
    points = [(distance, tag) for distance, tag in met if distance is not None and distance <= reach]
    ground = land_on(world.land, start, ahead, reach)
    if ground is not None:
        points.append((math.dist(start, ground), ROAD))
    return [[[s + d * a for s, a in zip(start, ahead, strict=True)], tag] for d, tag in sorted(points)]


@CALLS.serve(word)
def query_lights_state(session: Session, client: str) -> list[Msg]:
    """Return the street lights: there are none to switch."""
    return []


@CALLS.void(word, anything, flag)
def update_lights_state(session: Session, client: str, lights: Any, discard: bool) -> None:
    """Accept."""


@CALLS.void(word, flag)
def update_day_night_cycle(session: Session, client: str, on: bool) -> None:
    """Accept."""


@CALLS.void(anything)
def draw_debug_shape(session: Session, shape: Any) -> None:
    """Accept; nothing is drawn, so cameras see no debug shapes."""


@CALLS.void(anything)
def load_map_layer(session: Session, layers: Any) -> None:
    """Accept; Town's maps have one layer."""


@CALLS.void(anything)
def unload_map_layer(session: Session, layers: Any) -> None:
    """Accept; Town's maps have one layer."""


@CALLS.void(anything)
def set_annotations_traverse_translucency(session: Session, on: Any) -> None:
    """Accept; nothing is translucent."""


@CALLS.void(array, flag)
def enable_environment_objects(session: Session, ids: list[Any], on: bool) -> None:
    """Refuse: the map's things stay."""
    raise CallError("Town cannot hide parts of a map")


@CALLS.serve(word)
def console_command(session: Session, command: str) -> bool:
    """Refuse."""
    raise CallError("Town has no console")


@CALLS.serve(word, anything)
def start_recorder(session: Session, name: str, extra: Any) -> str:
    """Refuse."""
    raise CallError("Town has no recorder; record what the sensors send")


@CALLS.void()
def stop_recorder(session: Session) -> None:
    """Accept: there is none."""


@CALLS.serve()
def get_imui_gravity(session: Session) -> float:
    """Return the gravity of the accelerometers, m/s²."""
    return GRAVITY


@CALLS.serve(whole)
def get_bones_transform(session: Session, id: int) -> Msg:
    """Refuse."""
    session.world.find(id, Walker)
    raise CallError("Town's walkers have no bones")
