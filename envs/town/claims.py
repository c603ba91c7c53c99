"""Tokens of streams that were handed out and that nobody has used yet.

`listen()` returns before the client is connected, so a tick sent at once would lose the first frame: a
client's ticks wait until its own tokens are used, or for `PATIENCE` at most. They wait for the tokens of
others, too, since a program may be several clients, but not so long that one who never comes can stop them.
"""

from __future__ import annotations

import asyncio
import contextlib

PATIENCE = 5.0
"""Seconds that a token may stay unused."""
CREDIT, SHARE = 10.0, 0.2
"""Seconds that ticks wait for the tokens of others at most, and how much of it comes back in a second."""


class Claims:
    """Who was given a token, for which stream, and when that is forgotten."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, object], float] = {}
        self._changed = asyncio.Event()
        self._credit, self._since = CREDIT, 0.0

    def __bool__(self) -> bool:
        """Return whether a token is not used yet."""
        return bool(self._open)

    def expect(self, stream: int, owner: object) -> None:
        """Remember that a client was given a token."""
        self._open[stream, owner] = _now() + PATIENCE

    def use(self, stream: int) -> None:
        """Take notice that one token of a stream is used; it is not seen whose."""
        first = next((key for key in self._open if key[0] == stream), None)
        if first is not None:
            del self._open[first]
            self._changed.set()

    def forget(self, stream: int | None = None, owner: object = None) -> None:
        """Wait no longer for the tokens of a stream or a client."""
        self._open = {
            key: end
            for key, end in self._open.items()
            if key[0] != stream and (owner is None or key[1] is not owner)
        }
        self._changed.set()

    async def settled(self, owner: object = None) -> None:
        """Wait until all tokens are used or too old, those of others not for long."""
        while True:
            now = _now()
            self._open = {key: end for key, end in self._open.items() if end > now}
            mine = [end for key, end in self._open.items() if key[1] is owner]
            until = min(mine or self._open.values(), default=now)
            if not mine:
                until = min(until, now + self._left(now))
            if until <= now:
                return
            self._changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), until - now)
            if not mine:
                self._credit -= _now() - now

    def _left(self, now: float) -> float:
        """Return how long ticks may still wait for others."""
        self._credit = min(CREDIT, self._credit + SHARE * (now - self._since))
        self._since = now
        return self._credit


def _now() -> float:
    return asyncio.get_running_loop().time()
