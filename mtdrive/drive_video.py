"""Videos of drives: the car from behind, and what its first camera sees with the agent's sketch in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from mtdrive.video import VideoWriter

FOLDER = "videos"
LINE = 14
"""Pixels of the line of text."""


Picture = UInt8[np.ndarray, "_h _w 3"]


def frame(pictures: Sequence[Picture], text: str) -> Image.Image:
    """Return pictures beside each other, as high as the first, above a line of text."""
    height = pictures[0].shape[0]
    widths = [max(round(p.shape[1] * height / p.shape[0]), 1) for p in pictures]
    whole = Image.new("RGB", (sum(widths), height + LINE))
    for i, (picture, width) in enumerate(zip(pictures, widths, strict=True)):
        whole.paste(Image.fromarray(picture).resize((width, height)), (sum(widths[:i]), 0))
    ImageDraw.Draw(whole).text((4, height + 1), text, fill=(255, 255, 255))
    return whole


class Film:
    """Writes the video of a drive, used as a context; without one to write it does nothing."""

    def __init__(self, path: Path | None, rate: float) -> None:
        """Remember where to write, None for nowhere, and the frames per second."""
        self.path = path
        self._writer = VideoWriter(path, rate) if path else None

    def __enter__(self) -> Film:
        """Make the folder."""
        if self.path and self._writer:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Keep the video if nothing went wrong."""
        if self._writer:
            self._writer.__exit__(*error)  # type: ignore[arg-type]

    def add(self, pictures: Sequence[Picture], text: str) -> None:
        """Add a frame."""
        if self._writer:
            self._writer.write(frame(pictures, text))
