"""The blueprint library: what can be spawned, under CARLA's ids and attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from mtdrive.envs.town.models import CHILDREN, PROPS, VEHICLES, WALKERS, YOUTHS, VehicleModel
from mtdrive.envs.town.structs import CallError, Msg

BOOL, INT, FLOAT, STRING, COLOUR = 1, 2, 3, 4, 5

COLOURS = ("180,44,44", "17,37,103", "65,65,65", "215,215,215", "122,132,138", "28,77,54", "194,147,36")
"""Paints that a vehicle is recommended."""

CAMERAS = ("rgb", "depth", "semantic_segmentation", "instance_segmentation", "optical_flow")
REFUSED = {
    "sensor.lidar.ray_cast": "a lidar",
    "sensor.lidar.ray_cast_semantic": "a lidar",
    "sensor.other.radar": "a radar",
    "sensor.other.rss": "responsibility-sensitive safety",
    "sensor.camera.dvs": "an event camera",
    "sensor.camera.normals": "a camera of surface normals",
}
"""Sensors that CARLA has and Town has not: scripts find the blueprint and are told when they spawn it."""
REMOTE = frozenset(
    {"sensor.other.collision", "sensor.other.obstacle", "sensor.other.gnss", "sensor.other.imu"}
    | {f"sensor.camera.{name}" for name in CAMERAS}
)
"""Sensors with a stream; lane invasion is worked out by the client."""


@dataclass(frozen=True)
class Attribute:
    """An attribute of a blueprint with its default."""

    id: str
    type: int
    value: str
    recommended: tuple[str, ...] = ()
    modifiable: bool = True

    def write(self) -> Msg:
        """Return CARLA's struct."""
        return [self.id, self.type, self.value, list(self.recommended), self.modifiable, False]


@dataclass(frozen=True)
class Blueprint:
    """An entry of the library."""

    uid: int
    id: str
    attributes: Mapping[str, Attribute]

    @property
    def words(self) -> str:
        """What the client can search for besides the id."""
        return ",".join(self.id.split("."))

    def write(self) -> Msg:
        """Return CARLA's struct."""
        return [self.uid, self.id, self.words, [a.write() for a in self.attributes.values()]]


def _fixed(name: str, type: int, value: object) -> Attribute:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return Attribute(name, type, text, modifiable=False)


def _free(name: str, type: int, value: object, *recommended: object) -> Attribute:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return Attribute(name, type, text, tuple(str(r) for r in recommended))


def _vehicle(model: VehicleModel) -> list[Attribute]:
    return [
        _free("role_name", STRING, "autopilot", "autopilot", "scenario", "ego_vehicle"),
        Attribute("color", COLOUR, COLOURS[0], COLOURS),
        _free("driver_id", INT, 0, 0),
        _free("sticky_control", BOOL, True),
        _free("terramechanics", BOOL, False),
        _fixed("object_type", STRING, ""),
        _fixed("base_type", STRING, model.base),
        _fixed("special_type", STRING, model.special),
        _fixed("has_lights", BOOL, model.lights),
        _fixed("has_dynamic_doors", BOOL, False),
        _fixed("generation", INT, model.generation),
        _fixed("number_of_wheels", INT, model.wheels),
    ]


def _walker(name: str) -> list[Attribute]:
    """Return a walker's attributes; which of them are women is not CARLA's choice but ours."""
    number = int(name.rsplit(".", 1)[1])
    young = number in CHILDREN or number in YOUTHS
    fastest = 1.5 if young else 2.2
    return [
        _free("role_name", STRING, "pedestrian"),
        _fixed("age", STRING, "child" if young else "adult"),
        _fixed("gender", STRING, "female" if number % 2 else "male"),
        _fixed("generation", INT, 1 if number < 15 else 2),
        _fixed("can_use_wheelchair", BOOL, False),
        _free("is_invincible", BOOL, True),
        _free("speed", FLOAT, 1.4, 0.0, 1.1 if young else 1.4, fastest),
    ]


def _sensor(*attributes: Attribute, role: str = "default") -> list[Attribute]:
    return [_free("role_name", STRING, role), _free("sensor_tick", FLOAT, 0.0), *attributes]


def _floats(**values: float) -> list[Attribute]:
    return [_free(name, FLOAT, value) for name, value in values.items()]


def _camera(kind: str) -> list[Attribute]:
    lens = _floats(lens_circle_multiplier=0.0, lens_circle_falloff=5.0, lens_k=0.0, lens_kcube=0.0)
    shape = [_free("image_size_x", INT, 800), _free("image_size_y", INT, 600), _free("fov", FLOAT, 90.0)]
    look = _floats(gamma=2.2, shutter_speed=200.0, iso=100.0, fstop=1.4, bloom_intensity=0.675)
    post = [_free("enable_postprocess_effects", BOOL, True), *_floats(motion_blur_intensity=0.0)]
    return _sensor(*shape, *lens, *(look + post if kind == "rgb" else []), role="front")


def _noise(*names: str) -> list[Attribute]:
    return [_free("noise_seed", INT, 0), *(_free(f"noise_{name}", FLOAT, 0.0) for name in names)]


def _gnss() -> list[Attribute]:
    return _sensor(
        *_noise(*(f"{axis}_{kind}" for axis in ("alt", "lat", "lon") for kind in ("bias", "stddev")))
    )


def _imu() -> list[Attribute]:
    kinds = ("accel_stddev", "gyro_stddev", "gyro_bias")
    return _sensor(*_noise(*(f"{kind}_{axis}" for kind in kinds for axis in "xyz")))


def _obstacle() -> list[Attribute]:
    flags = [_free("only_dynamics", BOOL, False), _free("debug_linetrace", BOOL, False)]
    return _sensor(*_floats(distance=5.0, hit_radius=0.5), *flags)


def _ranging() -> list[Attribute]:
    fields = _floats(
        range=10.0, rotation_frequency=10.0, upper_fov=10.0, lower_fov=-30.0, horizontal_fov=360.0
    )
    counts = [_free("channels", INT, 32), _free("points_per_second", INT, 56000)]
    losses = _floats(
        atmosphere_attenuation_rate=0.004,
        dropoff_general_rate=0.45,
        dropoff_intensity_limit=0.8,
        dropoff_zero_intensity=0.4,
    )
    return _sensor(*fields, *_floats(vertical_fov=30.0, noise_stddev=0.0), *counts, *losses)


def _entries() -> Iterable[tuple[str, list[Attribute]]]:
    yield from ((name, _vehicle(model)) for name, model in VEHICLES.items())
    yield from ((name, _walker(name)) for name in WALKERS)
    for name in PROPS:
        yield name, [_free("role_name", STRING, "prop"), _fixed("size", STRING, "medium")]
    yield "controller.ai.walker", [_free("role_name", STRING, "default")]
    yield from ((f"sensor.camera.{kind}", _camera(kind)) for kind in CAMERAS)
    yield "sensor.other.collision", _sensor()
    yield "sensor.other.lane_invasion", _sensor()
    yield "sensor.other.obstacle", _obstacle()
    yield "sensor.other.gnss", _gnss()
    yield "sensor.other.imu", _imu()
    yield from ((name, _ranging()) for name in REFUSED)


@cache
def library() -> Mapping[str, Blueprint]:
    """Return all blueprints by their ids."""
    return {
        name: Blueprint(uid, name, {a.id: a for a in attributes})
        for uid, (name, attributes) in enumerate(_entries(), start=1)
    }


def find(name: str) -> Blueprint:
    """Return a blueprint.

    Raises:
        CallError: there is none, or Town cannot simulate it.
    """
    if name in REFUSED:
        raise CallError(
            f"Town has no {name}: it does not simulate {REFUSED[name]}; use a CARLA server for it"
        )
    if name not in library():
        raise CallError(f"unable to spawn actor: no blueprint {name}; get_blueprint_library() lists them")
    return library()[name]
