"""The vehicles, walkers and props of CARLA 0.9.16: their ids, classes and real sizes.

Sizes are those of the bounding boxes that CARLA 0.9.16 reports; masses and powers are those of the real
vehicles (with a rider of 80 kg on two wheels), rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

CAR, TRUCK, BUS, MOTORCYCLE, BICYCLE, PEDESTRIAN, RIDER, STATIC, DYNAMIC = 14, 15, 16, 18, 19, 12, 13, 20, 21
"""Semantic tags of CARLA 0.9.16."""

TAGS = {"car": CAR, "van": CAR, "truck": TRUCK, "bus": BUS, "motorcycle": MOTORCYCLE, "bicycle": BICYCLE}


class Size(NamedTuple):
    """Metres."""

    length: float
    width: float
    height: float

    @property
    def half(self) -> tuple[float, float, float]:
        """The extent of CARLA's boxes."""
        return self.length / 2, self.width / 2, self.height / 2


@dataclass(frozen=True)
class VehicleModel:
    """A vehicle."""

    base: str
    """CARLA's base type: car, van, truck, bus, motorcycle or bicycle."""
    size: Size
    mass: float
    """Kilograms."""
    power: float
    """Of the engine or the cyclist, kilowatts."""
    generation: int = 1
    special: str = ""
    """CARLA's special type: emergency, taxi, electric."""

    @property
    def wheels(self) -> int:
        """Two or four."""
        return 2 if self.base in ("motorcycle", "bicycle") else 4

    @property
    def lights(self) -> bool:
        """Whether it can switch lights; as in CARLA, the first generation's cars mostly cannot."""
        return self.base != "bicycle" and self.generation == 2

    @property
    def tag(self) -> int:
        """The semantic tag."""
        return TAGS[self.base]


def _vehicle(
    base: str,
    length: float,
    width: float,
    height: float,
    mass: float,
    power: float,
    generation: int = 1,
    special: str = "",
) -> VehicleModel:
    return VehicleModel(base, Size(length, width, height), mass, power, generation, special)


VEHICLES = {
    "vehicle.audi.a2": _vehicle("car", 3.7054, 1.7887, 1.5491, 1030, 66),
    "vehicle.audi.etron": _vehicle("car", 4.8557, 2.0328, 1.6493, 2490, 265, 1, "electric"),
    "vehicle.audi.tt": _vehicle("car", 4.1812, 1.9941, 1.3853, 1350, 169),
    "vehicle.bmw.grandtourer": _vehicle("car", 4.6110, 2.2417, 1.6673, 1570, 110),
    "vehicle.chevrolet.impala": _vehicle("car", 5.3575, 2.0332, 1.4107, 1610, 145),
    "vehicle.citroen.c3": _vehicle("car", 3.9877, 1.8508, 1.6171, 1090, 81),
    "vehicle.dodge.charger_2020": _vehicle("car", 5.0078, 1.8816, 1.5347, 1850, 276, 2),
    "vehicle.dodge.charger_police": _vehicle("car", 4.9742, 2.0384, 1.5421, 1920, 272, 1, "emergency"),
    "vehicle.dodge.charger_police_2020": _vehicle("car", 5.2375, 1.9298, 1.6384, 1950, 276, 2, "emergency"),
    "vehicle.ford.crown": _vehicle("car", 5.3657, 1.8007, 1.5750, 1880, 178, 2, "taxi"),
    "vehicle.ford.mustang": _vehicle("car", 4.7175, 1.8948, 1.3009, 1450, 200, 1),
    "vehicle.jeep.wrangler_rubicon": _vehicle("car", 3.8662, 1.9052, 1.8779, 1790, 209),
    "vehicle.lincoln.mkz_2017": _vehicle("car", 4.9017, 2.1283, 1.5107, 1720, 183),
    "vehicle.lincoln.mkz_2020": _vehicle("car", 4.8924, 1.8367, 1.4903, 1720, 183, 2),
    "vehicle.mercedes.coupe": _vehicle("car", 5.0268, 2.1515, 1.6507, 1760, 245),
    "vehicle.mercedes.coupe_2020": _vehicle("car", 4.6736, 1.8118, 1.4419, 1660, 220, 2),
    "vehicle.micro.microlino": _vehicle("car", 2.2073, 1.4809, 1.3760, 570, 19, 1, "electric"),
    "vehicle.mini.cooper_s": _vehicle("car", 3.8058, 1.9703, 1.4750, 1220, 141),
    "vehicle.mini.cooper_s_2021": _vehicle("car", 4.5527, 2.0971, 1.7672, 1300, 141, 2),
    "vehicle.nissan.micra": _vehicle("car", 3.6334, 1.8451, 1.5013, 980, 66),
    "vehicle.nissan.patrol": _vehicle("car", 4.6045, 1.9316, 1.8548, 2190, 118),
    "vehicle.nissan.patrol_2021": _vehicle("car", 5.5658, 2.1500, 2.0451, 2850, 298, 2),
    "vehicle.seat.leon": _vehicle("car", 4.1928, 1.8162, 1.4738, 1270, 110),
    "vehicle.tesla.model3": _vehicle("car", 4.7918, 2.1635, 1.4877, 1845, 211, 2, "electric"),
    "vehicle.toyota.prius": _vehicle("car", 4.5135, 2.0068, 1.5248, 1390, 90, 1, "electric"),
    "vehicle.ford.ambulance": _vehicle("van", 6.3656, 2.3512, 2.4314, 3900, 224, 2, "emergency"),
    "vehicle.mercedes.sprinter": _vehicle("van", 5.9152, 1.9884, 2.5607, 2300, 120, 2),
    "vehicle.volkswagen.t2": _vehicle("van", 4.4804, 2.0693, 2.0378, 1200, 51),
    "vehicle.volkswagen.t2_2021": _vehicle("van", 4.4422, 1.7746, 1.9872, 1200, 51, 2),
    "vehicle.carlamotors.carlacola": _vehicle("truck", 5.2038, 2.6270, 2.4674, 5500, 150),
    "vehicle.carlamotors.european_hgv": _vehicle("truck", 7.9357, 2.8911, 3.4619, 9000, 330, 2),
    "vehicle.carlamotors.firetruck": _vehicle("truck", 8.4680, 2.8911, 3.8274, 14000, 260, 2, "emergency"),
    "vehicle.tesla.cybertruck": _vehicle("truck", 6.2736, 2.3896, 2.0982, 3000, 450, 1, "electric"),
    "vehicle.mitsubishi.fusorosa": _vehicle("bus", 10.2727, 3.9442, 4.2528, 9500, 180, 2),
    "vehicle.harley-davidson.low_rider": _vehicle("motorcycle", 2.3502, 0.7662, 1.6495, 390, 67),
    "vehicle.kawasaki.ninja": _vehicle("motorcycle", 2.0437, 0.7969, 1.5232, 280, 90),
    "vehicle.vespa.zx125": _vehicle("motorcycle", 1.8171, 0.8659, 1.5901, 190, 8, 1, "electric"),
    "vehicle.yamaha.yzf": _vehicle("motorcycle", 2.1908, 0.8659, 1.5304, 280, 90),
    "vehicle.bh.crossbike": _vehicle("bicycle", 1.5093, 0.8659, 1.6124, 95, 0.4),
    "vehicle.diamondback.century": _vehicle("bicycle", 1.6562, 0.5824, 1.6198, 90, 0.4),
    "vehicle.gazelle.omafiets": _vehicle("bicycle", 1.8434, 0.6590, 1.7758, 98, 0.3),
}

CHILDREN = {9, 10, 11, 48, 49}
YOUTHS = {12, 13, 14}


def walker_size(number: int) -> Size:
    """Return the size of `walker.pedestrian.NUMBER`."""
    if number in CHILDREN:
        return Size(0.5, 0.5, 1.1)
    return Size(0.3754, 0.3754, 1.3 if number in YOUTHS else 1.86)


WALKERS = {f"walker.pedestrian.{number:04d}": walker_size(number) for number in range(1, 52)}

PROPS = {
    "static.prop.advertisement": Size(1.5492, 0.2868, 2.4428),
    "static.prop.barbeque": Size(0.9456, 0.4988, 1.2641),
    "static.prop.barrel": Size(0.4596, 0.4714, 0.8067),
    "static.prop.bench01": Size(1.5441, 0.7359, 0.9698),
    "static.prop.bin": Size(0.5482, 0.6382, 1.0591),
    "static.prop.box01": Size(0.6522, 0.6522, 0.6916),
    "static.prop.box02": Size(0.6486, 0.6486, 0.6486),
    "static.prop.box03": Size(0.6609, 0.6701, 0.6486),
    "static.prop.busstop": Size(3.8761, 1.8936, 2.7389),
    "static.prop.busstoplb": Size(1.8936, 3.8761, 2.7389),
    "static.prop.chainbarrier": Size(1.4942, 0.2386, 0.8887),
    "static.prop.clothcontainer": Size(1.2394, 1.8865, 1.8102),
    "static.prop.constructioncone": Size(0.3441, 0.3441, 0.5858),
    "static.prop.container": Size(1.9318, 1.0124, 1.7142),
    "static.prop.dirtdebris01": Size(1.8574, 1.5139, 0.1490),
    "static.prop.dirtdebris02": Size(1.8574, 1.5139, 0.1490),
    "static.prop.dirtdebris03": Size(1.8574, 1.5139, 0.1884),
    "static.prop.foodcart": Size(2.2847, 4.6384, 3.5731),
    "static.prop.fountain": Size(8.4018, 8.4018, 6.9244),
    "static.prop.glasscontainer": Size(1.9548, 2.0088, 1.7884),
    "static.prop.haybale": Size(1.2477, 1.1933, 1.1950),
    "static.prop.haybalelb": Size(1.2477, 1.1933, 1.1950),
    "static.prop.kiosk_01": Size(1.6252, 1.6541, 3.2454),
    "static.prop.mailbox": Size(0.5266, 0.4384, 1.1573),
    "static.prop.streetbarrier": Size(1.2149, 0.3717, 1.0691),
    "static.prop.trafficcone01": Size(0.8828, 0.8822, 1.1333),
    "static.prop.trafficcone02": Size(0.4556, 0.3946, 1.1829),
    "static.prop.trafficwarning": Size(2.3734, 2.8706, 3.5695),
    "static.prop.vendingmachine": Size(0.8729, 1.1020, 2.1082),
    "static.prop.warningaccident": Size(1.3050, 1.0551, 1.8602),
    "static.prop.warningconstruction": Size(1.3050, 1.0551, 1.8602),
}

FLAT = 0.2
"""Metres of height up to which a prop is driven over, such as debris on the road, as in CARLA."""
