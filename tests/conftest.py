"""Settings and fixtures of every test."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from tests.kitti_tree import Scene, write_raw

# The tensors here are small: more threads cost more than they give.
torch.set_num_threads(1)

# Where CARLA's client keeps what servers send: not in the user's own folder, and empty at first.
os.environ["CARLA_CACHE_DIR"] = tempfile.mkdtemp(prefix="carla_cache_")
atexit.register(shutil.rmtree, os.environ["CARLA_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def kitti() -> Path:
    """The real KITTI."""
    folder = os.environ.get("MTDRIVE_REAL_DATA")
    if not folder:
        pytest.skip("MTDRIVE_REAL_DATA is not set")
    return Path(folder) / "kitti"


@pytest.fixture(scope="session")
def shared_raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    """A made-up tree of KITTI raw, five frames of 160x48 with everything; not to be changed."""
    root = tmp_path_factory.mktemp("raw")
    return root, write_raw(root, frames=5, size=(48, 160))


@pytest.fixture
def raw(shared_raw: tuple[Path, Scene], tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return shutil.copytree(shared_raw[0], tmp_path / "raw")
