from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from mtdrive.batch import TARGET, Inputs, View
from mtdrive.cli import main
from mtdrive.errors import CheckpointError
from mtdrive.experiment import build_model, instantiate, load_model, parser, windows
from mtdrive.mix import check_mix
from mtdrive.model import Model
from mtdrive.monodepth2 import RESNETS, import_checkpoint, resnet
from mtdrive.pose import Frame
from mtdrive.settings import parse
from tests.published_monodepth2 import Published

SIZE = (64, 96)
Edit = Callable[[dict[str, Any]], object]


def images(number: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(number)).to(dtype)


@pytest.fixture(scope="module", params=[(18, "separate", True), (50, "shared", False)])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Published, Model]:
    layers, pose, legacy = request.param
    published = Published(layers, pose)
    folder = tmp_path_factory.mktemp(f"resnet{layers}_{pose}")
    import_checkpoint(published.save(folder / "weights", legacy), folder / "imported")
    trained = load_model(folder / "imported")
    assert trained.size == SIZE
    return published, trained.model


TOLERANCES = [(torch.float32, 1e-5), (torch.float64, 1e-10)]


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_disparities_are_those_of_the_published_network(
    pair: tuple[Published, Model], dtype: torch.dtype, tolerance: float
) -> None:
    published, model = pair
    image = images(1, dtype)
    cameras = torch.eye(3, dtype=dtype).expand(2, 1, 3, 3)
    inputs = Inputs(views=(TARGET,), images=image[:, None], intrinsics=cameras)
    with torch.no_grad():
        found = model.to(dtype).predict(inputs)["depth"].disparities
    expected = published.disparities(image)
    assert min(float(x.std()) for x in expected) > 0.1, "flat: differences would be hidden"
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_motion_is_that_of_the_published_network(
    pair: tuple[Published, Model], dtype: torch.dtype, tolerance: float
) -> None:
    published, model = pair
    frames = [images(n, dtype) for n in (1, 2)]
    pose: Any = model.to(dtype).task("depth").pose
    with torch.no_grad():
        found = pose(*(Frame(x, model.encoder(x)) for x in frames))
    expected = published.motion(*frames)
    largest = max(float(x.abs().max()) for x in expected)
    torch.testing.assert_close(tuple(found), expected, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("layers", RESNETS.values())
def test_depth_of_the_resnet_is_recognised(layers: int) -> None:
    with torch.device("meta"):
        state = getattr(torchvision.models, f"resnet{layers}")().state_dict()
    assert resnet(Path("encoder.pth"), {f"encoder.{key}": x for key, x in state.items()}) == f"resnet{layers}"


# What does not fit.


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Published(18, "separate").save(tmp_path_factory.mktemp("whole") / "weights")


@pytest.fixture
def weights(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage: each file is a link until it is replaced."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in whole.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def replace(path: Path, edit: Edit) -> None:
    state = dict(torch.load(path, weights_only=True))
    edit(state)
    path.unlink()
    torch.save(state, path)


def assert_refused(weights: Path, message: str) -> None:
    out = weights.parent / "imported"
    with pytest.raises(CheckpointError, match=message) as error:
        import_checkpoint(weights, out)
    assert "\n" not in str(error.value)
    assert [path.name for path in weights.parent.iterdir()] == ["weights"], "something was written"


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("encoder", r"encoder\.pth is missing; Monodepth2 writes encoder\.pth, depth\.pth"),
        ("depth", r"depth\.pth is missing"),
        ("pose", r"pose\.pth is missing; pose_encoder\.pth is of no use without it"),
        ("pose_encoder", r"pose_encoder\.pth is missing; the network in pose\.pth reads one encoding"),
    ],
)
def test_missing_file_is_named(weights: Path, missing: str, message: str) -> None:
    (weights / f"{missing}.pth").unlink()
    assert_refused(weights, message)


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("depth", lambda s: s.update({"decoder.0.conv.conv.bias": torch.zeros(256, 1)}),
         r"depth\.pth: does not fit .*: decoder\.0\.conv\.conv\.bias is \(256, 1\), expected \(256,\)"),
        ("depth", lambda s: s.update({"decoder.3.conv.conv.weight": torch.zeros(128, 128, 3, 3)}),
         r"decoder\.3\.conv\.conv\.weight is \(128, 128, 3, 3\), expected \(128, 256, 3, 3\)"),
        ("pose_encoder", lambda s: s.update({"encoder.conv1.weight": torch.zeros(64, 9, 7, 7)}),
         r"pose_encoder\.pth.* encoder\.conv1\.weight is \(64, 9, 7, 7\), expected \(64, 6, 7, 7\)"),
        ("pose", lambda s: [s.pop("net.3.bias"), s.pop("net.2.bias"), s.update({"net.0.bias": 1})],
         r"pose\.pth: does not fit .*: net\.0\.bias is a int, expected a tensor; net\.2\.bias is missing; "
         r"net\.3\.bias is missing; give"),
        ("pose", lambda s: s.update({"net.0.bias": torch.full((256,), torch.nan), "net.4\n": 1, "net.5": 2,
                                     "net.1.bias": torch.zeros(256, device="meta")}),
         r"net\.0\.bias is not made of finite numbers; net\.1\.bias is .*; 'net\.4\\n' is unknown and 1 "),
        ("encoder", lambda s: s.pop("encoder.layer3.1.conv1.weight"), r"layer3\.1\.conv1\.weight is missing"),
        ("encoder", lambda s: [s.pop(key) for key in list(s) if "layer4.1" in key],
         r"has 2, 2, 2, 1 basic blocks in its four stages; expected those of a ResNet of 18, 34, 50"),
        ("encoder", lambda s: s.pop("height"), r"encoder\.pth: height is missing"),
        ("encoder", lambda s: s.update(width="96"), r"width is a str; Monodepth2 keeps"),
        ("encoder", lambda s: s.update(width=100), r"encoder\.pth: resnet18 takes .* multiples of 32"),
    ],
)  # fmt: skip
def test_misfit_is_named(weights: Path, file: str, edit: Edit, message: str) -> None:
    replace(weights / f"{file}.pth", edit)
    assert_refused(weights, message)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(weights: Path, zipped: bool) -> None:
    path, crater = weights / "depth.pth", weights.parent / "crater"
    path.unlink()
    torch.save({"decoder.0.conv.conv.weight": Bomb(crater)}, path, _use_new_zipfile_serialization=zipped)
    assert_refused(weights, r"depth\.pth as plain weights, nothing in it was run: it asks for posix\.mkdir")


@pytest.mark.parametrize("length", [0, 50_000])
def test_truncated_file_is_refused(whole: Path, weights: Path, length: int) -> None:
    path = weights / "pose.pth"
    path.unlink()
    path.write_bytes((whole / "pose.pth").read_bytes()[:length])
    assert_refused(weights, r"cannot read .*pose\.pth as plain weights")


def test_posecnn_is_named(weights: Path) -> None:
    replace(weights / "pose.pth", lambda s: s.update({"pose_conv.weight": torch.zeros(6, 256, 1, 1)}))
    assert_refused(weights, "posecnn, which mtdrive does not have; to import depth alone, give a folder with")


def test_existing_folder_is_kept(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is there already; choose another folder"):
        import_checkpoint(weights, tmp_path)


# The command.


def test_imported_network_can_be_evaluated_and_trained_anew(
    weights: Path, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "imported"
    assert main(["import", "monodepth2", str(weights), "--out", str(out)]) == 0
    rows = [re.findall(r"[\w. ]+\w", line) for line in capsys.readouterr().out.splitlines()]
    for row in (["encoder.pth", "resnet18", "120", "encoder.fc.weight"], ["adam.pth", "not read"]):
        assert row in [[cell.strip() for cell in cells] for cells in rows]
    assert main(["evaluate", str(out), "--source", "KittiRaw", "--source.root", str(raw)]) == 0
    assert_trainable(out, raw)


def assert_trainable(checkpoint: Path, raw: Path) -> None:
    config = ["--config", str(checkpoint / "config.yaml"), "--data.kitti.source.root", str(raw)]
    run = instantiate(parse(parser(), config))
    model = build_model(run)
    check_mix(model, {"kitti": windows(run, model, run.data["kitti"], "kitti", True)})


@pytest.mark.parametrize("stereo", [False, True])
def test_network_without_pose_predicts_depth(
    weights: Path, raw: Path, tmp_path: Path, stereo: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(weights / "encoder.pth", lambda s: s.update(use_stereo=stereo))
    for name in ("pose.pth", "pose_encoder.pth"):
        (weights / name).unlink()
    assert main(["import", "monodepth2", str(weights), "--out", str(tmp_path / "imported")]) == 0
    shown = capsys.readouterr().out
    assert "there was no pose network" in shown
    assert ("evaluate with --scaling stereo" in shown) == stereo
    depth: Any = load_model(tmp_path / "imported").model.task("depth")
    assert depth.pose is None
    assert (View("stereo", 0) in depth.sources) == stereo
    assert depth.baseline == (0.1 if stereo else None)
    if stereo:
        assert_trainable(tmp_path / "imported", raw)
