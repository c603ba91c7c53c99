"""The driving figures of a folder that `mtdrive drive` wrote, from its records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtdrive.drive_plan import FILE, Assignment, digest_of
from mtdrive.drive_record import read_record
from mtdrive.drive_scores import TITLES, rows
from mtdrive.errors import DataError
from mtdrive.score_tasks import Figure, TaskScore, known

SHOWN = (
    "score_2.0", "done", "completion", "collisions_per_km", "red_lights_per_km", "stop_signs_per_km"
)  # fmt: skip
"""Of the figures; `scores.json` in the folder has them all."""


def driving_figures(folder: Path, checkpoint: Path | None = None) -> TaskScore:
    """Return the driving figures of all drives of a folder.

    There is a note if drives have no record, or the agent was not the checkpoint.

    Raises:
        DataError: if nothing was driven there.
    """
    settings, planned = _read(folder)
    records = [record for plan in planned if (record := read_record(folder, plan))]
    if not records:
        raise DataError(f"{folder}: no drive has a record; let `mtdrive drive` finish first")
    means = rows(planned, records)[0].figures
    figures = [
        Figure(
            task="driving",
            name=name,
            title=TITLES[name],
            value=known(means[name].mean),
            half=known(means[name].half),
            over=f"{len(planned)} drives",
        )
        for name in SHOWN
    ]
    notes = []
    if missing := len(planned) - len(records):
        notes.append(f"{folder}: {missing} of {len(planned)} drives have no record and count as zero")
    if checkpoint is not None and settings.get("agent_content") != digest_of(checkpoint):
        agent = settings.get("agent")
        notes.append(f"{folder}: driven by {agent}, whose files are not those of {checkpoint}")
    return TaskScore(tuple(figures), tuple(notes))


def _read(folder: Path) -> tuple[dict[str, Any], list[Assignment]]:
    """Return the settings of an evaluation in closed loop, and what was planned."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return dict(content["settings"]), [Assignment(**plan) for plan in content["routes"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: cannot be read ({error}); name a folder of `mtdrive drive`") from None
