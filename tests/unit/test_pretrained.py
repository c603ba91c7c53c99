from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image
from safetensors.torch import save_file
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from mtdrive.encoder import Encoder
from mtdrive.errors import CheckpointError, ConfigError
from mtdrive.pretrained import PACKAGED, packaged_state
from tests.backbones import FAMILIES

IMAGENET = {"military uniform": 652, "cab": 468, "minivan": 656, "traffic light": 920}


def image(height: int = 64, width: int = 96, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(5))


def photograph(path: str | Path) -> Tensor:
    transform = create_transform(
        224, interpolation="bicubic", crop_pct=0.875, mean=(0.0,) * 3, std=(1.0,) * 3
    )
    pixels: Tensor = transform(Image.open(path).convert("RGB"))
    return pixels[None]


def hopper() -> Tensor:
    return photograph(get_sample_data("grace_hopper.jpg", asfileobj=False))


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    model: nn.Module = timm.create_model(PACKAGED)
    model.load_state_dict(packaged_state(), strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def packaged() -> Encoder:
    return Encoder(PACKAGED, "package").eval()


def full_state(name: str = "test_resnet") -> dict[str, Tensor]:
    torch.manual_seed(3)
    state: dict[str, Tensor] = timm.create_model(name).state_dict()
    return state


# Files of weights.


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_file_of_the_classifier_is_loaded(tmp_path: Path, suffix: str) -> None:
    state, path = full_state(), tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = Encoder("test_resnet", str(path)).net.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)


@pytest.mark.parametrize("name", FAMILIES)
def test_names_of_the_classifier_and_of_the_features_both_fit(tmp_path: Path, name: str) -> None:
    torch.manual_seed(7)
    model: Any = timm.create_model(name)
    save_file(model.state_dict(), tmp_path / "full.safetensors")
    by_full = Encoder(name, str(tmp_path / "full.safetensors"))
    save_file(by_full.net.state_dict(), tmp_path / "features.safetensors")
    by_features = Encoder(name, str(tmp_path / "features.safetensors"))
    x = image()
    with torch.no_grad():
        coarsest = by_full.eval()(x)[-1]
        assert torch.equal(coarsest, by_features.eval()(x)[-1])
        own = model.eval().forward_intermediates((x - by_full.mean) / by_full.std, intermediates_only=True)
    torch.testing.assert_close(coarsest, own[-1])


def test_counters_of_batch_norm_may_be_missing(tmp_path: Path) -> None:
    state = {key: x for key, x in full_state().items() if not key.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "old.safetensors")
    loaded = Encoder("test_resnet", str(tmp_path / "old.safetensors")).net.state_dict()
    assert torch.equal(loaded["layer1.0.bn1.weight"], state["layer1.0.bn1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bn1.weight"), "bn1.weight is missing"),
        (lambda s: s.update({"bn1.bias": torch.zeros(7)}), r"bn1.bias is \(7,\), expected \(\d+,\)"),
        (lambda s: s.update({"layer9.conv": torch.zeros(7)}), "layer9.conv is unknown"),
        (lambda s: [s.pop(key) for key in list(s) if key.startswith("layer1")], r"layer1.* and \d+ more"),
    ],
)
def test_file_of_another_architecture_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    state, path = full_state(), tmp_path / "other.safetensors"
    change(state)
    save_file(state, path)
    with pytest.raises(CheckpointError, match=message) as error:
        Encoder("test_resnet", str(path))
    assert str(path) in str(error.value)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickle_that_runs_code_is_refused_unexecuted(tmp_path: Path) -> None:
    path, crater = tmp_path / "bomb.pth", tmp_path / "crater"
    torch.save({"conv1.weight": Bomb(crater)}, path)
    with pytest.raises(CheckpointError, match=r"bomb\.pth as plain weights, nothing in it was run") as error:
        Encoder("test_resnet", str(path))
    assert "\n" not in str(error.value)
    path.write_bytes(pickle.dumps(Bomb(crater)))
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        Encoder("test_resnet", str(path))
    assert not crater.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_damaged_file_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot read .*damaged"):
        Encoder("test_resnet", str(path))


def test_file_that_wraps_its_tensors_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": full_state()}, tmp_path / "run.pth")
    with pytest.raises(
        CheckpointError, match="holds epoch, state_dict; expected a mapping of names to tensors"
    ):
        Encoder("test_resnet", str(tmp_path / "run.pth"))


def test_missing_file_and_misspelt_source(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file of weights .*absent\.pth"):
        Encoder("test_resnet", str(tmp_path / "absent.pth"))
    with pytest.raises(ConfigError, match=r"weights 'tim': expected none, timm, package or a file ending in"):
        Encoder("test_resnet", "tim")


# Two images.


@pytest.mark.parametrize("name", ["test_resnet", "test_byobnet", "test_convnext"])
def test_same_image_twice_gives_the_response_of_one(tmp_path: Path, name: str) -> None:
    save_file(full_state(name), tmp_path / "w.safetensors")
    one = Encoder(name, str(tmp_path / "w.safetensors")).eval()
    two = Encoder(name, str(tmp_path / "w.safetensors"), images=2).eval()
    x = image()
    with torch.no_grad():
        for single, double in zip(one(x), two(torch.cat([x, x], 1)), strict=True):
            torch.testing.assert_close(double, single, rtol=1e-4, atol=1e-5)


# The hub.


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_hub_out_of_reach_names_the_alternatives(offline: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"hub .* for test_resnet could not be reached; set weights to a local file"
    ):
        Encoder("test_resnet", "timm")


@pytest.mark.parametrize("images", [1, 2])
def test_weights_of_the_hub(offline: Path, images: int) -> None:
    state = full_state()
    cfg: Any = timm.get_pretrained_cfg("test_resnet")
    repository = offline / f"models--{cfg.hf_hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("f00d")
    (repository / "snapshots" / "f00d").mkdir(parents=True)
    save_file(state, repository / "snapshots" / "f00d" / "model.safetensors")
    loaded = Encoder("test_resnet", "timm", images).net.state_dict()
    for key, value in loaded.items():
        widened = (
            torch.cat([state[key]] * images, 1) / images if value.shape != state[key].shape else state[key]
        )
        assert torch.equal(value, widened), key


def test_backbone_that_the_hub_lacks() -> None:
    with pytest.raises(ConfigError, match="timm has no weights for darknet21; set weights to"):
        Encoder("darknet21", "timm")


# EfficientNet-Lite0 from the package index.


def test_package_covers_the_classifier_exactly() -> None:
    ours, theirs = packaged_state(), timm.create_model(PACKAGED).state_dict()
    assert len(ours) == len(theirs) == 296
    assert {k: x.shape for k, x in ours.items()} == {k: x.shape for k, x in theirs.items()}
    assert list(ours) == list(theirs)  # both list their layers in the order of execution


def test_package_is_for_one_backbone() -> None:
    with pytest.raises(ConfigError, match=f"weights for {PACKAGED} only, not for test_resnet"):
        Encoder("test_resnet", "package")


def test_levels_are_the_stages_of_the_classifier(classifier: nn.Module, packaged: Encoder) -> None:
    x = image()
    with torch.no_grad():
        levels = packaged(x)
        stages = classifier.forward_intermediates(2 * x - 1, intermediates_only=True)  # type: ignore[operator]
    for level, stage in zip(levels, stages, strict=True):
        torch.testing.assert_close(level, stage)


def test_package_recognises_a_photograph(classifier: nn.Module) -> None:
    with torch.no_grad():
        best = classifier(2 * hopper() - 1)[0].topk(5).indices
    assert IMAGENET["military uniform"] in best


def test_normalisation_is_the_one_that_the_package_was_trained_with(packaged: Encoder) -> None:
    """The stored statistics of the first batch norm tell mean and deviation apart."""
    seen: list[Tensor] = []
    norm: nn.BatchNorm2d = packaged.net.bn1  # type: ignore[assignment]
    handle = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    packaged(hopper())
    handle.remove()
    assert norm.running_var is not None
    ratio = seen[0].var((0, 2, 3)).log() - norm.running_var.log()
    # ImageNet's usual 0.225 would give +1.7, no normalisation -1.3.
    assert abs(ratio.median().item()) < 0.7


@pytest.mark.real
def test_package_recognises_the_street(classifier: nn.Module, kitti: Path) -> None:
    drive = kitti / "raw/2011_09_26/2011_09_26_drive_0060_sync/image_02/data"
    queue = torch.cat([photograph(path) for path in sorted(drive.iterdir())[::20]])
    with torch.no_grad():
        best = classifier(2 * queue - 1).topk(5).indices
    for name in ("cab", "minivan", "traffic light"):
        assert (best == IMAGENET[name]).any(1).float().mean() >= 0.5, name
