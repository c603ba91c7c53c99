"""What is installed is what lies in the tree, and the command starts fast."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtdrive

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "mtdrive": "mtdrive",
    "tasks": "mtdrive/tasks",
    "envs": "mtdrive/envs",
    "configs": "mtdrive/configs",
}
"""Folders of the checkout, and where they are installed."""

MODULES = sorted(module.name for module in pkgutil.walk_packages(mtdrive.__path__, "mtdrive."))


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False)


def installed_files() -> Iterator[str]:
    """Yield what an installation should consist of, metadata excepted."""
    for folder, place in FOLDERS.items():
        for parent, _, names in os.walk(ROOT / folder, followlinks=False):
            for name in names:
                path = Path(parent, name).relative_to(ROOT / folder)
                if path.suffix in (".py", ".yaml", ".xodr", ".xml") or path.name == "py.typed":
                    yield f"{place}/{path.as_posix()}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist, and the wheel that was built from it, of a copy of the checkout."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("built")
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_wheel_holds_the_tree_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    metadata = f"mtdrive-{wheel.name.split('-')[1]}.dist-info/"
    assert sorted(n for n in names if not n.startswith(metadata)) == sorted(installed_files())
    assert f"{metadata}licenses/LICENSE" in names


def test_sdist_holds_real_folders(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert not [m.name for m in members if m.issym() or m.islnk()]
    inner = {m.name.partition("/")[2] for m in members}
    assert {"tasks/depth/task.py", "envs/__init__.py", "configs/first_depth.yaml", "mtdrive/cli.py"} <= inner


def test_links_lead_to_the_folders() -> None:
    """Type checkers find `mtdrive.tasks` by them; the build does not need them."""
    links = {path.name: os.readlink(path) for path in (ROOT / "mtdrive").iterdir() if path.is_symlink()}
    assert links == {name: f"../{name}" for name in FOLDERS if name != "mtdrive"}


@pytest.mark.parametrize("name", MODULES)
def test_module_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("name", ["tasks", "envs", "configs"])
def test_second_name_of_a_package_is_refused(name: str) -> None:
    """From the checkout's root, a second copy of every class could come in under it."""
    done = run(sys.executable, "-c", f"import {name}", cwd=ROOT)
    assert done.returncode == 1
    assert f"ImportError: import mtdrive.{name}, not {name}" in done.stderr


def test_help_needs_no_heavy_import(tmp_path: Path) -> None:
    code = "import sys, mtdrive.cli as c; c.build_parser().format_help(); print(*sys.modules)"
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mtdrive.cli" in done.stdout.split()
    assert not {"torch", "numpy", "jsonargparse", "rich"} & set(done.stdout.split())
