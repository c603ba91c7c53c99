"""What the data sets of a run have for its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mtdrive.batch import View
from mtdrive.data.labels import listed
from mtdrive.data.windows import Windows
from mtdrive.errors import ConfigError
from mtdrive.model import Model
from mtdrive.rig import Rig


def check_mix(model: Model, mix: Mapping[str, Windows]) -> None:
    """Check that every task and coupling is trained by some data set.

    Raises:
        ConfigError: names the part and what it lacks.
    """
    trained = {part for w in mix.values() for part in model.trainable(w.views, w.labels)}
    offers = "; ".join(f"{name} has {_listed(w.views, w.labels)}" for name, w in mix.items())
    for name in model.kinds:
        part = model.part(name)
        if name not in trained:
            raise ConfigError(
                f"{name!r} would never be trained: it needs {_listed(part.views, part.needs)}, but {offers}; "
                "add a data set that has them (labels are a setting of its source), or leave the task out"
            )
    for data, w in mix.items():
        blank = {label: recording for recording in w.recordings for label in recording.unknown}
        for name in model.trainable(w.views, w.labels):
            if missing := sorted(model.part(name).needs & blank.keys()):
                raise ConfigError(
                    f"{name!r} needs {missing[0]}, which nobody gave in {blank[missing[0]].name} of data set "
                    f"{data}; leave that drive or the task out, or record drives of the expert"
                )
            if unknown := set(model.part(name).poses) - w.posed:
                views = ", ".join(map(str, sorted(unknown)))
                raise ConfigError(
                    f"{name!r} needs the pose of {views}, which data set {data} does not know; add its "
                    "calibration or poses, or let a network predict the motion"
                )


def check_classes(model: Model, data: str, items: Windows) -> None:
    """Check that a data set has the classes that its tasks take its labels to have.

    Raises:
        ConfigError: names a task, a label and the data set.
    """
    for name in model.tasks:
        for label, wanted in model.task(name).classes.items():
            for recording in items.recordings if label in items.labels else ():
                found = recording.classes.get(label, ())
                if found != wanted:
                    raise ConfigError(
                        f"{name!r} takes {label} to be of the classes {listed(wanted)}, but {recording.name} "
                        f"of data set {data} names {listed(found) if found else 'none'}; set classes of its "
                        "source or of the task, or name them in `Recording.classes` of your own reader"
                    )


def rig_of(model: Model, mix: Mapping[str, Windows]) -> Rig | None:
    """Return the rig, if it is one, of all data that train tasks which act, once these were told of it."""
    acting = {name for name in model.tasks if model.task(name).acts}
    rigs = [
        rig
        for w in mix.values()
        if acting & set(model.trainable(w.views, w.labels))
        for rig in map(w.rig, w.recordings)
    ]
    if not rigs or any(rig != rigs[0] for rig in rigs):
        return None
    for name in acting:
        model.task(name).rig = rigs[0]
    return rigs[0]


def _listed(views: Sequence[View], labels: Iterable[str]) -> str:
    return f"views {', '.join(map(str, views))} and labels {', '.join(sorted(labels)) or 'none'}"
