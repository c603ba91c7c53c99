"""libsumo: SUMO in this process, one simulation at a time, and its frame of reference.

SUMO has x and y as OpenDRIVE (moved by the network's offset), headings clockwise from north, and a vehicle
where the middle of its front bumper is. CARLA has y the other way and an origin in the vehicle's middle.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mtdrive.errors import DataError, SimulatorError

with contextlib.redirect_stdout(io.StringIO()):  # it warns of other versions of pyarrow, which do no harm
    import libsumo
    from libsumo import constants

__all__ = ["Placed", "Sumo", "libsumo", "to_carla_yaw", "to_sumo_angle"]

SEEN_OF_VEHICLES = (
    constants.VAR_POSITION3D, constants.VAR_ANGLE, constants.VAR_SLOPE, constants.VAR_SPEED,
    constants.VAR_SIGNALS, constants.VAR_WAITING_TIME, constants.VAR_LANE_ID, constants.VAR_LANEPOSITION,
)  # fmt: skip
SEEN_OF_WALKERS = (constants.VAR_POSITION3D, constants.VAR_ANGLE, constants.VAR_SPEED, constants.VAR_ROAD_ID)

NOWHERE = 1e7
"""Metres; SUMO's place of nobody is farther."""


class Placed(NamedTuple):
    """Where a road user is: the front bumper of a vehicle, the middle of a walker; CARLA's frame."""

    x: float
    y: float
    z: float
    """On the ground."""
    yaw: float
    pitch: float
    speed: float
    signals: int = 0
    """SUMO's flags of a vehicle's lamps."""
    waited: float = 0.0
    """Seconds that a vehicle has stood."""
    on: str = ""
    """The lane that a vehicle is on, or the edge that a walker is on."""
    metres: float = 0.0
    """Of a vehicle from the lane's start."""


def to_carla_yaw(angle: float) -> float:
    """Return CARLA's yaw of a heading of SUMO, from -180 to 180 degrees."""
    return (angle - 90 + 180) % 360 - 180


def to_sumo_angle(yaw: float) -> float:
    """Return SUMO's heading of a yaw of CARLA, from 0 to 360 degrees."""
    return (yaw + 90) % 360


class Sumo:
    """A running simulation.

    Raises:
        DataError: SUMO cannot read the network.
        SimulatorError: this process runs one already; end it first.
    """

    _running = False

    def __init__(self, network: Path, offset: tuple[float, float], seed: int, step: float) -> None:
        if Sumo._running:
            raise SimulatorError("this process runs a SUMO simulation already; close its traffic first")
        options: dict[str, object] = {
            "net-file": network,
            "seed": seed % (1 << 31),
            "step-length": step,
            "lanechange.duration": 2,  # at once otherwise
            "collision.action": "none",
            "time-to-teleport": -1,  # who is stuck is put elsewhere by us, out of sight
            "no-step-log": "true",
            "no-warnings": "true",
            "duration-log.disable": "true",
            "xml-validation.net": "never",
        }
        try:
            libsumo.start(["sumo", *(f"--{name}={value}" for name, value in options.items())])
        except libsumo.TraCIException as error:
            raise DataError(f"{network}: SUMO cannot read the network ({error}); build it again") from None
        Sumo._running = True
        self.offset = offset
        self.open = True

    def close(self) -> None:
        """End the simulation; twice does no harm."""
        if self.open:
            self.open = Sumo._running = False
            libsumo.close()

    def step(self) -> None:
        """Make a step, and watch those who have entered."""
        libsumo.simulationStep()
        for name in libsumo.simulation.getDepartedIDList():
            libsumo.vehicle.subscribe(name, SEEN_OF_VEHICLES)
        for name in libsumo.simulation.getDepartedPersonIDList():
            libsumo.person.subscribe(name, SEEN_OF_WALKERS)

    def vehicles(self) -> Iterator[tuple[str, Placed]]:
        """Give the vehicles on the streets."""
        yield from self._known(libsumo.vehicle.getAllSubscriptionResults())

    def walkers(self) -> Iterator[tuple[str, Placed]]:
        """Give the walkers."""
        yield from self._known(libsumo.person.getAllSubscriptionResults())

    def _known(self, results: Mapping[str, Any]) -> Iterator[tuple[str, Placed]]:
        """Give those who are somewhere: at odd corners SUMO loses walkers for a while."""
        for name, seen in results.items():
            placed = self._placed(seen)
            if abs(placed.x) < NOWHERE and abs(placed.y) < NOWHERE:  # not so for a NaN
                yield name, placed

    def _placed(self, seen: Mapping[int, Any]) -> Placed:
        x, y, z = seen[constants.VAR_POSITION3D]
        return Placed(
            x - self.offset[0],
            self.offset[1] - y,
            z,
            to_carla_yaw(seen[constants.VAR_ANGLE]),
            seen.get(constants.VAR_SLOPE, 0.0),
            seen[constants.VAR_SPEED],
            seen.get(constants.VAR_SIGNALS, 0),
            seen.get(constants.VAR_WAITING_TIME, 0.0),
            seen.get(constants.VAR_LANE_ID) or seen.get(constants.VAR_ROAD_ID, ""),
            seen.get(constants.VAR_LANEPOSITION, 0.0),
        )

    def to_sumo(self, x: float, y: float) -> tuple[float, float]:
        """Return a place of CARLA in SUMO's frame."""
        return x + self.offset[0], self.offset[1] - y


def ahead(x: float, y: float, yaw: float, metres: float) -> tuple[float, float]:
    """Return the place so many metres ahead of another."""
    return x + metres * math.cos(math.radians(yaw)), y + metres * math.sin(math.radians(yaw))
