"""One drive of the expert, written in the format of recorded drives."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Float64

from mtdrive.batch import PATH_POINTS
from mtdrive.data.camera import Camera
from mtdrive.data.drive_header import SHIFTED, DriveCamera, DriveHeader
from mtdrive.data.drive_table import DriveFrame
from mtdrive.data.drive_writer import DriveWriter
from mtdrive.envs import coordinates
from mtdrive.envs.cameras import CameraSettings, LabelName
from mtdrive.envs.car import Car
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.driving_settings import Density
from mtdrive.envs.expert import Decision, Expert
from mtdrive.envs.guide import Guide
from mtdrive.envs.random_routes import random_routes
from mtdrive.envs.routes import RoadMap, Route
from mtdrive.envs.scene import OFF, Scene
from mtdrive.envs.signals import lines_of, lines_on
from mtdrive.envs.steering import SteeringNoise

DELAY = 2.0
"""Seconds before a mistake of the expert that are not recorded: what led to it is no example."""
TRAFFIC_LIGHT = "1000001"
"""The type of traffic lights in OpenDRIVE."""
SHIFT, TURN = 1.0, 5.0
"""The shifted camera is at most so many metres aside, and turned by so many degrees."""
PREFERRED = {"red_light": "light", "stop_sign": "stop"}
"""The kinds of lines that routes can be chosen for."""
CHOICE = 8
"""Routes to choose from."""
SEMANTICS_DEPTH_FLOW: tuple[LabelName, ...] = ("depth", "semantics", "flow")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A drive that is to be recorded."""

    name: str
    """Of its folder."""
    town: str
    weather: str
    density: Density
    seed: int
    """Of the route, the traffic, the noise and the shifted camera."""
    noise: float
    """Strength of the pushes against the steering, 0 for none."""
    prefers: str = ""
    """`red_light` or `stop_sign`: of several routes, the one that crosses most of their lines is driven."""


@dataclass(frozen=True)
class Recorded:
    """What became of a drive."""

    frames: int
    metres: float
    ended: str
    """Why it was over: `time`, `completed`, or the mistake that cut it off."""


class Unfit(Exception):
    """A drive was cut off too early to be of use; another one may do better."""


def record_drive(
    env: DrivingEnv,
    plan: Plan,
    folder: Path,
    seconds: float,
    least: float = 10.0,
    told: Callable[[int], None] = lambda frames: None,
) -> Recorded:
    """Let the expert drive, and write the drive to `folder` once it is over.

    Args:
        env: whose first camera is `front` and that gives the label `pose`.
        plan: what to drive.
        folder: must not exist.
        seconds: after which the drive is over, if its route is not.
        least: seconds that a drive must have to be kept.
        told: is called with the number of frames.

    Raises:
        Unfit: the expert made a mistake too early.
        DataError: the drive cannot be written.
        SimulatorError: the server died or hangs.
    """
    shift = _shift(plan)
    env.settings = replace(env.settings, cameras=tuple(shifted(c, shift) for c in env.settings.cameras))
    options: dict[str, Any] = {"town": plan.town, "weather": plan.weather, "density": plan.density}
    if plan.prefers in PREFERRED:
        options["route"] = _preferred(plan, env)
    seen, info = env.reset(seed=plan.seed, options=options)
    with DriveWriter(folder, _header(env, plan)) as writer:
        drive = _Recording(env, plan, shift)
        waiting: deque[DriveFrame] = deque()
        delay = round(DELAY * env.settings.rate)
        ended = "time"
        for count in range(round(seconds * env.settings.rate)):
            frame, action = drive.frame(seen, info)
            waiting.append(frame)
            if len(waiting) > delay:
                writer.append(waiting.popleft())
            seen, _, terminated, truncated, info = env.step(action)
            told(count + 1)
            if info["infractions"]:
                ended = info["infractions"][0].kind
                break
            if terminated or truncated:
                ended = str(info.get("ended"))
                break
        if ended in ("time", "completed"):
            while waiting:
                writer.append(waiting.popleft())
        frames = count + 1 - len(waiting)
        if frames < least * env.settings.rate:
            raise Unfit(f"{plan.name}: {frames} frames before the expert's end by {ended}")
        writer.finish(ended)
        return Recorded(frames, env.guide.travelled, ended)


class _Recording:
    """Makes the frames of a drive."""

    def __init__(self, env: DrivingEnv, plan: Plan, shift: tuple[float, float]) -> None:
        self.env, self.plan, self.shift = env, plan, shift
        self.car = Car.of(env.car)
        self.expert = Expert(env.route, env.lines, self.car)
        self.noise = SteeringNoise(plan.seed, strength=plan.noise)
        self._speed: float | None = None

    def frame(self, seen: Mapping[str, Any], info: Mapping[str, Any]) -> tuple[DriveFrame, np.ndarray]:
        """Return the frame of now, and the action that follows."""
        env, scene, guide = self.env, self.env.scene, self.env.guide
        dt = 1 / env.settings.rate
        decision = self.expert.act(scene, guide)
        push = self.noise.push(scene.time, dt, self.car, scene.ego.speed) if self.plan.noise else 0.0
        steer = min(max(decision.steer + push, -1.0), 1.0)
        speed = scene.ego.speed
        before, self._speed = self._speed, speed
        front = env.settings.cameras[0].name
        maps: dict[str, Any] = {
            kind: {front: _pixels(info["labels"][kind])}
            for kind in SEMANTICS_DEPTH_FLOW
            if kind in env.settings.labels
        }
        frame = DriveFrame(
            time=scene.time,
            number=scene.frame,
            pose=info["labels"]["pose"],
            speed=speed,
            acceleration=0.0 if before is None else (speed - before) / dt,
            command=int(guide.command),
            target_point=guide.target_point(scene.ego),
            steer=decision.steer,
            throttle=decision.throttle,
            brake=decision.brake,
            applied=(steer, decision.throttle, decision.brake),
            route=_ahead(env.route, guide, scene),
            target_speed=decision.target_speed,
            shift=self.shift,
            images={camera.name: seen[camera.name] for camera in env.settings.cameras},
            **self._hazards(decision, guide, scene),
            **maps,
        )
        return frame, np.array([steer, decision.throttle - decision.brake], np.float32)

    def _hazards(self, decision: Decision, guide: Guide, scene: Scene) -> dict[str, Any]:
        found: dict[str, Any] = {"speed_limit": float(self.env.route.speed_limit[guide.index])}
        leaders = [hazard.distance for hazard in decision.hazards if hazard.kind == "leader"]
        if leaders:
            found["leader_distance"] = max(min(leaders), 0.0)
        front = guide.travelled + scene.ego.extent[0]
        for at, line in self.expert.lines:
            gap = at - front
            name = f"{line.kind}_distance"
            if 0 <= gap < 80 and name not in found:
                found[name] = gap
                if line.kind == "light":
                    found["light_state"] = scene.lights.get(line.signal, OFF)
        return found


def shifted(camera: CameraSettings, shift: tuple[float, float]) -> CameraSettings:
    """Return a camera; that called `shifted` is moved to the right and turned."""
    return replace(camera, y=shift[0], yaw=shift[1]) if camera.name == SHIFTED else camera


def _shift(plan: Plan) -> tuple[float, float]:
    draw = random.Random(f"{plan.seed} shifted camera")
    return draw.uniform(-SHIFT, SHIFT), draw.uniform(-TURN, TURN)


def _preferred(plan: Plan, env: DrivingEnv) -> Route:
    """Return the route that crosses most of the lines that the plan prefers, for its length."""
    roads = RoadMap.named(plan.town)
    ids = {mark.id for mark in roads.map.get_all_landmarks_of_type(TRAFFIC_LIGHT)}
    lights = [SimpleNamespace(get_opendrive_id=lambda id=id: id) for id in sorted(ids)]
    lines = [line for line in lines_of(roads.map, lights, ()) if line.kind == PREFERRED[plan.prefers]]
    routes = random_routes(roads, plan.seed, CHOICE, env.settings.length, env.settings.turns)
    return max(routes, key=lambda route: len(lines_on(route, lines)) / route.length)


def _pixels(values: np.ndarray) -> np.ndarray:
    """Return a map with its pixels first."""
    return np.moveaxis(values, 0, -1) if values.ndim == 3 else values


def _ahead(route: Route, guide: Guide, scene: Scene) -> Float64[np.ndarray, "n 2"]:
    """Return the points of the route 1, 2, ... metres ahead as (right, forward) of the car."""
    metres = guide.travelled + np.arange(1.0, PATH_POINTS + 1)
    metres = metres[metres <= route.length]
    xy = np.stack([np.interp(metres, route.distance, route.xyz[:, i]) for i in (0, 1)], axis=-1)
    return coordinates.relative(xy, scene.ego.xyz[:2], scene.ego.yaw)


def _header(env: DrivingEnv, plan: Plan) -> DriveHeader:
    settings = env.settings
    front = settings.cameras[0]
    mount = coordinates.pose_of(front.transform)
    kinds = [kind for kind in SEMANTICS_DEPTH_FLOW if kind in settings.labels]
    return DriveHeader(
        rate=settings.rate,
        cameras={camera.name: _camera(camera, mount) for camera in settings.cameras},
        mount=mount,
        maps=dict.fromkeys(kinds, (front.name,)),
        agent="expert",
        agent_version=version("mtdrive"),
        town=plan.town,
        weather=plan.weather,
        density=plan.density,
        route=env.route.id,
        seeds={"drive": plan.seed, "episode": env.drive.episode.seed},
        # A server of another version than the client's is refused.
        versions={name: version(name) for name in ("mtdrive", "carla")},
    )


def _camera(camera: CameraSettings, mount: Float64[np.ndarray, "4 4"]) -> DriveCamera:
    k = coordinates.intrinsics(camera.width, camera.height, camera.fov)
    pinhole = Camera(camera.width, camera.height, *(float(x) for x in (k[0, 0], k[1, 1], k[0, 2], k[1, 2])))
    if camera.name == SHIFTED:  # the file has it before it is moved aside and turned
        camera = shifted(camera, (0.0, 0.0))
    return DriveCamera(pinhole, np.linalg.inv(mount) @ coordinates.pose_of(camera.transform))
