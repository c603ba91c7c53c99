"""Readers of labelled single images, on small trees of the published layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mtdrive.batch import View
from mtdrive.classes import CITYSCAPES, LABEL_IDS
from mtdrive.data.cityscapes import Cityscapes
from mtdrive.data.images import read_size
from mtdrive.data.kitti_semantics import KittiSemantics
from mtdrive.data.recording import Size, Source
from mtdrive.data.windows import Windows
from mtdrive.errors import ConfigError, DataError

CITIES = {"aachen": 2, "ulm": 1}


def write_pair(image: Path, label: Path, size: Size, seed: int) -> None:
    """Write an image and label ids, among them some that are no class, and the id that plates have, -1."""
    rng = np.random.default_rng(seed)
    for path, values in (
        (image, rng.integers(0, 256, (*size, 3), np.uint8)),
        (label, rng.choice(np.array([*range(34), 255], np.uint8), size)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)


def write_kitti(root: Path) -> Source:
    """Write three images of different sizes, and a frame of the flow benchmark beside one."""
    folder = root / "training"
    for k, size in enumerate([(37, 124), (38, 122), (37, 124)]):
        name = f"{k:06d}_10.png"
        write_pair(folder / "image_2" / name, folder / "semantic" / name, size, k)
    (folder / "image_2/000000_11.png").write_bytes(b"not read")
    (folder / "semantic_rgb").mkdir()
    return KittiSemantics(root)


def write_cityscapes(root: Path) -> Source:
    for city, count in CITIES.items():
        for k in range(count):
            name = f"{city}_{k:06d}_000019"
            image = root / f"leftImg8bit/train/{city}/{name}_leftImg8bit.png"
            label = root / f"gtFine/train/{city}/{name}_gtFine_labelIds.png"
            write_pair(image, label, (32, 64), k)
            for other in ("color", "instanceIds"):
                label.with_name(f"{name}_gtFine_{other}.png").write_bytes(b"not read")
    return Cityscapes(root)


FIRST: dict[Callable[[Path], Source], tuple[str, str]] = {
    write_kitti: ("training/image_2/000000_10.png", "training/semantic/000000_10.png"),
    write_cityscapes: (
        "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
        "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png",
    ),
}
both = pytest.mark.parametrize("write", FIRST, ids=["KITTI", "Cityscapes"])
Write = Callable[[Path], Source]


@both
def test_items_have_the_image_and_the_train_ids_of_the_same_pixels(tmp_path: Path, write: Write) -> None:
    source = write(tmp_path)
    items = Windows(source, (), (16, 24))
    assert len(items) == 3
    assert items.labels == {"semantics"}
    assert all(r.classes == {"semantics": CITYSCAPES.names} for r in items.recordings)
    image, label = (tmp_path / name for name in FIRST[write])
    item = items[0]
    assert item.names == (str(image),)
    ids = np.asarray(Image.open(label))
    rows, columns = (
        np.floor((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip((16, 24), ids.shape, strict=True)
    )
    np.testing.assert_array_equal(item.labels["semantics"], LABEL_IDS.table[ids[np.ix_(rows, columns)]])
    small = Image.open(image).resize((24, 16), Image.Resampling.LANCZOS)
    expected = torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255
    torch.testing.assert_close(item.clean[0], expected, rtol=0, atol=1.5 / 255)
    assert item.inputs.intrinsics[0, 0, 2] == pytest.approx(12, abs=2)


@both
def test_images_have_no_neighbours_in_time(tmp_path: Path, write: Write) -> None:
    """They lie side by side on disk, but were taken at other places."""
    with pytest.raises(DataError, match=r"no frame of .* has all of the views front, front-1"):
        Windows(write(tmp_path), (View("front", -1),), (16, 24))


def test_parts_of_the_data_can_be_chosen(tmp_path: Path) -> None:
    write_kitti(tmp_path)
    assert [t.frame for t in KittiSemantics(tmp_path, start=1).targets()] == [1, 2]
    assert [t.frame for t in KittiSemantics(tmp_path, every=2, stop=3).targets()] == [0, 2]
    write_cityscapes(tmp_path)
    assert [t.recording.name for t in Cityscapes(tmp_path, cities=["ulm"]).targets()] == ["ulm"]
    assert [t.recording.name for t in Cityscapes(tmp_path, every=2).targets()] == ["aachen", "ulm"]


@both
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:80]), "truncated or damaged"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: Image.new("RGB", read_size(path)[::-1]).save(path), "8-bit greys, found mode RGB"),
        (
            lambda path: Image.new("L", (20, 10)).save(path),
            "expected .* pixels as in .*, found 20x10; resize",
        ),
        (
            lambda path: Image.new("L", read_size(path)[::-1], 34).save(path),
            "ids such as 34, .* from 0 to 33",
        ),
    ],
    ids=["half", "empty", "colours", "size", "id"],
)
def test_a_bad_label_is_one_line_that_names_it(
    tmp_path: Path, write: Write, damage: Callable[[Path], object], message: str
) -> None:
    items = Windows(write(tmp_path), (), (16, 24))
    label = tmp_path / FIRST[write][1]
    damage(label)
    with pytest.raises(DataError, match=f"{label.name}: .*{message}") as caught:
        items[0]
    assert "\n" not in str(caught.value)
    assert items[1].labels


@both
def test_what_lacks_its_partner_is_refused_or_left_out(tmp_path: Path, write: Write) -> None:
    source = write(tmp_path)
    image, label = (tmp_path / name for name in FIRST[write])
    kept = label.read_bytes()
    label.unlink()
    with pytest.raises(DataError, match=rf"{image.name}: has no label, as have 0 more .* set only_labelled"):
        source.targets()
    assert len(type(source)(tmp_path, only_labelled=True).targets()) == 2  # type: ignore[call-arg]
    label.write_bytes(kept)
    image.unlink()
    with pytest.raises(DataError, match=rf"{label.name}: has no image"):
        source.targets()


def test_wrong_folders_and_settings_say_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0 labels such as 000000_10.png.*; root must hold training/image_2"):
        KittiSemantics(tmp_path).targets()
    with pytest.raises(DataError, match="gtFine/val: no folders of cities; root must hold leftImg8bit/val"):
        Cityscapes(tmp_path, split="val").targets()
    with pytest.raises(
        DataError, match="gtFine/train/bonn: no labels such as bonn_000000_000019_gtFine_label"
    ):
        Cityscapes(tmp_path, cities=["bonn"]).targets()
    settings: list[dict[str, Any]] = [{"every": 0}, {"start": -1}, {"start": 3, "stop": 3}]
    for bad in settings:
        with pytest.raises(ConfigError):
            KittiSemantics(tmp_path, **bad)
