"""Reading numbers out of text, and writing files that appear whole or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from mtdrive.errors import DataError


def parse_numbers(text: str, count: int, where: str) -> Float64[np.ndarray, " count"]:
    """Return the `count` finite numbers of `text`.

    Raises:
        DataError: naming `where` they stand, if they are not.
    """
    try:
        values = np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: expected {count} numbers ({error}); restore the file") from None
    if len(values) != count or not np.isfinite(values).all():
        raise DataError(f"{where}: expected {count} finite numbers, found {text.strip()!r}; restore the file")
    return values


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any time either the old or the new content is there, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, and the folder that it lies in if there is none."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue().encode())
