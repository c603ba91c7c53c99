"""The navigation mesh of a map: the client moves its walkers on it, and takes random places from it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

import numpy as np

from mtdrive.envs.town.actors import Actor
from mtdrive.envs.town.navmesh import MOST, pack, ways
from mtdrive.envs.town.opendrive import Road
from mtdrive.envs.town.stage import Box, Land
from mtdrive.envs.town.strips import Strip
from mtdrive.envs.town.structs import CallError
from mtdrive.envs.town.surface import Surface
from mtdrive.envs.town.triangles import cover
from mtdrive.envs.town.walkable import MEADOW, WALKWAY, find
from mtdrive.errors import MtdriveError

LOG = logging.getLogger(__name__)

KEPT = 8
"""Meshes that a server remembers."""
REACH, FALL = 12.0, 8.0
"""Metres beside and above the mesh from which the client still puts a walker on it; else it crashes."""
HOME = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


def mesh(strips: Sequence[Strip], roads: Iterable[Road], surface: Surface, boxes: Iterable[Box]) -> bytes:
    """Return what the client's Detour reads; nothing where a map has no pavement.

    Raises:
        MtdriveError: the map or the mesh is too large.
    """
    places = find(strips, roads, surface, boxes)
    if places is None:
        return b""
    points, corners, areas = cover(places.outlines, places.at)
    if len(corners) > MOST:
        points, corners, areas = cover(places.outlines, places.without_streets)
    if WALKWAY not in areas:
        return b""
    if np.hypot(*points.T).min() > REACH / 2:
        # A walker that has a controller before its first tick is at the origin, as far as the client knows.
        corners = [*corners, list(range(len(points), len(points) + 4))]
        points, areas = np.concatenate([points, HOME]), [*areas, MEADOW]
    heights = [surface.height(x, y) for x, y in points.tolist()]
    return pack(np.column_stack([points, heights]), corners, areas)


class Navigator:
    """The meshes of a server's maps. Each is made in a thread, which lasts up to seconds on a large map."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """What clients were told to fetch."""
        self._land: Land | None = None
        self._mesh: asyncio.Future[bytes]
        self._warned = False

    def prepare(self, land: Land) -> None:
        """Begin with the mesh of the map that clients enter next."""
        if land is not self._land:
            if self._land is not None:
                self._mesh.cancel()  # one that has not begun is not needed any more
            self._land, self._warned = land, False
            self._mesh = asyncio.get_running_loop().run_in_executor(None, _mesh_of, land)

    def waiting(self) -> Awaitable[Any] | None:
        """Return what to wait for before `name`, None for nothing."""
        return None if self._mesh.done() else asyncio.wait([self._mesh])

    def name(self) -> str:
        """Return the name of the file with the mesh, empty where there is none.

        Clients keep files and never fetch the same name twice, so it changes with the content.
        """
        assert self._land is not None
        content = self._mesh.result() if self._mesh.done() else _mesh_of(self._land)
        if not content:
            return ""
        name = f"Carla/Maps/Nav/{self._land.name}-{hashlib.sha256(content).hexdigest()[:16]}.bin"
        self.files[name] = content
        while len(self.files) > KEPT:
            del self.files[next(iter(self.files))]
        return name

    def admit(self, walker: Actor) -> None:
        """Expect that a client moves a walker.

        Raises:
            CallError: the client would crash.
        """
        assert self._land is not None
        content, place = self.files.get(self.name(), b""), walker.pose
        if not content:
            if not self._warned:
                self._warned = True
                LOG.warning("%s has no mesh: walkers with an AI controller stand", self._land.name)
            return
        away = np.hypot(*(ways(content)[:, :2] - [place.x, place.y]).T).min()
        if away > REACH or abs(place.z - self._land.ground(place.x, place.y, place.z)) > FALL:
            raise CallError(
                f"walker {walker.id} is {away:.0f} m from the next pavement, and the client crashes where "
                f"one with an AI controller is more than {REACH:g} m away: put it where "
                "world.get_random_location_from_navigation() says"
            )


def _mesh_of(land: Land) -> bytes:
    """Return a map's mesh; a map of which none can be made is used without."""
    try:
        return land.navigation()
    except MtdriveError as error:
        LOG.warning("%s has no navigation mesh: %s", land.name, error)
    except Exception:
        LOG.exception("%s has no navigation mesh, so walkers with an AI controller stand", land.name)
    return b""
