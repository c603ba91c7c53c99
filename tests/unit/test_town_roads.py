"""Maps against CARLA's own reading of them, and against themselves."""

from __future__ import annotations

import gzip
import math
import random
import re
from pathlib import Path
from typing import Any

import carla
import numpy as np
import pytest
from scipy.special import fresnel

from mtdrive.envs.town.planview import Polynomial, Spiral
from mtdrive.envs.town.roads import TownMap, load_map, map_names
from mtdrive.envs.town.strips import DRIVEN, KERB
from mtdrive.envs.town.surface import CELL
from mtdrive.errors import ConfigError

OWN = ("Grid", "Large", "New", "Small")
CARLAS = ("Town01", "Town02", "Town03", "Town04", "Town05", "Town06", "Town07", "Town10HD")


def check_lanes(town: TownMap, carlas: Any) -> int:
    """Check that the middles of lanes are where CARLA has its waypoints; return how many it has."""
    known = 0
    for strip in (s for s in town.strips[::3] if s.kind == "driving"):
        k = len(strip.s) // 2
        at = carlas.get_waypoint_xodr(int(strip.road.id), strip.lane, float(strip.s[k]))
        if at is None:  # CARLA's roads are a little shorter or longer than their lane sections
            continue
        place = at.transform.location
        middle = (strip.inner[k] + strip.outer[k]) / 2
        assert math.dist(middle.tolist(), (place.x, place.y, place.z)) < 0.01
        assert abs(np.linalg.norm(strip.inner[k] - strip.outer[k]) - at.lane_width) < 0.01
        known += 1
    return known


def check_drivable(town: TownMap, carlas: Any, step: float) -> None:
    """Check that cars spawn on lanes, the way they go, on the ground, and find a way on without a jump."""
    assert len(town.spawn_points) > 20
    draw = random.Random(0)
    for pose in town.spawn_points[:: max(1, len(town.spawn_points) // 25)]:
        here = carlas.get_waypoint(carla.Location(pose.x, pose.y, pose.z))
        place = here.transform.location
        off = np.array([place.x - pose.x, place.y - pose.y, 0.0])
        assert abs(off @ pose.right) < 0.005
        assert abs(off @ pose.forward) < 0.5  # CARLA's search is no finer
        assert abs((here.transform.rotation.yaw - pose.yaw + 180) % 360 - 180) < 1
        for _ in range(60):
            place = here.transform.location
            assert abs(town.ground(place.x, place.y, place.z) - place.z) < step
            following = here.next(2.0)
            if not following:
                break
            there = draw.choice(following)
            assert there.transform.location.distance(place) < 3.5
            here = there


@pytest.mark.parametrize("name", OWN)
def test_own_towns_are_what_carla_reads_in_them(name: str) -> None:
    town = load_map(name)
    carlas = carla.Map(name, town.xodr)
    assert check_lanes(town, carlas) > 5
    check_drivable(town, carlas, KERB)
    assert all(w.next(2.0) for w in carlas.generate_waypoints(20.0)), "a lane ends in nothing"


@pytest.mark.real
@pytest.mark.parametrize("name", CARLAS)
def test_carlas_towns_load_and_can_be_driven(name: str, kitti: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTDRIVE_MAPS", str(kitti.parent / "carla" / "maps"))
    town = load_map(f"/Game/Carla/Maps/{name}")
    carlas = carla.Map(name, town.xodr)
    assert check_lanes(town, carlas) > 20
    # Lanes that cross in its junctions differ in height by up to half a metre.
    check_drivable(town, carlas, 0.5)
    assert set(town.signals) == {x.id for x in carlas.get_all_landmarks_of_type("1000001")}


@pytest.mark.real
def test_the_ground_under_a_bridge_is_the_lower_road(kitti: Path) -> None:
    surface = load_map(kitti.parent / "carla" / "maps" / "Town05.xodr.gz").surface
    i, j = np.argwhere(surface.high - surface.low > 4)[500]
    x, y = surface.x + (j + 0.5) * CELL, surface.y + (i + 0.5) * CELL
    low, high = float(surface.low[i, j]), float(surface.high[i, j])
    assert abs(surface.height(x, y, low + 0.5) - low) < 0.3
    assert abs(surface.height(x, y, high + 0.5) - high) < 0.3
    assert surface.height(x, y) == surface.height(x, y, high + 0.5)


def test_towns_have_what_the_documentation_says_of_them() -> None:
    towns = {name: load_map(name) for name in OWN}
    assert set(OWN) <= set(map_names())
    limits = {n: {round(t.speed_limit(p.x, p.y)) for p in t.spawn_points} for n, t in towns.items()}
    assert limits["Grid"] == {30, 50}
    assert len(towns["Grid"].signals) == 8
    assert len(towns["Grid"].stop_signs) == 6
    lanes = {
        len([i for i in s.lanes if i < 0 and s.lanes[i].kind in DRIVEN]) for s in sections(towns["Large"])
    }
    assert lanes == {1, 2}
    heights = [p.z for p in towns["Large"].spawn_points]
    assert max(heights) - min(heights) > 6


def sections(town: TownMap) -> list[Any]:
    return [x for r in town.network.roads.values() if not r.junction for x in r.sections]


def test_signals_stop_each_lane_before_the_junction_and_face_its_drivers() -> None:
    town = load_map("Grid")
    carlas = carla.Map("Grid", town.xodr)
    for signal in (*town.signals.values(), *town.stop_signs.values()):
        for box, stop in zip(signal.triggers, signal.stops, strict=True):
            at = carlas.get_waypoint(carla.Location(stop.pose.x, stop.pose.y, 0.0))
            assert (str(at.road_id), at.lane_id) == (stop.road, stop.lane)
            assert abs((at.transform.rotation.yaw - stop.pose.yaw + 180) % 360 - 180) < 0.1
            assert not at.is_junction
            assert at.next(6.0)[0].is_junction
            end = box.pose.matrix() @ np.array([box.extent[0], 0, 0, 1])
            assert math.dist(end[:2], (stop.pose.x, stop.pose.y)) < 0.01
        assert signal.pose.forward @ signal.stops[0].pose.forward < -0.99


def test_lights_of_one_controller_never_cross() -> None:
    for name in OWN:
        lights = load_map(name).signals.values()
        assert all(s.group and s.controller for s in lights)
        for a in lights:
            for b in lights:
                if a.controller == b.controller:
                    assert abs(a.pose.forward @ b.pose.forward) > 0.9


@pytest.mark.parametrize("name", OWN)
def test_nothing_stands_on_a_road(name: str) -> None:
    town = load_map(name)
    assert len(town.static) > 50
    for box in town.static:
        u, v = np.meshgrid(*(np.linspace(-e, e, 9) for e in box.extent[:2]))
        local = np.stack([u, v, np.zeros_like(u), np.ones_like(u)], axis=-1).reshape(-1, 4)
        cells = town.surface.cells((local @ box.pose.matrix().T)[:, :3])
        assert (town.surface.stretch[cells] < 0).all(), box


def test_a_town_is_the_same_each_time() -> None:
    assert load_map("Small").scenery == load_map("Small").scenery


def test_a_clothoid_is_fresnels_integral() -> None:
    length, last = 60.0, 0.05
    s = np.linspace(0, length, 7)
    x, y, heading = Spiral(0.0, 0.0, 0.0, 0.0, length, 0.0, last).at(s)
    a = math.sqrt(math.pi * length / last)
    sine, cosine = fresnel(s / a)
    np.testing.assert_allclose([x, y], [a * cosine, a * sine], atol=1e-9)
    np.testing.assert_allclose(heading, s**2 * last / (2 * length))


def test_a_polynomial_is_walked_at_even_speed() -> None:
    curve = Polynomial(0.0, 3.0, 4.0, 0.3, 50.0, (0.0, 40.0, 5.0, -3.0), (0.0, 0.0, 30.0, -12.0), 1.0)
    x, y, _ = curve.at(np.linspace(0, 50, 101))
    steps = np.hypot(np.diff(x), np.diff(y))
    np.testing.assert_allclose(steps, steps.mean(), rtol=2e-3)


def test_a_broken_map_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"map 'Nowhere': expected one of .*Small.*MTDRIVE_MAPS"):
        load_map("Nowhere")
    for text, reason in (
        ("<a/>", "the root element is <a>"),
        ("<OpenDRIVE><road", "unclosed token"),
        ("<OpenDRIVE/>", "no lane is for driving"),
        ("<OpenDRIVE><road id='1' length='nan'/></OpenDRIVE>", "<road length='nan'>"),
    ):
        with pytest.raises(ConfigError, match=reason):
            load_map(text)
    damaged = tmp_path / "x.xodr.gz"
    damaged.write_bytes(gzip.compress(b"<OpenDRIVE/>")[:-9])
    with pytest.raises(ConfigError, match=r"x\.xodr\.gz: cannot be read as a map"):
        load_map(damaged)


def test_a_bend_without_a_finite_curvature_is_refused_before_anything_is_built_of_it() -> None:
    bent = re.sub(r'curvature="[^"]*"', 'curvature="inf"', load_map("Small").xodr, count=1)
    with pytest.raises(ConfigError, match="curvature=inf"):
        load_map(bent)


def test_maps_come_from_text_and_file_alike(tmp_path: Path) -> None:
    town = load_map("Small")
    path = tmp_path / "mine.xodr.gz"
    path.write_bytes(gzip.compress(town.xodr.encode()))
    assert load_map(path).name == "mine"
    assert load_map(town.xodr).spawn_points == load_map(path).spawn_points == town.spawn_points


def test_the_committed_towns_are_what_the_script_makes(tmp_path: Path) -> None:
    pytest.importorskip("scenariogeneration")
    pytest.importorskip("sumo")
    from scripts.make_towns import write
    from scripts.town_tables import TOWNS

    for name in TOWNS:
        write(name, tmp_path)
        assert (tmp_path / f"{name}.xodr").read_text() == load_map(name).xodr
