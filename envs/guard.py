"""Runs a command, and ends its whole process group when the standard input ends.

The standard input is a pipe of the process that started it, so that a simulator ends with that process even
if it is killed; CARLA's start script leaves the simulator behind. It runs as a file, so it imports nothing of
the package.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

GRACE = 5.0
"""Seconds between asking and killing."""
LOOK = 0.1


def main() -> None:
    """Guard the command of the arguments; this process leads the group."""
    # What this process was given open, it passes on.
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is for the others of the group
    while child.poll() is None and not _ended():
        pass
    if child.poll() is not None:
        sys.stderr.write(f"it ended with status {child.returncode}\n")
        sys.stderr.flush()
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(LOOK)
    os.killpg(0, signal.SIGKILL)


def _ended() -> bool:
    return bool(select.select([sys.stdin], [], [], LOOK)[0]) and not os.read(0, 1 << 16)


if __name__ == "__main__":
    main()
