"""Route files, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import carla
import pytest

from mtdrive.envs.route_files import plan_pair, read_pairs, read_routes
from mtdrive.envs.routes import RoadMap, random_route
from mtdrive.errors import DataError

OLD = """<?xml version='1.0' encoding='UTF-8'?>
<routes>
  <route id="0" town="Small">
    <weather id="Custom" cloudiness="80.0" precipitation="40.0"/>
    {places}
  </route>
  <route id="b" town="Town12">
    <waypoint x="1" y="2.5" z="0.0" pitch="0.0" roll="0.0" yaw="90"/>
    <waypoint x="3" y="4" z="0"/>
  </route>
</routes>"""

NEW = """<routes><route id="7" town="Small">
  <weathers>
    <weather route_percentage="0" cloudiness="5.0" sun_altitude_angle="90"/>
    <weather route_percentage="100" cloudiness="15.0"/>
  </weathers>
  <waypoints>{places}</waypoints>
  <scenarios><scenario name="A" type="B"><trigger_point x="0" y="0" z="0" yaw="0"/></scenario></scenarios>
</route></routes>"""


def places(tag: str, step: int = 40) -> str:
    """Places along a route of Small, 3 m beside it."""
    points = random_route(RoadMap.named("Small"), 0, (200, 300), 1).xyz[::step].tolist()
    return "".join(f'<{tag} x="{x:.2f}" y="{y:.2f}" z="{z:.2f}"/>' for x, y, z in points)


def write(folder: Path, text: str, name: str = "routes.xml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_both_forms_of_the_leaderboard_are_read_and_planned(tmp_path: Path) -> None:
    wanted = random_route(RoadMap.named("Small"), 0, (200, 300), 1)
    for text, tag in ((OLD, "waypoint"), (NEW, "position")):
        order = read_routes(write(tmp_path, text.format(places=places(tag))))[0]
        assert len(order.places) == len(wanted.xyz[::40])
        route = order.plan()
        assert (route.id, route.town) == (order.id, "Small")
        assert route.length == pytest.approx(wanted.distance[40 * (len(order.places) - 1)], abs=2)


def test_weathers_are_kept_as_they_are_in_the_file(tmp_path: Path) -> None:
    (new,) = read_routes(write(tmp_path, NEW.format(places=places("position"))))
    assert [w.percentage for w in new.weathers] == [0, 100]
    assert new.weathers[0].parameters == {"cloudiness": 5.0, "sun_altitude_angle": 90.0}
    old, bare = read_routes(write(tmp_path, OLD.format(places=places("waypoint"))))
    assert old.weathers == ((0.0, {"cloudiness": 80.0, "precipitation": 40.0}),)
    assert bare.weathers == ()
    assert (bare.places[0].x, bare.places[0].y) == (1.0, 2.5)


def test_a_town_that_is_not_at_hand_is_refused_by_name(tmp_path: Path) -> None:
    order = read_routes(write(tmp_path, OLD.format(places=places("waypoint"))))[1]
    with pytest.raises(
        DataError, match=r"^routes.xml: route b: is in Town12, which is not at hand: .*"
    ) as caught:
        order.plan()
    assert "\n" not in str(caught.value)


def test_a_map_of_another_town_is_refused(tmp_path: Path) -> None:
    order = read_routes(write(tmp_path, OLD.format(places=places("waypoint"))))[0]
    with pytest.raises(
        DataError, match=r"routes.xml: route 0: is in Small, found the map of Grid; load Small"
    ):
        order.plan(RoadMap.named("Grid"))
    assert order.plan(RoadMap.of("Small_Opt", RoadMap.named("Small").xodr)).town == "Small_Opt"


def test_a_place_off_the_map_names_file_and_route(tmp_path: Path) -> None:
    path = write(tmp_path, OLD.format(places='<waypoint x="9000" y="0" z="0"/>' + places("waypoint")))
    with pytest.raises(
        DataError, match=r"^routes.xml: route 0: place 0 at \(9000.0, 0.0, 0.0\) is off the map"
    ):
        read_routes(path)[0].plan()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a route file of the Leaderboard"),
        (NEW[:200], "expected a route file of the Leaderboard"),
        ('<?xml version="1.0" encoding="utf-99"?><routes/>', "expected a route file of the Leaderboard"),
        ("<routes></routes>", "expected <routes> with <route> in it, found <routes>"),
        ("<OpenDRIVE/>", "found <OpenDRIVE>"),
        ('<routes><route id="0"/></routes>', r"route 0: expected the attributes id and town, found \['id'\]"),
        ('<routes><route town="Small"/></routes>', r"route number 1: expected the attributes id and town"),
        (NEW.format(places=""), "route 7: expected at least 2 places, found 0"),
        (NEW.format(places='<position x="1" y="2" z="3"/>'), "route 7: expected at least 2 places, found 1"),
        (
            NEW.format(places='<position x="1" y="2"/>' * 2),
            "route 7: place 0: expected a number as z, found None",
        ),
        (
            NEW.format(places='<position x="1" y="a" z="0"/>' * 2),
            "place 0: expected a number as y, found 'a'",
        ),
        (
            NEW.format(places='<position x="nan" y="1" z="0"/>' * 2),
            "place 0: expected a number as x, found 'nan'",
        ),
        (NEW.replace("5.0", "wet", 1), "route 7: weather: expected a number as cloudiness, found 'wet'"),
        (NEW.replace("cloudiness", "clouds", 1), "route 7: weather: clouds is no weather parameter"),
        (OLD.replace('"b"', '"0"'), "route 0 is there twice"),
    ],
)
def test_a_damaged_file_is_one_line_with_file_and_route(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text.replace("{places}", places("position") + places("waypoint")))
    with pytest.raises(DataError, match=message) as caught:
        read_routes(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    for read in (read_routes, read_pairs):
        with pytest.raises(DataError, match="absent"):
            read(tmp_path / "absent")


def test_pairs_of_nocrash_are_numbers_of_spawn_points(tmp_path: Path) -> None:
    assert read_pairs(write(tmp_path, "79 227\n105  21\n\n", "pairs.txt")) == ((79, 227), (105, 21))
    roads = RoadMap.named("Small")
    points = list(roads.places)
    route = plan_pair(roads, (3, 17), points, "3-17")
    assert route.start.location.distance(points[3].location) < 1
    assert carla.Location(*map(float, route.xyz[-1])).distance(points[17].location) < 1
    with pytest.raises(
        DataError, match=r"route x: expected spawn points up to number 252 on Small, found \d+;"
    ):
        plan_pair(roads, (3, 252), points, "x")


@pytest.mark.parametrize("text", ["", "\n\n", "1\n", "1 2 3\n", "1 b\n", "1 -2\n", "1 2.0\n"])
def test_damaged_pairs_are_one_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text, "pairs.txt")
    with pytest.raises(DataError, match=r"pairs.txt: .*(restore|correct) it") as caught:
        read_pairs(path)
    assert "\n" not in str(caught.value)
