"""Traffic on CARLA's own towns, whose networks are made here."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path

import carla
import numpy as np
import pytest

from mtdrive.envs import networks
from mtdrive.envs.networks import network_of
from mtdrive.envs.polylines import resampled
from mtdrive.envs.road_map import RoadMap
from mtdrive.envs.streetlights import plans_of
from mtdrive.envs.streets import Streets
from mtdrive.envs.traffic import Traffic
from tests.traffic_makers import RedLights, crew, ego_at, light_posts, lights_of, overlaps, route_along

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        importlib.util.find_spec("sumo") is None,
        reason="netconvert is not installed: pip install 'mtdrive[maps]'",
    ),
]


@pytest.fixture
def maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.environ.get("MTDRIVE_REAL_DATA")
    if not folder:
        pytest.skip("MTDRIVE_REAL_DATA is not set")
    monkeypatch.setenv("MTDRIVE_MAPS", str(Path(folder) / "carla" / "maps"))
    monkeypatch.setenv(networks.CACHE, str(tmp_path))


@pytest.mark.parametrize("town", ["Town01", "Town03", "Town04", "Town05", "Town10HD"])
@pytest.mark.usefixtures("maps")
def test_the_lanes_of_a_town_lie_on_the_map_and_its_lights_are_obeyed(town: str) -> None:
    roads = RoadMap.named(town)
    streets = Streets(network_of(town, roads.xodr))
    streets.fits(roads.map)
    apart = []
    for edge in streets.net.getEdges():
        for lane in (x for x in edge.getLanes() if x.allows("passenger")):
            line = (np.array(lane.getShape3D()) - [*streets.offset, 0]) * [1, -1, 1]
            for x, y, z in resampled(line, 10.0).tolist():
                near = roads.map.get_waypoint(carla.Location(x, y, z)).transform.location
                apart.append(near.distance(carla.Location(x, y, z)))
    assert np.median(apart) < 0.05
    assert np.percentile(apart, 99.5) < 0.7
    plans = list(plans_of(streets.net))
    assert {s for p in plans for s in p.signals} - {""} == {p.id for p in light_posts(roads) if p.stops}


@pytest.mark.usefixtures("maps")
def test_traffic_as_dense_as_in_nocrash_flows_in_town01_without_touching() -> None:
    roads = RoadMap.named("Town01")
    traffic = Traffic(roads, "dense", seed=2)
    try:
        route, show, judge = route_along(roads), lights_of(roads), RedLights.of(roads)
        streets = Streets(network_of("Town01", roads.xodr))
        traffic.begin(route, crew(streets, 98, 245, route.start.location))
        before, away = traffic.users(), ego_at(np.array([5000.0, 5000.0, 0.0]), 0.0)
        touched = set()
        for tick in range(600):
            traffic.step(away, show(tick / 20))
            judge.see(traffic.users(), show(tick / 20))
            if tick % 20 == 0:
                touched |= set(overlaps(traffic.users()))
        moved = [math.dist(a.xyz, b.xyz) for a, b in zip(before, traffic.users(), strict=True)]
    finally:
        traffic.close()
    assert np.median(moved) > 20
    assert len(touched) <= 2
    assert judge.red == 0
    assert judge.green > 5
