"""Traffic lights: the groups of a map, their turns, and what a client may change of them.

A group is a list of controllers. One has its turn: its lights are green, then yellow, then red, while all
others are red; then comes the next. A frozen group keeps its time. A state that a client sets stays until the
group moves on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mtdrive.envs.town.actors import GREEN, RED, YELLOW, Light

NEXT = {GREEN: YELLOW, YELLOW: RED, RED: GREEN}


class Group:
    """The lights that share a cycle, in the order of their turns."""

    def __init__(self, turns: Sequence[Sequence[Light]]) -> None:
        self.turns = turns
        self.reset()

    @property
    def lights(self) -> list[Light]:
        """All lights."""
        return [light for turn in self.turns for light in turn]

    def reset(self) -> None:
        """Begin with the first controller's green."""
        self.turn, self.phase, self.time = 0, GREEN, 0.0
        for light in self.lights:
            _show(light, RED)
        for light in self.turns[0]:
            _show(light, GREEN)

    def freeze(self, frozen: bool) -> None:
        """Stop or go on."""
        for light in self.lights:
            light.frozen = frozen

    def advance(self, dt: float) -> None:
        """Move on by so many seconds."""
        if self.turns[0][0].frozen:
            return
        self.time += dt
        for light in self.lights:
            light.elapsed += dt
        while self.time >= self._length() - 1e-9:
            self.time -= self._length()
            self._change()

    def _length(self) -> float:
        first = self.turns[self.turn][0]
        return max({GREEN: first.green, YELLOW: first.yellow, RED: first.red}[self.phase], 1e-3)

    def _change(self) -> None:
        self.phase = NEXT[self.phase]
        if self.phase == GREEN:
            self.turn = (self.turn + 1) % len(self.turns)
        for index, turn in enumerate(self.turns):
            for light in turn:
                _show(light, self.phase if index == self.turn else RED)


def _show(light: Light, state: int) -> None:
    if light.state != state:
        light.state, light.elapsed = state, 0.0


def make_groups(lights: Iterable[Light]) -> list[Group]:
    """Return the groups of a map's lights; a light without a controller has turns of its own."""
    junctions: dict[str, dict[str, list[Light]]] = {}
    for light in lights:
        alone = f"light {light.signal.id}"
        turns = junctions.setdefault(light.signal.group or alone, {})
        turns.setdefault(light.signal.controller or alone, []).append(light)
    groups = [Group([turns[name] for name in sorted(turns, key=_order)]) for turns in junctions.values()]
    for group in groups:
        for pole, light in enumerate(group.lights):
            light.pole = pole
    return groups


def _order(name: str) -> tuple[int, str]:
    """Sort numbers by their value."""
    return (int(name), "") if name.isdecimal() else (1 << 62, name)
