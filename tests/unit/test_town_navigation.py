"""The navigation mesh: its bytes, what it covers, and the walkers that the real client moves on it."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import carla
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mtdrive.envs.town import Town
from mtdrive.envs.town.actors import Walker
from mtdrive.envs.town.calls_walking import set_actor_dead, set_walker_state
from mtdrive.envs.town.navigation import Navigator
from mtdrive.envs.town.navmesh import pack, ways
from mtdrive.envs.town.roads import TownMap, load_map
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.triangles import GRID, Polygons, cover
from mtdrive.envs.town.world import STEP, World
from mtdrive.errors import MtdriveError
from tests.town_land import XODR, Plain
from tests.town_walkers import PAVED as PAVED_STREET
from tests.town_walkers import where
from tests.unit.test_town_client import SERVER, run

PAVEMENT, CROSSING, STREET, MEADOW = 1, 2, 3, 4
TILE = 48
"""Bytes before the tile's header."""
POLYGON = np.dtype(
    [
        ("link", "<u4"),
        ("corners", "<u2", 6),
        ("sides", "<u2", 6),
        ("flags", "<u2"),
        ("n", "u1"),
        ("area", "u1"),
    ]
)
DETAIL = np.dtype([("base", "<u4"), ("first", "<u4"), ("more", "u1"), ("fan", "u1"), ("gap", "<u2")])


@dataclass
class Mesh:
    """What Detour's loader makes of the bytes."""

    vertices: np.ndarray
    polygons: np.ndarray
    links: int
    details: np.ndarray
    triangles: np.ndarray
    rest: int

    def ring(self, i: int) -> np.ndarray:
        """Return a polygon from above: x and Detour's z."""
        p = self.polygons[i]
        ring: np.ndarray = self.vertices[p["corners"][: p["n"]]][:, [0, 2]].astype(float)
        return ring

    def inside(self, i: int) -> np.ndarray:
        """Return points of a polygon: its middle, and near its corners."""
        ring = self.ring(i)
        return np.concatenate([ring.mean(axis=0)[None], 0.9 * ring + 0.1 * ring.mean(axis=0)])


def read(content: bytes) -> Mesh:
    """Do as `dtNavMesh::addTile`: each array begins where the one before ends."""
    head = struct.unpack_from("<15i10f", content, TILE)
    count, points, links, _, extra, triangles, tree, jumps, _ = head[6:15]
    assert (extra, tree, jumps) == (0, 0, 0)
    at = TILE + 100
    vertices = np.frombuffer(content, "<f4", 3 * points, at).reshape(-1, 3)
    at += vertices.nbytes
    polygons = np.frombuffer(content, POLYGON, count, at)
    at += polygons.nbytes + 12 * links
    details = np.frombuffer(content, DETAIL, count, at)
    at += details.nbytes
    fans = np.frombuffer(content, "u1", 4 * triangles, at).reshape(-1, 4)
    return Mesh(vertices, polygons, links, details, fans, len(content) - at - fans.nbytes)


@pytest.fixture(scope="module")
def town() -> TownMap:
    return load_map("Small")


@pytest.fixture(scope="module")
def mesh(town: TownMap) -> Mesh:
    return read(town.navigation())


@pytest.fixture(scope="module")
def street() -> Mesh:
    return read(load_map(PAVED_STREET).navigation())


def test_detour_finds_every_array_where_it_looks_for_it(town: TownMap, mesh: Mesh) -> None:
    content = town.navigation()
    magic, version, tiles, *box, most_tiles, most = struct.unpack_from("<3i5f2i", content)
    assert (magic.to_bytes(4, "big"), version, tiles, most_tiles) == (b"MSET", 1, 1, 1)
    # A reference is the generation, the tile and the polygon; one tile needs no bits.
    assert struct.unpack_from("<Ii", content, 40) == (most, len(content) - TILE)
    assert most.bit_count() == 1
    assert len(mesh.polygons) <= most <= 1 << 22
    head = struct.unpack_from("<15i10f", content, TILE)
    assert (head[0].to_bytes(4, "big"), *head[1:6]) == (b"DNAV", 7, 0, 0, 0, 0)
    assert head[9] == head[14] == len(mesh.polygons)
    low, high = np.array(head[18:21]), np.array(head[21:24])
    assert (mesh.vertices > low).all()
    assert (mesh.vertices < high).all()
    assert [*low, high[0] - low[0], high[2] - low[2]] == pytest.approx(box, rel=1e-6)
    assert mesh.links >= (mesh.polygons["sides"] > 0).sum()
    assert mesh.rest == 0


def test_each_polygon_has_a_surface_of_its_own(mesh: Mesh) -> None:
    assert (mesh.details["fan"] == mesh.polygons["n"] - 2).all()
    assert (mesh.details["first"] == np.cumsum(mesh.details["fan"]) - mesh.details["fan"]).all()
    assert not mesh.details["more"].any()
    for detail in mesh.details:
        fan = mesh.triangles[detail["first"] : detail["first"] + detail["fan"]]
        assert fan[:, :3].tolist() == [[0, k, k + 1] for k in range(1, len(fan) + 1)]


def test_polygons_are_convex_and_turn_the_way_that_detour_needs(mesh: Mesh) -> None:
    for i in range(len(mesh.polygons)):
        ring = mesh.ring(i)
        a, b = np.roll(ring, -1, axis=0) - ring, np.roll(ring, -2, axis=0) - np.roll(ring, -1, axis=0)
        # Detour's dtTriArea2D, which is positive where z turns to x.
        turns = a[:, 1] * b[:, 0] - a[:, 0] * b[:, 1]
        assert (turns >= 0).all()
        assert turns.sum() > 0


def test_neighbours_know_each_other_across_whole_sides(mesh: Mesh) -> None:
    known = 0
    for i, polygon in enumerate(mesh.polygons):
        n = polygon["n"]
        for k, side in enumerate(polygon["sides"][:n]):
            if side:
                other = mesh.polygons[side - 1]
                ends = polygon["corners"][k], polygon["corners"][(k + 1) % n]
                theirs = [
                    (other["corners"][(m + 1) % other["n"]], other["corners"][m])
                    for m in range(other["n"])
                    if other["sides"][m] == i + 1
                ]
                assert ends in theirs
                known += 1
    assert known > len(mesh.polygons)


def test_the_flags_are_those_of_the_areas(mesh: Mesh, street: Mesh) -> None:
    for one, areas in ((mesh, {PAVEMENT, CROSSING, STREET}), (street, {PAVEMENT, CROSSING, STREET, MEADOW})):
        assert set(one.polygons["area"].tolist()) == areas
        assert (one.polygons["flags"] == 1 << one.polygons["area"].astype(int)).all()


def test_all_pavements_of_a_town_are_joined_by_crossings(mesh: Mesh) -> None:
    free = mesh.polygons["area"] < STREET
    pairs = [
        (i, side - 1)
        for i, p in enumerate(mesh.polygons)
        for side in p["sides"]
        if side and free[i] and free[side - 1]
    ]
    rows, columns = np.array(pairs).T
    links = coo_array((np.ones(len(pairs)), (rows, columns)), (len(free), len(free)))
    _, part = connected_components(links, directed=False)
    assert len(set(part[free].tolist())) == 1


def test_the_pavement_of_the_mesh_is_the_pavement_of_the_map(town: TownMap, mesh: Mesh, street: Mesh) -> None:
    lanes = carla.Map("Small", town.xodr)
    points = np.concatenate([mesh.inside(int(i)) for i in np.flatnonzero(mesh.polygons["area"] == PAVEMENT)])
    kinds = []
    for x, y in points.tolist():
        lane = lanes.get_waypoint(carla.Location(x, y), project_to_road=False, lane_type=carla.LaneType.Any)
        kinds.append(str(lane.lane_type) if lane else "none")
    # Where lanes of a junction overlap, the client names either.
    assert kinds.count("Sidewalk") > 0.98 * len(kinds)
    for i in np.flatnonzero(street.polygons["area"] == PAVEMENT):
        assert {where(carla.Location(*p)) for p in street.inside(int(i)).tolist()} == {"pavement"}


def test_no_one_walks_through_poles_and_houses(town: TownMap, mesh: Mesh) -> None:
    poles = np.array([(b.pose.x, b.pose.y, min(b.extent[:2])) for b in town.static])
    for i in range(len(mesh.polygons)):
        ring = mesh.ring(i)
        away = edge_distance(np.concatenate([ring, ring[:1]]), poles[:, :2])
        along = np.roll(ring, -1, axis=0) - ring
        offset = poles[:, None, :2] - ring
        inside = (along[:, 1] * offset[..., 0] - along[:, 0] * offset[..., 1] > 0).all(axis=1)
        assert not inside.any()
        assert (away > poles[:, 2] + 0.1).all()


def test_the_corners_that_are_read_back_are_those_of_free_ways(street: Mesh) -> None:
    free = ways(load_map(PAVED_STREET).navigation())
    assert {where(carla.Location(*p)) for p in free[:, :2].tolist()} == {"pavement"}
    assert free[:, 0].min() > 99
    assert np.abs(free[:, 2] - 0.06).max() < 0.07


def rectangle(x: float, y: float, a: float, b: float, turn: float) -> np.ndarray:
    corners = np.array([(a, b), (a, -b), (-a, -b), (-a, b), (a, b)])
    c, s = math.cos(turn), math.sin(turn)
    return np.asarray(corners @ np.array([(c, s), (-s, c)]) + [x, y])


def holds(ring: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return which points lie in a rectangle."""
    a, b = ring[1] - ring[0], ring[3] - ring[0]
    u, v = (points - ring[0]) @ a / (a @ a), (points - ring[0]) @ b / (b @ b)
    return np.asarray((u > 0) & (u < 1) & (v > 0) & (v < 1))


SHAPES = st.lists(
    st.builds(
        rectangle, *[st.floats(-15, 15)] * 2, *[st.floats(0.5, 12)] * 2, st.floats(0, math.pi)
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(SHAPES)
def test_polygons_cover_overlapping_shapes_once_and_nothing_else(shapes: list[np.ndarray]) -> None:
    def at(points: np.ndarray) -> np.ndarray:
        return np.asarray(sum(holds(s, points).astype(np.uint8) for s in shapes), np.uint8)

    found = cover(shapes, at)
    tries = np.random.default_rng(0).uniform(-30, 30, (4000, 2))
    times, areas = covering(found, tries)
    # Outlines are moved to the grid: points beside them may be on the other side.
    near = np.min([edge_distance(s, tries) for s in shapes], axis=0) < 6 * GRID
    assert (times[~near] == (at(tries)[~near] > 0)).all()
    assert (areas[~near] == at(tries)[~near]).all()
    assert times.max() <= 1


def edge_distance(ring: np.ndarray, points: np.ndarray) -> np.ndarray:
    a, along = ring[:-1], np.diff(ring, axis=0)
    offset = points[:, None] - a
    share = ((offset * along).sum(axis=2) / (along**2).sum(axis=1)).clip(0, 1)
    return np.asarray(np.linalg.norm(offset - share[..., None] * along, axis=2).min(axis=1))


def covering(found: Polygons, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many polygons hold each point, and the area of the last."""
    times, areas = np.zeros(len(points), int), np.zeros(len(points), int)
    for corners, area in zip(found.corners, found.areas, strict=True):
        ring = found.points[corners]
        along = np.roll(ring, -1, axis=0) - ring
        offset = points[:, None] - ring
        inside = (along[:, 0] * offset[..., 1] - along[:, 1] * offset[..., 0] > 0).all(axis=1)
        times[inside] += 1
        areas[inside] = area
    return times, areas


SQUARE = np.array([(0.0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)])


@pytest.mark.parametrize(
    ("points", "corners", "areas", "words"),
    [
        (SQUARE, [], [], "0 polygons"),
        (SQUARE, [[0, 1, 2]] * 40000, [1] * 40000, "40000 polygons"),
        (SQUARE * math.nan, [[0, 1, 2]], [1], "no numbers"),
        (SQUARE, [[0, 1]], [1], "3 to 6 corners"),
        (SQUARE, [[0, 1, 1]], [1], "3 to 6 corners"),
        (SQUARE, [[0, 1, 2]], [7], "areas"),
        (SQUARE, [[0, 1, 2], [0, 1, 3]], [1, 1], "same side"),
    ],
)
def test_a_mesh_that_would_crash_the_client_is_not_sent(
    points: np.ndarray, corners: list[list[int]], areas: list[int], words: str
) -> None:
    with pytest.raises(MtdriveError, match=words):
        pack(points, corners, areas)


def test_a_map_without_pavement_has_no_mesh() -> None:
    assert load_map(XODR).navigation() == b""


class Broken(Plain):
    """A land of which no mesh can be made."""

    def navigation(self) -> bytes:
        """Fail."""
        raise ZeroDivisionError


def test_a_map_of_which_no_mesh_can_be_made_is_served_without() -> None:
    async def names() -> list[str]:
        navigator, found = Navigator(), []
        for land in (
            Broken(),
            Plain(mesh=b"one"),
            Plain(mesh=b"two"),
        ):
            navigator.prepare(land)
            wait = navigator.waiting()
            if wait:
                await wait
            found.append(navigator.name())
        assert set(navigator.files.values()) == {b"one", b"two"}
        return found

    first, second, third = asyncio.run(names())
    assert first == ""
    assert second.startswith("Carla/Maps/Nav/plain-")
    assert second != third


def session_of(world: World) -> Session:
    session = Session.__new__(Session)
    session.world = world
    return session


def walker_on(world: World) -> Walker:
    walker = world.spawn("walker.pedestrian.0001", {}, Pose(10, 0, 2))
    assert isinstance(walker, Walker)
    walker.simulated = walker.collides = False
    return walker


def test_a_led_walker_stands_on_the_ground_and_is_as_fast_as_it_moves() -> None:
    world = World(Plain(slope=0.1))
    walker, session = walker_on(world), session_of(world)
    for k in range(5):
        set_walker_state(session, walker.id, Pose(10 + 0.07 * k, 0.0, 1.2, yaw=20.0), 1.4)
        world.step()
        feet = walker.pose.z - walker.extent[2]
        assert feet == pytest.approx(world.land.ground(walker.pose.x, 0.0))
    assert walker.velocity == pytest.approx((1.4, 0.0, 0.1 * 1.4), abs=0.02)
    world.step()
    assert walker.velocity == (0.0, 0.0, 0.0)
    set_walker_state(session, walker.id, Pose(60.0, 0.0, 6.0), 1.4)
    world.step()
    assert math.hypot(*walker.velocity) <= 1.4 + 1e-9


def test_a_walker_that_was_run_over_is_moved_by_physics_and_then_taken_away() -> None:
    world = World(Plain())
    walker, session = walker_on(world), session_of(world)
    set_walker_state(session, walker.id, Pose(10.0, 0.0, 0.0), 1.4)
    set_actor_dead(session, walker.id)
    assert walker.simulated
    for _ in range(round(9.9 / STEP)):
        world.step()
    assert walker.id in world.actors
    for _ in range(round(0.3 / STEP)):
        world.step()
    assert walker.id not in world.actors


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    path: Path = tmp_path_factory.mktemp("maps") / "paved.xodr"
    path.write_text(PAVED_STREET)
    with Town(xodr=path, seed=3, command=SERVER) as town:
        yield town
        assert town.alive


def test_the_clients_walkers_keep_to_pavements_and_crossings(server: Town) -> None:
    found = run("stroll", server.port)
    first = found["first"]
    assert set(first["seen"]) == {"pavement", "crossing"}
    assert set(first["places"]) == {"pavement"}
    assert first["crossed"] == ["crossing", "pavement"]
    assert first["arrived"] < 1.5
    assert first["least"] > 10
    # Those who meet are parted, beyond their pace.
    assert first["pace"] - 0.05 < first["fastest"] < first["pace"] + 0.3
    assert first["wrong"] < 0.1
    assert 0 <= first["feet"][0] <= first["feet"][1] < 0.13
    assert (first["drift"], first["still"]) == (0.0, 0.0)
    assert found["same"]
    assert run("stroll", server.port) == found


def test_a_walker_that_a_car_hits_loses_its_controller_and_goes(server: Town) -> None:
    found = run("run_over", server.port)
    assert found["hit"]
    assert found["lives"] == [True, False]
    assert found["left"] == 0


def test_mistakes_with_controllers_do_not_crash_the_client(server: Town) -> None:
    found = run("blunder", server.port)
    assert "54 m from the next pavement" in found["far"]
    assert found["nowhere"] is True
    assert found["somewhere"] == "pavement"
