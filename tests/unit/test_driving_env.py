"""The environment on Town: what Gymnasium and stable-baselines3 ask of it, what it shows and survives."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3.common.env_checker
from gymnasium.utils.env_checker import check_env

from mtdrive.batch import Command
from mtdrive.envs.cameras import CameraSettings
from mtdrive.envs.coordinates import intrinsics
from mtdrive.envs.driving_env import DrivingEnv, control_of
from mtdrive.envs.driving_settings import DrivingSettings, Rewards
from mtdrive.envs.episode import draw
from mtdrive.envs.health import ServerSettings
from mtdrive.envs.random_routes import random_route
from mtdrive.envs.scene import Scene
from mtdrive.envs.scoring import Infraction
from mtdrive.envs.servers import open_server
from mtdrive.errors import ConfigError, SimulatorError
from tests.driving import SMALL, follow

SKY, ROAD = 11, 1


@pytest.fixture(scope="module")
def env() -> Iterator[DrivingEnv]:
    labels = ("depth", "semantics", "flow", "pose")
    made = DrivingEnv(replace(SMALL, labels=labels, target_point=True))
    yield made
    made.close()


def kill_server(env: DrivingEnv) -> None:
    os.kill(env._server._town.process.pid, signal.SIGKILL)  # type: ignore[union-attr]


def test_gymnasium_finds_nothing_to_complain_about() -> None:
    with open_server("town", "Small") as server:
        settings = replace(SMALL, server=ServerSettings(f"127.0.0.1:{server.port}"))
        made = gymnasium.make("mtdrive.envs:mtdrive/Drive-v0", disable_env_checker=True, settings=settings)
        check_env(made.unwrapped)
        made.close()


def test_a_driver_that_follows_the_route_completes_it_and_earns_its_length_less_what_it_broke(
    env: DrivingEnv,
) -> None:
    seen, info = env.reset(seed=1)
    assert info["length"] == env.route.length
    assert info["town"] == "Small"
    total, broken, commands, truncated = 0.0, [], set(), False
    for _ in range(300):
        seen, reward, terminated, truncated, info = env.step(follow(env))
        assert env.observation_space.contains(seen)
        assert seen["speed"][0] == pytest.approx(env.scene.ego.speed)
        total += reward
        broken += info["infractions"]
        commands.add(Command(seen["command"]))
        if terminated:
            break
    assert terminated
    assert not truncated
    assert info["ended"] == "completed"
    assert info["completion"] == 1.0
    assert tuple(broken) == env.judge.infractions
    earned = env.settings.rewards.of(env.route.length, 0, broken, True)
    assert total == pytest.approx(earned, abs=0.03 * env.route.length)
    assert commands & {Command.LEFT, Command.RIGHT}


def test_the_same_seed_gives_the_same_episode_to_the_last_pixel(env: DrivingEnv) -> None:
    def drive(seed: int) -> tuple[list[Any], list[Scene]]:
        seen, scenes = [env.reset(seed=seed, options={"density": "regular"})[0]], [env.scene]
        for _ in range(8):
            seen.append(env.step(follow(env))[0])
            scenes.append(env.scene)
        return seen, scenes

    (first, scenes), (other, _), (second, again) = drive(5), drive(6), drive(5)
    assert len(scenes[0].others) > 3
    for a, b in zip(scenes, again, strict=True):
        assert (a.time, a.ego.xyz, a.lights) == (b.time, b.ego.xyz, b.lights)
        assert [user.xyz for user in a.others] == [user.xyz for user in b.others]
    for c, d in zip(first, second, strict=True):
        for name in c:
            np.testing.assert_array_equal(c[name], d[name])
    assert any((a["front"] != b["front"]).any() for a, b in zip(first, other, strict=True))


def test_depth_pose_and_flow_agree_in_units_axes_and_time(env: DrivingEnv) -> None:
    """A point of the still town, moved by the poses, is where the flow says it was one step before."""
    env.reset(seed=2)
    for _ in range(25):
        before = env.step(follow(env))[4]["labels"]
    now = env.step(follow(env))[4]["labels"]
    matrix = intrinsics(64, 36, 90.0)
    pixels = np.stack(np.meshgrid(np.arange(64), np.arange(36)), -1).astype(float)
    rays = np.concatenate([pixels, np.ones((36, 64, 1))], -1) @ np.linalg.inv(matrix).T
    points = np.concatenate([rays * now["depth"][..., None], np.ones((36, 64, 1))], -1)
    moved = points @ (np.linalg.inv(before["pose"]) @ now["pose"]).T
    image = moved[..., :3] @ matrix.T
    expected = image[..., :2] / image[..., 2:] - pixels
    near = (now["depth"] < 100) & (image[..., 2] > 0.5) & (np.abs(expected) < 30).all(-1)
    assert near.mean() > 0.4
    assert np.abs(expected[near]).max() > 1
    np.testing.assert_allclose(now["flow"].transpose(1, 2, 0)[near], expected[near], atol=0.03)
    speed = np.linalg.norm(now["pose"][:3, 3] - before["pose"][:3, 3]) * env.settings.rate
    assert speed == pytest.approx(env.scene.ego.speed, rel=0.05)
    assert now["pose"][1, 3] == pytest.approx(-2.0, abs=0.1)  # down is positive


def test_an_observation_outlives_the_images_of_the_client_that_it_was_made_of(env: DrivingEnv) -> None:
    """`raw_data` of the client does not keep its image alive: a view of it reads memory given back."""
    seen, info = env.reset(seed=5)
    arrays = {**seen, **info["labels"]}
    before = {name: np.array(value) for name, value in arrays.items()}
    for _ in range(10):
        env.step(np.array([0.0, 0.5], np.float32))
    for name, value in before.items():
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)
        owner = arrays[name]
        while isinstance(owner, np.ndarray) and owner.base is not None:
            owner = owner.base
        assert isinstance(owner, (np.ndarray, np.generic, int)), name


def test_semantics_and_the_target_point_are_where_they_belong(env: DrivingEnv) -> None:
    seen, info = env.reset(seed=2)
    tags = info["labels"]["semantics"]
    assert tags[-1, 32] == ROAD
    assert tags[0, 32] == SKY
    assert info["labels"]["depth"][0, 32] == 1000
    ego = env.scene.ego
    turn = np.radians(ego.yaw)
    ahead, aside = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    right, forward = seen["target_point"]
    target = ego.xyz[:2] + forward * ahead + right * aside
    assert np.hypot(*(env.route.xyz[:, :2] - target).T).min() < 0.1
    assert np.hypot(right, forward) > 5


def test_options_choose_what_is_driven(env: DrivingEnv) -> None:
    env.reset(seed=3)
    route = random_route(env.roads, 77, (60, 100))
    _, info = env.reset(seed=3, options={"route": route, "weather": "WetSunset"})
    assert info["route"] == route.id
    assert info["weather"] == "WetSunset"
    assert np.hypot(*(env.scene.ego.xyz[:2] - route.xyz[0, :2])) < 0.5
    with pytest.raises(ConfigError, match="of Small, the town asked for is Grid"):
        env.reset(options={"route": route, "town": "Grid"})
    with pytest.raises(ConfigError, match=r"options of an episode are .*; found 'wether'"):
        env.reset(options={"wether": "ClearNoon"})
    with pytest.raises(ConfigError, match=r"expected a weather .* found 'Sunny'"):
        env.reset(options={"weather": "Sunny"})
    with pytest.raises(ConfigError, match="density must be one of empty, regular, dense; found 'full'"):
        env.reset(options={"density": "full"})
    env.reset(seed=3)


def test_a_policy_of_stable_baselines3_learns_on_it_unchanged(env: DrivingEnv) -> None:
    stable_baselines3.common.env_checker.check_env(env)
    model = stable_baselines3.PPO("MultiInputPolicy", env, n_steps=16, batch_size=8, n_epochs=1, seed=0)
    model.learn(32)
    assert model.num_timesteps == 32
    action, _ = model.predict(env.reset(seed=1)[0])
    assert env.action_space.contains(action)


def test_a_dead_server_is_one_error_and_crashes_that_are_allowed_are_survived(
    env: DrivingEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = env.reset(seed=4)
    env.step(np.zeros(2))
    kill_server(env)
    begun = time.monotonic()
    with pytest.raises(SimulatorError, match=r"died|hung up") as raised:
        env.step(np.zeros(2))
    assert time.monotonic() - begun < 10
    assert "\n" not in str(raised.value)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(2))
    second, _ = env.reset(seed=4)
    np.testing.assert_array_equal(first["front"], second["front"])

    monkeypatch.setattr(env, "settings", replace(env.settings, crashes=2))
    kill_server(env)
    _, reward, terminated, truncated, info = env.step(np.zeros(2))
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert re.search(r"died|hung up", info["crashed"])
    env.reset(seed=4)
    kill_server(env)  # the third in a row
    with pytest.raises(SimulatorError, match=r"died|hung up"):
        env.reset(seed=4)


def test_processes_have_a_server_each() -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.make("mtdrive.envs:mtdrive/Drive-v0", settings=SMALL)

    environments = gymnasium.vector.AsyncVectorEnv([make, make], context="spawn")
    try:
        seen, _ = environments.reset(seed=[1, 2])
        assert seen["front"].shape == (2, 36, 64, 3)
        assert (seen["front"][0] != seen["front"][1]).any()
        for _ in range(3):
            seen, rewards, *_ = environments.step(np.array([[0, 1], [0, 0]], np.float32))
        assert rewards[0] > rewards[1]
    finally:
        environments.close()


def test_a_step_earns_its_progress_and_pays_for_each_infraction() -> None:
    rewards = Rewards(progress=2.0, second=-0.5, completed=7.0, red_light=-3.0, vehicle=-11.0)
    broken = [Infraction(kind, 0.0, 0, (0.0, 0.0, 0.0)) for kind in ("red_light", "vehicle", "red_light")]
    assert rewards.of(1.5, 0.1, broken, False) == pytest.approx(3.0 - 0.05 - 17.0)
    assert rewards.of(0.0, 0.1, [], True) == pytest.approx(6.95)


def test_an_action_is_steering_to_the_right_and_one_pedal_at_a_time() -> None:
    for action, expected in (
        ([0.5, 0.25], (0.5, 0.25, 0)),
        ([-2.0, -0.75], (-1, 0, 0.75)),
        ([0.0, 3.0], (0, 1, 0)),
    ):
        control = control_of(np.array(action))
        assert (control.steer, control.throttle, control.brake) == pytest.approx(expected)
    for wrong in (np.zeros(3), np.array([0, np.nan]), np.zeros((1, 2))):
        with pytest.raises(ConfigError, match="two numbers"):
            control_of(wrong)


def test_draws_depend_on_the_seed_alone_and_reach_every_choice() -> None:
    settings = DrivingSettings(
        towns=("Grid", "Large"), weathers=("ClearNoon", "WetNoon"), densities=("empty", "dense")
    )
    drawn = [draw(settings, seed, {}) for seed in range(40)]
    assert drawn == [draw(settings, seed, {}) for seed in range(40)]
    assert len({(e.town, e.weather, e.density) for e in drawn}) == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"town": ("Grid",)}, "settings are .*; found 'town'"),
        ({"towns": ()}, "towns must name at least one"),
        ({"densities": ("full",)}, "densities are empty, regular, dense; found 'full'"),
        ({"labels": ("normals",)}, "labels are depth, semantics, flow, pose; found 'normals'"),
        ({"cameras": ()}, "cameras need names of their own"),
        ({"cameras": (CameraSettings("speed"),)}, "cameras need names of their own"),
        ({"cameras": (CameraSettings(), CameraSettings())}, "cameras need names of their own"),
        ({"rate": 5.0}, "rate must be at least 10"),
        ({"length": (300.0, 200.0)}, "the least and the most metres"),
        ({"server": ServerSettings("nowhere")}, "must be town, carla or host:port"),
    ],
)
def test_settings_that_make_no_sense_are_named_before_a_server_starts(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        DrivingEnv(**changes).reset()
