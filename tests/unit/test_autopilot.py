"""CARLA's traffic manager in a process of its own, and what becomes of it when it dies, hangs or is left."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtdrive.envs import autopilot
from mtdrive.envs.autopilot import Autopilot
from mtdrive.envs.demand import Density
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.driving_settings import DrivingSettings
from mtdrive.envs.health import Server, ServerSettings
from mtdrive.envs.random_routes import random_route
from mtdrive.envs.scene import Scene
from mtdrive.envs.servers import open_server
from mtdrive.envs.simulation import Simulation
from mtdrive.errors import ConfigError, SimulatorError
from tests.driving import SMALL

SOME = Density(12, 6)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with open_server(ServerSettings(pause=0.1), "Small") as town:
        yield town


@pytest.fixture
def simulation(server: Server) -> Iterator[Simulation]:
    session = Simulation(server, 10.0, patience=30.0)
    yield session
    session.close()


class Streets:
    """A session with an ego that stands and others who are driven."""

    def __init__(self, simulation: Simulation, density: Density = SOME) -> None:
        self.simulation, roads = simulation, simulation.roads
        route = random_route(roads, 1, (40.0, 200.0), 0)
        start = route.start
        start.location.z += 0.3
        self.ego = simulation.spawn("vehicle.tesla.model3", start)
        simulation.tick()
        self.traffic = Autopilot(roads, density, seed=1)
        self.traffic.spawn(simulation, route)
        self.group = self.traffic._manager._process.pid  # type: ignore[union-attr]

    def drive(self, ticks: int) -> list[Scene]:
        scenes = []
        for _ in range(ticks):
            self.simulation.tick(self.traffic.step(*self._now()))
            scenes.append(self.simulation.scene(self.ego, self.traffic))
        return scenes

    def _now(self) -> tuple[Any, Any]:
        scene = self.simulation.scene(self.ego, self.traffic)
        return scene.ego, scene.lights


@pytest.fixture
def streets(simulation: Simulation) -> Iterator[Streets]:
    made = Streets(simulation)
    yield made
    made.traffic.close()


def runs(group: int, patience: float = 5.0) -> bool:
    """Return whether a process of a group still runs after a while; one that nobody collected does not."""
    deadline = time.monotonic() + patience
    while members(group):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.05)
    return False


def members(group: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, leader = path.read_text().rpartition(")")[2].split()[:3]
            if int(leader) == group and state not in "ZX":
                found.append(path.parent.name)
    return found


def metres(scenes: list[Scene], kind: str) -> list[float]:
    """Return how far those of a kind got."""
    after = {actor.id: actor.xyz for actor in scenes[-1].others}
    return [math.dist(a.xyz, after[a.id]) for a in scenes[0].others if a.kind == kind]


def frames(scenes: list[Scene]) -> list[int]:
    return [scene.frame - scenes[0].frame for scene in scenes]


def test_others_move_and_nothing_is_left_of_them(streets: Streets) -> None:
    simulation = streets.simulation
    scenes = streets.drive(80)
    assert frames(scenes) == list(range(80))
    assert len(metres(scenes, "walker")) >= 2
    assert max(metres(scenes, "vehicle")) > 10
    assert sum(way > 3 for way in metres(scenes, "walker")) >= 2
    assert max(actor.speed for actor in scenes[-1].others) > 1
    assert scenes[-1].ego.speed == pytest.approx(0, abs=0.1)
    assert members(streets.group)
    streets.traffic.close()
    streets.traffic.close()
    assert not runs(streets.group)
    simulation.clear()
    frame = simulation.tick().frame
    assert simulation.tick().frame == frame + 1
    left = {actor.type_id.split(".")[0] for actor in simulation.world.get_actors()}
    assert left <= {"spectator", "traffic"}


@pytest.mark.parametrize("befalls", [signal.SIGKILL, signal.SIGSTOP])
def test_a_manager_that_dies_or_stops_is_replaced_and_every_step_is_made_once(
    streets: Streets, befalls: signal.Signals
) -> None:
    streets.simulation.patience = 1.5
    before = streets.drive(30)
    os.killpg(streets.group, befalls)
    begun = time.monotonic()
    after = streets.drive(40)
    assert time.monotonic() - begun < 40
    assert frames([*before, *after]) == list(range(70))
    assert max(metres(after, "vehicle")) > 5
    assert sum(way > 1 for way in metres(after, "walker")) >= 2
    assert not runs(streets.group)


def test_a_manager_that_waits_for_itself_after_a_step_is_replaced_and_the_step_counts(
    streets: Streets, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = streets.drive(5)
    monkeypatch.setattr(autopilot, "SILENCE", 0.3)
    monkeypatch.setattr(streets.traffic._manager, "answer", lambda: time.sleep(0.05))
    (scene,) = streets.drive(1)
    assert scene.frame == before[-1].frame + 1
    assert not runs(streets.group)
    monkeypatch.undo()
    assert frames([*before, scene, *streets.drive(5)]) == list(range(11))


def test_managers_that_fail_again_and_again_are_one_error(
    streets: Streets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autopilot, "LOST", 1)
    monkeypatch.setattr(autopilot, "STILL", 0.25)
    monkeypatch.setattr(autopilot, "MOVING", 1000.0)
    words = "traffic manager failed 2 times in this episode, at last: no vehicle moves; use traffic by SUMO"
    with pytest.raises(SimulatorError, match=words):
        streets.drive(10)
    streets.traffic.close()
    assert not runs(streets.group)
    streets.simulation.tick()


def test_a_manager_ends_with_a_process_that_is_killed(server: Server) -> None:
    code = f"""
        import sys, time
        from mtdrive.envs.demand import Density
        from mtdrive.envs.servers import open_server
        from mtdrive.envs.simulation import Simulation
        from tests.unit.test_autopilot import Streets
        session = Simulation(open_server("127.0.0.1:{server.port}").__enter__(), patience=30.0)
        print(Streets(session, Density(4, 0)).group, flush=True)
        time.sleep(100)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        group = int(process.stdout.readline())
        assert members(group)
        process.kill()
    deadline = time.monotonic() + 15
    while members(group):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_environment_has_the_traffic_that_it_is_asked_for(server: Server) -> None:
    with pytest.raises(ConfigError, match="kinds of traffic are sumo, manager; found 'cars'"):
        DrivingSettings(traffic="cars")
    same = ServerSettings(f"127.0.0.1:{server.port}")
    env = DrivingEnv(SMALL, server=same, traffic="manager", densities=("regular",))
    try:
        env.reset(seed=3)
        assert isinstance(env.drive.traffic, Autopilot)
        group = env.drive.traffic._manager._process.pid  # type: ignore[union-attr]
        first = env.scene
        for _ in range(10):
            env.step(np.array([0.0, -1.0]))
        assert max(metres([first, env.scene], "vehicle")) > 0.5
    finally:
        env.close()
    assert not runs(group)
