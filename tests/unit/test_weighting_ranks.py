from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.unit import weighting_ranks_worker

ROOT = Path(__file__).parents[2]


def test_two_processes_have_the_gradients_of_one_under_every_weighting(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2"]
    command = [sys.executable, *launcher, "-m", "tests.unit.weighting_ranks_worker", str(two), "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    weighting_ranks_worker.main(one)
    single = load_file(one / "gradients_0.safetensors")
    ranks = [load_file(two / f"gradients_{rank}.safetensors") for rank in range(2)]
    assert single.keys() == ranks[0].keys() == ranks[1].keys()
    for name, gradient in single.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), f"{name} differs between the processes"
        # Gradients travel in float32.
        torch.testing.assert_close(ranks[0][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
        assert "net." not in name or "bias" in name or float(gradient.abs().max()) > 0, name
