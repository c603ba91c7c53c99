"""Drives one route with an agent, and takes down what becomes of it."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mtdrive.drive_plan import PACKAGES, Assignment
from mtdrive.drive_record import AGENT, Mistake, Record, Verdict
from mtdrive.drive_video import FOLDER, Film
from mtdrive.envs.agent import BLINDFOLD, Agent
from mtdrive.envs.comfort import Motion, comfort
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.judge import BENCH2DRIVE, Judge
from mtdrive.envs.rig import Observation
from mtdrive.envs.routes import Route
from mtdrive.envs.scoring import COLLISIONS, Infraction, bench2drive_success
from mtdrive.errors import AgentError, SimulatorError
from mtdrive.orders import Command

START = 10.0
"""How much longer than for a step an agent may need to begin, and for its first step."""
SPACING = 0.5
"""Seconds between two places of the track."""


@dataclass(frozen=True)
class Manner:
    """How an agent is treated."""

    patience: float = 20.0
    """Seconds that it may need for a step."""
    videos: str = "none"
    """Which are kept: failures, all, none."""
    guard: Callable[[], AbstractContextManager[None]] = nullcontext
    """What the agent's own work is done in."""
    told: Callable[[float, float], None] = lambda completion, seconds: None
    """Is called after each step."""


def drive_route(
    env: DrivingEnv, agent: Agent, plan: Assignment, route: Route, out: Path, name: str, manner: Manner
) -> Record:
    """Drive, and return the record; a video goes to the folder `out`.

    Raises:
        SimulatorError: the server died or hangs.
        MtdriveError: the video cannot be written.
    """
    options = {"route": route, "town": plan.town, "weather": plan.weather, "density": plan.density}
    seen, _ = env.reset(seed=plan.episode, options=options)
    drive = _Drive(env, agent, manner)
    path = out / FOLDER / f"{plan.name}.mp4" if manner.videos != "none" else None
    failure = ""
    with Film(path, env.settings.rate) as film:
        try:
            drive.go(seen, film)
        except AgentError as error:
            failure = str(error)
    record = drive.record(plan, name, failure)
    if path and manner.videos == "failures" and not record.failed:
        path.unlink()
        path = None
    return replace(record, video=str(path.relative_to(out)) if path and path.exists() else "")


class _Drive:
    """Takes down what happens."""

    def __init__(self, env: DrivingEnv, agent: Agent, manner: Manner) -> None:
        self.env, self.agent, self.manner = env, agent, manner
        self._second = Judge(env.roads, env.route, env.lines, BENCH2DRIVE)
        self._commands: list[str] = []
        self._motion: list[tuple[Any, ...]] = []
        self._track: list[tuple[float, float, float, float]] = []

    def go(self, seen: Observation, film: Film) -> None:
        """Drive until the route is over.

        Raises:
            AgentError: the agent fails.
            SimulatorError: the server does.
        """
        env, patience = self.env, START * self.manner.patience
        self._look()
        with self._asking("begin", patience):
            self.agent.begin(env)
        over = False
        while not over:
            with self._asking("act", patience):
                action = checked(self.agent.act(seen))
            if film.path:
                self._film(seen, film)
            seen, _, terminated, truncated, info = env.step(action)
            over, patience = terminated or truncated, self.manner.patience
            self._commands += [_name(env.guide.command)] * len(info["infractions"])
            self._second.observe(env.scene, env.guide)
            self._look()
            self.manner.told(env.judge.completion, env.scene.time)

    def record(self, plan: Assignment, name: str, failure: str) -> Record:
        """Return what became of it."""
        env, route = self.env, self.env.route
        found = [_plain(i) for i in env.judge.infractions]
        return Record(
            plan=plan,
            agent=name,
            versions={package: version(package) for package in PACKAGES},
            failure=failure,
            ended=AGENT if failure else str(env.judge.ended),
            completion=env.judge.completion,
            length=route.length,
            metres=env.guide.travelled,
            seconds=env.scene.time,
            mistakes=tuple(Mistake(i, c) for i, c in zip(found, self._commands, strict=True)),
            speeds=env.judge.speeds,
            bench2drive=Verdict(
                self._second.ended,
                not failure and bench2drive_success(self._second.ended, self._second.infractions),
                self._second.speeds,
            ),
            comfort=self._comfort(),
            manoeuvres=manoeuvres(
                route, len(route.xyz) if env.judge.ended == "completed" else env.guide.index
            ),
            line=tuple((round(x, 2), round(y, 2)) for x, y, _ in route.xyz.tolist()),
            track=tuple(self._track),
        )

    def _look(self) -> None:
        scene = self.env.scene
        car = self.env.drive.tick.snapshot.find(scene.ego.id)
        turn = car.get_transform()
        self._motion.append(
            (
                car.get_acceleration(),
                car.get_angular_velocity(),
                turn.get_forward_vector(),
                turn.get_right_vector(),
            )
        )
        if not self._track or scene.time - self._track[-1][0] >= SPACING - 1e-6:
            x, y, _ = scene.ego.xyz
            self._track.append((round(scene.time, 3), round(x, 2), round(y, 2), round(scene.ego.speed, 2)))

    def _comfort(self) -> float | None:
        if len(self._motion) < 3:
            return None
        columns = (np.array([[v.x, v.y, v.z] for v in column]) for column in zip(*self._motion, strict=True))
        return comfort(Motion(*columns), self.env.settings.rate)

    def _film(self, seen: Observation, film: Film) -> None:
        env, camera = self.env, self.agent.cameras[0]
        view = env.render()
        assert view is not None
        pictures = [view] if camera == BLINDFOLD else [view, self._sketch(seen[camera.name])]
        broken = ", ".join(i.kind for i in env.judge.infractions)
        text = f"{env.scene.time:.1f} s   {env.scene.ego.speed:.1f} m/s   {_name(env.guide.command)}   "
        film.add(pictures, f"{text}{env.judge.completion:.0%}   {broken}")

    def _sketch(self, image: UInt8[np.ndarray, "_h _w 3"]) -> UInt8[np.ndarray, "_h _w 3"]:
        with self._asking("sketch", self.manner.patience):
            sketch = np.asarray(self.agent.sketch(image))
            if sketch.ndim != 3 or sketch.shape[2] != 3 or sketch.dtype != np.uint8:
                raise AgentError(f"sketch gave no image of bytes, but {sketch.dtype} of shape {sketch.shape}")
        return sketch

    @contextmanager
    def _asking(self, what: str, patience: float) -> Iterator[None]:
        """Do the agent's own work: what goes wrong in it is its failure, unless the server died.

        Raises:
            AgentError: it raises, or takes longer than `patience` seconds.
            SimulatorError: the server died.
        """
        try:
            with self.manner.guard(), _limited(patience):
                yield
        except (SimulatorError, AgentError):
            raise
        except _TooLong:
            raise AgentError(f"{what} took longer than {patience:g} s") from None
        except Exception as error:
            if not self.env.simulation.alive:
                raise SimulatorError(f"the server died while the agent used it: {error}") from error
            raise AgentError(f"{what} raised {_line_of(error)}") from error


def checked(action: Any) -> Float[np.ndarray, "action=2"]:
    """Return an action of an agent.

    Raises:
        AgentError: it is not two finite numbers.
    """
    try:
        values = np.asarray(action, dtype=float)
    except (TypeError, ValueError):
        raise AgentError(f"act gave {type(action).__name__} instead of two numbers") from None
    if values.shape != (2,):
        raise AgentError(f"act gave an array of shape {values.shape} instead of (2,)")
    if not np.isfinite(values).all():
        raise AgentError(f"act gave {values.tolist()}, which is not finite")
    return values


def manoeuvres(route: Route, index: int) -> dict[str, tuple[int, int]]:
    """Return for each command but FOLLOW how often the route has it, and how often its end was passed.

    `index` is the last point that was passed.
    """
    counts: dict[str, tuple[int, int]] = {}
    for command, points in groupby(range(len(route.commands)), lambda i: int(route.commands[i])):
        if command != Command.FOLLOW:
            name, end = _name(Command(command)), list(points)[-1]
            planned, passed = counts.get(name, (0, 0))
            counts[name] = (planned + 1, passed + (index >= end))
    return counts


def _name(command: Command) -> str:
    return command.name.lower()


def _plain(infraction: Infraction) -> Infraction:
    """Return an infraction without numbers that count from the server's start."""
    detail = infraction.detail
    if infraction.kind in COLLISIONS:
        detail = detail.rsplit(" ", 1)[0]
    return replace(infraction, frame=0, detail=detail)


def _line_of(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said} ({Path(last.filename).name}, line {last.lineno})"


class _TooLong(BaseException):
    """Not an Exception, lest an agent catches it."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `_TooLong` in a block that lasts longer; in the main thread only."""

    def end(number: int, frame: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again, if the first one was caught
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
