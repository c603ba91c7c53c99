"""A process with CARLA's traffic manager, seen from the one that needs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import IO, Any

from mtdrive.envs import guard
from mtdrive.envs.line import LOOK

LEAVE = 3.0
"""Seconds that it gets to end by itself."""


class Lost(Exception):
    """A manager's process died or hangs."""


class Manager:
    """A process with a traffic manager, and the line to it; it ends with this process."""

    def __init__(self) -> None:
        """Start the process."""
        ours, theirs = socket.socketpair()
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  end() closes
        module = [sys.executable, "-m", "mtdrive.envs.manager_process", str(theirs.fileno())]
        self._process = subprocess.Popen(
            [sys.executable, "-I", guard.__file__, *module],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._line = Connection(ours.detach())

    def tell(self, what: Any) -> None:
        """Send it something.

        Raises:
            Lost: it is dead.
        """
        try:
            self._line.send_bytes(json.dumps(what).encode())
        except OSError:
            raise self._died() from None

    def answer(self) -> dict[str, Any] | None:
        """Return what it says, None if it says nothing for a moment.

        Raises:
            Lost: it is dead, or something failed in it.
        """
        try:
            if not self._line.poll(LOOK):
                return None
            found: dict[str, Any] = json.loads(self._line.recv_bytes())
        except (EOFError, OSError):
            raise self._died() from None
        if "error" in found:
            raise Lost(found["error"])
        return found

    def end(self, at_once: bool) -> None:
        """End the process: it may take leave of the server, unless it hangs."""
        self._line.close()
        if not at_once:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LEAVE)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._log.close()

    def _died(self) -> Lost:
        self._log.seek(0)
        said = self._log.read().strip().splitlines()
        return Lost("; ".join(["its process died", *said[-2:]]))
