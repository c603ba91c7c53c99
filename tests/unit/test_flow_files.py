"""Flow on disk and the scoring of it: every format, the matching, and what bad input is told."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtdrive.cli import main
from mtdrive.data.flow_files import read_flow_map, write_flow_map
from mtdrive.errors import DataError
from mtdrive.metrics_flow import flow_errors, pooled
from mtdrive.score_flow import score_flow


def flow(seed: int, size: tuple[int, int] = (6, 9)) -> np.ndarray:
    """Flow in steps of 1/64 pixel, so that a PNG holds it exactly; some of it unknown."""
    rng = np.random.default_rng(seed)
    values = (rng.integers(-3000, 3000, (2, *size)) / 64).astype(np.float32)
    values[:, rng.random(size) < 0.2] = np.nan
    return values


@pytest.mark.parametrize("suffix", [".png", ".flo"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"a{suffix}"
    write_flow_map(path, flow(0))
    np.testing.assert_array_equal(read_flow_map(path), flow(0))


def test_flo_is_middleburys_layout(tmp_path: Path) -> None:
    """A float of 202021.25, width, height, and u and v of each pixel, row by row."""
    values = [1.0, -2.0, 3.0, 1e10, 0.5, 0.25]
    (tmp_path / "a.flo").write_bytes(struct.pack("<fii6f", 202021.25, 3, 1, *values))
    read = read_flow_map(tmp_path / "a.flo")
    np.testing.assert_array_equal(read, [[[1.0, np.nan, 0.5]], [[-2.0, np.nan, 0.25]]])


def spoil(content: bytes) -> list[tuple[bytes, str]]:
    size = struct.pack("<ii", -9, -6)
    return [
        (b"PIEX" + content[4:], "begins with b'PIEH'"),
        (content[:10], "ends within its header"),
        (content[:-4], "9x6 pixels, which takes 444 bytes, but has 440"),
        (content + b"\0", "but has 445"),
        (content[:4] + size + content[12:], "-9x-6 pixels"),
        (b"", "begins with b'PIEH'"),
    ]


def test_damaged_flo_files_are_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.flo"
    write_flow_map(path, flow(0))
    for content, message in spoil(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as error:
            read_flow_map(path)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"gone\.flo: the flow cannot be read"):
        read_flow_map(tmp_path / "gone.flo")
    with pytest.raises(DataError, match=r"found the suffix '\.npy'"):
        read_flow_map(tmp_path / "a.npy")
    Image.new("RGB", (9, 6)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="16-bit colours"):
        read_flow_map(tmp_path / "b.png")


def test_flow_too_long_for_a_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"up to 511 pixels, found 600\.0; write \.flo"):
        write_flow_map(tmp_path / "a.png", np.full((2, 3, 3), 600.0))


def complete(seed: int) -> np.ndarray:
    values: np.ndarray = np.nan_to_num(flow(seed), nan=1.0)
    return values


def folder(path: Path, make: Callable[[int], np.ndarray], suffix: str, count: int = 2) -> Path:
    for i in range(count):
        write_flow_map(path / f"{i:06d}_10{suffix}", make(i))
    return path


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, float]:
    assert main(["score", "flow", *map(str, arguments), "--json"]) == 0
    figures: dict[str, float] = json.loads(capsys.readouterr().out)
    return figures


@pytest.mark.parametrize("suffix", [".png", ".flo"])
def test_folders_are_scored_over_all_pixels(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pred = folder(tmp_path / "pred", lambda i: complete(i + 10), suffix)
    figures = shown(capsys, pred, folder(tmp_path / "truth", flow, ".png"), "--csv", tmp_path / "out.csv")
    expected = pooled(flow_errors(complete(i + 10), flow(i)) for i in range(2))
    assert figures == pytest.approx(
        {
            "epe": expected.epe,
            "fl": expected.fl,
            "epe_still": expected.still,
            "images": 2,
            "pixels": expected.pixels,
        }
    )
    header, *rows = (tmp_path / "out.csv").read_text().splitlines()
    assert (header, len(rows)) == ("image,epe_all,fl_all,pixels_all", 2)
    one = shown(capsys, pred / f"000000_10{suffix}", tmp_path / "truth" / "000000_10.png")
    assert one["epe"] == pytest.approx(flow_errors(complete(10), flow(0)).epe)


def test_kittis_folder_gives_both_of_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def hidden(i: int) -> np.ndarray:
        values = flow(i)
        values[:, :3] = np.nan
        return values

    pred = folder(tmp_path / "pred", lambda i: complete(i) + 2 * (i == 1), ".flo")
    folder(tmp_path / "training" / "flow_occ", flow, ".png")
    folder(tmp_path / "training" / "flow_noc", hidden, ".png")
    figures = shown(capsys, pred, tmp_path / "training")
    occ = pooled(flow_errors(complete(i) + 2 * (i == 1), flow(i)) for i in range(2))
    noc = pooled(flow_errors(complete(i) + 2 * (i == 1), hidden(i)) for i in range(2))
    assert figures["epe"] == figures["epe_occ"] == pytest.approx(occ.epe)
    assert figures["epe_noc"] == pytest.approx(noc.epe)
    assert figures["fl"] == figures["fl_occ"] == pytest.approx(occ.fl)
    assert occ.epe != noc.epe


def test_what_does_not_match_is_refused(tmp_path: Path) -> None:
    pred, truth = folder(tmp_path / "pred", complete, ".png", 1), folder(tmp_path / "truth", flow, ".png", 3)
    with pytest.raises(DataError, match=r"pred: lacks 2 of the 3 images of .*: 000001_10, 000002_10; both"):
        score_flow(pred, truth)
    with pytest.raises(DataError, match=r"pred: lacks 2 of the 3"):
        score_flow(truth, pred)
    with pytest.raises(DataError, match="give two files or two folders"):
        score_flow(pred, truth / "000000_10.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no \.png or \.flo file"):
        score_flow(pred, tmp_path / "empty")
    write_flow_map(pred / "000000_10.flo", complete(0))
    with pytest.raises(DataError, match="keep one file for each image"):
        score_flow(pred, truth)
    write_flow_map(tmp_path / "wide.flo", np.zeros((2, 6, 10)))
    with pytest.raises(DataError, match=r"wide\.flo against .*\.png: .* is \(6, 10\), .* \(6, 9\)"):
        score_flow(tmp_path / "wide.flo", truth / "000000_10.png")
    write_flow_map(tmp_path / "blank.png", np.full((2, 6, 9), np.nan))
    with pytest.raises(DataError, match="no pixel has a known flow"):
        score_flow(pred / "000000_10.png", tmp_path / "blank.png")
