"""Evaluations on Town: the same records whatever befalls simulators, evaluators and agents."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from mtdrive.cli import main
from mtdrive.drive import crashes, evaluate
from mtdrive.drive_plan import DriveSettings, assignments, random_of, town_routes
from mtdrive.drive_record import Record, read_record, record_path
from mtdrive.drive_route import Manner, drive_route
from mtdrive.drive_worker import _Book, _Worker, driving, make_agent
from mtdrive.envs.agent import Agent
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.health import ServerSettings
from mtdrive.errors import ConfigError, SimulatorError
from mtdrive.video import open_video, read_frames

SETTINGS = DriveSettings(
    agent="expert", towns=("Small",), routes=2, length=(40, 55), turns=0, densities=("empty",)
)
COMMAND = [
    *("drive", "expert", "--towns", "Small", "--routes", "2", "--length", "40,55", "--turns", "0"),
    *("--densities", "empty", "--videos", "none"),
]


def told(records: list[Record]) -> list[Record]:
    """Return records without what depends on the machine."""
    return [replace(record, wall={}) for record in records]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    out = tmp_path_factory.mktemp("undisturbed")
    outcome = evaluate(out, SETTINGS, videos="none")
    assert len(outcome.driven) == 2
    assert not crashes(out)
    return outcome.records


def test_the_expert_completes_its_routes(undisturbed: list[Record]) -> None:
    for record in undisturbed:
        assert (record.ended, record.completion, record.mistakes) == ("completed", 1.0, ())
        assert record.bench2drive.success
        assert 40 <= record.length <= 55
        assert record.metres == pytest.approx(record.length, rel=0.02)
        away = np.array([[x, y] for _, x, y, _ in record.track])[:, None] - np.array(record.line)
        assert np.linalg.norm(away, axis=-1).min(1).max() < 1.0


def test_simulators_that_die_or_are_of_another_version_change_no_record(
    undisturbed: list[Record], tmp_path: Path
) -> None:
    server = ServerSettings(pause=0.1, faults=(("kill@60",), ("wrong-version",)))
    outcome = evaluate(tmp_path, SETTINGS, server=server, videos="none")
    assert told(outcome.records) == told(undisturbed)
    assert [line["by"] for line in crashes(tmp_path)] == ["simulator"] * 2
    assert "0.9.15" in crashes(tmp_path)[1]["why"]
    assert max(record.wall.get("back", 0.0) for record in outcome.records) > 0
    assert sum(record.wall["attempts"] - 1 for record in outcome.records) == 2


@pytest.mark.parametrize(("second", "back"), [(104.0, 6.0), (90.0, 68.0)], ids=["hangs", "does not start"])
def test_a_server_is_away_from_the_last_one_that_came_up_until_the_next_while_there_is_a_route(
    undisturbed: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: float, back: float
) -> None:
    clock = Mock(monotonic=Mock(), sleep=Mock(), strftime=time.strftime, gmtime=time.gmtime)
    env = Mock(spec=DrivingEnv, server_since=90.0)
    worker = _Worker(env, Mock(spec=Agent), SETTINGS, tmp_path, Manner())
    worker._book = Mock()
    plan = undisturbed[0].plan

    def attempt(at: float, fails_at: float, came_up: float) -> str:
        def drives(*_: object) -> Record:
            env.server_since, clock.monotonic.return_value = came_up, fails_at
            if came_up < 170:
                raise SimulatorError("gone")
            worker.going()
            return undisturbed[0]

        clock.monotonic.return_value = at
        monkeypatch.setattr("mtdrive.drive_worker.drive_route", drives)
        return worker.drive(plan, 0)[0]

    monkeypatch.setattr("mtdrive.drive_worker.time", clock)
    assert attempt(91.0, 101.0, 90.0) == "again"
    assert attempt(102.0, 164.0, second) == "again"  # a minute until its hang is noticed, or no start
    assert attempt(264.0, 270.0, 270.0) == "done"  # for a hundred seconds, the others had all the routes
    record = read_record(tmp_path, plan)
    assert record is not None
    assert record.wall["back"] == back


def test_a_killed_evaluation_goes_on_and_repeats_what_is_half_written_alone(
    undisturbed: list[Record], tmp_path: Path
) -> None:
    paths = [record_path(tmp_path, record.plan.name) for record in undisturbed]
    command = [sys.executable, "-m", "mtdrive", *COMMAND, "--out", str(tmp_path)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not paths[0].exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = paths[0].read_bytes()
    assert not paths[1].exists()
    paths[1].write_bytes(first[: len(first) // 2])
    assert main([*COMMAND, "--out", str(tmp_path)]) == 0
    assert paths[0].read_bytes() == first
    again = evaluate(tmp_path, replace(SETTINGS, length=(40.0, 55.0)), videos="none")
    assert not again.driven
    assert told(again.records) == told(undisturbed)
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["name"] == "mtdrive score, 2.0 rules, no scenarios"
    assert found["rows"][0]["figures"]["score_2.0"] == {"mean": 100.0, "half": None}
    assert (tmp_path / "report.html").stat().st_size > 1000


@pytest.fixture(scope="module")
def env() -> Iterator[DrivingEnv]:
    made = DrivingEnv(driving(make_agent("stand_still"), SETTINGS, ServerSettings(pause=0.1)))
    yield made
    made.close()


def drive(env: DrivingEnv, agent: Agent, out: Path, manner: Manner) -> Record:
    plan = assignments(SETTINGS)[0]
    route = town_routes("Small", *random_of(SETTINGS))[0]
    return drive_route(env, agent, plan, route, out, "it", manner)


def test_routes_of_files_lead_where_they_say(env: DrivingEnv, tmp_path: Path) -> None:
    xml, text = tmp_path / "r.xml", tmp_path / "r.txt"
    route = town_routes("Small", *random_of(SETTINGS))[0]
    places = "".join(f'<waypoint x="{x}" y="{y}" z="{z}"/>' for x, y, z in route.xyz[[0, 20, -1]])
    xml.write_text(f'<routes><route id="7" town="Small">{places}</route></routes>')
    text.write_text("0 2\n")
    found = []
    for file in (xml, text):
        settings = replace(SETTINGS, routes_file=str(file))
        env.settings = driving(make_agent("expert"), settings, env.settings.server)
        found.append(_Book(settings).route(assignments(settings)[0], env).xyz[[0, -1], :2])
    np.testing.assert_allclose(found[0], route.xyz[[0, -1], :2], atol=1.5)
    spawns = [point.location for point in env.simulation.map.get_spawn_points()]
    np.testing.assert_allclose(found[1], [[spawns[k].x, spawns[k].y] for k in (0, 2)], atol=1.5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Raises", r"act raised KeyError: 'no such\\nkey' \(drive_agents\.py, line \d+\)"),
        ("NotANumber", r"act gave \[nan, 0\.0\], which is not finite"),
        ("Slow", "act took longer than 1 s"),
    ],
)
def test_an_agent_that_fails_ends_its_drive_with_one_reason_and_no_other(
    env: DrivingEnv, tmp_path: Path, name: str, said: str
) -> None:
    record = drive(env, make_agent(f"tests.drive_agents:{name}"), tmp_path, Manner(patience=1.0))
    assert record.ended == "agent"
    assert re.fullmatch(said, record.failure)
    assert 0 < record.completion < 0.1
    assert record.scores["2.0"].driving_score == pytest.approx(100 * record.completion)
    assert not record.nocrash
    assert not record.bench2drive.success
    assert record.seconds == pytest.approx(0.4)


def test_a_server_that_dies_while_the_agent_uses_it_is_not_the_agents_failure(
    env: DrivingEnv, tmp_path: Path
) -> None:
    class Unlucky(Agent):
        def act(self, observation: Any) -> Any:
            os.kill(env._server._town.process.pid, signal.SIGKILL)  # type: ignore[union-attr]
            time.sleep(0.3)
            raise RuntimeError("time-out of the client")

    with pytest.raises(SimulatorError, match="the server died while the agent used it: time-out"):
        drive(env, Unlucky(), tmp_path, Manner())


def test_a_failure_has_a_video_with_what_the_agent_saw_and_meant(tmp_path: Path) -> None:
    agent = make_agent("tests.drive_agents:Blot")
    made = DrivingEnv(driving(agent, SETTINGS), render_mode="rgb_array")
    try:
        record = drive(made, agent, tmp_path, Manner(videos="failures"))
    finally:
        made.close()
    assert record.failure == "act gave an array of shape (3,) instead of (2,)"
    pictures = [np.asarray(p) for p in read_frames(open_video(tmp_path / record.video))]
    assert len(pictures) == 4
    height, width, _ = pictures[0].shape
    assert (height, width) == (284, 480 + 540)
    assert all((p[5:265, 490:1010] > 240).all() for p in pictures)
    assert all(30 < p[5:265, :470].mean() < 230 for p in pictures)


def test_agents_that_are_none_are_one_line_before_anything_is_written(tmp_path: Path) -> None:
    for name, said in (
        ("tests.drive_agents:NoAgent", "expected a subclass of mtdrive.envs.agent.Agent"),
        ("tests.drive_agents:Nobody", "AttributeError"),
        ("tests.nowhere:Nobody", "ModuleNotFoundError"),
        ("tests.drive_agents:Picky", "rate must be at least 10"),
    ):
        with pytest.raises(ConfigError, match=said):
            evaluate(tmp_path / "out", replace(SETTINGS, agent=name))
    for server, said in (
        ("mars", "must be town, carla or host:port"),
        ("127.0.0.1:2000", "one worker drives"),
    ):
        with pytest.raises(ConfigError, match=said):
            evaluate(tmp_path / "out", replace(SETTINGS, server=server), workers=2)
    for wrong in ({"workers": 0}, {"videos": "some"}, {"patience": 0.0}):
        with pytest.raises(ConfigError, match="workers must be at least 1"):
            evaluate(tmp_path / "out", SETTINGS, **wrong)
    assert not (tmp_path / "out").exists()
