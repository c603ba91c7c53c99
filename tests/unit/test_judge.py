"""The judge, on hand-made scenes of a straight street; each rule on both sides of its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mtdrive.envs.judge import BENCH2DRIVE, Infraction, Judge, Rules
from mtdrive.envs.routes import RoadMap
from mtdrive.envs.scene import Actor, Collision
from tests.judging import CAR, LANE, LENGTH, TICK, Led, hit, judge, kinds, scene, straight
from tests.town_land import XODR


def crash(*events: tuple[float, float, float, Collision]) -> list[str]:
    """Return what counts of collisions, given as seconds, x, speed before, and what was hit."""
    one = judge()
    found: list[Infraction] = []
    for seconds, x, speed, what in events:
        tick = round(seconds / TICK)
        one.observe(scene(tick - 1, x, speed=speed), Led())
        found += one.observe(scene(tick, x, speed=speed, hits=[what]), Led())
    return kinds(found)


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        ("walker.pedestrian.0001", ["pedestrian"]),
        ("vehicle.audi.tt", ["vehicle"]),
        ("static.building", ["static"]),
        ("traffic.traffic_light", ["static"]),
        ("static.sidewalk", []),
        ("sensor.camera.rgb", []),
    ],
)
def test_what_was_hit_decides_the_kind(type: str, kind: list[str]) -> None:
    assert crash((1, 0, 5, hit(5, type))) == kind


def test_touching_the_pavement_does_not_hide_a_collision() -> None:
    assert crash((1, 0, 5, hit(0, "static.sidewalk")), (2, 0, 5, hit())) == ["vehicle"]


@pytest.mark.parametrize(("later", "count"), [(4.95, 1), (5.0, 1), (5.1, 2)])
def test_one_actor_counts_once_within_five_seconds(later: float, count: int) -> None:
    assert (
        len(crash((1, 0, 5, hit()), (2, 20, 5, hit(0, "static.rock")), (1 + later, 40, 5, hit())))
        == 1 + count
    )


@pytest.mark.parametrize(("away", "count"), [(4.9, 1), (5.1, 2)])
def test_nothing_counts_within_five_metres_of_the_last_collision(away: float, count: int) -> None:
    assert len(crash((1, 0, 5, hit(5)), (2, away, 5, hit(6)))) == count


def test_things_of_the_level_have_no_id_so_a_wall_counts_again_every_five_metres() -> None:
    wall = hit(0, "static.wall")
    assert crash((1, 0, 5, wall), (2, 6, 5, wall), (3, 9, 5, wall)) == ["static", "static"]


def test_the_place_of_a_collision_is_forgotten_once_left() -> None:
    assert len(crash((1, 0, 5, hit(5)), (2, 6, 5, hit(0, "static.sidewalk")), (3, 1, 5, hit(6)))) == 2


@pytest.mark.parametrize(("speed", "count"), [(0.09, 0), (0.11, 1)])
def test_a_standing_car_is_not_to_blame(speed: float, count: int) -> None:
    assert len(crash((1, 0, speed, hit()))) == count


def test_a_car_that_is_pushed_away_is_not_to_blame_either() -> None:
    one = judge()
    one.observe(scene(1, speed=0.0), Led())
    assert one.observe(scene(2, speed=3.0, hits=[hit()]), Led()) == ()
    assert one.observe(scene(3, x=0.2, speed=3.0, hits=[hit()]), Led()) == ()


def test_a_car_that_a_wall_stops_within_a_tick_is_to_blame() -> None:
    one = judge()
    one.observe(scene(1, speed=8.0), Led())
    (found,) = one.observe(scene(2, x=3.0, speed=0.0, hits=[hit(0, "static.wall")]), Led())
    assert found == Infraction("static", 0.1, 2, (3.0, LANE, 0.0), "static.wall 0")


def stray(places: Sequence[tuple[float, float]]) -> float:
    """Return the fraction that is off the lanes, of a drive of 1 m a tick over y and yaw."""
    one = judge()
    for tick, (y, yaw) in enumerate(places, start=1):
        one.observe(scene(tick, float(tick), y, yaw=yaw), Led(float(tick)))
    return sum(i.fraction for i in one.infractions)


@pytest.mark.parametrize(
    ("y", "yaw", "fraction"),
    [
        (2 * LANE + 0.49, 0.0, 0.0),
        (2 * LANE + 0.51, 0.0, 0.25),
        (0.05, 0.0, 0.0),
        (-0.05, 0.0, 0.25),
        (-LANE, 119.0, 0.0),
        (-LANE, 59.0, 0.25),
        (-LANE, 61.0, 0.0),
        (LANE, 119.0, 0.0),
        (LANE, 121.0, 0.25),
    ],
)
def test_the_share_off_road_or_against_the_traffic_is_of_the_driven_metres(
    y: float, yaw: float, fraction: float
) -> None:
    assert stray([(LANE, 0.0)] * 5 + [(y, yaw)] * 5 + [(LANE, 0.0)] * 10) == pytest.approx(fraction)


@pytest.mark.parametrize(("y", "fraction"), [(5.0, 0.0), (6.99, 0.0), (7.01, 1.0)])
def test_a_lane_to_park_in_is_no_pavement(y: float, fraction: float) -> None:
    lane = '<lane id="-2" type="parking" level="false"><width sOffset="0" a="3" b="0" c="0" d="0"/></lane>'
    roads = RoadMap.of("parking", XODR.replace("</right>", f"{lane}</right>"))
    one = Judge(roads, straight(), [])
    one.observe(scene(1, 50.0, y), Led(1.0))
    assert sum(i.fraction for i in one.infractions) == fraction


def test_lanes_of_junctions_have_no_wrong_direction() -> None:
    roads = RoadMap.named("Grid")
    for start, _ in roads.map.get_topology():
        place = start.next(1.0)[0].transform
        one = Judge(roads, straight(), [])
        here = place.location
        one.observe(scene(1, here.x, here.y, yaw=place.rotation.yaw + 180), Led(1.0))
        assert bool(one.infractions) is not start.is_junction


def test_leaving_the_lanes_is_told_once_and_weighed_at_the_end() -> None:
    one = judge()
    told: list[Infraction] = []
    for metre in range(1, 11):
        told += one.observe(scene(metre, float(metre), 9.0 if metre < 6 else LANE), Led(float(metre)))
    assert [(i.kind, i.fraction) for i in told] == [("off_lane", 1.0)]
    assert [(i.kind, i.frame, i.fraction) for i in one.infractions] == [("off_lane", 1, 0.5)]


def test_off_the_lanes_without_progress_weighs_nothing() -> None:
    one = judge()
    one.observe(scene(1), Led(1.0))
    for tick in range(2, 9):
        assert one.observe(scene(tick, 1.0, 9.0), Led(1.0)) == ()


@pytest.mark.parametrize(("deviation", "ended"), [(29.9, None), (30.1, "deviation")])
def test_thirty_metres_from_the_route_end_it(deviation: float, ended: str | None) -> None:
    one = judge()
    found = one.observe(scene(1), Led(1.0, deviation))
    assert one.ended == ended
    assert kinds(found) == ([ended] if ended else [])


@pytest.mark.parametrize(
    ("far", "deviation", "ended"), [(90, 15.1, None), (91, 15.1, "deviation"), (200, 14.9, None)]
)
def test_a_third_of_the_route_far_from_it_ends_it(far: int, deviation: float, ended: str | None) -> None:
    one = judge()
    for tick in range(1, 250):
        one.observe(scene(tick, float(tick)), Led(float(tick), deviation if tick <= far else 0.0))
    assert one.ended == ended


def wait(seconds: float, speed: float, rules: Rules | None = None, *, moved: float = 0.0) -> str | None:
    """Return why a route ends after so long, of a car that creeps and moved at a time in between."""
    one = judge(rules=rules)
    for now, pace in ((0.0, speed), (moved, 5.0 if moved else speed), (seconds, speed)):
        one.observe(scene(1, speed=pace, tick_length=now), Led())
    return one.ended


def test_a_car_is_blocked_after_standing_for_three_minutes() -> None:
    assert wait(180.0, 0.09) is None
    assert wait(180.5, 0.09) == "blocked"
    assert wait(299.0, 0.11) is None
    assert wait(200.0, 0.09, moved=20.0) is None
    assert wait(200.5, 0.09, moved=20.0) == "blocked"
    assert wait(60.0, 0.0, BENCH2DRIVE) is None
    assert wait(60.5, 0.0, BENCH2DRIVE) == "blocked"


def test_reversing_is_not_standing() -> None:
    assert wait(200.0, -1.0) is None


@pytest.mark.parametrize(
    ("driven", "seconds"),
    # 300 s, and a second for each metre at a tenth of 10 m/s.
    [(0.0, 300.0), (100.0, 400.0), (250.0, 550.0)],
)
def test_the_time_runs_out_after_five_minutes_and_a_tenth_of_the_limit(driven: float, seconds: float) -> None:
    for late, ended in ((0.0, None), (0.5, "timeout")):
        one = judge()
        one.observe(scene(0), Led())
        found = one.observe(scene(1, driven, tick_length=seconds + late), Led(driven))
        assert (one.ended, kinds(found)) == (ended, [ended] if ended else [])


def test_bench2drive_stops_after_4000_ticks() -> None:
    for tick, ended in ((4000, None), (4001, "timeout")):
        one = judge(rules=BENCH2DRIVE)
        one.observe(scene(0), Led())
        one.observe(scene(tick, 250.0), Led(250.0))
        assert one.ended == ended


@pytest.mark.parametrize(
    ("travelled", "x", "ended"),
    [(297.0, 297.0, None), (297.1, 297.1, "completed"), (299.0, 289.9, None), (299.0, 290.1, "completed")],
)
def test_a_route_is_complete_beyond_99_percent_and_within_10_metres(
    travelled: float, x: float, ended: str | None
) -> None:
    one = judge()
    one.observe(scene(1, x), Led(travelled))
    assert one.ended == ended
    assert one.completion == (1.0 if ended else travelled / LENGTH)


def test_a_route_that_ends_in_the_tick_of_its_timeout_is_complete() -> None:
    one = judge()
    one.observe(scene(0), Led())
    assert one.observe(scene(1, 299.0, tick_length=1e4), Led(299.0)) == ()
    assert one.ended == "completed"


def test_nothing_counts_after_the_end() -> None:
    one = judge()
    one.observe(scene(1, 299.0), Led(299.0))
    assert one.observe(scene(2, 299.0, hits=[hit()]), Led(299.0)) == ()
    assert one.infractions == ()


def other(speed: float, kind: str = "vehicle") -> Actor:
    return replace(CAR, id=9, kind=kind, velocity=(0.0, -speed, 0.0))  # type: ignore[arg-type]


def test_speeds_are_compared_with_the_mean_of_the_traffic_over_quarters_of_the_route() -> None:
    one = judge()
    for metre in range(1, LENGTH + 1):
        own = 2.0 if metre <= 75 else 8.0
        around = [other(2.0), other(6.0, "two_wheeler"), other(50.0, "walker")] if metre <= 151 else []
        one.observe(scene(metre, float(metre), speed=own, others=around), Led(float(metre)))
        if metre == 290:
            assert len(one.speeds) == 4, "beyond 95 % the last one is there"
        if metre == 280:
            assert len(one.speeds) == 3
    # The first ends before the tick that passes 75 m, the second 76 m later; the others see no traffic.
    assert one.speeds == ((0, 50.0), (1, 200.0), (2, 100.0), (3, 100.0))
