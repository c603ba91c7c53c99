"""Class sets: that every id of every file means what its publishers say."""

from __future__ import annotations

import numpy as np
import pytest

from mtdrive.classes import (
    CARLA,
    CITYSCAPES,
    CLASS_SETS,
    LABEL_IDS,
    TAGS,
    UNLABELLED,
    Coding,
    find_classes,
)
from mtdrive.envs.town.tags import Tag
from mtdrive.errors import ConfigError, DataError

# Name and label id of the 19 classes in the order of their train ids, from the benchmark's paper and scripts.
PUBLISHED = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26,
    "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip


def test_label_ids_of_files_become_the_published_train_ids() -> None:
    assert CITYSCAPES.names == tuple(PUBLISHED)
    expected = {
        **dict.fromkeys(range(34), UNLABELLED),
        **{id_: k for k, id_ in enumerate(PUBLISHED.values())},
    }
    assert LABEL_IDS.table[:34].tolist() == [expected[k] for k in range(34)]


def test_tags_are_those_of_the_simulator() -> None:
    names = [name.replace(" ", "_").upper() for name in CARLA.names]
    assert names == [tag.name for tag in sorted(Tag)]


def test_every_tag_has_the_class_of_the_same_name_or_none() -> None:
    """The first 19 are Cityscapes' in its order; what is left out there is unlabelled, but paint is road."""
    mapped = TAGS["cityscapes"].table
    for tag in Tag:
        name = {"PEDESTRIAN": "person", "ROAD_LINE": "road"}.get(tag.name, tag.name.replace("_", " ").lower())
        expected = CITYSCAPES.names.index(name) if name in CITYSCAPES.names else UNLABELLED
        assert mapped[tag] == expected, tag.name
    assert mapped[1:20].tolist() == list(range(19))


def test_both_sets_paint_the_same_thing_alike() -> None:
    for tag, name in enumerate(CARLA.names[1:20], start=1):
        assert CARLA.colours[tag] == CITYSCAPES.colours[tag - 1], name
    for classes in CLASS_SETS.values():
        assert len(set(classes.colours)) == len(set(classes.names)) == len(classes.colours) == len(classes)


@pytest.mark.parametrize("coding", [LABEL_IDS, *TAGS.values()], ids=lambda c: c.name)
def test_a_table_gives_classes_of_its_set_and_refuses_all_other_ids(coding: Coding) -> None:
    count = len(CARLA) if coding is TAGS["carla"] else len(CITYSCAPES)
    known = [*range(34 if coding is LABEL_IDS else 29), UNLABELLED]
    for id_ in range(256):
        ids = np.full((2, 2), UNLABELLED, np.uint8)
        ids[0, 1] = id_
        if id_ in known:
            classes = coding.classes(ids, "a.png")
            assert classes.dtype == np.int64
            assert classes[0, 1] in {*range(count), UNLABELLED}
            assert (classes.ravel()[[0, 2, 3]] == UNLABELLED).all()
        else:
            with pytest.raises(DataError, match=f"a.png: 1 pixels .* ids such as {id_}, but .* from 0 to"):
                coding.classes(ids, "a.png")


def test_ones_own_classes_have_colours_of_their_own() -> None:
    own = find_classes(["free", "car", "other"])
    assert own.names == ("free", "car", "other")
    assert len(set(own.colours)) == 3
    assert find_classes("carla") is CARLA
    for bad in (["road"], ["road", "road"], [str(k) for k in range(256)]):
        with pytest.raises(ConfigError, match="2 to 255 different names"):
            find_classes(bad)
    with pytest.raises(ConfigError, match="cityscapes, carla or a list of names, found 'coco'"):
        find_classes("coco")
