from __future__ import annotations

import pytest
import torch

from mtdrive.devices import make_fabric
from mtdrive.errors import ConfigError


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the accelerator")
def test_an_accelerator_that_is_not_there_is_told_in_a_line() -> None:
    with pytest.raises(ConfigError, match="'cuda' cannot be used here") as raised:
        make_fabric("cuda", devices=1)
    assert "\n" not in str(raised.value)


def test_the_cpu_is_always_there() -> None:
    assert make_fabric("cpu", devices=1).device == torch.device("cpu")
