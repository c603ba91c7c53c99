from __future__ import annotations

import importlib.util
import math
from itertools import pairwise
from pathlib import Path

import carla
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdrive.cli import main
from mtdrive.envs import networks
from mtdrive.envs.networks import build, known_network, network_of
from mtdrive.envs.polylines import along, at, between, joined, length, polygons, resampled, thin
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.streetlights import plans_of
from mtdrive.envs.streets import Streets
from mtdrive.envs.traffic import Traffic
from mtdrive.errors import ConfigError, DataError
from tests.traffic_makers import light_posts, route_along, streets_of

TOWNS = ("Small", "Grid", "Large", "New")

needs_netconvert = pytest.mark.skipif(
    importlib.util.find_spec("sumo") is None,
    reason="netconvert is not installed: pip install 'mtdrive[maps]'",
)


@pytest.fixture(params=TOWNS)
def town(request: pytest.FixtureRequest) -> tuple[RoadMap, Streets]:
    roads = RoadMap.named(request.param)
    return roads, streets_of(roads)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(networks.CACHE, str(tmp_path))
    return tmp_path


def test_lanes_and_pavements_lie_on_those_of_the_map(town: tuple[RoadMap, Streets]) -> None:
    roads, streets = town
    for lanes, kind in (
        (streets.lanes, carla.LaneType.Driving),
        (streets.pavements, carla.LaneType.Sidewalk),
    ):
        apart, high = [], []
        for lane in lanes[::2]:
            for x, y, z in resampled(lane.line, 7.0)[1:-1].tolist():
                near = roads.map.get_waypoint(carla.Location(x, y, z), True, kind).transform.location
                apart.append(math.hypot(near.x - x, near.y - y))
                high.append(abs(near.z - z))
        assert np.median(apart) < 0.05
        assert max(apart) < 0.4  # CARLA's search along a bend is no finer
        assert max(high) < 0.05


def test_lanes_through_junctions_lie_on_those_of_the_map(town: tuple[RoadMap, Streets]) -> None:
    roads, streets = town
    apart = []
    for edge in streets.net.getEdges():
        if edge.getFunction() == "internal":
            line = (np.array(edge.getLane(0).getShape3D()) - [*streets.offset, 0]) * [1, -1, 1]
            for x, y, z in resampled(line, 3.0).tolist():
                near = roads.map.get_waypoint(carla.Location(x, y, z)).transform.location
                apart.append(math.hypot(near.x - x, near.y - y))
    assert np.median(apart) < 0.05
    assert max(apart) < 0.25


def test_lanes_end_at_the_stop_lines_and_obey_the_light_that_stands_there(
    town: tuple[RoadMap, Streets],
) -> None:
    roads, streets = town
    ends = {lane.name: lane.line[-1] for lane in streets.lanes}
    obeyed = {}
    plans = {p.id: p for p in plans_of(streets.net)}
    for lane in streets.lanes:
        for way in streets.net.getLane(lane.name).getOutgoing():
            if way.getTLSID():
                obeyed[lane.name] = plans[way.getTLSID()].signals[way.getTLLinkIndex()]
    stops = [(p.id, s.pose) for p in light_posts(roads) for s in p.stops]
    for light, pose in stops:
        name = min(ends, key=lambda n: math.hypot(ends[n][0] - pose.x, ends[n][1] - pose.y))
        assert math.hypot(ends[name][0] - pose.x, ends[name][1] - pose.y) < 0.1
        assert obeyed.pop(name) == light
    assert stops
    assert not obeyed


def test_a_painted_crossing_is_where_walkers_cross(town: tuple[RoadMap, Streets]) -> None:
    roads, streets = town
    crossings = []
    for edge in streets.net.getEdges():
        if edge.getFunction() == "crossing":
            line = (np.array(edge.getLane(0).getShape3D()) - [*streets.offset, 0]) * [1, -1, 1]
            crossings.append((line.mean(0), length(line)))
    paint = list(polygons(roads.map.get_crosswalks()))
    assert paint
    for corners in paint:
        middle = corners.mean(0)
        centre, metres = min(crossings, key=lambda c: float(np.linalg.norm(c[0] - middle)))
        assert np.linalg.norm((centre - middle)[:2]) < 0.1
        longest = max(np.linalg.norm(a - b) for a, b in pairwise(corners))
        assert 0.5 < metres - longest < 2.5  # it begins behind the kerb


def test_one_can_drive_and_walk_on_from_everywhere(town: tuple[RoadMap, Streets]) -> None:
    _, streets = town
    assert {lane.edge for lane in streets.lanes} == set(streets.onward)
    assert all(streets.onward.values())
    assert all(any(streets.footways.get((p.edge, end)) for end in (True, False)) for p in streets.pavements)


def test_a_route_is_found_among_the_edges() -> None:
    roads = RoadMap.named("Grid")
    streets, route = streets_of(roads), route_along(roads, 3, 300.0)
    edges = streets.edges_of(route.road)
    assert len(edges) > 2
    lanes = [lane for lane in streets.lanes if lane.edge in edges]
    outside = [p for p, (road, _) in zip(route.xyz, route.road, strict=True) if road < 1000]
    assert max(min(along(lane.line, p)[1] for lane in lanes) for p in outside) < 4.6  # they end at stop lines


@needs_netconvert
def test_a_users_map_gets_a_network_that_is_kept_by_its_content(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roads = RoadMap.named("Small")
    mine = roads.xodr.replace('name="signal_', 'name="my_signal_')
    assert mine != roads.xodr
    assert known_network("Mine", mine) is None
    path = network_of("Mine", mine)
    assert path.parent == cache / "networks"
    made, shipped = Streets(path), streets_of(roads)
    for a, b in zip(made.lanes, shipped.lanes, strict=True):
        assert a.name == b.name
        assert np.linalg.norm(a.line[[0, -1]] - b.line[[0, -1]], axis=1).max() < 0.02
    monkeypatch.setattr(networks, "_netconvert", None)  # it is not asked again
    assert network_of("Mine", mine.replace("\n", "\r\n")) == path
    assert network_of("Carla/Maps/Small", roads.xodr).parent != path.parent


@needs_netconvert
def test_the_command_builds_what_is_missing_and_names_what_is_bad(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, mine = tmp_path / "bad.xodr", tmp_path / "mine.xodr"
    bad.write_text("<OpenDRIVE><road id='1'/></OpenDRIVE>")
    mine.write_text(RoadMap.named("Small").xodr.replace('name="signal_', 'name="my_signal_'))
    assert main(["maps", "build", "nowhere", str(bad), "Small", str(mine)]) == 1
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["Small", "mine"]
    assert len(err.splitlines()) == 2
    assert "nowhere" in err
    assert "bad: " in err
    assert len(list((cache / "networks").iterdir())) == 1


def test_without_netconvert_there_is_one_error_with_the_remedy(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roads = RoadMap.named("Small")
    other = RoadMap("Other", roads.xodr.replace('name="signal_', 'name="my_signal_'))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("SUMO_HOME", raising=False)
    with pytest.raises(ConfigError, match=r"Other.*pip install 'mtdrive\[maps\]'.*\"empty\"") as error:
        Traffic(other, "regular")
    assert "\n" not in str(error.value)
    assert Traffic(other, "empty").users() == ()


def test_a_damaged_network_or_that_of_another_map_is_refused(tmp_path: Path) -> None:
    roads = RoadMap.named("Small")
    shipped = known_network("Small", roads.xodr)
    assert shipped is not None
    text = shipped.read_text()
    bad = tmp_path / "bad.net.xml"
    for content in (
        text[: len(text) // 2],
        "",
        "<net/>",
        text.replace('allow="pedestrian"', 'allow="tram"')[:99],
    ):
        bad.write_text(content)
        with pytest.raises(DataError, match=r"bad\.net\.xml.*build it again") as error:
            Streets(bad)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"not that of.*build it again"):
        streets_of(roads).fits(RoadMap.named("Grid").map)


@needs_netconvert
def test_a_map_that_netconvert_cannot_read_is_refused(cache: Path) -> None:
    with pytest.raises(DataError, match="Broken: netconvert"):
        build("Broken", "<OpenDRIVE><header revMajor='1'/><road/></OpenDRIVE>")


points = st.tuples(*[st.floats(-100, 100)] * 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(points, min_size=2, max_size=8, unique_by=lambda p: (round(p[0]), round(p[1]))), st.data())
def test_parts_of_a_line_are_as_long_as_asked_and_make_the_whole(
    corners: list[tuple[float, float, float]], data: st.DataObject
) -> None:
    line = np.array(corners)
    cut = data.draw(st.floats(0.1, 0.9)) * length(line)
    first, second = between(line, 0.0, cut), between(line, cut, length(line))
    assert math.isclose(length(first), cut, rel_tol=1e-6, abs_tol=1e-2)
    assert math.isclose(length(joined(first, second)), length(line), rel_tol=1e-6, abs_tol=1e-2)
    place = at(line, np.array([cut]))[0]
    assert along(line, place)[1] < 1e-6
    fine = np.concatenate([resampled(line[i : i + 2], 5.0)[:-1] for i in range(len(line) - 1)] + [line[-1:]])
    assert max(along(thin(fine), p)[1] for p in line) < 0.011
    assert len(thin(fine)) <= len(line)
