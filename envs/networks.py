"""The SUMO network of a map: shipped with Town's own, made by netconvert and kept in a cache for others."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from importlib import resources
from pathlib import Path

from mtdrive.envs.network_draft import Draft
from mtdrive.envs.network_ends import Ends, name_lights
from mtdrive.errors import ConfigError, DataError
from mtdrive.files import write_atomically

CACHE = "MTDRIVE_CACHE"
"""The variable that names the folder of what can be made again."""

INSTALL = "pip install 'mtdrive[maps]'"

_NO_VEHICLE = (
    "pedestrian tram rail_urban rail rail_electric rail_fast ship container cable_car subway aircraft "
    "wheelchair scooter drone"
)
_DRIVEN = ("driving", "stop", "entry", "exit", "offRamp", "onRamp", "mwyEntry", "mwyExit")
_DEAD = (
    "none", "shoulder", "border", "median", "restricted", "parking", "biking", "curb", "bidirectional",
    "tram", "rail", "roadWorks", "special1", "special2", "special3",
)  # fmt: skip
_SPEED = 'priority="1" speed="13.89" width="3.5"'
TYPES = "\n".join([
    "<types>",
    *(f'<type id="{kind}" {_SPEED} disallow="{_NO_VEHICLE}"/>' for kind in _DRIVEN),
    '<type id="sidewalk" priority="-2" speed="2.78" width="2.5" allow="pedestrian"/>',
    *(f'<type id="{kind}" {_SPEED} disallow="all" discard="false"/>' for kind in _DEAD),
    "</types>",
])  # fmt: skip
"""What netconvert makes of OpenDRIVE's kinds of lanes.

Lanes for nobody are kept, because netconvert moves the others into the place of what it leaves out.
"""

OPTIONS = (
    "--offset.disable-normalization",
    "--output.original-names",
    "--opendrive.curve-resolution=1",
    "--opendrive.internal-shapes",
    "--crossings.guess",
    "--walkingareas",
    "--default.crossing-width=2.5",
    "--no-turnarounds",
    "--junctions.limit-turn-speed=3",  # m/s2 across, as people drive
    "--no-warnings",
)

FORMAT = 1
"""To be raised when networks are mended in another way."""

PATIENCE = 600
"""Seconds that netconvert may take."""


def cache_folder() -> Path:
    """Return the folder of the networks that were made."""
    base = os.environ.get(CACHE) or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mtdrive"
    return Path(base).expanduser() / "networks"


def network_of(name: str, xodr: str) -> Path:
    """Return the network of a map; it is made if there is none yet.

    Args:
        name: of the map; only for the messages and the name of the file.
        xodr: its OpenDRIVE text, which decides.

    Raises:
        ConfigError: there is none, and no netconvert to make it with.
        DataError: netconvert cannot read the map.
    """
    return known_network(name, xodr) or build(name, xodr)


def known_network(name: str, xodr: str) -> Path | None:
    """Return the network of a map if there is one."""
    for path in (_shipped(name, xodr), _cached(name, xodr)):
        if path is not None and path.is_file():
            return path
    return None


def build(name: str, xodr: str) -> Path:
    """Make the network of a map and keep it in the cache.

    Raises:
        ConfigError: there is no netconvert.
        DataError: netconvert cannot read the map.
    """
    content = convert(name, xodr)
    path = _cached(name, xodr)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return path


def convert(name: str, xodr: str) -> bytes:
    """Return the network of a map as XML; the same each time."""
    with tempfile.TemporaryDirectory() as folder:
        raw = _netconvert(name, xodr, Path(folder))
    try:
        root = ElementTree.fromstring(raw)
        _mend(Draft(root, xodr))
    except (ElementTree.ParseError, ConfigError, ValueError) as error:
        raise DataError(f"{name}: netconvert's network cannot be used: {error}; give another map") from error
    ElementTree.indent(root, " ")
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _mend(draft: Draft) -> None:
    """Make a network agree with its map."""
    draft.follow_lanes()
    draft.follow_ways()
    name_lights(draft)
    Ends(draft).move()
    draft.store()
    for connection in draft.root.iter("connection"):
        connection.attrib.pop("shape", None)  # of before; the lanes have them


def _netconvert(name: str, xodr: str, folder: Path) -> str:
    source, types, out = folder / "map.xodr", folder / "map.typ.xml", folder / "map.net.xml"
    source.write_text(xodr.lstrip("\ufeff"), encoding="utf-8")
    types.write_text(TYPES)
    files = [f"--opendrive-files={source}", f"--type-files={types}", f"--output-file={out}"]
    try:
        done = subprocess.run(
            [_binary(name), *files, *OPTIONS], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"{name}: netconvert did not end within {PATIENCE} s; give another map") from None
    if done.returncode or not out.is_file():
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]
        raise DataError(f"{name}: netconvert cannot read the map: {(lines or ['no reason given'])[0]}")
    return out.read_text(encoding="utf-8")


def _binary(name: str) -> str:
    """Return netconvert's path: that of the installed package, or that of a system's SUMO."""
    package = importlib.util.find_spec("sumo")
    folders = [Path(f) / "bin" for f in (package.submodule_search_locations or [] if package else [])]
    if home := os.environ.get("SUMO_HOME"):
        folders.append(Path(home) / "bin")
    for folder in folders:
        if found := shutil.which("netconvert", path=str(folder)):
            return found
    if found := shutil.which("netconvert"):
        return found
    raise ConfigError(
        f"map {name}: there is no SUMO network for its traffic, and no netconvert to make it; {INSTALL}, "
        'or drive with the density "empty"'
    )


def _key(xodr: str) -> str:
    """Return a name for a map's content; spaces and line ends do not count."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (str(FORMAT), TYPES, " ".join(OPTIONS), *xodr.lstrip("\ufeff").split()):
        digest.update(part.encode())
    return digest.hexdigest()


def _cached(name: str, xodr: str) -> Path:
    return cache_folder() / f"{_last(name)}-{_key(xodr)}.net.xml"


def _shipped(name: str, xodr: str) -> Path | None:
    folder = Path(str(resources.files("mtdrive.envs.town") / "maps"))
    source = folder / f"{_last(name)}.xodr"
    if not source.is_file() or _key(source.read_text(encoding="utf-8")) != _key(xodr):
        return None
    return source.with_suffix(".net.xml")


def _last(name: str) -> str:
    """Return the last part of a map's name: `Carla/Maps/Town01` is Town01."""
    return name.rsplit("/", 1)[-1]
