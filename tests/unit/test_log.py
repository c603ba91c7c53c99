from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtdrive.log import Files, Logs, TensorBoard, progress
from mtdrive.show import coloured, grey, stacked


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_report_is_a_line_that_any_json_reader_takes(tmp_path: Path) -> None:
    log = Files(tmp_path)
    log.numbers(3, {"loss": 0.5, "broken": math.nan, "huge": math.inf})
    log.close()
    assert lines(tmp_path) == [{"step": 3, "loss": 0.5, "broken": None, "huge": None}]


def test_resuming_drops_later_lines_and_a_torn_one(tmp_path: Path) -> None:
    log = Files(tmp_path)
    for step in range(1, 6):
        log.numbers(step, {"loss": float(step)})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    resumed = Files(tmp_path, step=3)
    resumed.numbers(4, {"loss": 40.0})
    resumed.close()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(1, 1), (2, 2), (3, 3), (4, 40)]


def test_pictures_are_written_as_seen(tmp_path: Path) -> None:
    picture = torch.rand(3, 8, 12)
    log = Logs([Files(tmp_path), TensorBoard(tmp_path)])
    log.picture(7, "train/kitti/depth", picture)
    log.numbers(7, {"loss": 1.0})
    log.close()
    pixels = np.asarray(Image.open(tmp_path / "pictures" / "train_kitti_depth_00000007.png"))
    np.testing.assert_allclose(pixels / 255, picture.permute(1, 2, 0).numpy(), atol=0.5 / 255 + 1e-6)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_without_a_terminal_progress_is_a_line_a_note_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("training", total=100, start=50) as tell:
        tell(51)
        tell(52)
        tell(60, "loss 0.1")
    err = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in err] == ["training 51/100", "training 60/100"]
    assert "/s, " in err[1]
    assert err[1].endswith("min left  loss 0.1")


def test_other_processes_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", total=2, quiet=True) as tell:
        tell(1, "loss 0.1")
    assert capsys.readouterr().err == ""


def test_near_is_bright_far_is_dark_and_unknown_is_black() -> None:
    values = torch.linspace(0, 1, 50).reshape(5, 10)
    values[0, 3] = torch.nan
    picture = coloured(values)
    assert picture.shape == (3, 5, 10)
    brightness = picture.sum(0)
    assert brightness[0, 3] == brightness[0, 0]
    assert brightness[-1, -1] > brightness[2, 5] > brightness[0, 0]
    assert coloured(torch.full((2, 2), torch.nan)).max() == 0


def test_pictures_stack_at_the_size_of_the_first() -> None:
    out = stacked([torch.zeros(3, 4, 6), torch.ones(3, 2, 3), grey(torch.tensor([[True, False]]))])
    assert out.shape == (3, 12, 6)
    assert out[:, :4].max() == 0
    assert out[:, 4:8].min() == 1
