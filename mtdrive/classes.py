"""The classes of pixels: CARLA's tags, the 19 of Cityscapes and KITTI, and which ids of files become them.

A label `semantics` holds classes of one set, counted from 0; `UNLABELLED` marks the pixels of none.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int16, Int64, UInt8

from mtdrive.errors import ConfigError, DataError

UNLABELLED = 255
"""Of pixels that have no class: they neither train nor count."""

ClassSet = Literal["cityscapes", "carla"]
"""Names of `CLASS_SETS`."""

Colour = tuple[int, int, int]
_NO_ID = -1  # in tables: what no file may hold


@dataclass(frozen=True)
class Classes:
    """Some classes by their ids."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    """Red, green and blue from 0 to 255."""

    def __len__(self) -> int:
        return len(self.names)


class _Label(NamedTuple):
    """What an id of Cityscapes' and KITTI's files stands for; the id is its place in the table."""

    name: str
    colour: Colour | None = None
    """None where it is no class: such pixels are neither trained nor evaluated."""


# Marius Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016,
# https://arxiv.org/abs/1604.01685; the ids come with the benchmark's scripts.
_LABELS = (
    _Label("unlabeled"),
    _Label("ego vehicle"),
    _Label("rectification border"),
    _Label("out of roi"),
    _Label("static"),
    _Label("dynamic"),
    _Label("ground"),
    _Label("road", (128, 64, 128)),
    _Label("sidewalk", (244, 35, 232)),
    _Label("parking"),
    _Label("rail track"),
    _Label("building", (70, 70, 70)),
    _Label("wall", (102, 102, 156)),
    _Label("fence", (190, 153, 153)),
    _Label("guard rail"),
    _Label("bridge"),
    _Label("tunnel"),
    _Label("pole", (153, 153, 153)),
    _Label("polegroup"),
    _Label("traffic light", (250, 170, 30)),
    _Label("traffic sign", (220, 220, 0)),
    _Label("vegetation", (107, 142, 35)),
    _Label("terrain", (152, 251, 152)),
    _Label("sky", (70, 130, 180)),
    _Label("person", (220, 20, 60)),
    _Label("rider", (255, 0, 0)),
    _Label("car", (0, 0, 142)),
    _Label("truck", (0, 0, 70)),
    _Label("bus", (0, 60, 100)),
    _Label("caravan"),
    _Label("trailer"),
    _Label("train", (0, 80, 100)),
    _Label("motorcycle", (0, 0, 230)),
    _Label("bicycle", (119, 11, 32)),
)

CITYSCAPES = Classes(
    tuple(label.name for label in _LABELS if label.colour),
    tuple(label.colour for label in _LABELS if label.colour),
)
"""The 19 that Cityscapes and KITTI evaluate, by their train ids."""


class _Tag(NamedTuple):
    """A semantic tag of CARLA 0.9.16; its id is its place in the table."""

    name: str
    cityscapes: str
    """The class of Cityscapes that shows the same; empty where that data set leaves it out."""
    colour: Colour


_TAGS = (
    _Tag("unlabeled", "", (0, 0, 0)),
    _Tag("road", "road", (128, 64, 128)),
    _Tag("sidewalk", "sidewalk", (244, 35, 232)),
    _Tag("building", "building", (70, 70, 70)),
    _Tag("wall", "wall", (102, 102, 156)),
    _Tag("fence", "fence", (190, 153, 153)),
    _Tag("pole", "pole", (153, 153, 153)),
    _Tag("traffic light", "traffic light", (250, 170, 30)),
    _Tag("traffic sign", "traffic sign", (220, 220, 0)),
    _Tag("vegetation", "vegetation", (107, 142, 35)),
    _Tag("terrain", "terrain", (152, 251, 152)),
    _Tag("sky", "sky", (70, 130, 180)),
    _Tag("pedestrian", "person", (220, 20, 60)),
    _Tag("rider", "rider", (255, 0, 0)),
    _Tag("car", "car", (0, 0, 142)),
    _Tag("truck", "truck", (0, 0, 70)),
    _Tag("bus", "bus", (0, 60, 100)),
    _Tag("train", "train", (0, 80, 100)),
    _Tag("motorcycle", "motorcycle", (0, 0, 230)),
    _Tag("bicycle", "bicycle", (119, 11, 32)),
    _Tag("static", "", (110, 190, 160)),
    _Tag("dynamic", "", (170, 120, 50)),
    _Tag("other", "", (55, 90, 80)),
    _Tag("water", "", (45, 60, 150)),
    _Tag("road line", "road", (157, 234, 50)),
    _Tag("ground", "", (81, 0, 81)),
    _Tag("bridge", "", (150, 100, 100)),
    _Tag("rail track", "", (230, 150, 140)),
    _Tag("guard rail", "", (180, 165, 180)),
)

CARLA = Classes(tuple(tag.name for tag in _TAGS), tuple(tag.colour for tag in _TAGS))
"""The tags of CARLA 0.9.16. No pixel of a label has the first one: it is `UNLABELLED`."""

CLASS_SETS: dict[ClassSet, Classes] = {"cityscapes": CITYSCAPES, "carla": CARLA}


@dataclass(frozen=True, eq=False)
class Coding:
    """How the ids in files become classes."""

    name: str
    """Of the ids, for messages."""
    table: Int16[np.ndarray, " 256"]
    """The class of each id, or `UNLABELLED`; -1 for ids that do not exist."""

    def classes(self, ids: UInt8[np.ndarray, "h w"], where: object) -> Int64[np.ndarray, "h w"]:
        """Return the class of each pixel of the file `where`.

        Raises:
            DataError: if an id does not exist.
        """
        found = self.table[ids]
        if (bad := ids[found == _NO_ID]).size:
            known = np.flatnonzero(self.table[:UNLABELLED] != _NO_ID)
            raise DataError(
                f"{where}: {bad.size} pixels of semantics have ids such as {bad[0]}, but {self.name} go from "
                f"{known[0]} to {known[-1]}, and {UNLABELLED} is unlabelled; restore the file, or map its ids"
            )
        classes: Int64[np.ndarray, "h w"] = found.astype(np.int64)
        return classes


def _coding(name: str, classes: Sequence[int]) -> Coding:
    table = np.full(256, _NO_ID, np.int16)
    table[: len(classes)] = classes
    table[UNLABELLED] = UNLABELLED
    return Coding(name, table)


def _train_id(name: str) -> int:
    return CITYSCAPES.names.index(name) if name else UNLABELLED


LABEL_IDS = _coding(
    "the label ids of Cityscapes", [_train_id(label.name if label.colour else "") for label in _LABELS]
)
"""The files of Cityscapes and KITTI, to the classes of Cityscapes."""
TAGS: dict[ClassSet, Coding] = {
    "cityscapes": _coding("the tags of CARLA", [_train_id(tag.cityscapes) for tag in _TAGS]),
    "carla": _coding("the tags of CARLA", [UNLABELLED, *range(1, len(_TAGS))]),
}
"""CARLA's tags, to the classes of each set."""


def find_classes(which: ClassSet | Sequence[str]) -> Classes:
    """Return the set of a name, or that of one's own names, in colours all around the wheel.

    Raises:
        ConfigError: if the name is unknown, or the own names are not two or more different ones.
    """
    if isinstance(which, str):
        if which not in CLASS_SETS:
            raise ConfigError(f"classes are {', '.join(CLASS_SETS)} or a list of names, found {which!r}")
        return CLASS_SETS[which]
    names = tuple(which)
    if not 2 <= len(set(names)) == len(names) <= UNLABELLED:
        raise ConfigError(f"classes must be 2 to {UNLABELLED} different names, found {list(names)}")
    # Every other class is darker, so that neighbours on the wheel differ.
    colours = [colorsys.hsv_to_rgb(i / len(names), 0.8, 0.6 + 0.4 * (i % 2)) for i in range(len(names))]
    return Classes(names, tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours))
