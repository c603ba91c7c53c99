"""Scores trajectories, by the protocols of the published tables, and writes and draws them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mtdrive.errors import DataError
from mtdrive.files import write_atomically, write_csv
from mtdrive.odometry import SEGMENTS, OdometryErrors, odometry_errors, pooled
from mtdrive.trajectory import Alignment, Poses, fit, read_poses, write_poses

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Track:
    """A predicted trajectory beside the true one."""

    name: str
    frames: Sequence[int]
    """Numbers of its frames."""
    pred: Poses
    truth: Poses | None
    """In metres; None where it is not known."""

    @property
    def file(self) -> str:
        """The name, fit for a file."""
        return self.name.replace("/", "_")


@dataclass(frozen=True)
class OdometryScore:
    """Trajectories and their errors after alignment."""

    tracks: tuple[Track, ...]
    align: Alignment

    @cached_property
    def _errors(self) -> dict[str, tuple[OdometryErrors, float]]:
        """Errors and scale of each track whose truth is known, by its name."""
        return {t.name: _score(t, t.truth, self.align) for t in self.tracks if t.truth is not None}

    def sequences(self) -> dict[str, Figures]:
        """Return the figures of each trajectory whose truth is known, with the `scale` of its alignment."""
        return {name: {**errors.figures(), "scale": scale} for name, (errors, scale) in self._errors.items()}

    def summary(self) -> Figures:
        """Return the figures of the only trajectory, or of the errors of all of them together."""
        if not self._errors:
            return {"frames": sum(len(track.frames) for track in self.tracks)}
        if len(self._errors) == 1:
            return next(iter(self.sequences().values()))
        return pooled([errors for errors, _ in self._errors.values()]).figures()

    def document(self) -> dict[str, Any]:
        """Return the summary with what it consists of."""
        return {**self.summary(), "align": self.align, "sequences": self.sequences()}

    def table(self) -> Figures:
        """Return the summary and, of several trajectories, the figures of each, as `name/figure`."""
        each = self.sequences() if len(self._errors) > 1 else {}
        parts = {f"{name}/{key}": x for name, figures in each.items() for key, x in figures.items()}
        return {**self.summary(), **parts}

    def notes(self) -> list[str]:
        """Return what is missing, and why."""
        return [
            f"{name}: the true path is no longer than {SEGMENTS[0]} m, the shortest segment of KITTI's t_err "
            "and r_err, so both are absent"
            for name, (errors, _) in self._errors.items()
            if not len(errors.segments)
        ]

    def write_csv(self, path: Path) -> None:
        """Write a line for each window of the 5-frame error, named by its first frame."""
        rows = [
            (track.name, frame, error)
            for track in self.tracks
            if track.name in self._errors
            for frame, error in zip(track.frames[:-1], self._errors[track.name][0].snippets, strict=True)
        ]
        write_csv(path, ("sequence", "frame", "ate5"), rows)

    def write(self, folder: Path) -> None:
        """Write `odometry.json`, `odometry.csv`, and of each trajectory its poses and its picture."""
        folder.mkdir(parents=True, exist_ok=True)
        for track in self.tracks:
            write_poses(folder / f"{track.file}.txt", track.pred)
            self.draw(track, folder / f"{track.file}.png")
        self.write_csv(folder / "odometry.csv")
        write_atomically(folder / "odometry.json", json.dumps(self.document()).encode())

    def draw(self, track: Track, path: Path) -> None:
        """Draw a trajectory from above, the aligned prediction over the truth, as a PNG."""
        pred, unit = track.pred, "units of the prediction"
        lines = {}
        if track.truth is not None:
            pred, unit = fit(pred, track.truth, self.align).move(pred), "m"
            lines["truth"] = track.truth
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _picture(track.name, {**lines, "prediction": pred}, unit))


def _score(track: Track, truth: Poses, align: Alignment) -> tuple[OdometryErrors, float]:
    try:
        return odometry_errors(track.pred, truth, align)
    except DataError as error:
        raise DataError(f"{track.name}: {error}") from None


def _picture(title: str, lines: Mapping[str, Poses], unit: str) -> bytes:
    """Return the PNG of trajectories by their labels, x to the right and z up."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    for label, poses in lines.items():
        style = {"color": "0.7", "linewidth": 4} if label == "truth" else {"color": "tab:red"}
        axes.plot(poses[:, 0, 3], poses[:, 2, 3], label=label, **style)
    start = next(iter(lines.values()))[0, :3, 3]
    axes.plot(start[0], start[2], "o", color="black", label="start")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(title=title, xlabel=f"x in {unit}", ylabel=f"z in {unit}")
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()


def score_odometry(pred: Path, truth: Path, align: Alignment) -> OdometryScore:
    """Score a predicted trajectory against the true one, frame by frame; both in KITTI's format.

    Raises:
        DataError: if a file is missing or damaged, or the two do not match.
    """
    predicted, known = read_poses(pred), read_poses(truth)
    if len(predicted) != len(known):
        raise DataError(
            f"{pred} has {len(predicted)} poses and {truth} {len(known)}; expected a line a frame in both; "
            "cut the longer file to the frames of the other"
        )
    if len(known) < 2:
        raise DataError(f"{truth} has one pose; a trajectory has at least two")
    return OdometryScore((Track(truth.stem, range(len(known)), predicted, known),), align)
