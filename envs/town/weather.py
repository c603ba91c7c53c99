"""The weather: the parameters of CARLA.

The numbers are kept as the client sent them, even outside CARLA's ranges, as its presets' azimuth of -1 is.
What is drawn is the nearest weather that has a meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Weather:
    """The fields of `carla.WeatherParameters` in its order."""

    cloudiness: float = 10.0
    precipitation: float = 0.0
    precipitation_deposits: float = 0.0
    wind_intensity: float = 10.0
    sun_azimuth_angle: float = -1.0
    sun_altitude_angle: float = 45.0
    fog_density: float = 2.0
    fog_distance: float = 0.75
    fog_falloff: float = 0.1
    wetness: float = 0.0
    scattering_intensity: float = 1.0
    mie_scattering_scale: float = 0.03
    rayleigh_scattering_scale: float = 0.0331
    dust_storm: float = 0.0

    def write(self) -> list[float]:
        """Return CARLA's struct."""
        return [getattr(self, f.name) for f in fields(self)]

    def changed(self, values: Sequence[float]) -> Weather:
        """Return the weather with other first fields; the client of an older version leaves out the last."""
        return replace(self, **dict(zip(RANGES, values, strict=False)))

    def meant(self) -> Weather:
        """Return the nearest weather in CARLA's ranges; its preset `Default`, all -1, means `CLEAR_DAY`."""
        own = self.write()
        if all(value == -1 for value in own[: len(DEFAULTED)]):
            return CLEAR_DAY
        kept = (min(max(x, low), high) for x, (low, high) in zip(own, RANGES.values(), strict=True))
        return replace(Weather(*kept), sun_azimuth_angle=self.sun_azimuth_angle % 360)


PERCENT = (0.0, 100.0)
DEFAULTED = (
    "cloudiness", "precipitation", "precipitation_deposits", "wind_intensity", "sun_azimuth_angle",
    "sun_altitude_angle", "fog_density", "fog_distance", "fog_falloff", "wetness",
)  # fmt: skip
"""What CARLA's preset `Default` sets to -1."""
RANGES = (
    dict.fromkeys(DEFAULTED, PERCENT)
    | {"sun_azimuth_angle": (0.0, 360.0), "sun_altitude_angle": (-90.0, 90.0)}
    | {"fog_distance": (0.0, 1e4), "fog_falloff": (0.0, 100.0)}
    | {"scattering_intensity": (0.0, 10.0), "mie_scattering_scale": (0.0, 5.0)}
    | {"rayleigh_scattering_scale": (0.0, 2.0), "dust_storm": PERCENT}
)
"""From what to what the fields reach, in their order."""

CLEAR_DAY = Weather()
"""What an episode begins with."""
