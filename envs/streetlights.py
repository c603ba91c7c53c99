"""SUMO's lights in step with the server's.

The server decides: each link of a SUMO light shows the state of the OpenDRIVE signal that `network_ends`
named for it. CARLA has no lights for walkers, so those of SUMO follow: walkers go for `WALK` seconds after
all who would drive straight over their crossing got red; who turns into it gives way. And nobody gets green
while somebody from another street is still in the way, because SUMO's vehicles do not look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mtdrive.envs.network_ends import LIGHT

RED, YELLOW, GREEN = range(3)
"""Numbers of `carla.TrafficLightState`; all others are off."""
WALK = 5.0
"""Seconds."""

Links = tuple[int, ...]


@dataclass
class Plan:
    """The links of a SUMO light."""

    id: str
    signals: tuple[str, ...]
    """OpenDRIVE signals by link; empty for none."""
    lanes: Mapping[str, int]
    """The links of the lanes through the junction."""
    yields: Mapping[int, Links]
    """The links that have precedence over each."""
    crossings: Mapping[int, tuple[Links, Links]]
    """The links that drive straight over each crossing, and those that turn into it."""
    red_since: dict[int, float] = field(default_factory=dict)
    """When the last of the first got red, with nobody of the others left in the junction."""

    def inside(self, occupied: Collection[str]) -> frozenset[int]:
        """Return the links whose lanes are among those that are occupied."""
        return frozenset(self.lanes[lane] for lane in self.lanes.keys() & set(occupied))

    def show(self, lights: Mapping[str, int], inside: Collection[int], time: float) -> str:
        """Return what the links show, in SUMO's letters; on the links `inside` there is somebody."""
        seen = [lights.get(signal, -1) for signal in self.signals]
        late = {link for link in inside if seen[link] == RED}
        letters = [_letter(state) for state in seen]
        for crossing, (over, into) in self.crossings.items():
            clear = all(seen[i] == RED for i in over) and not late.intersection(into)
            letters[crossing] = "G" if self._may_walk(crossing, clear, time) else "r"
        for link, before in self.yields.items():
            if letters[link] == "g" and any(link in self.yields[i] or i in before for i in late):
                letters[link] = "y"
            elif letters[link] == "g" and all(letters[i] not in "gGyo" for i in before):
                letters[link] = "G"
        return "".join(letters)

    def _may_walk(self, crossing: int, clear: bool, time: float) -> bool:
        """Return whether walkers go; a red of which the beginning was not seen may be about to end."""
        if not clear:
            self.red_since[crossing] = time
            return False
        return 0 < time - self.red_since.get(crossing, time - 2 * WALK) <= WALK


def _letter(state: int) -> str:
    """Return SUMO's letter; with a light that is off or missing, who has no precedence gives way."""
    return {RED: "r", YELLOW: "y", GREEN: "g"}.get(state, "o")


def plans_of(net: Any) -> Iterator[Plan]:
    """Give the lights of a network that sumolib read."""
    links: dict[str, dict[int, Any]] = {}
    for edge in net.getEdges():
        for way in (w for ways in edge.getOutgoing().values() for w in ways):
            if way.getTLSID() and (way.getFromLane().allows("passenger") or _crossed(way)):
                links.setdefault(way.getTLSID(), {})[way.getTLLinkIndex()] = way
    for light in net.getTrafficLights():
        own = links.get(light.getID(), {})
        params = [p.getParams() for p in light.getPrograms().values()]
        names = {k: v for p in params for k, v in p.items()}
        yield Plan(
            light.getID(),
            tuple(names.get(f"{LIGHT}{i}", "") for i in range(len(light.getConnections()))),
            {lane: i for i, way in own.items() if not _crossed(way) for lane in _lanes(net, way)},
            {i: tuple(j for j in own if j != i and _before(own[j], own[i])) for i in own},
            {i: _conflicts(way, own) for i, way in own.items() if _crossed(way)},
        )


def _lanes(net: Any, way: Any) -> Iterator[str]:
    """Give the lanes through the junction that a link leads over."""
    name = way.getViaLaneID()
    while name:
        yield name
        name = next((w.getViaLaneID() for w in net.getLane(name).getOutgoing()), "")


def _before(one: Any, other: Any) -> bool:
    """Return whether a link has precedence over another."""
    node = one.getFrom().getToNode() or one.getTo().getFromNode()
    return bool(node.forbids(one, other))


def _crossed(way: Any) -> set[Any]:
    """Return the edges that a link of walkers crosses; none for a link of vehicles."""
    edge = way.getTo()
    return set(edge.getCrossingEdges()) if edge.getFunction() == "crossing" else set()


def _conflicts(crossing: Any, links: Mapping[int, Any]) -> tuple[Links, Links]:
    edges = _crossed(crossing)
    into = [i for i, way in links.items() if way.getTo() in edges]
    straight = [i for i in into if links[i].getDirection() not in "lr"]
    over = {i: None for i, way in links.items() if way.getFrom() in edges} | dict.fromkeys(straight)
    return tuple(over), tuple(i for i in into if i not in over)
