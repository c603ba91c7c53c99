from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mtdrive.checkpoint import load_weights
from tests.unit import ranks_worker

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same work by one process with 4 items a step, and by two with 2 each."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2"]
    command = [sys.executable, *launcher, "-m", "tests.unit.ranks_worker", str(two), "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks_worker.main(one, 4)
    return one, two


def test_two_processes_have_the_gradients_of_one_although_their_label_counts_differ(
    folders: tuple[Path, Path],
) -> None:
    one, two = (load_file(folder / "gradients.safetensors") for folder in folders)
    labelled = two.pop("labelled").tolist()
    assert len(set(labelled)) == 2, f"both processes have {labelled} labels, so this tests nothing"
    assert one.pop("labelled").tolist() == [sum(labelled)]
    assert one.keys() == two.keys()
    assert {name for name in one if name.startswith("log_variance")}
    for name, gradient in one.items():
        scale = gradient.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(two[name] / scale, gradient / scale, rtol=0, atol=1e-5, msg=name)


def test_two_processes_train_to_the_weights_of_one_and_log_once(folders: tuple[Path, Path]) -> None:
    one, two = (load_weights(folder / "checkpoints" / "last") for folder in folders)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=5e-4, msg=name)
    lines = [[json.loads(x) for x in (f / "log.jsonl").read_text().splitlines()] for f in folders]
    assert [x["step"] for x in lines[0]] == [x["step"] for x in lines[1]]
    for single, both in zip(*lines, strict=True):
        for name in ("train/grade", "train/depth", "validation/toy/grade/error"):
            if name in single:
                assert both[name] == pytest.approx(single[name], rel=1e-2), name
