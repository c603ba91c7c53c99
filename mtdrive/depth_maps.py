"""Reads depth and disparity maps that other programs saved; nothing in them is trusted or run."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from mtdrive.errors import DataError

KITTI_STEPS = 256
"""Steps of a metre in KITTI's 16-bit depth PNGs, where 0 is unknown."""

EXPECTED = "a folder of .npy or of .png files, an .npz or an .npy"

PNG_MODES = ("I;16", "I;16B", "I;16L")

Stream = IO[bytes] | BufferedIOBase
"""The first for the type checker, the second for what `zipfile` really gives."""


@dataclass(frozen=True, kw_only=True)
class DepthMaps:
    """The images of a folder or file, read one at a time where they are files of their own."""

    path: Path
    names: tuple[str, ...]
    """What tables call the images; the file stems of a folder."""
    places: tuple[str, ...]
    """What messages call them: their files."""
    named: bool
    """Whether the names identify the images; else only their order does."""
    png: bool
    """Whether they are KITTI PNGs, hence depth in metres."""
    read: Callable[[int], Float[np.ndarray, "h w"]]
    """Returns an image in float64 by its position."""


def open_maps(path: Path) -> DepthMaps:
    """Open a folder of `.npy` or of KITTI PNGs, an `.npz` with the key `data`, or an `.npy` stack.

    Raises:
        DataError: if it is none of these, or damaged.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; expected {EXPECTED}")
    if path.suffix not in (".npz", ".npy"):
        raise DataError(f"{path} has an unknown suffix; expected {EXPECTED}")
    images = _load_archive(path) if path.suffix == ".npz" else _load_file(path)
    return _open_stack(path, images)


def _open_folder(path: Path) -> DepthMaps:
    files = sorted((f for f in path.iterdir() if f.suffix in (".npy", ".png")), key=natural)
    suffixes = sorted({f.suffix for f in files})
    if not files:
        raise DataError(f"{path} has no .npy or .png file; expected one for each image")
    if len(suffixes) > 1:
        raise DataError(f"{path} mixes {' and '.join(suffixes)} files; keep one kind in a folder")
    load = _load_png if suffixes == [".png"] else _load_image
    return DepthMaps(
        path=path,
        names=tuple(f.stem for f in files),
        places=tuple(map(str, files)),
        named=True,
        png=load is _load_png,
        read=lambda i: load(files[i]),
    )


def natural(file: Path) -> tuple[list[int | str], str]:
    """Return a key that orders 2 before 10, padded with zeros or not."""
    parts = re.split("([0-9]+)", file.stem)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], file.stem


def _open_stack(path: Path, images: np.ndarray | Sequence[np.ndarray]) -> DepthMaps:
    if isinstance(images, np.ndarray) and images.ndim != 3:
        raise DataError(
            f"{path} has the shape {images.shape}; expected images stacked as (n, height, width) or, "
            "where their sizes differ, an array of arrays"
        )
    if not len(images):
        raise DataError(f"{path} holds no image; expected at least one")
    places = tuple(f"{path}[{i}]" for i in range(len(images)))
    return DepthMaps(
        path=path,
        names=tuple(f"{path.name}[{i}]" for i in range(len(images))),
        places=places,
        named=False,
        png=False,
        read=lambda i: _as_image(images[i], places[i]),
    )


def _load_image(path: Path) -> Float[np.ndarray, "h w"]:
    array = _load_file(path)
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} holds several arrays; expected one image of the shape (height, width)")
    return _as_image(array, str(path))


def _as_image(array: np.ndarray, name: str) -> Float[np.ndarray, "h w"]:
    if array.ndim != 2 or not array.size:
        raise DataError(f"{name} has the shape {array.shape}; expected (height, width)")
    if array.dtype.kind != "f":
        raise DataError(f"{name} holds {array.dtype}; expected floating-point numbers")
    return array.astype(np.float64)


def _load_png(path: Path) -> Float[np.ndarray, "h w"]:
    with _reading(path), Image.open(path) as image:
        if image.mode not in PNG_MODES:
            raise DataError(
                f"{path} is an image of mode {image.mode}; expected a 16-bit grey PNG, "
                f"metres times {KITTI_STEPS}"
            )
        return np.asarray(image).astype(np.float64) / KITTI_STEPS


def _load_file(path: Path) -> np.ndarray | list[np.ndarray]:
    with _reading(path), path.open("rb") as stream:
        return _read_array(stream, path)


def _load_archive(path: Path) -> np.ndarray | list[np.ndarray]:
    with _reading(path), zipfile.ZipFile(path) as archive:
        if "data.npy" not in archive.namelist():
            found = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "none"
            raise DataError(
                f"{path} lacks the key 'data' (found: {found}); save with np.savez(file, data=images)"
            )
        with archive.open("data.npy") as stream:
            return _read_array(stream, path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # out of damaged bytes the decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}; it may be truncated, so make it again") from error


def _read_array(stream: Stream, path: Path) -> np.ndarray | list[np.ndarray]:
    """Return an array, or the arrays that an array of objects holds."""
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in header:
        raise DataError(f"{path} is in version {version} of the .npy format; expected 1.0 or 2.0")
    _, _, dtype = header[version](stream)
    if dtype.hasobject:
        return _read_pickled(stream, path)
    stream.seek(0)
    array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _read_pickled(stream: Stream, path: Path) -> np.ndarray | list[np.ndarray]:
    """Return what a pickled array of objects holds: numpy saves images of several sizes as one of arrays."""
    try:
        images: np.ndarray | list[np.ndarray] = _ArrayUnpickler(stream).load().objects()
    except DataError as error:
        raise DataError(f"{path} {error}") from None
    return images


class _Dtype:
    """Stands in for `numpy.dtype` in a pickle."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name
        self.order: Any = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        if not re.fullmatch("[fiub][1-8]", self.name):
            raise DataError(f"holds values of the type {self.name!r}; expected floating-point numbers")
        return np.dtype(self.name).newbyteorder(self.order)


class _Array:
    """Stands in for `numpy.ndarray` and its maker: numpy's own would believe any state that a file gives."""

    def __init__(self, *_: object) -> None:
        self.shape: Any = ()
        self.kind = _Dtype("O")
        self.fortran = False
        self.content: Any = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.kind, self.fortran, self.content = state

    def objects(self) -> np.ndarray | list[np.ndarray]:
        if all(isinstance(x, _Array) for x in self.content):
            return [x.array() for x in self.content]
        if all(isinstance(x, float) for x in self.content):  # images that happened to be of one size
            return self._shaped(np.array(self.content))
        raise DataError("holds objects that are no arrays; save one float array an image")

    def array(self) -> np.ndarray:
        return self._shaped(np.frombuffer(self.content, self.kind.dtype()))

    def _shaped(self, flat: np.ndarray) -> np.ndarray:
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


class _Scalar(float):
    """Stands in for the maker of numpy's scalars."""

    def __new__(cls, kind: _Dtype, content: bytes) -> _Scalar:
        return super().__new__(cls, np.frombuffer(content, kind.dtype())[0])


class _Bytes(bytes):
    """Stands in for `_codecs.encode`, by which protocol 2 (older numpy) writes bytes."""

    def __new__(cls, text: str, encoding: str) -> _Bytes:
        return super().__new__(cls, text.encode("latin1"))


_STAND_INS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("_codecs", "encode"): _Bytes,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays out of stand-ins; a pickle that names anything else is refused before it is called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise DataError(
                f"contains code ({module}.{name}), which was not run; expected arrays only, "
                "so do not trust the file"
            )
        return _STAND_INS[module, name]
