"""Where numbers and pictures go."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from PIL import Image
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from mtdrive.files import write_atomically


@runtime_checkable
class Log(Protocol):
    """A place for what a run reports."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Record figures."""

    def picture(self, step: int, name: str, picture: Float[Tensor, "3 h w"]) -> None:
        """Record a picture in [0, 1]."""

    def close(self) -> None:
        """Write out what is pending."""


class Files:
    """`log.jsonl`, a line a report, and `pictures/NAME_STEP.png`."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        """Go on after `step`: later lines, of a run that was killed, are dropped.

        Args:
            folder: of the run.
            step: number of finished steps.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "log.jsonl"
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step(line) <= step]
            write_atomically(path, "".join(f"{line}\n" for line in kept).encode())
        self.file = path.open("a")

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line; figures that are not finite are written as null."""
        finite = {name: x if math.isfinite(x) else None for name, x in values.items()}
        self.file.write(json.dumps({"step": step, **finite}) + "\n")
        self.file.flush()

    def picture(self, step: int, name: str, picture: Float[Tensor, "3 h w"]) -> None:
        """Write a PNG."""
        path = self.folder / "pictures" / f"{name.replace('/', '_')}_{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = (picture.detach().float().cpu().permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(path)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _step(line: str) -> float:
    """Return the step of a line, infinity for one that was torn."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


class TensorBoard:
    """Event files in `tensorboard/`."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        """Go on after `step`: later events are hidden.

        Args:
            folder: of the run.
            step: number of finished steps.
        """
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, picture: Float[Tensor, "3 h w"]) -> None:
        """Add an image."""
        self.writer.add_image(name, picture.detach().float().cpu(), step)

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()


class Logs:
    """Several logs as one."""

    def __init__(self, logs: Sequence[Log]) -> None:
        self.logs = list(logs)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Record figures everywhere."""
        for log in self.logs:
            log.numbers(step, values)

    def picture(self, step: int, name: str, picture: Float[Tensor, "3 h w"]) -> None:
        """Record a picture everywhere."""
        for log in self.logs:
            log.picture(step, name, picture)

    def close(self) -> None:
        """Close all."""
        for log in self.logs:
            log.close()


class Reporter(Protocol):
    """Tells somebody who waits how far it is."""

    def __call__(self, done: int, note: str = "") -> None:
        """Report that `done` units are finished."""


@contextmanager
def progress(title: str, total: int, start: int = 0, quiet: bool = False) -> Iterator[Reporter]:
    """Show a bar with rate and time left; where there is no terminal, a line now and then.

    Args:
        title: what is being done.
        total: number of units.
        start: units finished before.
        quiet: show nothing (all processes but the first).
    """
    console = Console(stderr=True, quiet=quiet)
    if console.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        ) as bar:
            yield _Bar(bar, title, total, start)
    else:
        yield _Lines(console, title, total, start)


class _Bar:
    def __init__(self, bar: Progress, title: str, total: int, start: int) -> None:
        self.bar = bar
        self.task = bar.add_task(title, total=total, completed=start, note="", rate="")

    def __call__(self, done: int, note: str = "") -> None:
        speed = self.bar.tasks[0].speed
        self.bar.update(self.task, completed=done, rate=f"{speed:.2f}/s" if speed else "")
        if note:
            self.bar.update(self.task, note=note)


class _Lines:
    """One line a note, or one each tenth."""

    def __init__(self, console: Console, title: str, total: int, start: int) -> None:
        self.console, self.title, self.total, self.start = console, title, total, start
        self.began, self.tenth = console.get_time(), -1

    def __call__(self, done: int, note: str = "") -> None:
        tenth = 10 * done // max(self.total, 1)
        if not note and tenth == self.tenth:
            return
        self.tenth = tenth
        rate = (done - self.start) / max(self.console.get_time() - self.began, 1e-9)
        left = f", {(self.total - done) / rate / 60:.1f} min left" if rate else ""
        self.console.print(
            f"{self.title} {done}/{self.total}, {rate:.2f}/s{left}  {note}", highlight=False, soft_wrap=True
        )
