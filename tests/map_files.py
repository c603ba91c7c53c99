"""Depth maps as programs save them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

Images = Sequence[np.ndarray]


def objects(images: Images) -> np.ndarray:
    array = np.empty(len(images), dtype=object)
    array[:] = images
    return array


def ragged_npz(path: Path, images: Images) -> Path:
    path = path.with_suffix(".npz")
    np.savez_compressed(path, data=objects(images))
    return path


def ragged_npy(path: Path, images: Images) -> Path:
    path = path.with_suffix(".npy")
    np.save(path, objects(images), allow_pickle=True)
    return path


def stack_npz(path: Path, images: Images) -> Path:
    path = path.with_suffix(".npz")
    np.savez(path, data=np.stack(images))
    return path


def stack_npy(path: Path, images: Images) -> Path:
    path = path.with_suffix(".npy")
    np.save(path, np.stack(images))
    return path
