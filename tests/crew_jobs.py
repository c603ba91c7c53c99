"""A worker's body for the tests of crews: a job says what befalls it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from mtdrive.crew import Answer, Desk
from mtdrive.errors import ConfigError


def serve(desk: Desk, folder: Path) -> None:
    """Do jobs such as `kill 2`: what it says happens at the first 2 tries."""

    def work(job: str, attempt: int) -> Answer:
        (folder / f"{job} {attempt}").touch()
        desk.say(attempt)
        what, _, times = job.partition(" ")
        if attempt >= int(times or 0):
            return "done", os.getpid()
        if what == "busy":
            with desk.busy():
                _die()
        if what == "kill":
            _die()
        if what == "hang":
            time.sleep(600)
        return what, f"{job} went wrong"

    if (folder / "refuse").exists():
        desk.refuse(ConfigError("nothing can be done"))
        return
    desk.work(work)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
