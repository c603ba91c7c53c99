"""The curves that OpenDRIVE's reference lines are made of, in its right-handed frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.limits import NUMBER

Array = Float[np.ndarray, "n"]
Many = Float[np.ndarray, "..."]


class Points(NamedTuple):
    """Points of a curve."""

    x: Array
    y: Array
    heading: Array
    """Radians, from x towards y."""


@dataclass(frozen=True)
class Piece:
    """A straight line, and the base of the curves."""

    start: float
    x: float
    y: float
    heading: float
    length: float

    def at(self, s: Array) -> Points:
        """Return the points at the distances `s` from the start of the piece."""
        u, v, turn = self.local(s)
        c, d = math.cos(self.heading), math.sin(self.heading)
        return Points(self.x + c * u - d * v, self.y + d * u + c * v, self.heading + turn)

    def local(self, s: Array) -> Points:
        """Return the points in the frame of the piece's start."""
        zero = np.zeros_like(s)
        return Points(s, zero, zero)


@dataclass(frozen=True)
class Arc(Piece):
    """A circle's arc."""

    curvature: float

    def local(self, s: Array) -> Points:
        """Return the points in the frame of the piece's start."""
        turn = s * self.curvature
        return Points(np.sin(turn) / self.curvature, (1 - np.cos(turn)) / self.curvature, turn)


@dataclass(frozen=True)
class Spiral(Piece):
    """A clothoid: the curvature changes evenly."""

    first: float
    last: float

    def local(self, s: Array) -> Points:
        """Return the points in the frame of the piece's start.

        Gauss and Legendre's rule of 24 nodes: exact to rounding below a turn of about pi.
        """
        nodes, weights = np.polynomial.legendre.leggauss(24)
        at = s[:, None] * (nodes + 1) / 2
        angle = self._turn(at)
        half = s / 2
        return Points(half * (np.cos(angle) @ weights), half * (np.sin(angle) @ weights), self._turn(s))

    def _turn(self, s: Many) -> Many:
        return s * (self.first + s * (self.last - self.first) / (2 * self.length))


@dataclass(frozen=True)
class Polynomial(Piece):
    """A parametric cubic."""

    u: tuple[float, ...]
    v: tuple[float, ...]
    span: float
    """The parameter at the end."""

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        """Parameters and the length of the curve up to them, scaled to the stated length."""
        p = np.linspace(0, self.span, 257)
        x, y = np.polynomial.polynomial.polyval(p, np.array([self.u, self.v]).T)
        far = np.concatenate([[0.0], np.hypot(np.diff(x), np.diff(y)).cumsum()])
        return p, far * (self.length / max(far[-1], 1e-12))

    def local(self, s: Array) -> Points:
        """Return the points in the frame of the piece's start."""
        parameters, far = self._table
        p = np.interp(s, far, parameters)
        both = np.array([self.u, self.v]).T
        x, y = np.polynomial.polynomial.polyval(p, both)
        dx, dy = np.polynomial.polynomial.polyval(p, np.polynomial.polynomial.polyder(both))
        return Points(x, y, np.arctan2(dy, dx))


def read_piece(element: Element) -> Piece:
    """Return the curve of a `<geometry>`.

    Raises:
        ValueError: if it is of no known kind, or a number is missing.
    """
    keys = {"start": "s", "x": "x", "y": "y", "heading": "hdg", "length": "length"}
    base = {name: float(element.get(key, "nan")) for name, key in keys.items()}
    if not all(abs(value) <= NUMBER for value in base.values()):
        raise ValueError("<geometry> lacks one of s, x, y, hdg and length")
    kind = next(iter(element), None)
    numbers = {k: float(v) for k, v in kind.attrib.items() if k != "pRange"} if kind is not None else {}
    for key, value in numbers.items():
        if not abs(value) <= NUMBER:
            raise ValueError(f"<geometry> has {key}={value:g}")
    match "" if kind is None else kind.tag:
        case "line":
            return Piece(**base)
        case "arc" if abs(numbers["curvature"]) > 1e-12:
            return Arc(**base, curvature=numbers["curvature"])
        case "arc":
            return Piece(**base)
        case "spiral":
            return Spiral(**base, first=numbers["curvStart"], last=numbers["curvEnd"])
        case "poly3":
            terms = tuple(numbers[k] for k in "abcd")
            return Polynomial(**base, u=(0.0, 1.0, 0.0, 0.0), v=terms, span=base["length"])
        case "paramPoly3":
            u, v = (tuple(numbers[k + side] for k in "abcd") for side in "UV")
            normal = kind is not None and kind.get("pRange", "normalized") == "normalized"
            return Polynomial(**base, u=u, v=v, span=1.0 if normal else base["length"])
        case other:
            raise ValueError(f"a geometry of the kind {other or 'nothing'!r}")
