"""What a worker of an evaluation does: an agent, a server, and one route after the other."""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import carla

from mtdrive.crew import Answer, Desk
from mtdrive.drive_plan import Assignment, DriveSettings, is_class, random_of, town_routes
from mtdrive.drive_record import write_record
from mtdrive.drive_route import Manner, drive_route
from mtdrive.envs.agent import Agent
from mtdrive.envs.agents import AGENTS
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.driving_settings import Density, DrivingSettings
from mtdrive.envs.health import ServerSettings
from mtdrive.envs.route_files import plan_pair, read_pairs, read_routes
from mtdrive.envs.routes import Route
from mtdrive.errors import ConfigError, MtdriveError, SimulatorError

FAILURES = 6
"""Failures in a row, with no episode begun, after which there is no hope for the server."""
LONGEST_PAUSE = 30.0
"""Seconds before another try."""
TOLD = 1.0
"""Seconds between two signs of life."""


def make_agent(name: str) -> Agent:
    """Return the agent that a name in `AGENTS`, a checkpoint's folder or `module:Class` stands for.

    Raises:
        ConfigError: there is no such class, or it cannot be made.
        CheckpointError: the checkpoint cannot be used.
    """
    if name in AGENTS:
        return AGENTS[name]()
    if not is_class(name):
        import torch

        from mtdrive.policy_agent import load_agent

        torch.set_num_threads(1)  # each worker has a core at best
        return load_agent(Path(name))
    return _imported(name)


def _imported(name: str) -> Agent:
    module, _, path = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        agent = getattr(importlib.import_module(module), path)()
    except Exception as error:  # whatever the user's module does
        raise ConfigError(f"agent {name}: {type(error).__name__}: {error}") from error
    if not isinstance(agent, Agent):
        raise ConfigError(
            f"agent {name}: expected a subclass of mtdrive.envs.agent.Agent, found {type(agent)}"
        )
    return agent


def driving(agent: Agent, settings: DriveSettings, server: ServerSettings | None = None) -> DrivingSettings:
    """Return the environment of an agent.

    Raises:
        ConfigError: the agent asks for what there is not.
    """
    pairs = settings.routes_file.endswith(".txt")  # then an episode before shows the town's spawn points
    return DrivingSettings(
        server=server or ServerSettings(),
        towns=settings.towns or ("Grid",),
        weathers=settings.weathers,
        densities=cast(tuple[Density, ...], settings.densities),
        length=(20.0, 200.0) if pairs else settings.length,
        turns=0 if pairs else settings.turns,
        cameras=agent.cameras,
        target_point=agent.target_point,
        rate=agent.rate,
    )


def serve(
    desk: Desk, out: Path, settings: DriveSettings, server: ServerSettings, videos: str, patience: float
) -> None:
    """Drive what is asked for until nothing is: the body of a worker."""
    try:
        agent = make_agent(settings.agent)
        made = driving(agent, settings, server)
    except MtdriveError as error:
        desk.refuse(error)
        return
    env = DrivingEnv(made, render_mode=None if videos == "none" else "rgb_array")
    told = 0.0

    def tell(completion: float, seconds: float) -> None:
        nonlocal told
        worker.going()
        if time.monotonic() - told > TOLD:
            told = time.monotonic()
            desk.say((completion, seconds))

    manner = Manner(patience, videos, desk.busy, tell)
    worker = _Worker(env, agent, settings, out, manner)
    try:
        desk.work(worker.drive)
    except SimulatorError as error:
        desk.refuse(error)
    finally:
        env.close()


class _Worker:
    def __init__(
        self, env: DrivingEnv, agent: Agent, settings: DriveSettings, out: Path, manner: Manner
    ) -> None:
        self.env, self.agent, self.settings, self.out, self.manner = env, agent, settings, out, manner
        self._book = _Book(settings)
        self._failures, self._crashed, self._idle_since = 0, 0.0, 0.0
        self._back: float | None = None
        """Seconds from a crash until the server answered again, without those in which there was no route."""

    def drive(self, plan: Assignment, attempt: int) -> Answer:
        """Drive a route, and write its record."""
        begun, self._back = time.monotonic(), None
        if self._crashed:
            self._crashed += begun - self._idle_since
        try:
            route = self._book.route(plan, self.env)
            name = self.settings.agent
            record = drive_route(self.env, self.agent, plan, route, self.out, name, self.manner)
        except SimulatorError as error:
            return self._failed(error)
        except (MtdriveError, OSError) as error:
            return "fatal", str(error)
        record = replace(record, wall=self._wall(attempt, begun))
        write_record(self.out, record)
        return "done", record

    def _wall(self, attempt: int, begun: float) -> dict[str, Any]:
        found: dict[str, Any] = {
            "attempts": attempt + 1,
            "seconds": round(time.monotonic() - begun, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        return found if self._back is None else {**found, "back": round(self._back, 2)}

    def going(self) -> None:
        """Take note that an episode runs."""
        self._failures = 0
        if self._crashed:
            self._back, self._crashed = self.env.server_since - self._crashed, 0.0

    def _failed(self, error: SimulatorError) -> Answer:
        """Wait, longer each time, where no episode began since the last failure."""
        self._failures += 1
        if not self._crashed or self.env.server_since > self._crashed:  # not one more start that failed
            self._crashed = time.monotonic()
        if self._failures >= FAILURES:
            raise error
        if self._failures > 1:
            time.sleep(min(LONGEST_PAUSE, 2.0 ** (self._failures - 2)))
        self._idle_since = time.monotonic()
        return "again", str(error)


class _Book:
    """Makes the routes; what they have in common is kept."""

    def __init__(self, settings: DriveSettings) -> None:
        self._settings, self._file = settings, Path(settings.routes_file)
        self._spawn_points: dict[str, list[carla.Transform]] = {}

    def route(self, plan: Assignment, env: DrivingEnv) -> Route:
        """Return the route of an assignment.

        Raises:
            DataError: it cannot be planned.
            SimulatorError: the server died while it was asked for its spawn points.
        """
        if self._file.suffix == ".xml":
            return read_routes(self._file)[plan.number].plan()
        if self._file.suffix == ".txt":
            return self._pair(plan, env)
        return town_routes(plan.town, *random_of(self._settings))[plan.number]

    def _pair(self, plan: Assignment, env: DrivingEnv) -> Route:
        if plan.town not in self._spawn_points:
            env.reset(seed=0, options={"town": plan.town, "density": "empty"})
            with env.simulation.remote("reading the spawn points"):
                self._spawn_points[plan.town] = env.simulation.map.get_spawn_points()
        pair = read_pairs(self._file)[plan.number]
        return plan_pair(env.roads, pair, self._spawn_points[plan.town], plan.route)
