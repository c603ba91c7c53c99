from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

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

FAMILIES = [
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "test_byobnet",
    "test_nfnet",
    "test_mambaout",
]
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


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(full_state(), path)
    return path


@pytest.mark.parametrize("name", FAMILIES)
def test_levels_have_the_promised_channels_and_strides(name: str) -> None:
    encoder = Encoder(name)
    levels = encoder(image())
    sizes = [(2, c, 64 // s, 96 // s) for c, s in zip(encoder.channels, encoder.strides, strict=True)]
    assert [tuple(level.shape) for level in levels] == sizes
    assert encoder.strides[-1] == 32


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_reaches_every_parameter(name: str) -> None:
    encoder = Encoder(name)
    torch.autograd.backward([level.square().mean() for level in encoder(image())])
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("name", "normalisation", "mean", "std"),
    [
        ("test_mambaout", "timm", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("test_resnet", "timm", (0.5,) * 3, (0.5,) * 3),
        (PACKAGED, "timm", (0.5,) * 3, (0.5,) * 3),
        ("test_resnet", "monodepth2", (0.45,) * 3, (0.225,) * 3),
    ],
)
@pytest.mark.parametrize("images", [1, 2])
def test_normalisation(
    name: str,
    normalisation: Literal["timm", "monodepth2"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    images: int,
) -> None:
    encoder = Encoder(name, images=images, normalisation=normalisation)
    seen = []
    encoder.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = image(channels=3 * images)
    encoder(x)
    for channel in range(3 * images):
        by_hand = (x[:, channel] - mean[channel % 3]) / std[channel % 3]
        torch.testing.assert_close(seen[0][:, channel], by_hand)


def test_initial_weights_are_a_function_of_the_global_generator(weights: Path) -> None:
    states, after = [], []
    for source in ("none", "none", str(weights)):
        torch.manual_seed(11)
        states.append(Encoder("test_resnet", source).state_dict())
        after.append(torch.rand(1))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert after[0] == after[1] == after[2]  # a file of weights changes no later draw


def test_settings_stay_out_of_the_weights() -> None:
    assert all(key.startswith("net.") for key in Encoder("test_resnet").state_dict())


def test_unknown_backbone_names_close_ones() -> None:
    with pytest.raises(ConfigError, match=r"no backbone 'resnet81'; did you mean .*resnet18"):
        Encoder("resnet81")


@pytest.mark.parametrize("name", ["test_vit", "convmixer_768_32"])
def test_backbone_of_constant_stride_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"levels of {name} have strides .*; choose .* such as resnet18"):
        Encoder(name)


def test_backbone_without_levels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> nn.Module:
        raise RuntimeError("features_only not implemented")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ConfigError, match="cannot give the feature levels of resnet18: features_only not"):
        Encoder("resnet18")


def test_size_that_does_not_fit_names_sizes_that_do() -> None:
    with pytest.raises(ConfigError, match="multiples of 32, found 200x640; 192x640 and 224x640 fit"):
        Encoder("test_resnet")(image(200, 640))
    with pytest.raises(ConfigError, match="32x32 and 32x64 fit"):
        Encoder("test_resnet").check_size(20, 40)


def test_backbone_of_one_size_says_so() -> None:
    encoder = Encoder("test_maxvit")
    with pytest.raises(ConfigError, match="takes images of 160x160 only, found 64x96"):
        encoder(image())
    assert len(encoder(image(160, 160))) == len(encoder.strides)


def test_no_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="images is 0"):
        Encoder("test_resnet", images=0)


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
def test_package_recognises_the_street(classifier: nn.Module) -> None:
    root = os.environ.get("MTDRIVE_REAL_DATA")
    if not root:
        pytest.skip("set MTDRIVE_REAL_DATA")
    drive = Path(root, "kitti/raw/2011_09_26/2011_09_26_drive_0060_sync/image_02/data")
    queue = torch.cat([photograph(path) for path in sorted(drive.iterdir())[::20]])
    with torch.no_grad():
        best = classifier(2 * queue - 1).topk(5).indices
    for name in ("cab", "minivan", "traffic light"):
        assert (best == IMAGENET[name]).any(1).float().mean() >= 0.5, name
