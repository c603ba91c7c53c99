"""The report about a server: Town is as expected, and a server that is not would be found out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mtdrive.cli import main
from mtdrive.envs import cameras, checks_sensors, roster
from mtdrive.envs.bench import Bench
from mtdrive.envs.checks_lights import LIGHTS
from mtdrive.envs.checks_sensors import SENSORS
from mtdrive.envs.checks_world import WORLD
from mtdrive.envs.conformance import _try
from mtdrive.envs.coordinates import pose_of
from mtdrive.envs.health import Server
from mtdrive.envs.servers import open_server
from mtdrive.envs.simulation import Simulation

CHECKS = {check.name: check for check in (*WORLD, *LIGHTS, *SENSORS)}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with open_server("town", "Small") as town:
        yield town


def test_town_is_as_expected_and_the_report_says_what_was_found(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    status = main(["conformance", "--port", str(server.port), "--out", str(out)])
    said = capsys.readouterr().out
    report = json.loads(out.read_text())
    assert status == 0, said
    assert report["ok"] is True
    assert report["client"] == "0.9.16"
    assert report["town"] == "Small"
    names = [finding["name"] for finding in report["findings"]]
    assert names == [*CHECKS, "end", "environment"]
    assert len(set(names)) == len(names)
    assert all(set(finding) == {"name", "expected", "found", "ok"} for finding in report["findings"])
    assert f"{len(names)} of {len(names)} checks are as expected" in said


def test_wrong_signs_units_and_times_are_found_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Simulation(server, patience=60.0)
    bench = Bench(session)

    def found(name: str) -> bool:
        return _try(CHECKS[name], bench).ok

    agree = "depth, poses and flow"
    decoders = {name: getattr(cameras, name) for name in ("depth", "flow", "semantics")}
    turn = np.diag([-1.0, 1.0, 1.0, 1.0])  # left and right exchanged
    try:
        with monkeypatch.context() as patch:
            patch.setattr(cameras, "flow", lambda image: -decoders["flow"](image))
            assert not found(agree)
        with monkeypatch.context() as patch:
            patch.setattr(cameras, "depth", lambda image: 1.2 * decoders["depth"](image))
            assert not found("depth")
            assert not found(agree)
        with monkeypatch.context() as patch:
            patch.setattr(checks_sensors, "pose_of", lambda transform: turn @ pose_of(transform) @ turn)
            assert not found(agree)
        with monkeypatch.context() as patch:
            patch.setattr(cameras, "semantics", lambda image: decoders["semantics"](image)[::-1] + 1)
            assert not found("tags")
        with monkeypatch.context() as patch:
            patch.setattr(roster, "OFF", 1)
            assert not found("states of lights")
        with monkeypatch.context() as patch:
            patch.setattr(session, "rate", 10.0)
            assert not found("frames")
            assert not found("speed")
        assert found("frames")
    finally:
        session.close()


def test_a_check_that_breaks_is_a_finding_and_not_the_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Simulation(server, patience=60.0)
    monkeypatch.setattr(Bench, "park", lambda self: 1 / 0)
    finding = _try(CHECKS["sizes"], Bench(session))
    assert not finding.ok
    assert finding.found == "ZeroDivisionError: division by zero"
    session.close()
