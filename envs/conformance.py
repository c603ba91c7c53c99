"""Tries a server against what the environment relies on, and reports what was found."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mtdrive.envs.bench import Bench, Check
from mtdrive.envs.cameras import CameraSettings
from mtdrive.envs.checks_lights import LIGHTS
from mtdrive.envs.checks_sensors import SENSORS
from mtdrive.envs.checks_world import WORLD
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.driving_settings import DrivingSettings
from mtdrive.envs.health import Server, ServerSettings
from mtdrive.envs.simulation import Simulation
from mtdrive.errors import MtdriveError, SimulatorError
from mtdrive.files import write_atomically

SCHEMA = 1
RATE = 20.0
"""Ticks a second."""
STEPS = 50
PATIENCE = 60.0


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    expected: str
    found: str
    ok: bool


@dataclass(frozen=True)
class Report:
    """All findings, and what was tried with what."""

    server: str
    town: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether all is as expected."""
        return all(finding.ok for finding in self.findings)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        about = {
            "schema": SCHEMA,
            "mtdrive": version("mtdrive"),
            "client": version("carla"),
            "python": platform.python_version(),
            "ok": self.ok,
        }
        write_atomically(path, json.dumps(about | asdict(self), indent=1).encode() + b"\n")


def try_server(server: Server, town: str | None, tell: Callable[[Finding], None]) -> Report:
    """Make all checks on a town, or on the one that the server has; `tell` is given each finding.

    A check that fails costs the others nothing.

    Raises:
        ConfigError: there is no such town.
        SimulatorError: the server does not let us in.
    """
    release = str(server.line.call("version"))
    simulation = Simulation(server, RATE, PATIENCE)
    found: list[Finding] = []

    def note(finding: Finding) -> None:
        found.append(finding)
        tell(finding)

    try:
        town = town or simulation.town
        simulation.load(town)
        bench = Bench(simulation)
        for check in (*WORLD, *LIGHTS, *SENSORS):
            note(_try(check, bench))
    finally:
        simulation.close()
    note(_left(server))
    note(_episode(server, town))
    return Report(f"{server.host}:{server.port}, CARLA {release}", town, tuple(found))


def _try(check: Check, bench: Bench) -> Finding:
    try:
        bench.begin()
        found, ok = check.run(bench)
    except Exception as error:  # whatever a server makes of a check is a finding
        found, ok = f"{type(error).__name__}: {error}", False
    return Finding(check.name, check.expected, found, bool(ok))


def _left(server: Server) -> Finding:
    """Look what is left when a session has ended."""
    expected = "the world runs on its own when the session has ended"
    try:
        synchronous = server.line.call("get_episode_settings")[0]
    except SimulatorError as error:
        return Finding("end", expected, str(error), False)
    return Finding("end", expected, "still synchronous" if synchronous else "so it does", not synchronous)


def _episode(server: Server, town: str) -> Finding:
    """Drive some steps of the environment."""
    settings = DrivingSettings(
        server=ServerSettings(f"{server.host}:{server.port}"),
        towns=(town,),
        densities=("empty",),
        length=(50.0, 1000.0),
        turns=0,
        cameras=(CameraSettings(width=64, height=32),),
        labels=("depth", "semantics", "flow", "pose"),
        patience=PATIENCE,
    )
    name, expected = "environment", f"{STEPS} steps forward are rewarded, observations fit their space"
    env = DrivingEnv(settings)
    try:
        seen, _ = env.reset(seed=0)
        fits, total = env.observation_space.contains(seen), 0.0
        for _ in range(STEPS):
            seen, reward, *_ = env.step(np.array([0.0, 0.5]))
            fits, total = fits and env.observation_space.contains(seen), total + reward
    except MtdriveError as error:
        return Finding(name, expected, str(error), False)
    finally:
        env.close()
    return Finding(
        name, expected, f"a reward of {total:.1f}, {'all' if fits else 'not all'} fit", fits and total > 3
    )
