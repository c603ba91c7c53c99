"""What the documentation shows works."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtdrive.tasks
from mtdrive import cli
from mtdrive.check import check_task

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[str]:
    """Yield each call of mtdrive in the documentation, also behind another program such as torchrun."""
    for page in PAGES:
        for block in blocks(page.read_text(), "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.search(r"(?:^|\s)mtdrive (.*)", line)
                if found:
                    yield " ".join(found[1].split())


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with the README's files, whose task is found like one in `tasks/`.

    Once imported it stays: its class goes on to be one of those that settings may name.
    """
    (task,), (delta,) = blocks(README, "python"), blocks(README, "yaml")
    (tmp_path / "lidar_depth.py").write_text(task)
    (tmp_path / "lidar.yaml").write_text(delta)
    monkeypatch.setattr(mtdrive.tasks, "__path__", [*mtdrive.tasks.__path__, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("example")
def test_task_of_the_readme_keeps_the_contract() -> None:
    check_task(importlib.import_module("mtdrive.tasks.lidar_depth").LidarDepth)


@pytest.mark.usefixtures("example")
@pytest.mark.parametrize("command", sorted(set(commands())))
def test_command_is_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, options and settings exist; what they point to need not."""
    arguments = shlex.split(command)
    try:
        if arguments[0] in ("train", "evaluate"):
            # Printing stops before anything is read or written.
            status: object = cli.main([*arguments, "--print_config"])
        else:
            status = cli.build_parser().parse_args(arguments) is None
    except SystemExit as stopped:
        status = stopped.code
    assert not status, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []
