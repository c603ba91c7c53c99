"""The renderer against geometry in float64: what its layers say of one scene must agree to the last pixel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import moderngl
import numpy as np
import pytest

from mtdrive.envs.town import contexts
from mtdrive.envs.town.renderer import Renderer
from mtdrive.envs.town.roads import load_map
from mtdrive.envs.town.stage import FAR, Body, Camera, Layers, Pose, Stage
from mtdrive.envs.town.tags import Tag
from mtdrive.envs.town.weather import Weather
from mtdrive.errors import ConfigError

W, H, FOV = 192, 96, 80.0
SHIFTS = ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))
"""To the four pixels around a place in an image."""

CAR = (2.3, 0.95, 0.75)
RAINY_NIGHT = Weather(80.0, 60.0, 60.0, 60.0, sun_altitude_angle=-90.0, fog_density=60.0, wetness=80.0)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer(load_map("Small"))
    yield made
    made.close()


def pose_at(point: np.ndarray, pitch: float, yaw: float, roll: float) -> Pose:
    x, y, z = point[:3].tolist()
    return Pose(x, y, z, pitch, yaw, roll)


def pixels(camera: Camera) -> np.ndarray:
    """Return the middles of the pixels, h w 2."""
    return np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)


def points(camera: Camera, depth: np.ndarray) -> np.ndarray:
    """Return the points of the world behind the pixels by CARLA's formula."""
    f = camera.width / (2 * np.tan(np.radians(camera.fov) / 2))
    u, v = np.moveaxis(pixels(camera), -1, 0)
    local = np.stack([np.ones_like(u), (u - camera.width / 2) / f, -(v - camera.height / 2) / f], axis=-1)
    matrix = camera.pose.matrix()
    return np.asarray((local * depth[..., None].astype(float)) @ matrix[:3, :3].T + matrix[:3, 3])


def project(camera: Camera, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return places in the image and depths of points."""
    f = camera.width / (2 * np.tan(np.radians(camera.fov) / 2))
    matrix = camera.pose.matrix()
    x, y, z = np.moveaxis((world - matrix[:3, 3]) @ matrix[:3, :3], -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([f * y / x + camera.width / 2, -f * z / x + camera.height / 2], axis=-1), x


def flow_pixels(layers: Layers) -> np.ndarray:
    """Return the motion since the frame before in pixels, x right and y down."""
    h, w = layers.depth.shape
    return np.asarray(layers.flow.astype(float) * [w / 2, -h / 2])


def sample(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return an image between its pixels, and NaN outside."""
    h, w = image.shape[:2]
    x, y = at[..., 0] - 0.5, at[..., 1] - 0.5
    inside = (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)
    x, y = np.where(inside, x, 0), np.where(inside, y, 0)
    i, j = np.minimum(y.astype(int), h - 2), np.minimum(x.astype(int), w - 2)
    a, b = (y - i)[..., None], (x - j)[..., None]
    image = image.reshape(h, w, -1).astype(float)
    mixed = (image[i, j] * (1 - b) + image[i, j + 1] * b) * (1 - a)
    mixed += (image[i + 1, j] * (1 - b) + image[i + 1, j + 1] * b) * a
    return np.where(inside[..., None], mixed, np.nan)


def drive() -> tuple[Camera, Camera, Stage, Stage]:
    """Return two cameras and stages: the camera goes on and turns, and two cars move."""
    start = load_map("Small").spawn_points[8]
    ahead = start.matrix() @ np.array([9.0, 0.3, -0.3, 1.0])
    aside = start.matrix() @ np.array([15.0, -4.0, -0.3, 1.0])

    def body(id_: int, at: np.ndarray, yaw: float, along: float, turn: float) -> Body:
        pose = pose_at(at, 0.0, start.yaw + yaw, 0.0)
        moved = pose.matrix() @ np.array([along, 0, 0, 1])
        return Body(
            id_,
            "vehicle.x",
            pose_at(moved, 0.0, pose.yaw + turn, 0.0),
            CAR,
            (200, 30, 30),
            Tag.CAR,
            8,
        )

    before = Stage(1, (body(70001, ahead, 0, 0, 0), body(12, aside, 170, 0, 0)), {})
    after = Stage(2, (body(70001, ahead, 0, 0.7, 1.5), body(12, aside, 170, 0.5, 0)), {})
    first = replace(start, z=start.z + 1.3, pitch=-2.0)
    along = first.matrix() @ np.array([0.9, 0, 0, 1])
    second = pose_at(along, -2.3, first.yaw + 1.2, 0.4)
    return Camera(W, H, FOV, first), Camera(W, H, FOV, second), before, after


def test_depth_of_one_frame_lands_on_the_surfaces_of_the_next(renderer: Renderer) -> None:
    first, second, stage, _ = drive()
    a = renderer.render(first, first, stage, stage, colours=False)
    b = renderer.render(second, first, stage, stage, colours=False)
    at, expected = project(first, points(second, b.depth))
    around = np.stack([sample(a.depth, np.floor(at + shift) + 0.5)[..., 0] for shift in SHIFTS])
    known = np.isfinite(around).all(axis=0) & (b.depth < 200)
    hidden = known & (around.max(axis=0) < expected * 0.99)
    lands = (around.min(axis=0) * 0.99 < expected) & (expected < around.max(axis=0) * 1.01)
    assert known.mean() > 0.4
    assert hidden.sum() < 0.05 * known.sum()
    # What is thinner than a pixel may be in one frame and not in the other.
    assert (known & ~hidden & ~lands).sum() < 0.004 * known.sum()


def test_flow_is_depth_and_ego_motion_and_object_motion(renderer: Renderer) -> None:
    first, second, before, after = drive()
    layers = renderer.render(second, first, after, before, colours=False)
    world = points(second, layers.depth)
    for old, new in zip(before.bodies, after.bodies, strict=True):
        mine = layers.instances == new.id & 0xFFFF
        assert mine.sum() > 20
        back = old.pose.matrix() @ np.linalg.inv(new.pose.matrix())
        world[mine] = world[mine] @ back[:3, :3].T + back[:3, 3]
    at, depth = project(first, world)
    expected = pixels(second) - at
    near = (layers.depth < 300) & (depth > 0.5) & (abs(layers.flow) < 2).all(axis=-1)
    assert near.sum() > 0.4 * near.size
    np.testing.assert_allclose(flow_pixels(layers)[near], expected[near], atol=0.02)


def test_flow_of_the_sky_is_that_of_turning_alone(renderer: Renderer) -> None:
    first, second, stage, _ = drive()
    layers = renderer.render(second, first, stage, stage, colours=False)
    sky = layers.tags == Tag.SKY
    far_first = replace(first, pose=replace(first.pose, x=second.pose.x, y=second.pose.y, z=second.pose.z))
    at, _ = project(far_first, points(second, np.full((H, W), 1e4)))
    assert sky.sum() > 500
    assert (layers.depth[sky] == FAR).all()
    np.testing.assert_allclose(flow_pixels(layers)[sky], (pixels(second) - at)[sky], atol=0.02)


def test_the_true_flow_explains_the_next_image_three_times_better_than_none(renderer: Renderer) -> None:
    first, second, before, after = drive()
    old = renderer.render(first, first, before, before)
    new = renderer.render(second, first, after, before)
    at = pixels(second) - flow_pixels(new)
    warped = sample(old.rgb, at)
    expected = project(first, points(second, new.depth))[1]
    there = sample(old.depth, at)[..., 0]
    still = new.instances == 0
    seen = np.isfinite(there) & still & (abs(there - expected) < 0.03 * expected) & (new.depth < 200)
    plain = abs(old.rgb[seen].astype(float) - new.rgb[seen]).mean()
    assert seen.mean() > 0.3
    assert plain > 3 * abs(warped[seen] - new.rgb[seen]).mean()


def test_ids_agree_with_depth_at_the_edges_of_a_body(renderer: Renderer) -> None:
    first, _, stage, _ = drive()
    layers = renderer.render(first, first, stage, stage, colours=False)
    world = points(first, layers.depth)
    for body in stage.bodies:
        local = (world - body.pose.matrix()[:3, 3]) @ body.pose.matrix()[:3, :3]
        low, high = (
            np.array([-body.extent[0], -body.extent[1], 0]),
            np.array([*body.extent[:2], 2 * body.extent[2]]),
        )
        mine = layers.instances == body.id & 0xFFFF
        assert mine.sum() > 20
        assert ((local > low - 0.05) & (local < high + 0.05)).all(axis=-1)[mine].all()
        assert not (((local > low + 0.03) & (local < high - 0.03)).all(axis=-1) & ~mine).any()
        assert (layers.tags[mine] == body.tag).all()
    assert set(np.unique(layers.instances)) == {0, *(b.id & 0xFFFF for b in stage.bodies)}
    assert set(np.unique(layers.tags)) <= {int(t) for t in Tag}


@pytest.mark.parametrize(("width", "height", "fov"), [(64, 64, 90.0), (200, 80, 40.0), (97, 61, 110.0)])
def test_intrinsics_follow_carlas_formula(renderer: Renderer, width: int, height: int, fov: float) -> None:
    camera = Camera(width, height, fov, Pose(1000.0, 0.0, 50.0, 3.0, 20.0, 5.0))
    middle = camera.pose.matrix() @ np.array([20.0, 3.0, -2.0, 1.0])
    pose = Pose.of(np.concatenate([camera.pose.matrix()[:, :3], middle[:, None]], axis=1))
    crate = Body(7, "static.prop.box", pose, (0.5, 1.0, 0.5), (255, 0, 0), Tag.DYNAMIC, 0)
    layers = renderer.render(camera, camera, Stage(1, (crate,), {}), Stage(0, (), {}), colours=False)
    mine = layers.instances == 7
    f = width / (2 * np.tan(np.radians(fov) / 2))
    # A crate's origin is at its foot, so it reaches from 2 m below the axis to 1 m. Of the edges next to the
    # axis, those of its back are seen.
    left, right = width / 2 + f * 2 / 20.5, width / 2 + f * 4 / 19.5
    top, bottom = height / 2 + f * 1 / 20.5, height / 2 + f * 2 / 19.5
    i, j = np.nonzero(mine)
    np.testing.assert_allclose(
        [j.min(), j.max() + 1, i.min(), i.max() + 1], [left, right, top, bottom], atol=1.01
    )
    np.testing.assert_allclose(layers.depth[mine].min(), 19.5, atol=1e-3)


def test_a_light_shows_the_state_of_its_signal(renderer: Renderer) -> None:
    town = load_map("Small")
    signal = next(iter(town.signals.values()))
    at = signal.pose.matrix() @ np.array([4.0, 0.0, 3.1, 1.0])
    camera = Camera(96, 96, 40.0, pose_at(at, 0.0, signal.pose.yaw + 180, 0.0))
    shown = []
    for state in range(4):
        stage = Stage(state, (), {signal.id: state})
        layers = renderer.render(camera, camera, stage, stage)
        lamp = layers.rgb[layers.tags == Tag.TRAFFIC_LIGHT].astype(int)
        bright = lamp[lamp.max(axis=1) > 200]
        shown.append(bright.mean(axis=0) if len(bright) else np.zeros(3))
    red, yellow, green, off = shown
    bright = np.array([red, yellow, green]) > 165
    assert bright.tolist() == [[True, False, False], [True, True, False], [False, True, False]]
    assert not off.any()


def test_images_do_not_depend_on_what_was_drawn_before(renderer: Renderer) -> None:
    first, second, before, after = drive()
    a = renderer.render(second, first, after, before)
    far = replace(first, pose=replace(first.pose, x=first.pose.x + 70, y=first.pose.y - 40))
    renderer.render(far, far, before, before)
    b = renderer.render(second, first, replace(after), replace(before))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_equal_cameras_share_a_pass(renderer: Renderer) -> None:
    first, second, before, after = drive()
    a = renderer.render(second, first, after, before)
    assert renderer.render(replace(second), replace(first), after, before) is a
    assert renderer.render(second, first, replace(after), before) is not a


_CHILD = """
import sys, numpy as np
from dataclasses import replace
from mtdrive.envs.town.renderer import Renderer
from mtdrive.envs.town.roads import load_map
from tests.unit.test_town_render import RAINY_NIGHT, drive
renderer = Renderer(load_map("Small"))
first, second, before, after = drive()
layers = renderer.render(second, first, after, before)
night = renderer.render(second, first, replace(after, weather=RAINY_NIGHT), before)
np.savez(sys.argv[1], night.rgb, *layers)
print(renderer.description)
renderer.close()
"""


def test_the_wheels_library_draws_the_same_where_the_system_has_none(
    renderer: Renderer, tmp_path: Path
) -> None:
    out = tmp_path / "layers.npz"
    environment = {**os.environ, "MTDRIVE_GL": "wheel"}
    command = [sys.executable, "-X", "faulthandler", "-c", _CHILD, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wheel: llvmpipe")
    first, second, before, after = drive()
    own = renderer.render(second, first, after, before)
    dark, *layers = np.load(out).values()
    other = Layers(*layers)
    # Different builds of Mesa may round differently where an edge passes through the middle of a pixel.
    assert (own.tags != other.tags).mean() < 0.005
    assert (abs(own.depth - other.depth) > 0.01 * own.depth).mean() < 0.005
    assert abs(own.rgb.astype(int) - other.rgb).mean() < 1.0
    night = renderer.render(second, first, replace(after, weather=RAINY_NIGHT), before)
    assert abs(night.rgb.astype(int) - dark).mean() < 1.0


def test_a_machine_that_cannot_draw_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> moderngl.Context:
        raise OSError("no such library")

    monkeypatch.delenv("MTDRIVE_GL", raising=False)
    monkeypatch.setattr(contexts, "_MAKERS", dict.fromkeys(contexts.ORDER, fail))
    with pytest.raises(ConfigError, match=r"egl: no such library.*pip install lavavu-osmesa.*libegl1"):
        contexts.create()
    monkeypatch.setenv("MTDRIVE_GL", "vulkan")
    with pytest.raises(ConfigError, match="expected one of egl, osmesa, wheel, found 'vulkan'"):
        contexts.create()
