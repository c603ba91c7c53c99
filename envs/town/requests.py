"""The requests in the bytes of a connection, each within the limits.

What is not complete is only looked over, not built, so that it takes no more memory than it has bytes; and
what a complete request says of its lengths is true.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from mtdrive.envs.town.limits import MAP, REQUEST
from mtdrive.envs.town.structs import CallError, array

LOAD = "copy_opendrive_to_file"
"""The only call that may be longer: it carries a map as its first argument."""
HEAD = 200
"""Bytes in which a request's id and name are."""
TEXT = b"\xdb"
"""Msgpack's mark of a text of 64 KiB or more."""


class Request(NamedTuple):
    """A call."""

    id: int
    name: str
    arguments: Sequence[Any]


class RequestError(CallError):
    """A request is too large; it has an id and a name if they could be read."""

    def __init__(self, text: str, id: int | None = None, name: str = "") -> None:
        """Take the text and what is known of the request."""
        super().__init__(text)
        self.id, self.name = id, name


class Requests:
    """Takes bytes and gives requests."""

    def __init__(self) -> None:
        # The size to read is that of its buffer at first.
        self._scan = msgpack.Unpacker(read_size=1 << 12, max_buffer_size=MAP + 4 * REQUEST)
        self._bytes = bytearray()
        self._start = 0

    @property
    def waiting(self) -> int:
        """How many bytes are kept."""
        return len(self._bytes)

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        self._bytes += data
        self._scan.feed(data)

    def next(self) -> Request | None:
        """Return the next request, None if it is not complete.

        Raises:
            RequestError: it is too large.
            CallError, ValueError, TypeError: it is none.
        """
        try:
            self._scan.skip()
        except msgpack.OutOfData:
            self._check(len(self._bytes))
            return None
        except msgpack.StackError:
            raise CallError("it is nested too deeply") from None
        length = self._scan.tell() - self._start
        self._check(length)
        raw = bytes(self._bytes[:length])
        del self._bytes[:length]
        self._start += length
        return read(raw)

    def _check(self, length: int) -> None:
        if length > REQUEST:
            id, name, text = _head(bytes(self._bytes[:HEAD]))
            if name == LOAD and text > MAP:
                raise RequestError(f"the map has {text} bytes, Town takes at most {MAP}", id, name)
            if name != LOAD or length > text + REQUEST:
                raise RequestError(
                    f"a request has more than {REQUEST} bytes, the most that Town takes", id, name
                )


def read(raw: bytes) -> Request:
    """Read `[0, id, name, [metadata, *arguments]]`; clients send neither maps nor extensions."""
    message = msgpack.unpackb(
        raw,
        raw=False,
        use_list=False,
        unicode_errors="surrogateescape",
        max_map_len=0,
        max_ext_len=0,
    )
    parts = array(message, 4)
    kind, id, name = parts[:3]
    if kind != 0 or type(id) is not int or not 0 <= id < 1 << 32 or not isinstance(name, str):
        raise CallError("expected [0, id, name, arguments]")
    return Request(id, name, array(parts[3], 1)[1:])


def _head(raw: bytes) -> tuple[int | None, str, int]:
    """Return the id and the name of a request that begins so, and the length of the map that it carries."""
    head = msgpack.Unpacker(unicode_errors="surrogateescape")
    head.feed(raw)
    id, name, text = None, "", 0
    with contextlib.suppress(ValueError, msgpack.UnpackException):
        head.read_array_header()
        _, id, name = head.unpack(), head.unpack(), head.unpack()
        head.read_array_header()
        head.skip()
        place = head.tell()
        if raw[place : place + 1] == TEXT:
            text = int.from_bytes(raw[place + 1 : place + 5], "big")
    known = type(id) is int and isinstance(name, str)
    return (id, name, text) if known else (None, "", 0)
