"""Times the loader beside a plain implementation of the one that Monodepth2's paper describes.

Usage: python benchmarks/loader.py [--frames FOLDER] [--batches N] [--out FILE]

FOLDER holds numbered images of 1242x375, such as a drive's image_02/data; without it, textured ones are made.
Both sides make batches of 12 items of three views at 640x192 from the same frames with the same draws, six of
twelve jittered, clean and jittered, with the target at four scales. They take turns, batch by batch, on one
thread. Times are of the processor, in milliseconds an item, from files in the system's cache to floats.

plain: decodes with Pillow, shrinks each frame to full size and four scales one after the other with Lanczos,
    jitters all of them as 8-bit images, converts each to a tensor.
frugal: the same without what training never reads: jitter and tensors at full size and of the smaller scales.
mtdrive: `Windows`, `collate_packed` and `Packed.to`, the loader of training without its processes, and the
    pooling to scales that the loss does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.transforms.v2 import functional as F

from mtdrive.batch import TARGET, View
from mtdrive.data.augment import Augment
from mtdrive.data.colour import Jitter
from mtdrive.data.folders import ImageFolder, image_folder
from mtdrive.data.images import read_image, resized_pixels
from mtdrive.data.packed import collate_packed
from mtdrive.data.recording import Recording, Size, Source, Target
from mtdrive.data.windows import Windows
from mtdrive.randomness import generator
from mtdrive.tasks.depth.smoothness import shrunk

SIZE: Size = (192, 640)
BATCH = 12
SCALES = 4
VIEWS = (TARGET, View("front", -1), View("front", 1))
LANCZOS = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Drive(Recording, Source):
    """A folder of images."""

    images: ImageFolder
    name: str = "drive"

    def frames(self, camera: str) -> Sequence[int]:
        """Return the numbers of the frames."""
        return self.images.frames if camera == "front" else ()

    def path(self, camera: str, frame: int) -> Path:
        """Return where the image lies."""
        return self.images.path(frame)

    def image(self, camera: str, frame: int) -> Image.Image:
        """Return the image as RGB."""
        return self.images.read(frame)

    def intrinsics(self, camera: str, size: Size) -> Tensor:
        """Return Monodepth2's matrix."""
        scale = torch.tensor([[size[1]], [size[0]], [1]], dtype=torch.float64)
        return scale * torch.tensor([[0.58, 0, 0.5], [0, 1.92, 0.5], [0, 0, 1]], dtype=torch.float64)

    def targets(self) -> list[Target]:
        """Return all frames."""
        return [Target(self, frame) for frame in self.images.frames]


@dataclass(frozen=True)
class Item:
    """What the plain sides load: the same frames with the same draws."""

    key: tuple[int, int]
    paths: tuple[Path, ...]
    flip: bool
    jitter: Jitter | None


@dataclass
class Clock:
    """Adds up processor time by what it was spent on."""

    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time of the block."""
        start = time.process_time()
        yield
        self.spent[name] += time.process_time() - start


def jittered(image: Image.Image, jitter: Jitter | None) -> Image.Image:
    """Return the 8-bit image after the four steps in the order of the draw."""
    steps = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for step in jitter.order if jitter else ():
        image = steps[step](image, jitter.amounts[step])
    return image


def plain_item(item: Item, clock: Clock, frugal: bool) -> dict[str, Tensor]:
    """Return one item as a dictionary of tensors by kind, view and scale."""
    levels: dict[str, Image.Image] = {}
    for view, path in enumerate(item.paths):
        with clock("decode"):
            full = Image.open(path).convert("RGB")
            levels[f"{view} full"] = ImageOps.mirror(full) if item.flip else full
        with clock("resize"):
            small = levels[f"{view} full"]
            for scale in range(SCALES):
                small = small.resize((SIZE[1] >> scale, SIZE[0] >> scale), LANCZOS)
                levels[f"{view} {scale}"] = small
    wanted = [name for name in levels if not frugal or name.endswith(" 0")]
    with clock("jitter"):
        changed = {name: jittered(levels[name], item.jitter) for name in wanted}
    with clock("float"):
        clean = wanted + ([f"0 {s}" for s in range(1, SCALES)] if frugal else [])
        tensors = {f"clean {name}": to_tensor(levels[name]) for name in clean}
        tensors |= {f"jittered {name}": to_tensor(changed[name]) for name in wanted}
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("full")}


def to_tensor(image: Image.Image) -> Tensor:
    """Return the image in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


def plain_batch(items: Sequence[Item], clock: Clock, frugal: bool) -> dict[str, Tensor]:
    """Return the items stacked."""
    loaded = [plain_item(item, clock, frugal) for item in items]
    with clock("collate"):
        stacked: dict[str, Tensor] = default_collate(loaded)
    return stacked


def mtdrive_batch(windows: Windows, items: Sequence[Item]) -> dict[str, Tensor]:
    """Return the same from the library."""
    batch = collate_packed([windows.packed(item.key) for item in items]).to("cpu")
    coarse = {f"clean 0 {s}": shrunk(batch.reference(TARGET), like) for s, like in coarser().items()}
    return {"clean": batch.clean, "jittered": batch.inputs.images, **coarse}


def parts(windows: Windows, items: Sequence[Item], clock: Clock) -> None:
    """Time the library's steps one by one."""
    with clock("decode"):
        images = [[read_image(path) for path in item.paths] for item in items]
    with clock("resize"):
        _ = [[resized_pixels(image, SIZE) for image in views] for views in images]
    packed = [windows.packed(item.key) for item in items]
    with clock("collate"):
        together = collate_packed(packed)
    with clock("float"):  # as much memory as with jitter, but only copied
        batch = replace(together, jitters=tuple(j and Jitter(j.amounts, ()) for j in together.jitters)).to(
            "cpu"
        )
    with clock("jitter"):
        for i, jitter in enumerate(together.jitters):
            if jitter:
                jitter.apply_(batch.inputs.images[i])
    with clock("coarse scales"):
        _ = [shrunk(batch.reference(TARGET), like) for like in coarser().values()]


def coarser() -> dict[int, Tensor]:
    """Return stand-ins for the disparities of the coarser scales."""
    return {s: torch.empty(BATCH, 1, SIZE[0] >> s, SIZE[1] >> s) for s in range(1, SCALES)}


def plan(windows: Windows) -> list[list[Item]]:
    """Return batches with as many jittered items as others, covering as many frames as there are."""
    jittered_items, others = [], []
    for index, target in enumerate(windows.targets):
        for epoch in range(2):
            draws = torch.rand(2, generator=generator(windows.seed, "augment", epoch, index))
            paths = tuple(
                target.recording.path("front", target.frame + view.offset) for view in windows.views
            )
            jitter = windows.packed((epoch, index)).jitters[0]
            item = Item((epoch, index), paths, flip=float(draws[0]) < 0.5, jitter=jitter)
            (jittered_items if jitter else others).append(item)
    half = BATCH // 2
    whole = min(len(jittered_items), len(others)) // half
    batches = [jittered_items[i::whole][:half] + others[i::whole][:half] for i in range(whole)]
    assert batches, f"expected at least {BATCH} windows of three frames"
    return batches


def differences(plain: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, float]:
    """Return how far the sides are apart, of 255; the plain one rounds after every step of jitter."""
    result = {}
    for kind in ("clean", "jittered"):
        away = (
            255
            * (torch.stack([plain[f"{kind} {view} 0"] for view in range(len(VIEWS))], 1) - ours[kind]).abs()
        )
        result |= {f"{kind} mean": float(away.mean()), f"{kind} max": float(away.max())}
    return result


def make_frames(folder: Path, count: int) -> None:
    """Write textured images: noise of all frequencies, stronger the coarser, that moves sideways."""
    rng = np.random.default_rng(0)
    height, width = 375, 1242
    wide = np.zeros((height, width + 8 * count, 3))
    for octave in range(7):
        coarse = rng.integers(
            0, 256, (2 + (height >> octave), 2 + (wide.shape[1] >> octave), 3), dtype=np.uint8
        )
        layer = Image.fromarray(coarse).resize((wide.shape[1], height), Image.Resampling.BICUBIC)
        wide += (np.asarray(layer) / 255 - 0.5) * 1.6 ** (octave - 6)
    texture = (255 * (0.5 + 0.6 * wide).clip(0, 1)).astype(np.uint8)
    for n in range(count):
        image = Image.fromarray(texture[:, 8 * n : 8 * n + width])
        image.save(folder / f"{n:010d}.jpg", quality=92, subsampling="4:2:0")


def measure(folder: Path, count: int) -> dict[str, object]:
    """Return times, ratios and differences on the frames of a folder."""
    windows = Windows(Drive(image_folder(folder)), VIEWS, SIZE, augment=Augment())
    batches = plan(windows)
    chosen = [batches[i % len(batches)] for i in range(count)]
    clocks = {side: Clock() for side in ("plain", "frugal", "mtdrive")}
    sides: dict[str, Callable[[Sequence[Item]], dict[str, Tensor]]] = {
        "plain": lambda items: plain_batch(items, clocks["plain"], frugal=False),
        "frugal": lambda items: plain_batch(items, clocks["frugal"], frugal=True),
        "mtdrive": lambda items: mtdrive_batch(windows, items),
    }
    away = differences(sides["plain"](chosen[0]), sides["mtdrive"](chosen[0]))
    clocks["plain"].spent.clear()
    times: dict[str, list[float]] = {side: [] for side in sides}
    for items in chosen:
        for side, load in sides.items():
            start = time.process_time()
            load(items)
            times[side].append(1000 * (time.process_time() - start) / BATCH)
        parts(windows, items, clocks["mtdrive"])
    spread = {
        side: np.percentile(np.divide(times[side], times["mtdrive"]), [10, 50, 90]).round(2).tolist()
        for side in ("plain", "frugal")
    }
    return {
        "frames": len(windows.targets) + 2,
        "batches": count,
        "ms_per_item": {side: round(median(t), 2) for side, t in times.items()},
        "items_per_second": {side: round(1000 / median(t), 1) for side, t in times.items()},
        "times_as_fast": {side: round(median(times[side]) / median(times["mtdrive"]), 2) for side in spread},
        "of_a_batch_10_50_90_percent": spread,
        "ms_of_parts": {
            side: {name: round(1000 * t / count / BATCH, 2) for name, t in clock.spent.items()}
            for side, clock in clocks.items()
        },
        "difference_of_255": {name: round(x, 4) for name, x in away.items()},
    }


def main() -> None:
    """Measure, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--frames", type=Path, help="a folder of numbered images; made if not given")
    arguments.add_argument("--batches", type=int, default=22, help="of 12 items, timed on each side")
    arguments.add_argument("--out", type=Path, help="a JSON file")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.frames or Path(temporary)
        if options.frames is None:
            make_frames(folder, 40)
        result = {
            "torch": torch.__version__,
            "pillow": Image.__version__,
            "made": options.frames is None,
            **measure(folder, options.batches),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
