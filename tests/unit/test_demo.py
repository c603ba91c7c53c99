"""The demonstration: its budget, what it goes on with, and its page; simulators are made up."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtdrive import demo as demo_module
from mtdrive.cli import main
from mtdrive.data.drives import find_drives
from mtdrive.demo import FEWEST, demo
from mtdrive.demo_depth import row_medians
from mtdrive.demo_plan import SHARES, Book, DemoSettings, affordable, affordable_routes, allowance
from mtdrive.drive import Outcome as DriveOutcome
from mtdrive.drive_plan import Assignment, DriveSettings, assignments
from mtdrive.drive_record import Mistake, Record
from mtdrive.envs.recorder import Recorded
from mtdrive.envs.scoring import Infraction
from mtdrive.errors import ConfigError, DataError, SimulatorError
from mtdrive.record import Outcome as RecordOutcome
from mtdrive.record_plan import RecordSettings, plans
from tests.drive_tree import circle, write_drive
from tests.policy_runs import carla_header, scene

SETTINGS = DemoSettings(
    minutes=0.2, towns=("Small", "Grid"), new_towns=("Small",), size=(64, 96), batch=4, video_batch=2,
    length=(50.0, 80.0), routes=(1, 2), seconds=2.4, test_seconds=2.4,
    densities=("empty", "regular"),
)  # fmt: skip


def test_phases_that_keep_to_their_part_use_up_the_time() -> None:
    spent: dict[str, float] = {}
    for name in SHARES:
        spent[name] = allowance(15.0, spent, name)
        assert spent[name] == pytest.approx(900 * SHARES[name])
    assert sum(spent.values()) == pytest.approx(900)


def test_what_a_phase_takes_too_long_is_taken_from_all_later_ones_alike() -> None:
    part = {name: SHARES[name] for name in ("train", "blind", "drive", "report")}
    for spent in ({"test": 154.0}, {"test": 154.0, "record": 0.0, "drive": 7.0}):
        assert allowance(15.0, {"record": 0.0, **spent}, "train") == pytest.approx(
            (900 - 154) * part["train"] / sum(part.values())
        )
    assert allowance(15.0, {"test": 1000.0}, "record") == 0


def test_jobs_fit_into_the_time_and_keep_all_workers_busy() -> None:
    assert [affordable(s, 10.0, 2) for s in (-5, 0, 19.9, 39.9, 40, 59)] == [0, 0, 0, 2, 4, 4]
    slow, fast = (affordable_routes(SETTINGS, 100.0, speed) for speed in (0.1, 1e6))
    assert (slow, fast) == SETTINGS.routes
    between = [affordable_routes(replace(SETTINGS, routes=(1, 1000)), 100.0 + i, 500.0) for i in range(200)]
    assert between == sorted(between)
    assert between[0] < between[-1]


def test_a_stopped_demonstration_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    book = Book.open(tmp_path / "d", SETTINGS)
    with book.phase("test"):
        book.chosen["frames_per_second"] = 3.5
    with pytest.raises(KeyboardInterrupt), book.phase("record"):
        raise KeyboardInterrupt
    again = Book.open(tmp_path / "d", replace(SETTINGS, workers=1))
    assert again.done == ["test"]
    assert again.chosen == {"frames_per_second": 3.5}
    assert again.spent["record"] > 0
    with pytest.raises(ConfigError, match=r"with seed 0, now 1; give the same"):
        Book.open(tmp_path / "d", replace(SETTINGS, seed=1))
    with pytest.raises(ConfigError, match="holds something else than a demonstration"):
        Book.open(tmp_path, SETTINGS)
    again.path.write_text("{")
    with pytest.raises(DataError, match=r"demo\.json: cannot be read"):
        Book.open(tmp_path / "d", SETTINGS)


def test_routes_are_driven_that_were_not_recorded() -> None:
    settings = DemoSettings()
    recorded = {plan.seed for plan in plans(settings.recorded(200))} | {
        p.seed for p in plans(settings.tested())
    }
    driven = settings.driven("expert", 8)
    assert driven.routes_seed not in recorded
    assert not {plan.seed for plan in plans(settings.tested())} & {
        p.seed for p in plans(settings.recorded(200))
    }
    assert settings.recorded(8).labels == ()
    assert settings.tested().labels == ("depth",)


def test_the_prior_of_a_row_knows_nothing_of_its_own_drive() -> None:
    rng = np.random.default_rng(0)
    names = ["a", "a", "b", "c", "c", "c"]
    truths = [rng.uniform(1, 200, (5, 7)) for _ in names]
    truths[2][:, :2] = 0  # unknown
    found = row_medians(names, truths)
    for i, name in enumerate(names):
        others = [t for n, t in zip(names, truths, strict=True) if n != name]
        for row in range(5):
            values = [80.0 if x == 0 else min(x, 80.0) for t in others for x in t[row].tolist()]
            assert found[i][row] == pytest.approx(float(np.median(values)))


class Simulator:
    """Stands in for recording and driving; a recorded drive takes a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recordings: list[tuple[str, int]] = []
        self.evaluations: list[tuple[str, DriveSettings, str]] = []
        self.stop_at = ""
        monkeypatch.setattr(demo_module, "record", self.record)
        monkeypatch.setattr(demo_module, "evaluate", self.evaluate)
        self.passed, clock = 0.0, time.monotonic
        now = SimpleNamespace(monotonic=lambda: clock() + self.passed)
        monkeypatch.setattr(demo_module, "time", now)
        usual = demo_module.training
        monkeypatch.setattr(demo_module, "training", lambda *a: {**usual(*a), "training.log_every": 1})

    def record(self, out: Path, settings: RecordSettings, workers: int) -> RecordOutcome:
        outcome = RecordOutcome(interrupted=self.stop_at == out.name)
        for i, plan in enumerate(plans(settings)):
            if (out / plan.name).exists():
                outcome.present.append(plan.name)
                continue
            write_made_up(out / plan.name, i, plan.town, bool(settings.labels))
            outcome.recorded[plan.name] = Recorded(24, 12.0, "completed")
        self.recordings.append((out.name, settings.drives))
        outcome.seconds = 1.0 * len(outcome.recorded)
        self.passed += outcome.seconds
        return outcome

    def evaluate(self, out: Path, settings: DriveSettings, workers: int, videos: str) -> DriveOutcome:
        self.evaluations.append((out.name, settings, videos))
        out.mkdir(parents=True, exist_ok=True)
        outcome = DriveOutcome(assignments(settings), interrupted=self.stop_at == out.name)
        for plan in outcome.planned[: None if out.name == "expert" else -1]:
            outcome.driven[plan.name] = made_up(plan, out.name)
        return outcome


def write_made_up(folder: Path, number: int, town: str, with_depth: bool) -> None:
    head = replace(carla_header(), town=town, maps={"depth": ("front",)} if with_depth else {})
    speed = 5.0
    depth = np.tile(np.linspace(40, 4, 64, dtype=np.float32)[:, None], (1, 96)) + number
    rows = [
        {
            "target_speed": speed, "steer": 0.3, "brake": 0.5 * (i % 2), "speed": speed,
            "images": {"front": scene(i, bool(number % 2))},
            **({"depth": {"front": depth}} if with_depth else {}),
        }
        for i in range(24)
    ]  # fmt: skip
    write_drive(folder, circle(24, 30.0, speed), head, rows)


def made_up(plan: Assignment, name: str) -> Record:
    completion = {"expert": 1.0, "policy": 0.9}.get(name, 0.1)
    mistake = Mistake(Infraction("red_light", 3.0, 0, (20.0, 1.0, 0.0), "7"), "follow")
    return Record(
        plan=plan, agent=name, ended="completed" if completion == 1 else "blocked", completion=completion,
        length=100.0, metres=100 * completion, seconds=20.0, line=((0.0, 0.0), (100.0, 0.0)),
        mistakes=() if name == "expert" else (mistake,),
        track=((0.0, 0.0, 0.5, 3.0), (0.5, 50.0, 0.5, 3.0)),
        video=f"videos/{plan.name}.mp4" if name == "policy" else "",
    )  # fmt: skip


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Simulator:
    return Simulator(monkeypatch)


class Sources(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_a_demonstration_stopped_in_every_phase_ends_with_its_page(
    simulator: Simulator, tmp_path: Path
) -> None:
    out = tmp_path / "demo"
    for stop in ("train", "expert"):
        simulator.stop_at = stop
        with pytest.raises(KeyboardInterrupt):
            demo(out, SETTINGS)
    simulator.stop_at = ""
    page = demo(out, SETTINGS)
    _check_report(json.loads((out / "report.json").read_text()))
    _check_page(page.read_text())
    assert {name for name, _, _ in simulator.evaluations[-5:]} == {
        "policy", "blind", "expert", "constant_velocity", "stand_still"
    }  # fmt: skip
    shared = {replace(settings, agent="") for _, settings, _ in simulator.evaluations}
    assert len(shared) == 1, "all agents drive the same, also after a stop"
    assert {(name == "policy", videos) for name, _, videos in simulator.evaluations} == {
        (True, "all"), (False, "none")
    }  # fmt: skip
    before = len(simulator.recordings)
    assert demo(out, SETTINGS) == page
    assert len(simulator.recordings) == before, "what is done is not done again"


def _check_report(found: dict[str, Any]) -> None:
    assert found["name"] == "mtdrive score, 2.0 rules, no scenarios"
    assert set(found["agents"]) == {"policy", "blind", "expert", "constant_velocity", "stand_still"}
    assert found["agents"]["expert"]["empty"]["done"] == 100
    assert found["agents"]["policy"]["regular"]["planned"] in SETTINGS.routes
    assert found["agents"]["policy"]["empty"]["red_lights_per_km"] == pytest.approx(1 / 0.09)
    assert set(found["depth"]["scores"]) == {
        "the network", "each row's median in the other drives", "the same everywhere"
    }  # fmt: skip
    assert found["depth"]["scores"]["each row's median in the other drives"]["abs_rel"] < 0.2
    assert found["training"]["policy loss"]["in training"]["steps"] > 0
    assert set(found["training"]["weight of the loss"]) == {"policy", "depth"}


def _check_page(text: str) -> None:
    sources = Sources()
    sources.feed(text)
    videos = [source for source in sources.found if source.endswith(".mp4")]
    assert videos
    assert all(re.fullmatch(r"driven/policy/videos/[\w.-]+\.mp4", video) for video in videos)
    rest = [s for s in sources.found if s not in videos and not s.startswith("#town-")]
    assert rest
    assert all(source.startswith("data:image/png;base64,") for source in rest), "nothing else is needed"
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert sources.tags.count("svg") > 2
    assert "constant velocity" in text


def test_drives_are_recorded_as_long_as_there_is_time(simulator: Simulator, tmp_path: Path) -> None:
    simulator.stop_at = "policy"
    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path / "short", SETTINGS)
    assert simulator.recordings == [("test", 2), ("train", FEWEST)]
    simulator.recordings.clear()
    simulator.stop_at = "train"
    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path / "long", replace(SETTINGS, minutes=0.6))
    fits = 36 * SHARES["record"] / (1 - SHARES["test"])  # a drive takes a second
    assert [drives for name, drives in simulator.recordings if name == "train"] == [int(fits) // 2 * 2]


def test_a_recording_in_vain_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = RecordOutcome(failed={"Small_0000": "the server died"})
    monkeypatch.setattr(demo_module, "record", lambda out, settings, workers: failed)
    with pytest.raises(SimulatorError, match="no drive could be recorded: the server died"):
        demo(tmp_path / "demo", SETTINGS)


def test_settings_without_sense_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for given in (["--minutes", "0"], ["--workers", "0"], ["--minutes", "nan"]):
        assert main(["demo", "--out", str(tmp_path / "demo"), *given]) == 1
        assert "minutes must be positive and workers at least 1" in capsys.readouterr().err
    assert not find_drives(tmp_path)
