"""A Gymnasium environment of driving along routes, on any server that speaks CARLA's protocol."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import carla
import gymnasium
import numpy as np
from jaxtyping import UInt8

from mtdrive.envs.drive import Drive
from mtdrive.envs.driving_settings import DrivingSettings, changed
from mtdrive.envs.episode import Episode, draw
from mtdrive.envs.guide import Guide
from mtdrive.envs.health import Server
from mtdrive.envs.judge import Judge
from mtdrive.envs.rig import Observation, observation_space
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import Scene
from mtdrive.envs.scoring import COLLISIONS, Infraction
from mtdrive.envs.servers import open_server
from mtdrive.envs.signals import StopLine, stop_lines
from mtdrive.envs.simulation import Simulation
from mtdrive.errors import ConfigError, SimulatorError

LOG = logging.getLogger(__name__)


class DrivingEnv(gymnasium.Env[Observation, np.ndarray]):
    """Drive routes: `gymnasium.make("mtdrive.envs:mtdrive/Drive-v0", towns=("Small",))`.

    An observation has an image (height, width, colours) for each camera, `speed` in m/s, `command`, a
    `mtdrive.batch.Command`, and `target_point` if asked for, in metres to the right and forward. An action is
    the steering, right positive, and the throttle, or the brake where negative; both in [-1, 1].

    The reward is new progress in metres with what `Rewards` adds and takes off. An episode is terminated when
    the route is driven, left for good, or the car stood too long; it is truncated when its time is up. `info`
    has the `infractions` of the step, the `completion` of the route, at the end its reason as `ended`, and
    `labels` if asked for.

    `reset` takes the options `route`, `town`, `weather` and `density`; the seed draws what is not given. It
    starts the server when it is called first, and again after a crash. `scene`, `guide`, `judge`, `route`,
    `roads`, `lines` and `car` are for experts and recorders; a policy must not see them.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  as Gymnasium has it

    def __init__(
        self, settings: DrivingSettings | None = None, *, render_mode: str | None = None, **changes: Any
    ) -> None:
        """Take settings, or changes of the default ones by name.

        Raises:
            ConfigError: there is no such setting, or they contradict each other.
        """
        self.settings = changed(settings or DrivingSettings(), changes)
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode must be rgb_array or None, found {render_mode!r}")
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self.settings.rate}
        self.observation_space = observation_space(self.settings)
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self._server: Server | None = None
        self._simulation: Simulation | None = None
        self._drive: Drive | None = None
        self._broken = False
        """Whether the server has to be started again."""
        self._town: str | None = None
        """The one that is loaded."""
        self._lines: tuple[StopLine, ...] = ()

    @property
    def drive(self) -> Drive:
        """The episode."""
        if self._drive is None:
            raise gymnasium.error.ResetNeeded("call reset first, and again after the server crashed")
        return self._drive

    @property
    def simulation(self) -> Simulation:
        """The session with the server."""
        return self.drive.simulation

    @property
    def server_since(self) -> float:
        """When the server was started last, by `time.monotonic`; 0 before it was."""
        return 0.0 if self._server is None else self._server.since

    @property
    def car(self) -> carla.Vehicle:
        """The car, as the client has it."""
        return self.drive.rig.car

    @property
    def scene(self) -> Scene:
        """All there is to know of the world now."""
        return self.drive.scene

    @property
    def guide(self) -> Guide:
        """Where the car is on the route."""
        return self.drive.guide

    @property
    def judge(self) -> Judge:
        """What became of the drive so far."""
        return self.drive.judge

    @property
    def route(self) -> Route:
        """The route of the episode."""
        return self.drive.route

    @property
    def roads(self) -> RoadMap:
        """The map of the town."""
        return self.simulation.roads

    @property
    def lines(self) -> tuple[StopLine, ...]:
        """The stop lines of the town."""
        return self._lines

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Raises:
            ConfigError: the options or settings ask for what there is not.
            SimulatorError: the server does not start, dies or hangs.
        """
        super().reset(seed=seed)
        episode = draw(self.settings, int(self.np_random.integers(2**31)), options or {})
        begun = None
        while begun is None:
            begun = self._try(episode)
        return begun

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Drive on for the time of one step.

        Raises:
            SimulatorError: the server died or hangs.
        """
        drive, control = self.drive, control_of(action)
        before = drive.guide.travelled
        try:
            broken = drive.move(control)
        except SimulatorError as error:
            self._abandon()
            if not self._survives:
                raise
            LOG.warning("%s; the episode ends here", error)
            return drive.seen, 0.0, False, True, {"infractions": (), "crashed": str(error)}
        ended = drive.judge.ended
        if ended is not None and self._server is not None:
            self._server.crashes = 0  # it has lasted a whole episode
        reward = self.settings.rewards.of(
            drive.guide.travelled - before, 1 / self.settings.rate, broken, ended == "completed"
        )
        terminated = ended not in (None, "timeout") or self._collision_ends(broken)
        return drive.seen, reward, terminated, ended == "timeout", self._info(drive, broken)

    def render(self) -> UInt8[np.ndarray, "h w 3"] | None:
        """Return the picture of the last step."""
        return self.drive.rig.view(self.drive.tick) if self.render_mode else None

    def close(self) -> None:
        """End the session, and the server if it is ours."""
        self._leave()
        if self._server is not None:
            self._server.stop(at_once=self._broken)
        self._server, self._broken = None, False

    def _try(self, episode: Episode) -> tuple[Observation, dict[str, Any]] | None:
        """Begin an episode; None after a crash that is survived."""
        try:
            return self._begin(episode)
        except SimulatorError as error:
            self._abandon()
            if not self._survives:
                raise
            LOG.warning("%s; the episode begins again", error)
            return None

    def _begin(self, episode: Episode) -> tuple[Observation, dict[str, Any]]:
        if self._drive is not None:
            self._drive.close()
        self._drive = None
        drive = self._drive = self._enter(episode)
        info = self._info(drive, ()) | {
            "route": drive.route.id, "length": drive.route.length, "town": episode.town,
            "weather": episode.weather, "density": episode.density, "seed": episode.seed,
        }  # fmt: skip
        return drive.seen, info

    def _enter(self, episode: Episode) -> Drive:
        if self._server is None:
            server = open_server(self.settings.server, episode.town)
            self._server = server.__enter__()
        elif self._broken:
            self._server.restart()
        self._broken = False
        if self._simulation is None:
            rate, patience, loading = self.settings.rate, self.settings.patience, self.settings.loading
            self._simulation = Simulation(self._server, rate, patience, loading)
        self._simulation.clear()
        if self._town != episode.town or self.settings.reload:
            self._simulation.load(episode.town)
            with self._simulation.remote("reading the stop lines"):
                self._lines = stop_lines(self._simulation.world)
            self._town = episode.town
        return Drive(self._simulation, self.settings, episode, self._lines, self.render_mode is not None)

    @property
    def _survives(self) -> bool:
        """Whether a crash is one of those that the settings allow."""
        return self._server is not None and self._server.crashes < self.settings.crashes

    def _abandon(self) -> None:
        """Leave a session that failed; the next reset starts the server again."""
        self._broken = True
        self._leave()

    def _leave(self) -> None:
        if self._drive is not None:
            with suppress(SimulatorError):
                self._drive.close()
        if self._simulation is not None:
            self._simulation.close()
        self._drive = self._simulation = self._town = None

    def _collision_ends(self, broken: tuple[Infraction, ...]) -> bool:
        return self.settings.end_on_collision and any(i.kind in COLLISIONS for i in broken)

    def _info(self, drive: Drive, broken: tuple[Infraction, ...]) -> dict[str, Any]:
        info: dict[str, Any] = {"infractions": broken, "completion": drive.judge.completion}
        if drive.judge.ended is not None:
            info["ended"] = drive.judge.ended
        if self.settings.labels:
            info["labels"] = drive.rig.labels(drive.tick)
        return info


def control_of(action: np.ndarray) -> carla.VehicleControl:
    """Return CARLA's control of an action; numbers beyond [-1, 1] are cut.

    Raises:
        ConfigError: it is no pair of numbers.
    """
    values = np.asarray(action, dtype=float)
    if values.shape != (2,) or not np.isfinite(values).all():
        raise ConfigError(f"an action is the steering and the throttle or brake, two numbers; found {action}")
    steer, pedal = values.clip(-1, 1).tolist()
    return carla.VehicleControl(throttle=max(pedal, 0.0), steer=steer, brake=max(-pedal, 0.0))
