"""Town as a child process."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from mtdrive.errors import SimulatorError

READY = "listening on 127.0.0.1:"


class Town:
    """A server in a process of its own: `with Town() as server: carla.Client(server.host, server.port)`.

    It ends with the block, and also when this process dies.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        town: str | None = None,
        *,
        xodr: str | Path | None = None,
        port: int = 0,
        seed: int = 0,
        patience: float = 300.0,
        faults: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "mtdrive", "town"),
    ) -> None:
        """Take the options of `mtdrive town`, and the seconds that the start may last.

        Faults are texts as its `--fault` takes them.
        """
        self._command = [*command, "--port", str(port), "--seed", str(seed), "--end-with-input"]
        self._command += ["--town", town] if town else []
        self._command += ["--xodr", str(xodr)] if xodr else []
        self._command += [f"--fault={fault}" for fault in faults]
        self._patience = patience
        self._process: subprocess.Popen[str] | None = None
        self.port = port

    def __enter__(self) -> Town:
        """Start the server and wait until it listens.

        Raises:
            SimulatorError: it did not start; the message has what it said last.
        """
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process, which then stops the server
        )
        timer = threading.Timer(self._patience, self._process.kill)
        timer.start()
        try:
            self.port = self._read_port()
        except BaseException:
            self.stop()
            raise
        finally:
            timer.cancel()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process; it is there within the block only."""
        if self._process is None:
            raise SimulatorError("the server is not running; use `with Town() as server`")
        return self._process

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Return what the server said so far."""
        self._log.seek(0)
        return self._log.read()

    def stop(self) -> int | None:
        """Stop the server and return its exit status; twice does no harm."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            status = process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._log.close()
        return status

    def _read_port(self) -> int:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            match = re.fullmatch(re.escape(READY) + r"(\d+)\n", line)
            if match:
                return int(match[1])
        status = self.process.wait()
        said = self.log().strip().splitlines()
        last = said[-1] if said else f"it took longer than {self._patience:g} s, or ended without a word"
        raise SimulatorError(f"Town did not start (exit status {status}): {last}")
