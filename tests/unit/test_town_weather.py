"""Weather: what comes in is checked, what is drawn can be told apart, and labels do not know of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, fields, replace

import carla
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.envs.town import lamps
from mtdrive.envs.town.atmosphere import air_of
from mtdrive.envs.town.calls_scene import CALLS
from mtdrive.envs.town.figures import figure
from mtdrive.envs.town.materials import FACADES, textures
from mtdrive.envs.town.models import VEHICLES
from mtdrive.envs.town.panes import panes
from mtdrive.envs.town.people import BRAKE, FRONT
from mtdrive.envs.town.renderer import Renderer
from mtdrive.envs.town.roads import load_map
from mtdrive.envs.town.rpc import Answerer
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.stage import Body, Box, Camera, Pose, Stage, matrices
from mtdrive.envs.town.tags import Tag
from mtdrive.envs.town.weather import Weather
from mtdrive.envs.town.world import World
from tests.town_land import Plain

TOWN = "Small"
TRAIN = ("ClearNoon", "WetNoon", "HardRainNoon", "ClearSunset")
NEW = ("SoftRainSunset", "WetSunset")
"""NoCrash's weathers."""


def preset(name: str) -> Weather:
    found = getattr(carla.WeatherParameters, name)
    return Weather(*(getattr(found, f.name) for f in fields(Weather)))


PRESETS = [
    n
    for n in dir(carla.WeatherParameters)
    if isinstance(getattr(carla.WeatherParameters, n), carla.WeatherParameters)
]


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer(load_map(TOWN))
    yield made
    made.close()


def views() -> list[Camera]:
    """Return cameras of drivers at several places."""
    points = load_map(TOWN).spawn_points
    places = [points[i] for i in np.linspace(0, len(points) - 1, 6).astype(int)]
    return [Camera(160, 80, 90.0, replace(p, z=p.z + 1.3, pitch=p.pitch - 2)) for p in places]


def drawn(
    renderer: Renderer, camera: Camera, weather: Weather, *bodies: Body, frame: int = 1, at: float = 0.0
) -> np.ndarray:
    stage = Stage(frame, bodies, {}, weather, at)
    return renderer.render(camera, camera, stage, stage, labels=False).rgb.astype(float)


def car(pose: Pose, lights: int = 0) -> Body:
    return Body(5, "vehicle.x", pose, (2.3, 0.95, 0.75), (200, 30, 30), Tag.CAR, lights)


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_of_carla_turns_on_what_it_needs_and_nothing_else(name: str) -> None:
    features = air_of(preset(name)).features.split()
    weather = preset(name).meant()
    assert ("LAMPS" in features) == ("Night" in name)
    assert ("WET" in features) == ("Wet" in name or "Rain" in name)
    assert ("SUN" in features) == (weather.sun_altitude_angle > 0 and weather.cloudiness < 90)
    assert ("FOG" in features) == (weather.fog_density > 10 or "Rain" in name or "Dust" in name)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=14, max_size=14))
@settings(max_examples=200, deadline=None)
def test_no_finite_numbers_give_a_sky_that_cannot_be_drawn(values: list[float]) -> None:
    air = air_of(Weather(*values))
    numbers = np.concatenate([np.atleast_1d(v) for v in air.__dict__.values()])
    assert np.isfinite(numbers).all()
    assert abs(numbers).max() <= 1e4
    assert min(air.sunlight.min(), air.skylight.min(), air.haze.min(), air.cloud.min()) >= 0
    assert np.linalg.norm(air.sun) == pytest.approx(1)


def test_out_of_carlas_ranges_the_nearest_weather_is_drawn() -> None:
    assert Weather(cloudiness=-3, sun_azimuth_angle=-1, sun_altitude_angle=95).meant() == Weather(
        cloudiness=0, sun_azimuth_angle=359, sun_altitude_angle=90
    )
    assert preset("Default").meant() == Weather()


def test_a_client_sets_the_weather_of_the_next_frame_until_the_episode_ends() -> None:
    world, answerer = World(Plain()), Answerer(CALLS)
    session = object.__new__(Session)
    session.world = world
    storm = [float(x) for x in astuple(preset("HardRainSunset"))]
    assert answerer.answer(session, "set_weather_parameters", [storm])[0] is None
    assert answerer.answer(session, "get_weather_parameters", []) == (None, [[1, storm]])
    for _ in range(3):
        world.step()
    stage = world.stage()
    assert stage.weather == Weather(*storm)
    assert stage.elapsed == pytest.approx(0.15)
    for bad in ([math.nan, *storm[1:]], [math.inf], ["wet"], 5):
        refused = answerer.answer(session, "set_weather_parameters", [bad])[1]
        assert "expected" in str(refused)
    assert world.weather == Weather(*storm)
    answerer.answer(session, "set_weather_parameters", [[20.0] * 6])
    assert world.weather == Weather(*[20.0] * 6, *storm[6:])
    world.begin(world.land)
    assert world.weather == Weather()


def ahead_of(camera: Camera, metres: float) -> Pose:
    """Return a place on the road before a driver's camera."""
    x, y, z = (camera.pose.matrix() @ np.array([metres, 0.0, 0.0, 1.0]))[:3].tolist()
    return Pose(x, y, load_map(TOWN).ground(x, y, z - 1.3), yaw=camera.pose.yaw)


def test_labels_are_the_same_in_all_weathers(renderer: Renderer) -> None:
    first, second = views()[1:3]
    bodies, dry = (car(ahead_of(second, 12.0), 0x3),), None
    for name in ("ClearNoon", "HardRainNoon", "WetSunset", "HardRainNight", "DustStorm"):
        stage = Stage(1, bodies, {}, preset(name), 7.0)
        layers = renderer.render(second, first, stage, stage)[1:]
        dry = dry or layers
        assert all(np.array_equal(a, b) for a, b in zip(dry, layers, strict=True)), name


def cues(rgb: np.ndarray) -> np.ndarray:
    """Return what tells a weather at a glance, in grey levels.

    They are: how bright all is, how red the sky is, how finely the ground is striped, and a hundred times how
    much the ground resembles what is above it.
    """
    grey, half = rgb.mean(axis=2), len(rgb) // 2
    across = np.diff(grey, axis=1)
    horizon = half - 3  # the cameras look two degrees down
    below, above = across[horizon + 3 : horizon + 28], across[horizon - 28 : horizon - 3][::-1]
    mirror = np.corrcoef(below.reshape(-1), np.clip(above, -40, 40).reshape(-1))[0, 1]
    sky = rgb[:half].mean(axis=(0, 1))
    return np.array([grey.mean(), sky[0] - sky[2], abs(across[half:]).mean(), 100 * mirror])


MARGINS = np.array([10.0, 12.0, 1.0, 3.0])


def test_the_weathers_of_nocrash_and_night_and_fog_are_told_apart_at_a_glance(renderer: Renderer) -> None:
    seen = {name: preset(name) for name in (*TRAIN, *NEW, "ClearNight", "DustStorm")}
    seen["fog"] = replace(preset("ClearNoon"), fog_density=60.0)
    found = {n: np.mean([cues(drawn(renderer, c, w)) for c in views()], axis=0) for n, w in seen.items()}
    for i, a in enumerate(seen):
        for b in list(seen)[:i]:
            assert (abs(found[a] - found[b]) > MARGINS).any(), (a, b, found[a], found[b])


def test_a_low_sun_is_red_and_stands_where_it_is_set() -> None:
    suns = [air_of(Weather(sun_altitude_angle=a)).sunlight for a in (60.0, 30.0, 15.0, 8.0)]
    assert all(np.diff([s[0] / s[2] for s in suns]) > 0)
    assert all(np.diff([s.sum() for s in suns]) < 0)
    for altitude, azimuth in ((45.0, 0.0), (10.0, 100.0), (-20.0, 300.0)):
        x, y, z = air_of(Weather(sun_altitude_angle=altitude, sun_azimuth_angle=azimuth)).sun
        zero = air_of(Weather(sun_azimuth_angle=0.0)).sun
        turned = math.degrees(math.atan2(y, x) - math.atan2(zero[1], zero[0])) % 360
        assert (math.degrees(math.asin(z)), turned) == pytest.approx((altitude, azimuth), abs=1e-6)


@pytest.mark.parametrize("azimuth", [0.0, 130.0, 250.0])
def test_shadows_fall_away_from_the_sun(renderer: Renderer, azimuth: float) -> None:
    weather = Weather(sun_azimuth_angle=azimuth, sun_altitude_angle=30.0)
    town = load_map(TOWN)
    x, y = town.surface.x + 30, town.surface.y + 30  # open land
    place = Pose(x, y, town.ground(x, y))
    above = Camera(96, 96, 60.0, replace(place, z=place.z + 20, pitch=-90.0, yaw=0.0))
    bare = drawn(renderer, above, weather)
    stage = Stage(1, (car(place),), {}, weather)
    layers = renderer.render(above, above, stage, stage)
    darker = (bare - layers.rgb).mean(axis=2) * (layers.instances == 0)
    i, j = np.nonzero(darker > 12)
    shadow = np.array([47.5 - i.mean(), j.mean() - 47.5])  # x is up in the image, y to the right
    sun = air_of(weather).sun[:2]
    assert len(i) > 30
    assert shadow @ sun < -0.9 * np.linalg.norm(shadow) * np.linalg.norm(sun)


def test_rain_is_a_function_of_the_frame_and_clouds_of_wind_and_time(renderer: Renderer) -> None:
    camera = views()[2]
    rain, calm = preset("HardRainNoon"), Weather(wind_intensity=0.0)
    now = drawn(renderer, camera, rain)
    assert np.array_equal(now, drawn(renderer, camera, rain))
    assert abs(now - drawn(renderer, camera, rain, frame=2)).mean() > 1
    assert np.array_equal(drawn(renderer, camera, calm), drawn(renderer, camera, calm, frame=2, at=60.0))
    moved = drawn(renderer, camera, Weather(), at=60.0) - drawn(renderer, camera, Weather())
    assert abs(moved[:20]).mean() > 1
    assert not moved[60:].any()


def test_fog_hides_what_is_far_and_lies_as_low_as_it_falls_off(renderer: Renderer) -> None:
    camera, clear = views()[2], preset("ClearNoon")
    stage = Stage(1, (), {})
    depth = renderer.render(camera, camera, stage, stage, colours=False).depth

    def contrast(weather: Weather) -> float:
        image = drawn(renderer, camera, weather)
        return float(image[(depth > 50) & (depth < 300)].std() / image[depth < 12].std())

    thick = [contrast(replace(clear, fog_density=d)) for d in (2.0, 20.0, 50.0, 100.0)]
    assert all(np.diff(thick) < 0)
    assert thick[-1] < 0.65 * thick[0]
    late = replace(clear, fog_density=100.0, fog_distance=60.0)
    assert contrast(late) > 1.5 * thick[-1]
    blue = [
        drawn(renderer, camera, replace(late, fog_falloff=f))[:8].mean(axis=(0, 1)) @ [-1, 0, 1]
        for f in (0.1, 5)
    ]
    assert blue[1] > blue[0] + 20


def test_headlights_light_the_road_only_where_the_client_switched_on_a_beam(renderer: Renderer) -> None:
    camera, night = views()[2], preset("ClearNight")
    place = ahead_of(camera, 0.0)
    dark, position, low, high = (
        drawn(renderer, camera, night, car(place, flags))[42:].mean(axis=(1, 2))
        for flags in (0x0, 0x1, 0x3, 0x7)
    )
    assert abs(position - dark).max() < 2
    assert (low - dark)[4:20].min() > 8
    assert (high - low)[:4].mean() > 2


def test_street_lamps_light_the_ground_around_them_at_night_only(renderer: Renderer) -> None:
    town = load_map(TOWN)
    heads = [i.pose.matrix() @ np.array([1.5, 0, 0, 1]) for i in town.scenery if i.kind == "lamp"]
    x, y, z, _ = heads[0].tolist()
    camera = Camera(120, 120, 90.0, Pose(x, y, z + 60.0, pitch=-90.0))
    stage = Stage(1, (), {}, preset("ClearNight"))
    night = renderer.render(camera, camera, stage, stage)
    day = drawn(renderer, camera, preset("CloudyNoon"))
    i, j = np.mgrid[0:120, 0:120] + 0.5
    at = np.stack([x + 60 - i, y - 60 + j], axis=-1)
    far = np.min([np.linalg.norm(at - h[:2], axis=-1) for h in heads], axis=0)
    road, outside = night.tags == Tag.ROAD, far > 16
    near = road & (far > 1.5) & (far < 5)
    assert near.sum() > 50
    assert (road & outside).sum() > 50
    assert night.rgb[near].mean() > 2.2 * night.rgb[road & outside].mean()
    assert day[near].mean() < 1.3 * day[road & outside].mean()
    assert len(renderer._fixed.street.lamp) == len(heads)


def test_walls_of_buildings_have_window_panes_to_light() -> None:
    shares = (panes(textures()) > 0).mean(axis=(1, 2))
    assert all(0.08 < shares[layer] < 0.75 for layer in FACADES), shares
    assert shares.sum() == pytest.approx(sum(shares[layer] for layer in (*FACADES, 11)))


@pytest.mark.parametrize(
    "name", ["vehicle.tesla.model3", "vehicle.carlamotors.carlacola", "vehicle.volkswagen.t2"]
)
def test_cars_have_two_headlights_and_two_brake_lights(name: str) -> None:
    model = VEHICLES[name]
    bulbs = lamps.bulbs_of(figure(model.tag, model.size.half), sides=True)
    for lamp, sign in ((FRONT, 1), (BRAKE, -1)):
        at = bulbs.at[bulbs.lamp == lamp]
        assert len(at) == 2
        np.testing.assert_allclose(at[0] * [1, -1, 1], at[1], atol=1e-6)
        assert (sign * at[:, 0] > 0.7 * model.size.half[0]).all()


def test_what_hides_a_lamp_is_what_its_ray_passes_through() -> None:
    rng = np.random.default_rng(0)
    boxes = [
        Box(Pose(x, y, 4.0, yaw=9 * x), (5.0, 8.0, 4.0)) for x, y in rng.uniform(-30, 30, (4, 2)).tolist()
    ]
    eye = np.array([0.0, 0.0, 2.0])
    ends = np.concatenate([rng.uniform(-60, 60, (200, 2)), rng.uniform(0.5, 12, (200, 1))], axis=1)
    lights = lamps.NONE._replace(at=ends)
    steps = eye + (ends - eye)[:, None] * np.linspace(0, 1, 2001)[:, None]
    hidden = np.zeros(200, bool)
    for box in boxes:
        local = (steps - [box.pose.x, box.pose.y, box.pose.z]) @ box.pose.matrix()[:3, :3]
        hidden |= (abs(local) < box.extent).all(axis=-1).any(axis=1)
    assert 20 < hidden.sum() < 180
    assert (
        lamps.Walls(boxes).hide(eye, lights) != hidden
    ).sum() <= 1  # one ray may graze a corner between steps
    assert not lamps.Walls(boxes).hide(eye, lamps.NONE).any()
    assert not lamps.Walls([]).hide(eye, lights).any()


def test_day_looks_the_same_after_a_night_of_rain(renderer: Renderer) -> None:
    camera = views()[4]
    bodies = (car(ahead_of(camera, 12.0), 0xF),)
    day = drawn(renderer, camera, Weather(), *bodies)
    wet = drawn(renderer, camera, preset("HardRainNight"), *bodies)
    for other in ("WetSunset", "CloudyNoon", "ClearNight"):
        drawn(renderer, camera, preset(other), *bodies)
    assert np.array_equal(drawn(renderer, camera, Weather(), *bodies), day)
    assert np.array_equal(drawn(renderer, camera, preset("HardRainNight"), *bodies), wet)


def test_matrices_of_many_poses_are_those_of_each() -> None:
    poses = [Pose(*row) for row in np.random.default_rng(1).uniform(-180, 180, (20, 6)).tolist()]
    np.testing.assert_allclose(matrices(poses), [p.matrix() for p in poses], atol=1e-12)
    assert matrices([]).shape == (0, 4, 4)
