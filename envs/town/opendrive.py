"""OpenDRIVE: the road network of a map as numbers, in OpenDRIVE's own right-handed frame (y left).

Superelevation is left out, as CARLA does. The format: ASAM OpenDRIVE 1.4 to 1.8, https://www.asam.net/standards/detail/opendrive.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.limits import COEFFICIENT, LANES, NUMBER
from mtdrive.envs.town.planview import Piece, Points, read_piece
from mtdrive.errors import ConfigError

Array = Float[np.ndarray, "n"]

SPEED_UNITS = {"m/s": 1.0, "km/h": 1 / 3.6, "mph": 0.44704}


class Cubic:
    """A function of `s` made of cubic polynomials, each from its start to that of the next."""

    def __init__(self, rows: Sequence[tuple[float, float, float, float, float]]) -> None:
        table = np.array(sorted(rows) or [(0.0,) * 5], dtype=float)
        self.starts, self.terms = table[:, 0], table[:, 1:]

    def __call__(self, s: Array) -> Array:
        """Return the values; before the first start its polynomial goes on."""
        index = np.clip(np.searchsorted(self.starts, s + 1e-9, side="right") - 1, 0, None)
        a, b, c, d = self.terms[index].T
        x = s - self.starts[index]
        return np.asarray(a + x * (b + x * (c + x * d)))

    @property
    def constant(self) -> bool:
        """Whether the function has one value everywhere."""
        return bool(np.all(self.terms[:, 1:] == 0) and np.ptp(self.terms[:, 0]) == 0)


class Mark(NamedTuple):
    """The paint along the outer edge of a lane, from `start` on."""

    start: float
    kind: str
    colour: str
    width: float


@dataclass(frozen=True)
class Lane:
    """A lane; the ids on the right of the reference line are negative, and 0 is the line itself."""

    id: int
    kind: str
    width: Cubic
    """Of the distance from the start of the section."""
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Section:
    """A stretch of a road with the same lanes."""

    start: float
    end: float
    lanes: dict[int, Lane]


@dataclass(frozen=True)
class Post:
    """A signal or an object beside the road, or a reference to a signal; what is missing is empty or 0."""

    id: str
    kind: str
    s: float
    t: float
    z: float
    heading: float
    """Relative to the road."""
    forward: bool | None
    """Whether it is for those who drive along the reference line, or against it; None: both."""
    value: float
    lanes: tuple[tuple[int, int], ...]
    outline: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Road:
    """A road along its reference line."""

    id: str
    junction: str
    """Empty outside junctions."""
    length: float
    pieces: tuple[Piece, ...]
    elevation: Cubic
    offset: Cubic
    sections: tuple[Section, ...]
    limits: tuple[tuple[float, float], ...]
    """Where a speed limit begins, and the limit in m/s."""
    signals: tuple[Post, ...] = ()
    references: tuple[Post, ...] = ()
    objects: tuple[Post, ...] = ()

    def line(self, s: Array) -> Points:
        """Return points and headings of the reference line."""
        starts = np.array([p.start for p in self.pieces])
        owner = np.clip(np.searchsorted(starts, s + 1e-9, side="right") - 1, 0, None)
        out = np.empty((3, len(s)))
        for i in np.unique(owner):
            mine = owner == i
            out[:, mine] = self.pieces[i].at(s[mine] - starts[i])
        return Points(*out)

    def edges(self, section: Section, s: Array) -> dict[int, Array]:
        """Return the lateral place of each lane's outer edge, and of the centre line under id 0."""
        out = {0: self.offset(s)}
        for side in (1, -1):
            lanes = sorted((i for i in section.lanes if i * side > 0), key=abs)
            for i in lanes:
                inner = out[i - side]
                out[i] = inner + side * np.maximum(section.lanes[i].width(s - section.start), 0)
        return out

    @cached_property
    def plain(self) -> bool:
        """Whether the road is straight and level, with lanes of constant width."""
        widths = (lane.width.constant for x in self.sections for lane in x.lanes.values())
        straight = all(type(p).__name__ == "Piece" for p in self.pieces)
        return straight and self.elevation.constant and self.offset.constant and all(widths)

    def section_at(self, s: float) -> Section:
        """Return the section that holds `s`."""
        return next((x for x in self.sections if s < x.end), self.sections[-1])


@dataclass(frozen=True)
class Network:
    """What a map file says."""

    roads: dict[str, Road]
    controllers: dict[str, tuple[str, ...]]
    """The signals that each controller switches together."""
    junctions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The controllers of each junction."""


def parse(text: str, name: str) -> Network:
    """Return the network of an OpenDRIVE text.

    Raises:
        ConfigError: if it is none; `name` is what the message calls it.
    """
    try:
        if "<!DOCTYPE" in text:
            raise ValueError("a DOCTYPE, whose entities could be of any size")
        root = ElementTree.fromstring(text)
        if root.tag != "OpenDRIVE":
            raise ValueError(f"the root element is <{root.tag}>")
        roads = {r.get("id", ""): _road(r) for r in root.iter("road")}
        if not any(lane.kind == "driving" for r in roads.values() for lane in lanes_of(r)):
            raise ValueError("no lane is for driving")
        stretches = ((x.end - x.start) * len(x.lanes) for r in roads.values() for x in r.sections)
        if (length := sum(stretches) / 1000) > LANES:
            raise ValueError(f"its lanes are {length:.0f} km long, more than {LANES:g} km")
    except (ElementTree.ParseError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{name}: expected an OpenDRIVE map, found: {error}; give another map") from error
    controllers = {
        c.get("id", ""): tuple(dict.fromkeys(x.get("signalId", "") for x in c.iter("control")))
        for c in root.findall("controller")
    }
    junctions = {
        j.get("id", ""): tuple(c.get("id", "") for c in j.findall("controller"))
        for j in root.findall("junction")
    }
    return Network(roads, controllers, junctions)


def lanes_of(road: Road) -> Iterator[Lane]:
    """Give the lanes of all sections."""
    for section in road.sections:
        yield from section.lanes.values()


def _number(element: Element, key: str, default: float | None = None, most: float = NUMBER) -> float:
    text = element.get(key)
    if text is None and default is not None:
        return default
    if text is None:
        raise ValueError(f"<{element.tag}> without {key}")
    value = float(text)
    if not abs(value) <= most:
        raise ValueError(f"<{element.tag} {key}={text!r}>")
    return value


def _cubic(elements: list[Element], start: str = "s") -> Cubic:
    return Cubic([(_number(e, start, 0.0), *_coefficients(e)) for e in elements])


def _coefficients(element: Element) -> tuple[float, float, float, float]:
    """Return those of a cubic; CARLA's Town03 has some of 1e18, on lanes of no length."""
    a, b, c, d = (_number(element, key, 0.0, most=COEFFICIENT) for key in "abcd")
    return a, b, c, d


def _road(element: Element) -> Road:
    length = _number(element, "length")
    pieces = tuple(read_piece(g) for g in element.findall("planView/geometry"))
    if not pieces:
        raise ValueError(f"road {element.get('id')} has no geometry")
    junction = element.get("junction", "-1")
    return Road(
        id=element.get("id", ""),
        junction="" if junction == "-1" else junction,
        length=length,
        pieces=pieces,
        elevation=_cubic(element.findall("elevationProfile/elevation")),
        offset=_cubic(element.findall("lanes/laneOffset")),
        sections=_sections(element, length),
        limits=_limits(element),
        signals=tuple(_post(e) for e in element.findall("signals/signal")),
        references=tuple(_post(e) for e in element.findall("signals/signalReference")),
        objects=tuple(_post(e) for e in element.findall("objects/object")),
    )


def _sections(element: Element, length: float) -> tuple[Section, ...]:
    found = element.findall("lanes/laneSection")
    if not found:
        raise ValueError(f"road {element.get('id')} has no laneSection")
    starts = [_number(e, "s") for e in found]
    ends = [*starts[1:], length]
    lanes = [{lane.id: lane for lane in map(_lane, e.iter("lane"))} for e in found]
    return tuple(Section(*x) for x in zip(starts, ends, lanes, strict=True) if x[1] - x[0] > 1e-6)


def _lane(element: Element) -> Lane:
    marks = [
        Mark(
            _number(m, "sOffset", 0.0),
            m.get("type", "none"),
            m.get("color", "standard"),
            _number(m, "width", 0.12),
        )
        for m in element.findall("roadMark")
    ]
    return Lane(
        id=int(element.get("id", "")),
        kind=element.get("type", "none"),
        width=_cubic(element.findall("width"), "sOffset"),
        marks=tuple(sorted(marks)),
    )


def _limits(element: Element) -> tuple[tuple[float, float], ...]:
    found = []
    for kind in element.findall("type"):
        for speed in kind.findall("speed"):
            value, unit = speed.get("max", ""), SPEED_UNITS.get(speed.get("unit", "m/s"), 1.0)
            if value.replace(".", "", 1).isdigit():
                found.append((_number(kind, "s", 0.0), float(value) * unit))
    return tuple(found)


def _post(element: Element) -> Post:
    pairs = ((v.get("fromLane", "0"), v.get("toLane", "0")) for v in element.findall("validity"))
    lanes = tuple((min(int(a), int(b)), max(int(a), int(b))) for a, b in pairs)
    corners = element.findall("outline/cornerLocal") or element.findall("outlines/outline/cornerLocal")
    return Post(
        id=element.get("id", ""),
        kind=element.get("type", ""),
        s=_number(element, "s"),
        t=_number(element, "t", 0.0),
        z=_number(element, "zOffset", 0.0),
        heading=_number(element, "hOffset", 0.0) + _number(element, "hdg", 0.0),
        forward={"+": True, "-": False}.get(element.get("orientation", "")),
        value=_number(element, "value", -1.0),
        lanes=lanes,
        outline=tuple((_number(c, "u"), _number(c, "v")) for c in corners),
    )
