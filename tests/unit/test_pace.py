"""When a run of training is over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtdrive.errors import ConfigError
from mtdrive.pace import Pace
from tests.policy_runs import train, write_config, write_drives


def test_a_run_is_over_after_its_steps_or_its_time_whichever_comes_first() -> None:
    assert Pace(200).share(50, 1e9) == 0.25
    timed = Pace(200, minutes=2.0)
    assert timed.share(50, 12.0) == 0.25
    assert timed.share(50, 90.0) == 0.75
    assert timed.share(0, 121.0) > 1


def test_clocks_that_differ_and_no_time_at_all_are_refused() -> None:
    with pytest.raises(ConfigError, match="ends the run of one process; give several processes"):
        Pace(10, 1.0, processes=2)
    with pytest.raises(ConfigError, match="must be more than 0, found 0"):
        Pace(10, 0.0)


def test_a_run_that_its_time_ends_saves_and_goes_on_if_it_gets_more(tmp_path: Path) -> None:
    write_drives(tmp_path / "drives")
    config = write_config(tmp_path / "run.yaml", tmp_path / "drives")
    given = ("--training.epochs", "1000000", "--training.minutes")
    assert train(config, tmp_path / "run", *given, "0.03") == 0
    last = tmp_path / "run" / "checkpoints" / "last"
    state = json.loads((last / "state.json").read_text())
    assert state["seconds"] > 1.8
    assert state["step"] < 10_000
    assert train(config, tmp_path / "run", *given, "0.03", "--resume") == 0
    assert json.loads((last / "state.json").read_text()) == state, "a run that is over stays as it is"
    assert train(config, tmp_path / "run", *given, "0.05", "--resume") == 0
    more = json.loads((last / "state.json").read_text())
    assert more["seconds"] > 3.0
    assert more["step"] > state["step"], "the time of both stretches counts"
