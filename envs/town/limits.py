"""How much a client may ask for; docs/town.md lists it.

No client can take the server's memory, crash it or keep it from the others. What fits into the limits may
still be slow: many actors and large cameras take their time in every step, as in CARLA.
"""

from __future__ import annotations

REQUEST = 1 << 20
"""Bytes of a request; the text of a map is not counted."""
MAP = 16 << 20
"""Bytes of the text of a map; Town05 has 4.7 million."""
UNFINISHED = 64 << 20
"""Bytes of the requests of all clients that have not come to their end."""
NUMBER = 1e12
"""The largest number: it fits into the 32 bits of a float on the wire, also after some arithmetic."""
COEFFICIENT = 1e30
"""The largest coefficient of a cubic in a map: only its values have to be numbers of metres."""
FARTHEST = 1e6
"""Metres from the origin within which the world lies."""
FASTEST = 1e6
"""Metres and degrees a second at which a body is still in the world."""
NAME = 256
"""Characters of a name and of an attribute's value."""

CLIENTS = 64
"""Control connections at once."""
LISTENERS = 512
"""Connections to streams at once."""
WAITING = 64
"""Calls of a client that wait for something at once; further ones are read when these are answered."""
MANAGERS = 16
"""Traffic managers of a client."""

QUEUE = 32 << 20
"""Bytes that wait for a listener that reads slowly; then frames are dropped."""
BACKLOG = 256 << 20
"""Bytes that wait for all listeners; then the one that is most behind is cut off."""

ACTORS = 2000
"""That clients made."""
SENSORS = 256
"""Of the actors, those with a stream."""
SIDE = 4096
"""Pixels of an image's side."""
PIXELS = 3840 * 2160
"""Of an image."""
ALL_PIXELS = 64 << 20
"""Of the images of all cameras."""

BATCH = 5000
"""Commands of a batch."""
FURTHER = 64
"""Commands after a spawn in a batch."""
IDS = 10_000
"""Ids that are asked for in one call."""
POINTS = 256
"""Points of a curve, or gears."""

SHORTEST, LONGEST = 1e-4, 1.0
"""Seconds of a step."""
SUBSTEPS = 100
"""Of a step."""
RHYTHM = 1e-3
"""Seconds between the messages of a sensor; a shorter time means every step."""

LANES = 400.0
"""Kilometres of the lanes of a map."""
CELLS = 20_000_000
"""Of a map's raster of half metres: five square kilometres, with the land around; Town04 has 5.1 million."""
SAMPLES = 20_000_000
"""Points that the lanes put into the raster."""
SIGNALS = 2000
"""Traffic lights and stop signs of a map."""
