"""When a run of training is over: after its last step, or when its time is up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mtdrive.errors import ConfigError
from mtdrive.log import progress

Tell = Callable[[int, float, str], None]
"""Takes the finished steps, the seconds that they took, and a note."""


class Pace:
    """Says how far a run is."""

    def __init__(self, steps: int, minutes: float | None = None, processes: int = 1) -> None:
        """Remember what ends the run, whichever comes first.

        Raises:
            ConfigError: if there is no time, or if time ends it and there are several processes.
        """
        if minutes is not None and not minutes > 0:
            raise ConfigError(f"training.minutes must be more than 0, found {minutes:g}")
        if minutes is not None and processes > 1:
            raise ConfigError(
                "training.minutes ends the run of one process; give several processes training.steps"
            )
        self.steps, self.minutes = steps, minutes

    def share(self, step: int, seconds: float) -> float:
        """Return how much of the run is done, 1 at its end."""
        done = step / self.steps
        if self.minutes is None:
            return done
        return max(done, seconds / (60 * self.minutes))

    @contextmanager
    def progress(self, step: int, seconds: float, quiet: bool = False) -> Iterator[Tell]:
        """Show how far it is, in what ends it."""
        if self.minutes is None:
            with progress("training", self.steps, step, quiet) as bar:
                yield lambda step, seconds, note: bar(step, note)
        else:
            with progress("seconds of training", round(60 * self.minutes), round(seconds), quiet) as bar:
                yield lambda step, seconds, note: bar(round(seconds), note)
