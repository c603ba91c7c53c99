"""A checkpoint behind the wheel: it sees as in training, runs nothing else, and says why it cannot."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import carla
import numpy as np
import pytest
import torch
import yaml
from jaxtyping import Float64
from torch.utils.flop_counter import FlopCounterMode

from mtdrive.batch import TARGET, Command, collate
from mtdrive.checkpoint import load_config, load_weights, save_model
from mtdrive.compact import Compact
from mtdrive.data.drives import Drives
from mtdrive.data.windows import Windows
from mtdrive.envs.agent import BLINDFOLD
from mtdrive.envs.car import Car
from mtdrive.envs.coordinates import placed, pose_of
from mtdrive.envs.rig import Observation
from mtdrive.errors import AgentError, CheckpointError
from mtdrive.experiment import load_model
from mtdrive.model import Model
from mtdrive.policy_agent import PolicyAgent, camera_settings, load_agent
from mtdrive.rig import FILE, Rig, RigCamera, load_rig, rows
from mtdrive.tasks.policy import Control, Policy
from tests.drive_tree import MOUNT, rigid
from tests.policy_runs import FOV, SIZE, scene, train, write_config, write_drives


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drives")
    write_drives(root)
    return root


@pytest.fixture(scope="module")
def checkpoint(drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a joint run of two steps."""
    folder = tmp_path_factory.mktemp("run")
    assert train(write_config(drives / "run.yaml", drives), folder / "run", "--training.steps=2") == 0
    return folder / "run" / "checkpoints" / "last"


def seen(index: int = 3, command: int = Command.RIGHT, speed: float = 4.0) -> Observation:
    return {
        "front": scene(index, False),
        "speed": np.array([speed], np.float32),
        "command": np.int64(command),
    }


def agent_of(rig: Rig | None = None, **settings: Any) -> PolicyAgent:
    """An agent that was never trained."""
    torch.manual_seed(0)
    encoder = Compact([8, 8, 8, 8, 16])
    model = Model(encoder, {"policy": Policy(encoder, width=32, **settings)}).eval()
    return PolicyAgent(model, "policy", rig or a_rig())


def a_rig(mount: Float64[np.ndarray, "4 4"] = MOUNT, **changes: float) -> Rig:
    focal = SIZE[1] / (2 * math.tan(math.radians(FOV) / 2))
    camera = RigCamera(SIZE[1], SIZE[0], focal, focal, (SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2, rows(mount))
    altered = RigCamera(**{**vars(camera), **changes})
    return Rig(rate=10.0, cameras={"front": altered}, size=SIZE)


def test_the_checkpoint_itself_says_what_its_policy_must_see(checkpoint: Path, drives: Path) -> None:
    """Camera, mount, rate and size are those of the recorded drives, which need not be there any more."""
    agent = load_agent(checkpoint)
    header = Drives(drives).targets()[0].recording.drive.header  # type: ignore[attr-defined]
    (camera,) = agent.cameras
    assert (camera.name, camera.width, camera.height, agent.rate, agent.size) == ("front", 96, 64, 10.0, SIZE)
    assert camera.fov == pytest.approx(FOV)
    np.testing.assert_allclose(pose_of(camera.transform), header.mount, atol=1e-6)
    assert not agent.target_point


def test_an_agent_sees_what_training_saw(checkpoint: Path, drives: Path) -> None:
    """The tensors of a recorded frame and of the same frame as an observation are equal to the last bit."""
    source = Drives(drives, labels=["steer", "target_speed"])
    item = collate([Windows(source, [TARGET], SIZE)[5]])
    recording = source.targets()[5].recording
    observation = {
        "front": np.asarray(recording.image("front", 5)),
        "speed": np.array([recording.speed(5)], np.float32),
        "command": np.int64(recording.command(5) or 0),
    }
    found = load_agent(checkpoint).inputs(observation)
    for name in ("images", "intrinsics", "command"):
        assert torch.equal(getattr(found, name), getattr(item.inputs, name)), name
    assert item.inputs.speed is not None
    assert found.speed is not None
    assert torch.allclose(found.speed, item.inputs.speed.float())


def test_only_the_encoder_and_the_policy_run(checkpoint: Path) -> None:
    """In the agent, and in the whole model, whose depth head is trained beside the policy."""
    whole = load_model(checkpoint).model
    assert set(whole.tasks) == {"policy", "depth"}
    agent = load_agent(checkpoint)
    called: list[str] = []
    for name, module in whole.named_modules():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    inputs = agent.inputs(seen())
    with torch.inference_mode(), FlopCounterMode(display=False) as with_depth:
        expected = whole.predict(inputs, ["policy"])["policy"].values
    assert {".".join(name.split(".")[:2]) for name in called} <= {"encoder", "encoder.net", "tasks.policy"}
    with torch.inference_mode(), FlopCounterMode(display=False) as alone:
        found = agent.model.predict(inputs, ["policy"])["policy"].values
    assert with_depth.get_total_flops() == alone.get_total_flops() > 0
    with torch.inference_mode(), FlopCounterMode(display=False) as everything:
        whole.predict(inputs)
    assert everything.get_total_flops() > with_depth.get_total_flops()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not any("depth" in name for name, _ in agent.model.named_modules())


@pytest.mark.parametrize("form", ["steer", "pedals", "waypoints", "path"])
def test_every_form_gives_actions_and_a_sketch(form: Any) -> None:
    agent = agent_of(form=form)
    agent.begin(SimpleNamespace(car=_Vehicle()))  # type: ignore[arg-type]
    for command in Command:
        action = agent.act(seen(command=command))
        assert action.shape == (2,)
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1
    sketch = agent.sketch(seen()["front"])
    assert sketch.shape == (*SIZE, 3)


@pytest.mark.parametrize("form", ["steer", "pedals"])
def test_an_agent_that_stands_for_good_creeps_on(form: Any) -> None:
    """Whatever it predicts: here the deepest brake, or a target speed of 0."""
    agent = agent_of(form=form, control=Control(creep_after=1.0))
    agent.begin(SimpleNamespace(car=_Vehicle()))  # type: ignore[arg-type]
    plans = {
        "steer": {"target_speed": np.array(0.0)},
        "pedals": {"throttle": np.array(0.0), "brake": np.array(1.0)},
    }
    pedals = [agent._pedal(plans[form], 0.0) for _ in range(26)]
    assert all(pedal < 0 for pedal in pedals[:8])
    assert any(pedal > 0 for pedal in pedals)
    agent.begin(SimpleNamespace(car=_Vehicle()))  # type: ignore[arg-type]
    assert agent._pedal(plans[form], 0.0) < 0


class _Vehicle:
    """As much of `carla.Vehicle` as a driver asks for."""

    def get_physics_control(self) -> Any:
        wheels = [
            SimpleNamespace(position=carla.Vector3D(x, 0, 0), max_steer_angle=70.0) for x in (145, -145)
        ]
        return SimpleNamespace(wheels=wheels, steering_curve=[carla.Vector2D(0, 1)])

    def get_transform(self) -> carla.Transform:
        return carla.Transform()


def act_on(agent: PolicyAgent, speed: float = 4.0, **plan: Any) -> tuple[float, float]:
    """Let an agent drive by a plan."""
    values = {name: torch.tensor([value], dtype=torch.float32) for name, value in plan.items()}
    agent.model.predict = lambda *_: {"policy": SimpleNamespace(values=values)}  # type: ignore[method-assign]
    steer, pedal = agent.act(seen(speed=speed))
    return float(steer), float(pedal)


def test_plans_become_actions() -> None:
    """Signs and kinds: right is positive, braking negative, and a path is followed to its side."""
    steer = agent_of(form="steer")
    assert act_on(steer, 0.0, steer=0.4, target_speed=6.0)[0] == pytest.approx(0.4)
    assert act_on(steer, 0.0, steer=0.4, target_speed=6.0)[1] > 0
    assert act_on(agent_of(), 0.0, steer=0.0, target_speed=0.1) == (0.0, -1.0)
    assert act_on(agent_of(), 8.0, steer=7.0, target_speed=1.0)[0] == 1
    assert act_on(agent_of(), 8.0, steer=7.0, target_speed=1.0)[1] < -0.6
    pedals = agent_of(form="pedals")
    assert act_on(pedals, steer=0.0, throttle=0.6, brake=0.1)[1] == pytest.approx(0.6)
    assert act_on(pedals, steer=0.0, throttle=0.2, brake=0.7)[1] == pytest.approx(-0.7)
    assert act_on(pedals, steer=0.0, throttle=-0.1, brake=-0.2)[1] == 0
    path = np.stack([0.05 * np.arange(1, 21) ** 2 / 10, np.arange(1.0, 21)], -1)
    right = act_on(agent_of(form="path"), path=path.tolist(), target_speed=5.0)[0]
    left = act_on(agent_of(form="path"), path=(path * (-1, 1)).tolist(), target_speed=5.0)[0]
    assert right > 0.001
    assert left == pytest.approx(-right)
    assert act_on(agent_of(control=Control(least_speed=2.0)), 0.0, steer=0.0, target_speed=0.0)[1] > 0


def test_the_steering_of_a_path_is_that_of_the_car() -> None:
    """A car whose wheels turn half as far needs twice the control."""
    path = np.stack([0.02 * np.arange(1, 21) ** 2, np.arange(1.0, 21)], -1).tolist()
    wide, narrow = agent_of(form="path"), agent_of(form="path")
    narrow.car = Car(largest_steer=math.radians(35))
    ratio = act_on(narrow, path=path, target_speed=5.0)[0] / act_on(wide, path=path, target_speed=5.0)[0]
    assert ratio == pytest.approx(2.0, rel=1e-4)


def test_a_policy_that_predicts_no_number_is_an_error_of_the_agent() -> None:
    with pytest.raises(AgentError, match="predicts a target_speed that is not finite"):
        act_on(agent_of(), steer=0.0, target_speed=math.nan)


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(ValueError, match="7 is not a valid Command"):
        agent_of().act(seen(command=7))


def test_a_blind_agent_gets_the_smallest_camera_and_looks_at_nothing() -> None:
    agent = agent_of(blind=True)
    assert agent.cameras == (BLINDFOLD,)
    observation = seen()
    expected = agent.act(observation)
    agent = agent_of(blind=True)
    np.testing.assert_array_equal(agent.act({**observation, "front": 255 - observation["front"]}), expected)
    assert agent.sketch(observation["front"]) is observation["front"]


def test_a_target_point_is_asked_for_and_used() -> None:
    agent = agent_of(target_point=True)
    assert agent.target_point
    one, other = (
        agent_of(target_point=True).act({**seen(), "target_point": np.array(p, np.float32)})
        for p in ((0.0, 20.0), (15.0, 5.0))
    )
    assert one[0] != other[0]


@pytest.mark.parametrize("angles", [(0, 0, 0), (-8, 30, 5), (60, -170, -20)])
def test_mounts_become_the_transforms_that_they_came_from(angles: tuple[float, float, float]) -> None:
    transform = carla.Transform(carla.Location(1.5, -0.4, 2.1), carla.Rotation(*angles))
    np.testing.assert_allclose(placed(pose_of(transform)), (1.5, -0.4, 2.1, *angles), atol=1e-3)


def test_cameras_that_carla_does_not_have_are_refused() -> None:
    for bad in (a_rig(fy=50.0), a_rig(cx=40.0)):
        with pytest.raises(CheckpointError, match="CARLA's cameras"):
            camera_settings("front", bad.cameras["front"])


def copied(checkpoint: Path, to: Path) -> Path:
    shutil.copytree(checkpoint, to)
    return to


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, "does not say which cameras"),
        ("{", "cannot be read"),
        ('{"format": "mtdrive rig 9"}', "its format is 'mtdrive rig 9'"),
    ],
)
def test_a_lost_or_damaged_rig_is_named(
    damage: str | None, message: str, checkpoint: Path, tmp_path: Path
) -> None:
    path = copied(checkpoint, tmp_path / "copy")
    (path / FILE).unlink() if damage is None else (path / FILE).write_text(damage)
    with pytest.raises(CheckpointError, match=message):
        load_agent(path)


def test_a_rig_survives_its_file(tmp_path: Path) -> None:
    rig = a_rig(rigid((0.1, -2.2, 1.3), yaw=3.0, pitch=-4.0))
    (tmp_path / FILE).write_text(rig.json())
    assert load_rig(tmp_path) == rig
    shapeless = json.loads(rig.json())
    shapeless["cameras"]["front"]["mount"] = [[1.0, 0.0]]
    (tmp_path / FILE).write_text(json.dumps(shapeless))
    with pytest.raises(CheckpointError, match="mount has the shape"):
        load_rig(tmp_path)


def test_drives_of_two_rigs_train_but_their_policy_cannot_drive(tmp_path: Path) -> None:
    write_drives(tmp_path / "drives" / "a", count=1)
    write_drives(tmp_path / "drives" / "b", count=1, mount=rigid((0.0, -1.2, 1.4)))
    config = write_config(tmp_path / "run.yaml", tmp_path / "drives")
    assert train(config, tmp_path / "run", "--training.steps=1") == 0
    with pytest.raises(CheckpointError, match="have several rigs"):
        load_agent(tmp_path / "run" / "checkpoints" / "last")


def test_a_checkpoint_with_two_policies_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    config, weights = load_config(checkpoint), load_weights(checkpoint)
    settings = yaml.safe_load(config)
    settings["tasks"]["other"] = settings["tasks"]["policy"]
    more = {n.replace("tasks.policy.", "tasks.other."): x for n, x in weights.items() if "policy" in n}
    save_model(tmp_path / "two", {**weights, **more}, yaml.safe_dump(settings))
    with pytest.raises(CheckpointError, match="has 2 policies"):
        load_agent(tmp_path / "two")
