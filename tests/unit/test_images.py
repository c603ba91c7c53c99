from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from mtdrive.data import images
from mtdrive.data.images import (
    read_depth_png,
    read_image,
    read_size,
    resized_pixels,
    to_pixels,
    torch_has_lanczos,
    write_depth_png,
)
from mtdrive.errors import DataError


def noise(size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_png_comes_back_unchanged_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise()).save(path)
    image = read_image(path)
    path.unlink()
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), noise())


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise()).convert(mode).save(path)
    assert read_image(path).mode == "RGB"


def test_grey_of_16_bits_is_scaled_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    grey = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    Image.fromarray(grey).save(path)
    np.testing.assert_array_equal(np.asarray(read_image(path))[..., 0], grey >> 8)


def test_size_is_height_then_width(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(noise((10, 20))).save(path)
    assert read_size(path) == (10, 20)


def test_missing_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png: no such image"):
        read_image(tmp_path / "none.png")


def test_empty_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png: the file is empty"):
        read_image(tmp_path / "a.png")


def test_folder_instead_of_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        read_image(tmp_path)


def test_text_instead_of_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<html>404</html>")
    with pytest.raises(DataError, match="is not an image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_image(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise()).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        DataError, match=r"a\.(png|jpg): (the image is truncated|cannot be opened|the file is)"
    ):
        read_image(path)


@pytest.mark.parametrize("position", [20, 45, 60, 2000, 5000])
def test_png_with_damaged_bytes(tmp_path: Path, position: int) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise()).save(path)
    content = bytearray(path.read_bytes())
    content[position : position + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(path)


@pytest.mark.parametrize("size", [(20, 31), (45, 61), (70, 100)])
@pytest.mark.parametrize("has_lanczos", [True, False])
def test_resize_is_pillows_lanczos(
    size: tuple[int, int], has_lanczos: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_lanczos and not torch_has_lanczos():
        pytest.skip("torch before 2.12 does not resize with Lanczos")
    monkeypatch.setattr(images, "torch_has_lanczos", lambda: has_lanczos)
    image = Image.fromarray(noise((45, 61)))
    expected = to_pixels(image.resize((size[1], size[0]), Image.Resampling.LANCZOS))
    difference = (resized_pixels(image, size).int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.02


@settings(max_examples=30, deadline=None)
@given(steps=arrays(np.uint16, (3, 4)))
def test_depth_png_keeps_every_step(tmp_path_factory: pytest.TempPathFactory, steps: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("depth") / "a.png"
    depth = steps.astype(np.float32) / 256
    write_depth_png(path, depth)
    np.testing.assert_array_equal(read_depth_png(path), depth)


def test_depth_png_unknown_is_zero_and_known_is_not(tmp_path: Path) -> None:
    write_depth_png(tmp_path / "new" / "a.png", np.array([[np.nan, -1.0, 0.0, 1e-4, np.inf, 2.0]]))
    np.testing.assert_array_equal(read_depth_png(tmp_path / "new" / "a.png"), [[0, 0, 0, 1 / 256, 0, 2]])


def test_depth_png_refuses_what_16_bits_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"up to 255\.996 m, found 300\.000 m"):
        write_depth_png(tmp_path / "a.png", np.array([[300.0]]))
    assert not (tmp_path / "a.png").exists()


def test_depth_png_of_8_bits(tmp_path: Path) -> None:
    Image.fromarray(noise()).convert("L").save(tmp_path / "a.png")
    with pytest.raises(DataError, match="expected a depth map of 16-bit greys"):
        read_depth_png(tmp_path / "a.png")
