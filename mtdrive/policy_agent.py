"""A trained policy behind the wheel: from a checkpoint to an agent of the closed loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from mtdrive.batch import TARGET, Command, Inputs
from mtdrive.data.camera import Camera
from mtdrive.data.images import resized_pixels
from mtdrive.data.recording import Size
from mtdrive.envs.agent import Agent
from mtdrive.envs.cameras import CameraSettings
from mtdrive.envs.car import Car
from mtdrive.envs.coordinates import intrinsics, placed
from mtdrive.envs.expert import Pedals
from mtdrive.envs.rig import Observation
from mtdrive.errors import AgentError, CheckpointError
from mtdrive.experiment import load_model
from mtdrive.model import Model
from mtdrive.rig import Rig, RigCamera, load_rig
from mtdrive.tasks.policy import Creep, Lens, Policy, draw_way

if TYPE_CHECKING:
    from mtdrive.envs.driving_env import DrivingEnv

Values = Mapping[str, Float[np.ndarray, "*n"]]


def load_agent(checkpoint: Path, device: torch.device | str = "cpu") -> PolicyAgent:
    """Return the agent that drives by the policy of a checkpoint.

    Raises:
        CheckpointError: if it is damaged, has no policy, or does not say which cameras the policy needs.
    """
    model, name = load_policy(checkpoint, device)
    return PolicyAgent(model, name, load_rig(checkpoint))


def load_policy(checkpoint: Path, device: torch.device | str = "cpu") -> tuple[Model, str]:
    """Return the encoder with the policy alone, and the policy's name among the tasks.

    Raises:
        CheckpointError: if the checkpoint is damaged or has no policy, or several.
    """
    whole = load_model(checkpoint, device).model
    names = [name for name in whole.tasks if isinstance(whole.task(name), Policy)]
    if len(names) != 1:
        found = f"{len(names)} policies, {', '.join(names)}" if names else "no policy"
        raise CheckpointError(
            f"{checkpoint}: has {found}; its tasks are {', '.join(whole.tasks)}. Give a checkpoint of a run "
            "with one task of the class mtdrive.tasks.policy.Policy"
        )
    return Model(whole.encoder, {names[0]: whole.task(names[0])}).eval(), names[0]


class PolicyAgent(Agent):
    """Drives by what the encoder and the policy say; nothing else of the model runs."""

    def __init__(self, model: Model, name: str, rig: Rig) -> None:
        """Take what a checkpoint holds.

        Args:
            model: in evaluation mode.
            name: of the policy among its tasks.
            rig: that the policy was trained with.

        Raises:
            CheckpointError: if no camera of CARLA is like those of the rig.
        """
        policy = model.task(name)
        assert isinstance(policy, Policy)
        assert rig.size is not None
        self.model, self.name, self.policy, self.size = model, name, policy, rig.size
        self.rate, self.target_point = rig.rate, policy.target_point
        self.views = policy.reads
        if self.views:
            self.cameras = tuple(camera_settings(v.camera, rig.cameras[v.camera]) for v in self.views)
        self.intrinsics = torch.stack(
            [_lens(rig.cameras[v.camera], self.size) for v in self.views or (TARGET,)]
        )
        front = rig.cameras[TARGET.camera]
        self.lens = Lens(intrinsics(front.width, front.height, _fov(front)), front.pose)
        self.device = next(model.parameters()).device
        self.car, self.pedals, self.creep = Car(), Pedals(), Creep(policy.control)
        self.plan: Values = {}

    def begin(self, env: DrivingEnv) -> None:
        """Begin a new episode; of `env`, only the car's own measures are taken."""
        self.car, self.pedals, self.plan = Car.of(env.car), Pedals(), {}
        self.creep = Creep(self.policy.control)

    def act(self, observation: Observation) -> Float[np.ndarray, "action=2"]:
        """Return steering, and throttle minus brake.

        Raises:
            AgentError: if the policy predicts something that is not finite.
        """
        speed = float(np.asarray(observation["speed"]).reshape(()))
        with torch.inference_mode():
            plan = self.model.predict(self.inputs(observation).to(self.device), [self.name])[self.name]
        self.plan = {name: value[0].double().cpu().numpy() for name, value in plan.values.items()}
        for name, value in self.plan.items():
            if not np.isfinite(value).all():
                raise AgentError(f"the policy predicts a {name} that is not finite; train it anew")
        return np.array([self._steer(self.plan, speed), self._pedal(self.plan, speed)], np.float32).clip(
            -1, 1
        )

    def inputs(self, observation: Observation) -> Inputs:
        """Return what the policy sees, as in training, a batch of one."""
        images = [self._image(observation[view.camera]) for view in self.views]
        target = observation["target_point"] if self.target_point else None
        return Inputs(
            views=self.views or (TARGET,),
            images=torch.stack(images or [torch.zeros(3, 2, 2)])[None],
            intrinsics=self.intrinsics[None],
            speed=torch.tensor(np.asarray(observation["speed"], np.float32).reshape(1)),
            command=torch.tensor([int(Command(int(observation["command"])))]),
            target_point=None if target is None else torch.tensor(np.asarray(target, np.float32))[None],
        )

    def _image(self, seen: UInt8[np.ndarray, "h w 3"]) -> Float[torch.Tensor, "3 _h _w"]:
        return resized_pixels(Image.fromarray(seen), self.size).contiguous().float().div_(255)

    def _steer(self, plan: Values, speed: float) -> float:
        for name in ("waypoints", "path"):
            if name in plan:
                angle = self.policy.control.angle(plan[name], speed, self.car.wheelbase)
                return self.car.steer(angle, speed)
        return float(plan["steer"])

    def _pedal(self, plan: Values, speed: float) -> float:
        """Return the throttle, or minus the brake; of two predicted pedals the deeper one is pressed."""
        creeping = self.creep.least_speed(speed, 1 / self.rate)
        if "throttle" in plan and not creeping:
            throttle, brake = float(plan["throttle"]), float(plan["brake"])
            return max(throttle, 0.0) if throttle > brake else -max(brake, 0.0)
        target = max(float(plan.get("target_speed", 0.0)), creeping)
        wanted = self.policy.control.acceleration(target, speed)
        throttle, brake = self.pedals.press(wanted, speed, 1 / self.rate)
        return throttle - brake

    def sketch(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Return the front image with the way that the last plan means."""
        return draw_way(image, self.plan, self.lens, "red") if self.views and self.plan else image


def camera_settings(name: str, camera: RigCamera) -> CameraSettings:
    """Return the camera of CARLA that sees as a recorded one did.

    Raises:
        CheckpointError: if there is none: its pixels are square and its axis goes through the middle.
    """
    expected = intrinsics(camera.width, camera.height, _fov(camera))
    found = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    if not np.allclose(found, expected, atol=0.01):
        raise CheckpointError(
            f"the policy was trained with a camera {name!r} of fx {camera.fx:.2f}, fy {camera.fy:.2f}, cx "
            f"{camera.cx:.2f}, cy {camera.cy:.2f} at {camera.width}x{camera.height}, but CARLA's cameras "
            "have square pixels and their axis in the middle; such a policy cannot drive there"
        )
    x, y, z, pitch, yaw, roll = placed(camera.pose)
    return CameraSettings(
        name, camera.width, camera.height, _fov(camera), x=x, y=y, z=z, pitch=pitch, yaw=yaw, roll=roll
    )


def _fov(camera: RigCamera) -> float:
    """Return the horizontal field of view in degrees."""
    return math.degrees(2 * math.atan(camera.width / (2 * camera.fx)))


def _lens(camera: RigCamera, size: Size) -> Float[torch.Tensor, "3 3"]:
    """Return K for the images that the networks see."""
    pinhole = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    return pinhole.intrinsics(size).float()
