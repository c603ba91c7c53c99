"""The towns as tables: junctions with a place and a rule, and streets between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

LIGHTS, STOPS, FREE = "lights", "stops", "free"
"""Rules of a junction: lights, stop signs on the roads that end there, or nothing."""


@dataclass(frozen=True)
class Junction:
    """A place where streets meet."""

    x: float
    y: float
    rule: str
    z: float = 0.0
    radius: float = 13.0


@dataclass(frozen=True)
class Street:
    """A street between two junctions through waypoints, whose corners are rounded."""

    start: str
    end: str
    via: tuple[tuple[float, float], ...] = ()
    limit: int = 30
    """km/h."""
    lanes: int = 1
    """In each direction."""
    bend: float = 14.0
    """Radius of the reference line at waypoints."""
    rise: tuple[tuple[float, float], ...] = ()
    """Heights at shares of the length; level there."""
    paved: bool = True


def _grid_streets() -> tuple[Street, ...]:
    """Return the streets of a lattice of 4 x 3 places; at its corners the outer street bends."""
    main = [Street(a, b, limit=50) for a, b in (("w", "a"), ("a", "b"), ("b", "e"))]
    cross = [
        Street(a, b)
        for a, b in (("s1", "a"), ("a", "n1"), ("s2", "b"), ("b", "n2"), ("s1", "s2"), ("n1", "n2"))
    ]
    outer = [
        Street("s1", "w", ((0, 0),)),
        Street("w", "n1", ((0, 160),)),
        Street("s2", "e", ((270, 0),)),
        Street("e", "n2", ((270, 160),)),
    ]
    return (*main, *cross, *outer)


def _ring(centre: float, degrees: float, along: float) -> tuple[float, float]:
    """Return the point `along` to the left of the one at `centre` metres in a direction."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return centre * c - along * s, centre * s + along * c


TOWNS = {
    "Small": (
        {"t": Junction(60, 0, STOPS), "l": Junction(60, 90, LIGHTS)},
        (
            Street("t", "l", limit=30),
            Street("t", "l", ((0, 0), (0, 90)), limit=30),
            Street("t", "l", ((130, 0), (130, 90)), limit=50),
        ),
    ),
    "Grid": (
        {
            "a": Junction(90, 80, LIGHTS), "b": Junction(180, 80, LIGHTS), "w": Junction(0, 80, STOPS),
            "e": Junction(270, 80, STOPS), "s1": Junction(90, 0, STOPS), "s2": Junction(180, 0, STOPS),
            "n1": Junction(90, 160, STOPS), "n2": Junction(180, 160, STOPS),
        },
        _grid_streets(),
    ),
    "Large": (
        {
            "a": Junction(0, 0, STOPS, radius=17), "b": Junction(170, 0, LIGHTS, radius=19),
            "c": Junction(340, 0, LIGHTS, radius=17), "n": Junction(170, 160, LIGHTS, radius=17),
            "s": Junction(170, -150, STOPS, radius=17),
        },
        (
            Street("a", "b", limit=60, lanes=2),
            Street("b", "c", limit=60, lanes=2),
            Street("b", "n", limit=50, lanes=2),
            Street("s", "b", limit=50, lanes=2),
            Street("n", "c", ((250, 160), (300, 220), (370, 230), (420, 160), (350, 110), (340, 60)), 50,
                   bend=22, rise=((0.45, 7.0),)),
            Street("c", "s", ((340, -50), (400, -110), (370, -190), (300, -150), (240, -150)), 50, bend=25,
                   rise=((0.3, 3.0), (0.7, -2.0))),
            Street("s", "a", ((110, -150), (60, -210), (-20, -180), (-30, -110), (-90, -60), (0, -35)), 70,
                   bend=18, rise=((0.5, 5.0),), paved=False),
            Street("a", "n", ((0, 60), (-60, 110), (-20, 200), (60, 160), (110, 160)), 70, bend=24,
                   rise=((0.5, 9.0),), paved=False),
        ),
    ),
    "New": (
        {
            "o": Junction(0, 0, LIGHTS, radius=15),
            "u": Junction(*_ring(110, 90, 0), STOPS, z=4.0),
            "v": Junction(*_ring(110, 210, 0), LIGHTS, z=2.0),
            "w": Junction(*_ring(110, 330, 0), FREE),
        },
        (
            Street("o", "u", limit=40), Street("o", "v", limit=40), Street("o", "w", limit=60),
            Street("u", "v", (_ring(110, 90, 70), _ring(150, 150, 0), _ring(110, 210, -70)), 60, bend=30),
            Street("v", "w", (_ring(110, 210, 70), _ring(110, 330, -70)), 60, bend=40, rise=((0.5, -1.5),)),
            Street("w", "u", (_ring(110, 330, 70), _ring(150, 30, 0), _ring(110, 90, -70)), 40, bend=30),
        ),
    ),
}  # fmt: skip
"""Small: for tests. Grid: X and T junctions, lights and stop signs, two speed limits. Large: avenues of two
lanes each way, bends and hills. New: never to be trained in."""
