"""Crews of processes: no job is lost or done twice, whatever befalls the processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mtdrive.crew import Crew, Worker
from mtdrive.errors import ConfigError
from tests.crew_jobs import serve


class Team(Crew[str]):
    attempts = 3
    silence = 3.0

    def __init__(self, folder: Path, *jobs: str) -> None:
        super().__init__(jobs, serve, folder)
        self.results: dict[str, int] = {}
        self.given_up: dict[str, tuple[str, bool, Any]] = {}
        self.tries: list[tuple[str, str]] = []

    def done(self, worker: Worker[str], result: int) -> None:
        assert worker.job not in self.results
        self.results[worker.job] = result

    def lost(self, worker: Worker[str], why: str) -> None:
        self.given_up[worker.job] = (why, worker.busy, worker.said)

    def tried(self, worker: Worker[str], why: str) -> None:
        self.tries.append((worker.job, why))


def test_jobs_are_tried_again_after_deaths_hangs_and_failures_until_they_are_given_up(tmp_path: Path) -> None:
    team = Team(tmp_path, "plain", "kill 2", "kill 9", "busy 9", "hang 1", "again 1", "again 9", "fatal 1")
    assert team.run(2)
    assert set(team.results) == {"plain", "kill 2", "hang 1", "again 1"}
    assert team.given_up == {
        "kill 9": ("its process died (SIGKILL)", False, 2),
        "busy 9": ("its process died (SIGKILL)", True, 2),
        "again 9": ("again 9 went wrong", False, 2),
        "fatal 1": ("fatal 1 went wrong", False, 0),
    }
    tried = {path.name for path in tmp_path.iterdir()}
    assert {"plain 0", "kill 2 2", "hang 1 1", "fatal 1 0"} < tried
    assert not {"plain 1", "kill 2 3", "kill 9 3", "fatal 1 1"} & tried
    assert ("hang 1", "no sign of life for 3 s") in team.tries
    assert all(job != "fatal 1" for job, _ in team.tries)


def test_who_cannot_work_at_all_ends_the_crew_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    with pytest.raises(ConfigError, match="nothing can be done"):
        Team(tmp_path, "plain", "plain 1").run(1)


def test_sigterm_ends_the_crew_and_its_processes(tmp_path: Path) -> None:
    team = Team(tmp_path, "hang 9")
    processes: list[Any] = []

    def end() -> None:
        while not (tmp_path / "hang 9 0").exists():
            time.sleep(0.02)
        processes.extend(worker.process for worker in team.workers)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    assert not team.run(1)
    thread.join()
    assert [process.is_alive() for process in processes] == [False]
    assert not team.results
