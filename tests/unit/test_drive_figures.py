"""Plans, records and figures of evaluations, by hand; no server."""

from __future__ import annotations

import json
import math
import multiprocessing
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtdrive.crew import Worker
from mtdrive.drive import Outcome, _Evaluation, crashes
from mtdrive.drive_plan import FILE, Assignment, DriveSettings, assignments, begin
from mtdrive.drive_record import Mistake, Record, Verdict, read_record, record_path, write_record
from mtdrive.drive_report import page
from mtdrive.drive_route import checked, manoeuvres
from mtdrive.drive_scores import TITLES, differences, figures, over_seeds, rows, summary, write_tables
from mtdrive.envs.health import ServerSettings
from mtdrive.envs.scoring import Infraction, Kind
from mtdrive.errors import AgentError, ConfigError, DataError
from mtdrive.orders import Command
from tests.judging import straight

SETTINGS = DriveSettings(agent="expert", towns=("Small",), routes=2, length=(50, 80), seeds=(0, 1))


def broken(kind: Kind, command: str = "follow") -> Mistake:
    return Mistake(Infraction(kind, 3.5, 0, (20.0, 1.0, 0.0), "vehicle.<x>"), command)


def record(plan: Assignment, completion: float = 1.0, *mistakes: Mistake, **more: Any) -> Record:
    given = {
        "agent": "expert", "ended": "completed" if completion == 1 else "blocked", "length": 100.0,
        "metres": 100 * completion, "seconds": 20.0, "manoeuvres": {"left": (2, round(2 * completion))},
        "line": ((0.0, 0.0), (100.0, 0.0)), "track": ((0.0, 0.0, 0.5, 3.0), (0.5, 50.0, 0.5, 3.0)),
    }  # fmt: skip
    return Record(plan=plan, completion=completion, mistakes=mistakes, **{**given, **more})


def test_every_route_is_planned_in_every_weather_and_density_with_every_seed_and_the_same_traffic() -> None:
    weathers, densities = ("ClearNoon", "WetNoon"), ("empty", "dense")
    found = assignments(replace(SETTINGS, weathers=weathers, densities=densities, repetitions=3))
    assert len(found) == len({plan.name for plan in found}) == 2 * 2 * 2 * 2 * 3
    assert set(Counter((p.number, p.weather, p.density, p.seed, p.repetition) for p in found).values()) == {1}
    traffic = {(p.number, p.seed, p.repetition): p.episode for p in found}
    assert len(set(traffic.values())) == len(traffic) == 12
    assert all(p.episode == traffic[p.number, p.seed, p.repetition] for p in found)
    assert {p.number for p in found[:2]} == {0, 1}  # a set of routes is done before the next begins


def test_files_of_routes_are_planned_in_the_towns_asked_for(tmp_path: Path) -> None:
    places = '<waypoint x="1" y="2" z="0"/><waypoint x="3" y="4" z="0"/>'
    routes = "".join(f'<route id="{i}" town="Town0{i}">{places}</route>' for i in (1, 2, 1))
    (tmp_path / "r.xml").write_text("<routes>" + routes.replace('id="1"', 'id="9"', 1) + "</routes>")
    (tmp_path / "r.txt").write_text("1 2\n3 4\n")
    xml = DriveSettings(agent="expert", routes_file=str(tmp_path / "r.xml"))
    assert [(p.town, p.number, p.route) for p in assignments(xml)] == [
        ("Town01", 0, "9"), ("Town02", 1, "2"), ("Town01", 2, "1")
    ]  # fmt: skip
    assert [p.number for p in assignments(replace(xml, towns=("Town02",)))] == [1]
    with pytest.raises(ConfigError, match="has no route in Town07"):
        assignments(replace(xml, towns=("Town07",)))
    text = replace(xml, routes_file=str(tmp_path / "r.txt"), towns=("Small", "Grid"))
    assert [(p.town, p.route) for p in assignments(text)] == [
        ("Small", "1-2"), ("Small", "3-4"), ("Grid", "1-2"), ("Grid", "3-4")
    ]  # fmt: skip


def test_a_folder_keeps_to_its_evaluation(tmp_path: Path) -> None:
    planned = begin(tmp_path, SETTINGS)
    assert begin(tmp_path, SETTINGS) == planned
    before = (tmp_path / FILE).read_bytes()
    for change, said in (
        ({"seeds": (0,)}, r"with seeds \[0, 1\], now \[0\]; give the same"),
        ({"agent": "stand_still"}, "with agent 'expert', now 'stand_still'"),
        ({"server": "carla"}, "with server 'town', now 'carla'"),
    ):
        with pytest.raises(ConfigError, match=said):
            begin(tmp_path, replace(SETTINGS, **change))
    assert (tmp_path / FILE).read_bytes() == before
    content = json.loads(before)
    content["settings"]["carla version"] = "0.9.13"
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"carla version '0\.9\.13', now"):
        begin(tmp_path, SETTINGS)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(DataError, match=r"evaluation\.json: cannot be read"):
        begin(tmp_path, SETTINGS)


def test_a_checkpoint_or_a_file_of_routes_that_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    weights, routes = tmp_path / "checkpoint" / "w.bin", tmp_path / "routes.txt"
    weights.parent.mkdir()
    weights.write_bytes(b"1")
    routes.write_text("1 2\n")
    settings = DriveSettings(agent=str(weights.parent), towns=("Small",), routes_file=str(routes))
    begin(tmp_path / "out", settings)
    begin(tmp_path / "out", settings)
    weights.write_bytes(b"2")
    with pytest.raises(ConfigError, match="agent_content"):
        begin(tmp_path / "out", settings)
    weights.write_bytes(b"1")
    routes.write_text("2 2\n")
    with pytest.raises(ConfigError, match="routes_content"):
        begin(tmp_path / "out", settings)
    with pytest.raises(ConfigError, match=r"an agent is expert, .*; found .*nowhere, which does not exist"):
        begin(tmp_path / "other", replace(settings, agent=str(tmp_path / "nowhere")))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weathers": ("Sunny",)}, "weathers are .*; found 'Sunny'"),
        ({"densities": ("many",)}, "densities are empty"),
        ({"densities": ()}, "at least one"),
        ({"routes": 0}, "routes must be at least 1"),
        ({"seeds": (1, 1)}, "seeds must differ, found 1, 1"),
        ({"routes_file": "routes.csv"}, r"ends in \.xml or \.txt"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(SETTINGS, **change)


def test_a_record_is_read_as_it_was_written_and_a_damaged_or_foreign_one_is_none(tmp_path: Path) -> None:
    plan, other = assignments(SETTINGS)[:2]
    verdict = Verdict("timeout", False, ((0, 30.5),))
    written = record(
        plan, 0.4, broken("vehicle", "left"), bench2drive=verdict, comfort=0.25, wall={"attempts": 2}
    )
    write_record(tmp_path, written)
    assert read_record(tmp_path, plan) == written
    assert read_record(tmp_path, other) is None
    path = record_path(tmp_path, plan.name)
    assert json.loads(path.read_text())["scores"]["2.0"]["driving_score"] == pytest.approx(24)
    whole = path.read_bytes()
    record_path(tmp_path, other.name).write_bytes(whole)
    assert read_record(tmp_path, other) is None
    for damaged in (whole[: len(whole) // 2], whole.replace(b'"completion": 0.4', b'"completion": 4'), b"[]"):
        path.write_bytes(damaged)
        assert read_record(tmp_path, plan) is None


def test_figures_are_those_of_closed_forms_and_missing_drives_count_as_zero() -> None:
    planned = assignments(SETTINGS)
    found = [
        record(
            planned[0], speeds=((0, 50.0),), comfort=0.5, bench2drive=Verdict("completed", True, ((0, 80.0),))
        ),
        record(planned[1], 0.5, broken("vehicle"), broken("red_light"), comfort=1.0),
        record(planned[2]),
    ]
    one = figures(2, found[:2])
    assert one["score_1.0"] == pytest.approx((100 + 50 * 0.6 * 0.7) / 2)
    assert one["score_2.0"] == pytest.approx((100 * 0.85 + 50 * 0.6 * 0.7) / 2)
    assert one["score_2.1"] == pytest.approx((100 / 1.2 + 50 / 2.1) / 2)
    assert (one["completion"], one["done"], one["nocrash"], one["bench2drive"]) == (75, 50, 50, 50)
    assert (one["efficiency"], one["comfort"]) == (80, 75)
    assert one["collisions_per_km"] == one["red_lights_per_km"] == pytest.approx(1 / 0.15)
    assert one["stop_signs_per_km"] == 0
    whole = rows(planned, found)[0]
    assert (whole.planned, whole.recorded) == (4, 3)
    score = whole.figures["score_1.0"]
    assert score.mean == pytest.approx((60.5 + 50) / 2)
    assert score.half == pytest.approx(12.7062 * (60.5 - 50) / 2, rel=1e-4)
    assert whole.figures["efficiency"].mean == 80  # only the first seed knows one
    assert math.isnan(over_seeds([math.nan]).mean)
    assert set(figures(1, [])) == set(TITLES)


def test_agents_are_compared_seed_by_seed() -> None:
    planned = assignments(replace(SETTINGS, seeds=(0, 1, 2)))
    # Seeds differ much, the agents within a seed by 20, 25 and 30 points.
    shares = {0: (0.9, 0.7), 1: (0.5, 0.25), 2: (0.4, 0.1)}
    ours, theirs = ([record(plan, shares[plan.seed][i]) for plan in planned] for i in (0, 1))
    found = differences(planned, ours, theirs)["completion"]
    assert found.mean == pytest.approx(25)
    assert found.half == pytest.approx(4.30265 * 5 / math.sqrt(3), rel=1e-4)
    assert math.isnan(differences(planned, ours, theirs)["efficiency"].mean)


def test_parts_have_the_figures_of_their_own_drives() -> None:
    planned = assignments(replace(SETTINGS, weathers=("ClearNoon", "WetNoon")))
    found = [record(plan, 1.0 if plan.weather == "WetNoon" else 0.25) for plan in planned]
    parts = {(row.group, row.value): row for row in rows(planned, found)}
    assert list(parts) == [
        ("all", ""), ("town", "Small"), ("weather", "ClearNoon"), ("weather", "WetNoon"),
        ("density", "regular"),
    ]  # fmt: skip
    assert [row.planned for row in parts.values()] == [8, 8, 4, 4, 8]
    means = [row.figures["completion"].mean for row in parts.values()]
    assert means == [62.5, 62.5, 25, 100, 62.5]
    assert all(row.figures["completion"].half == 0 for row in parts.values())


def test_manoeuvres_and_crashes_are_counted_apart(tmp_path: Path) -> None:
    planned = assignments(SETTINGS)
    found = [record(planned[0]), record(planned[1], 0.5, broken("vehicle", "left"), broken("static"))]
    found[1] = replace(found[1], ended="agent", failure="it raised")
    lines = [{"by": "simulator"}, {"by": "agent"}, {"by": "simulator"}]
    told = write_tables(tmp_path, planned, found, lines)
    assert told["manoeuvres"]["left"] == {"planned": 4, "done": 3, "vehicle": 1, "static": 0}
    assert told["manoeuvres"]["follow"] == {"planned": 0, "done": 0, "vehicle": 0, "static": 1}
    assert told["simulator"]["failures"] == 2
    assert told["rows"][0]["agent_failures"] == 1
    assert told["drives"] == {"planned": 4, "recorded": 2, "ended": {"agent": 1, "completed": 1}}
    assert json.loads((tmp_path / "scores.json").read_text()) == told
    lines_of = (tmp_path / "routes.csv").read_text().splitlines()
    assert len(lines_of) == 5
    assert lines_of[2].split(",")[7] == "agent"
    assert len({line.count(",") for line in lines_of}) == 1
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 1 + len(told["rows"])


class Tags(HTMLParser):
    """Checks that tags close in order, and keeps links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.counts: Counter[str] = Counter()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        self.links += [str(value) for name, value in attributes if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        self.links += [str(value) for name, value in attributes if name == "href"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_every_drive_with_its_infractions_and_needs_no_other_file_but_videos() -> None:
    planned = assignments(SETTINGS)
    found = [
        record(planned[0]),
        record(planned[1], 0.5, broken("vehicle"), broken("off_lane"), video="videos/b.mp4"),
        replace(record(planned[2], 0.5), ended="agent", failure="raised <b>"),
        Record(plan=planned[3], agent="expert", ended="agent", completion=0.0, failure="died"),
    ]
    text = page(planned, found, summary(planned, found, []))
    tags = Tags(text)
    assert not tags.open
    assert tags.counts["svg"] == 1 + 3  # the lanes of the town, and a map for each that knows where it was
    assert tags.counts["circle"] == 3 + 2
    assert set(tags.links) == {"#town-Small", "videos/b.mp4"}
    for said in ("raised &lt;b&gt;", "vehicle (vehicle.&lt;x&gt;) after 3.5 s", "no scenarios", "left"):
        assert said in text
    assert all(plan.name in text for plan in planned)
    assert not Tags(page(planned, [], summary(planned, [], []))).open


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (np.zeros(3), r"shape \(3,\) instead"),
        ([[0.0, 1.0]], r"shape \(1, 2\)"),
        ([math.nan, 0.0], "not finite"),
        ([0.0, math.inf], "not finite"),
        (None, r"shape \(\)"),
        ("left", "str instead of two numbers"),
        ([1.0, [2.0]], "list instead"),
    ],
)
def test_what_is_no_action_is_the_agents_failure(action: Any, said: str) -> None:
    with pytest.raises(AgentError, match=said):
        checked(action)
    assert checked([0, -1]).tolist() == [0.0, -1.0]


def test_a_manoeuvre_is_done_when_its_last_point_is_passed() -> None:
    commands = np.full(301, int(Command.FOLLOW))
    commands[20:30] = commands[60:70] = Command.LEFT
    commands[100:110] = Command.RIGHT
    route = replace(straight(), commands=commands)
    assert manoeuvres(route, 10) == {"left": (2, 0), "right": (1, 0)}
    assert manoeuvres(route, 68) == {"left": (2, 1), "right": (1, 0)}
    assert manoeuvres(route, 69) == {"left": (2, 2), "right": (1, 0)}


def test_who_dies_at_the_agents_work_time_and_again_fails_and_who_dies_elsewhere_has_no_record(
    tmp_path: Path,
) -> None:
    planned = begin(tmp_path, SETTINGS)
    crew = _Evaluation(tmp_path, Outcome(planned), planned, SETTINGS, ServerSettings(), "none", 1.0)
    crew._report = lambda done, note="": None
    flags = [type("Flag", (), {"value": busy})() for busy in (1, 0)]
    line, _ = multiprocessing.Pipe()
    workers: list[Worker[Assignment]] = [
        Worker(multiprocessing.Process(), line, flag, plan, 5, 0.0, (0.25, 7.0))
        for flag, plan in zip(flags, planned, strict=False)
    ]
    for worker in workers:
        crew.tried(worker, "it died")
        crew.lost(worker, "it died")
    found = read_record(tmp_path, planned[0])
    assert found is not None
    assert (found.ended, found.failure, found.completion, found.seconds) == ("agent", "it died", 0.25, 7.0)
    assert crew.outcome.failed == {planned[1].name: "it died"}
    assert read_record(tmp_path, planned[1]) is None
    with (tmp_path / "crashes.jsonl").open("a") as file:
        file.write('{"route": "cut sho')
    assert [line["by"] for line in crashes(tmp_path)] == ["agent", "simulator"]
