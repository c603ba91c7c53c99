"""Reading of saved depth: files that numpy would unpickle, and what bad input is told."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mtdrive.depth_maps import open_maps
from mtdrive.errors import DataError
from tests.map_files import Images, objects, ragged_npy, ragged_npz, stack_npy, stack_npz


def depths(*sizes: tuple[int, int]) -> list[np.ndarray]:
    return [np.random.default_rng(i).uniform(0, 90, size).astype(np.float32) for i, size in enumerate(sizes)]


def check_holds(path: Path, images: Images) -> None:
    maps = open_maps(path)
    assert len(maps.names) == len(images)
    for i, image in enumerate(images):
        assert maps.read(i).dtype == np.float64
        np.testing.assert_array_equal(maps.read(i), image)


def read_last(path: Path) -> np.ndarray:
    maps = open_maps(path)
    return maps.read(len(maps.names) - 1)


def refused(path: Path, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_last(path)


def pickled_npz(path: Path, pickled: bytes, count: int = 3) -> Path:
    """Write an npz whose `data` is an array of objects with the given pickle."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (count,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", header.getvalue() + pickled)
    return path


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL))
@pytest.mark.parametrize("inside", [True, False])
def test_code_in_a_file_is_not_run(tmp_path: Path, protocol: int, inside: bool) -> None:
    bomb, target = Bomb(tmp_path / "ran"), tmp_path / "truth.npz"
    content = objects([np.ones((2, 2)), bomb]) if inside else bomb  # type: ignore[list-item]
    pickled_npz(target, pickle.dumps(content, protocol=protocol))
    with pytest.raises(DataError, match=r"truth\.npz contains code \(.*mkdir\), which was not run"):
        open_maps(target)
    assert not bomb.path.exists()
    with zipfile.ZipFile(target) as archive:  # the bomb is live
        stream = io.BytesIO(archive.read("data.npy"))
    np.load(stream, allow_pickle=True)
    assert bomb.path.exists()


@pytest.mark.parametrize(
    "name",
    ["numpy.load", "numpy.ndarray.tofile", "numpy.core.multiarray.fromfile", "builtins.eval", "os.system"],
)
def test_nothing_but_arrays_may_be_named(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    path = pickled_npz(tmp_path / "a.npz", f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(DataError, match="contains code"):
        open_maps(path)


@pytest.mark.parametrize("package", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("protocol", [2, 3])  # by which numpy 1 wrote; their text can be edited in place
def test_ragged_arrays_of_every_numpy(tmp_path: Path, protocol: int, package: bytes) -> None:
    images = depths((4, 5), (3, 7))
    pickled = pickle.dumps(objects(images), protocol=protocol)
    assert b"multiarray\n_reconstruct" in pickled
    for spelling in (b"numpy.core", b"numpy._core"):
        pickled = pickled.replace(b"c" + spelling + b".multiarray", b"c" + package + b".multiarray")
    check_holds(pickled_npz(tmp_path / "gt_depths.npz", pickled, count=2), images)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_ragged_arrays_of_every_layout(tmp_path: Path, dtype: str, order: Any) -> None:
    images = [x.astype(dtype, order=order) for x in depths((4, 5), (3, 7))]
    check_holds(ragged_npz(tmp_path / "truth", images), images)


@pytest.mark.parametrize("scalar", [float, np.float32])
def test_object_arrays_of_images_of_one_size(tmp_path: Path, scalar: Callable[[float], Any]) -> None:
    images = np.stack(depths((4, 5), (4, 5)))
    array = np.empty(images.shape, dtype=object)
    for at in np.ndindex(images.shape):
        array[at] = scalar(float(images[at]))
    np.savez(tmp_path / "truth.npz", data=array)
    check_holds(tmp_path / "truth.npz", list(images))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_never_raise_anything_else(tmp_path: Path, data: st.DataObject) -> None:
    writers = (ragged_npz, ragged_npy, stack_npy, stack_npz)
    path = data.draw(st.sampled_from(writers))(tmp_path / "x", [np.ones((2, 3), np.float32)] * 2)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    message = str(path)
    try:
        maps = open_maps(path)
        [maps.read(i) for i in range(len(maps.names))]
    except DataError as error:
        message = str(error)
    assert str(path) in message


def test_missing_empty_and_unknown_paths(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    refused(tmp_path / "none", "none does not exist; expected a folder")
    refused(tmp_path / "empty", r"empty has no \.npy or \.png file")
    refused(tmp_path / "notes.txt", "notes.txt has an unknown suffix; expected a folder")


def test_mixed_files(tmp_path: Path) -> None:
    (tmp_path / "8.npy").touch()
    (tmp_path / "9.png").touch()
    refused(tmp_path, r"mixes \.npy and \.png files; keep one kind")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(4), r"x\.npy has the shape \(4,\); expected images stacked"),
        (np.ones((4, 5)), r"x\.npy has the shape \(4, 5\); expected images stacked"),
        (np.ones((3, 1, 4, 5)), r"x\.npy has the shape \(3, 1, 4, 5\); expected images stacked"),
        (np.ones((0, 4, 5)), r"x\.npy holds no image"),
        (np.ones((3, 0, 5)), r"x\.npy\[2\] has the shape \(0, 5\); expected \(height, width\)"),
        (np.ones((3, 4, 5), int), r"x\.npy\[2\] holds int64; expected floating-point"),
        (np.ones((3, 4, 5), complex), r"x\.npy\[2\] holds complex128; expected floating-point"),
    ],
)
def test_wrong_stacks(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", array)
    refused(tmp_path / "x.npy", message)


def test_wrong_images_in_folders(tmp_path: Path) -> None:
    np.save(tmp_path / "8.npy", np.ones((1, 4, 5)))
    refused(tmp_path, r"8\.npy has the shape \(1, 4, 5\); expected \(height, width\)")
    np.save(tmp_path / "9.npy", objects(depths((4, 5), (3, 7))), allow_pickle=True)
    refused(tmp_path, r"9\.npy holds several arrays; expected one image")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([np.ones((2, 2)), np.ones(3)], r"x\.npz\[1\] has the shape \(3,\); expected \(height, width\)"),
        ([np.ones((2, 2), int), np.ones((2, 3), int)], r"x\.npz\[1\] holds int64; expected floating-point"),
        ([np.array(["yy"]), np.ones(3)], r"x\.npz holds values of the type 'U2'"),
        (["one", "two"], r"x\.npz holds objects that are no arrays"),
    ],
)
def test_wrong_members_of_ragged_arrays(tmp_path: Path, members: Images, message: str) -> None:
    refused(ragged_npz(tmp_path / "x", members), message)


def test_pickle_that_is_none(tmp_path: Path) -> None:
    refused(pickled_npz(tmp_path / "x.npz", b"junk"), r"x\.npz cannot be read")
    refused(pickled_npz(tmp_path / "y.npz", pickle.dumps(3)), r"y\.npz cannot be read")
    (tmp_path / "z.npy").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    refused(tmp_path / "z.npy", r"z\.npy cannot be read")
    assert not (tmp_path / "ran").exists()


def test_unknown_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", disparity=np.ones((3, 4, 5)), other=np.ones(1))
    refused(tmp_path / "x.npz", r"x\.npz lacks the key 'data' \(found: disparity, other\)")


@pytest.mark.parametrize("keep", [0, 5, 100, 300])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    (image,) = depths((20, 30))
    (tmp_path / "png").mkdir()
    Image.fromarray(image.astype(np.uint16)).save(tmp_path / "png" / "x.png")
    stacks = [write(tmp_path / "x", [image]) for write in (stack_npy, stack_npz)]
    for path in (tmp_path / "png" / "x.png", *stacks):
        path.write_bytes(path.read_bytes()[:keep])
        source = path.parent if path.suffix == ".png" else path
        refused(source, rf"{path.name} cannot be read: .+; it may be truncated, so make it again")


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P"])
def test_png_of_other_depth(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (40, 20)).save(tmp_path / "9.png")
    refused(tmp_path, rf"9\.png is an image of mode {mode}; expected a 16-bit grey PNG")
