"""A log that a client cannot flood."""

from __future__ import annotations

import logging
import time
from collections import defaultdict

BURST, RATE = 200.0, 2.0
"""Lines of a level that may come at once, and how many more a second."""


class Quiet(logging.Filter):
    """Lets so many lines of a level through, and says later how many it did not."""

    def __init__(self) -> None:
        super().__init__()
        self._room: dict[int, float] = defaultdict(lambda: BURST)
        self._since: dict[int, float] = defaultdict(time.monotonic)
        self._left_out: dict[int, int] = defaultdict(int)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written."""
        level, now = record.levelno, time.monotonic()
        room = min(BURST, self._room[level] + RATE * (now - self._since[level]))
        self._since[level], self._room[level] = now, max(room - 1, room % 1)
        if room < 1:
            self._left_out[level] += 1
        elif left_out := self._left_out.pop(level, 0):
            record.msg, record.args = f"({left_out} lines were left out) {record.getMessage()}", None
        return room >= 1
