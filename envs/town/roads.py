"""Maps: roads, ground, signals and what stands beside the roads, from any OpenDRIVE text."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

from mtdrive.envs.town import navigation, scenery, signposts, surface
from mtdrive.envs.town.opendrive import Network, Road, Section, parse
from mtdrive.envs.town.signposts import Signpost
from mtdrive.envs.town.sites import Item
from mtdrive.envs.town.stage import Box, Pose
from mtdrive.envs.town.strips import Strip, strips
from mtdrive.envs.town.surface import Surface
from mtdrive.errors import ConfigError

FOLDERS = "MTDRIVE_MAPS"
"""The variable that names further folders of maps, separated like PATH."""

DEFAULT_LIMIT = 50.0
"""Kilometres an hour where the map says nothing."""

SPAWN_STEP, SPAWN_CLEARANCE, SPAWN_HEIGHT = 20.0, 7.0, 0.3
"""Metres between spawn points along a lane, from them to the lane's ends, and above the road."""


@dataclass(frozen=True)
class TownMap:
    """A map with everything that follows from it."""

    name: str
    xodr: str
    network: Network

    @cached_property
    def strips(self) -> tuple[Strip, ...]:
        """The built lanes."""
        return tuple(strips(self.network))

    @cached_property
    def _stretches(self) -> tuple[tuple[Road, Section], ...]:
        return tuple((r, x) for r in self.network.roads.values() for x in r.sections)

    @cached_property
    def surface(self) -> Surface:
        """The ground as a raster."""
        index = {(r.id, x.start): i for i, (r, x) in enumerate(self._stretches)}
        return surface.build(self.strips, index)

    def ground(self, x: float, y: float, z: float | None = None) -> float:
        """Return the height of the ground; where roads cross above each other, of the one that `z` is on."""
        return self.surface.height(x, y, z)

    def speed_limit(self, x: float, y: float) -> float:
        """Return the limit in km/h of the road there, `DEFAULT_LIMIT` beside the roads."""
        number = int(self.surface.stretch[self.surface.cell(x, y)])
        if number < 0:
            return DEFAULT_LIMIT
        road, section = self._stretches[number]
        return limit_of(road, section.start)

    @cached_property
    def signposts(self) -> dict[str, Signpost]:
        """Traffic lights and signs by their OpenDRIVE id."""
        return signposts.read(self.network)

    @cached_property
    def signals(self) -> dict[str, Signpost]:
        """The traffic lights."""
        return {k: s for k, s in self.signposts.items() if s.kind == signposts.LIGHT}

    @cached_property
    def stop_signs(self) -> dict[str, Signpost]:
        """The stop signs."""
        return {k: s for k, s in self.signposts.items() if s.kind == signposts.STOP}

    @cached_property
    def scenery(self) -> tuple[Item, ...]:
        """Buildings, trees and poles."""
        return tuple(scenery.place(self.strips, self.surface, self.name))

    @cached_property
    def static(self) -> list[Box]:
        """What a vehicle can hit: buildings, trunks and poles."""
        posts = (scenery.post(self.surface, s) for s in self.signposts.values())
        return [item.box for item in (*self.scenery, *posts) if item.solid]

    @cached_property
    def _mesh(self) -> bytes:
        return navigation.mesh(self.strips, self.network.roads.values(), self.surface, self.static)

    def navigation(self) -> bytes:
        """Return the mesh of pavements, crossings and roads for the client's walkers."""
        return self._mesh

    @cached_property
    def spawn_points(self) -> list[Pose]:
        """Places on the driving lanes outside junctions, x along the traffic."""
        return list(_spawn_points(self.network))


def limit_of(road: Road, s: float) -> float:
    """Return the speed limit of a road in km/h."""
    known = [limit for start, limit in road.limits if start <= s + 1e-6] or [x for _, x in road.limits]
    return known[-1] * 3.6 if known else DEFAULT_LIMIT


def _spawn_points(network: Network) -> Iterator[Pose]:
    for road in network.roads.values():
        for section in road.sections if not road.junction else ():
            length = section.end - section.start - 2 * SPAWN_CLEARANCE
            if length < 0:
                continue
            count = int(length / SPAWN_STEP) + 1
            first = section.start + SPAWN_CLEARANCE + (length - (count - 1) * SPAWN_STEP) / 2
            for lane in (i for i in sorted(section.lanes) if section.lanes[i].kind == "driving"):
                for k in range(count):
                    pose, _ = signposts.lane_pose(road, lane, first + k * SPAWN_STEP)
                    yield Pose(pose.x, pose.y, pose.z + SPAWN_HEIGHT, pose.pitch, pose.yaw, 0.0)


def map_names() -> list[str]:
    """Return the names of the maps that `load_map` finds."""
    return sorted({p.name.split(".")[0] for folder in _folders() for p in _files(folder)})


def load_map(source: str | Path) -> TownMap:
    """Return a map.

    Args:
        source: a name (its last part counts: `/Game/Carla/Maps/Town01` is Town01), a file (`.xodr` or
            `.xodr.gz`), or an OpenDRIVE text.

    Raises:
        ConfigError: if there is no such map, or it cannot be read.
    """
    if isinstance(source, str) and source.lstrip("\ufeff \r\n\t").startswith("<"):
        return _map("OpenDriveMap", source.lstrip("\ufeff \r\n\t"))
    return _map(*map_text(source))


def map_text(source: str | Path) -> tuple[str, str]:
    """Return the name and the OpenDRIVE text of a map that is given by name or file, as `load_map` does."""
    path = Path(source)
    if not path.is_file():
        path = _find(path.name)
    return path.name.split(".")[0], _text(path)


def _map(name: str, text: str) -> TownMap:
    return TownMap(name, text, parse(text, name))


def _folders() -> list[Path]:
    own = Path(str(resources.files("mtdrive.envs.town") / "maps"))
    return [own, *map(Path, filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)))]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.xodr")) + sorted(folder.glob("*.xodr.gz"))


def _find(name: str) -> Path:
    for folder in _folders():
        for path in _files(folder):
            if path.name.split(".")[0] == name:
                return path
    raise ConfigError(
        f"map {name!r}: expected one of {', '.join(map_names())}, an .xodr file or an OpenDRIVE text; "
        f"set {FOLDERS} to the folder of further maps"
    )


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a map ({error}); give another file") from error
