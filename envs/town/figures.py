"""Meshes of bodies in their own frame.

The size is that of the body. `COACHWORK` and `CLOTH` take the body's colour; `DENIM` and `SKIN` differ from
model to model; the tag 0 stands for the body's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mtdrive.envs.town.cars import car
from mtdrive.envs.town.materials import Material
from mtdrive.envs.town.mesh import Mesh, join
from mtdrive.envs.town.models import VEHICLES
from mtdrive.envs.town.people import BODY, Extent, walker
from mtdrive.envs.town.riders import bicycle, motorcycle
from mtdrive.envs.town.shapes import box
from mtdrive.envs.town.tags import Tag
from mtdrive.envs.town.trucks import SIGN, bus, fire_engine, roof_sign, truck, wedge

Maker = Callable[[Extent], Iterator[Mesh]]

MAKERS: dict[int, Maker] = {
    Tag.CAR: car,
    Tag.TRUCK: truck,
    Tag.BUS: bus,
    Tag.MOTORCYCLE: motorcycle,
    Tag.BICYCLE: bicycle,
    Tag.PEDESTRIAN: walker,
}

OWN: dict[str, Maker] = {"vehicle.carlamotors.firetruck": fire_engine, "vehicle.tesla.cybertruck": wedge}
"""Models that look like no other."""


def figure(tag: int, extent: Extent) -> Mesh:
    """Return the mesh of a body of a semantic tag and size; of what has no model, a crate."""
    # No two models are of one size.
    model = next((k for k, m in VEHICLES.items() if m.tag == tag and m.size.half == extent), "")
    if model in OWN:
        return join(list(OWN[model](extent)))
    sign = list(roof_sign(VEHICLES[model].special, extent)) if model else []
    below = (*extent[:2], extent[2] - SIGN / 2) if sign else extent
    return join([*MAKERS.get(tag, _crate)(below), *sign])


def _crate(extent: Extent) -> Iterator[Mesh]:
    yield box((0, 0, extent[2]), extent, Material.CLOTH, BODY)
