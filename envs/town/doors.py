"""Who may come in: so many connections to a port."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Guest(Protocol):
    """A connection."""

    @property
    def stranger(self) -> bool:
        """Whether it has not said yet what it wants, or wants what is not there."""
        ...

    def cut(self) -> None:
        """End the connection."""
        ...


G = TypeVar("G", bound=Guest)


class Door(Generic[G]):
    """The connections to a port. Where they are too many, the oldest stranger makes room."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside: dict[G, None] = {}
        self._outside: set[G] = set()

    def enter(self, guest: G) -> bool:
        """Let a connection in; False if there is no room."""
        if len(self.inside) >= self.most:
            stranger = next((other for other in self.inside if other.stranger), None)
            if stranger is None:
                return False
            self.leave(stranger)
            stranger.cut()
        self.inside[guest] = None
        return True

    def see_off(self, guest: G) -> bool:
        """Let a connection wait outside until it has read why; False if too many do."""
        self.leave(guest)
        if len(self._outside) >= self.most:
            return False
        self._outside.add(guest)
        return True

    def leave(self, guest: G) -> None:
        """Take leave of a connection; twice does no harm."""
        self.inside.pop(guest, None)
        self._outside.discard(guest)
