"""Scores optical flow that any program predicted, as the KITTI 2015 benchmark does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtdrive.data.flow_files import SUFFIXES, read_flow_map
from mtdrive.depth_maps import natural
from mtdrive.errors import DataError
from mtdrive.files import write_csv
from mtdrive.metrics_flow import FlowErrors, flow_errors, pooled

KITTI = {"occ": "flow_occ", "noc": "flow_noc"}
"""Folders of the benchmark's ground truth: of all pixels, and without those that the second image hides."""
SHOWN = 3
"""How many missing images a message names."""

Files = dict[str, Path]
"""By what identifies the image."""


@dataclass(frozen=True)
class FlowScore:
    """Errors of each image, which are summed over all pixels as in KITTI's tables."""

    names: Sequence[str]
    errors: Mapping[str, Sequence[FlowErrors]]
    """Of each image, by which pixels count: `all`, or `occ` and `noc`. The first is the score."""

    def summary(self) -> dict[str, float]:
        """Return `epe` in pixels, `fl` in percent and `epe_still`, the error of no motion.

        Where the truth tells hidden pixels apart, also `epe_occ`, `fl_occ` (all pixels: the score) and
        `epe_noc`, `fl_noc`; and how many `images` and `pixels` there were.
        """
        total = {kind: pooled(rows) for kind, rows in self.errors.items()}
        score = next(iter(total.values()))
        figures = {"epe": score.epe, "fl": score.fl, "epe_still": score.still}
        for kind, errors in total.items():
            if kind != "all":
                figures |= {f"epe_{kind}": errors.epe, f"fl_{kind}": errors.fl}
        return {**figures, "images": len(self.names), "pixels": score.pixels}

    def write_csv(self, path: Path) -> None:
        """Write a line for each image; the file appears whole or not at all."""
        header = ["image", *(f"{n}_{kind}" for kind in self.errors for n in ("epe", "fl", "pixels"))]
        rows: list[list[object]] = [[name] for name in self.names]
        for errors in self.errors.values():
            for row, x in zip(rows, errors, strict=True):
                row += [x.epe, x.fl, x.pixels]
        write_csv(path, header, rows)


def score_flow(pred: Path, truth: Path) -> FlowScore:
    """Score saved flow against saved ground truth: two files, or two folders matched by file stem.

    Args:
        pred: a `.flo` or a KITTI PNG, or a folder of them, of the size of the ground truth.
        truth: likewise; or the benchmark's folder `training`, which holds `flow_occ` or `flow_noc` or both.

    Raises:
        DataError: if a file is missing, damaged or of another size, or the two do not match.
    """
    predictions = _files(pred)
    kinds = {kind: truth / name for kind, name in KITTI.items() if (truth / name).is_dir()} or {"all": truth}
    errors: dict[str, list[FlowErrors]] = {}
    for kind, place in kinds.items():
        truths = _files(place)
        _check_match(predictions, pred, truths, place)
        errors[kind] = [_score(predictions[name], file) for name, file in truths.items()]
    score = FlowScore(tuple(truths), errors)
    if not score.summary()["pixels"]:
        raise DataError(f"{truth}: no pixel has a known flow; check that it is the ground truth")
    return score


def _files(path: Path) -> Files:
    """Return the maps of a folder by their stems, or the one file by no name, so that it matches any."""
    if not path.is_dir():
        return {"": path}
    files = sorted((f for f in path.iterdir() if f.suffix in SUFFIXES), key=natural)
    if not files:
        raise DataError(f"{path}: has no {' or '.join(SUFFIXES)} file; expected one for each image")
    found: Files = {}
    for file in files:
        if (other := found.setdefault(file.stem, file)) != file:
            raise DataError(f"{path}: has {other.name} and {file.name}; keep one file for each image")
    return found


def _check_match(predictions: Files, pred: Path, truths: Files, truth: Path) -> None:
    for lacking, where, wanted, there in (
        ([n for n in truths if n not in predictions], pred, truths, truth),
        ([n for n in predictions if n not in truths], truth, predictions, pred),
    ):
        if lacking and (pred.is_dir() and truth.is_dir()):
            names = ", ".join(lacking[:SHOWN]) + (", ..." if len(lacking) > SHOWN else "")
            raise DataError(
                f"{where}: lacks {len(lacking)} of the {len(wanted)} images of {there}: {names}; both "
                "folders must have the same file stems"
            )
        if lacking:
            raise DataError(f"{pred} and {truth}: give two files or two folders")


def _score(pred: Path, truth: Path) -> FlowErrors:
    flow, known = read_flow_map(pred), read_flow_map(truth)
    try:
        return flow_errors(flow, known)
    except DataError as error:
        raise DataError(f"{pred} against {truth}: {error}") from None
