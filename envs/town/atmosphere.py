"""What a weather makes of sun, sky, air and roads: the numbers that the shaders read.

Light is linear; what is seen without it, as the sky, is in display values from 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from mtdrive.envs.town.weather import Weather

Colour = Float[np.ndarray, "rgb=3"]

AZIMUTH = 231.7
"""Degrees of yaw towards a sun of azimuth 0, which CARLA leaves open: with its presets' -1, the sun shines
obliquely on streets along the axes, and the sides of a street and of a house differ."""

SUN_STEP = 0.5
"""Degrees by which the sun moves: while it stays, maps of shadows are kept."""

ALTITUDES = (-12.0, -6.0, 0.0, 5.0, 15.0, 45.0)
"""Degrees of the sun at which the colours of a clear sky are given; in between they are mixed."""
ZENITH = (
    (0.012, 0.016, 0.034), (0.05, 0.07, 0.16), (0.15, 0.20, 0.38), (0.21, 0.30, 0.52), (0.26, 0.39, 0.66),
    (0.22, 0.42, 0.76),
)  # fmt: skip
HORIZON = (
    (0.060, 0.058, 0.072), (0.17, 0.15, 0.19), (0.58, 0.42, 0.33), (0.84, 0.62, 0.42), (0.92, 0.76, 0.56),
    (0.78, 0.84, 0.90),
)  # fmt: skip
CLOUDS = (
    (0.075, 0.075, 0.088), (0.17, 0.15, 0.18), (0.64, 0.46, 0.40), (0.92, 0.68, 0.52), (0.98, 0.83, 0.68),
    (0.93, 0.94, 0.96),
)  # fmt: skip
SKYLIGHT = (
    (0.040, 0.044, 0.058), (0.065, 0.066, 0.090), (0.20, 0.18, 0.20), (0.32, 0.28, 0.28), (0.43, 0.41, 0.42),
    (0.52, 0.60, 0.72),
)  # fmt: skip
SUNLIGHT = (1.75, 1.62, 1.38)
"""Of a sun 45 degrees high."""
EXTINCTION = (0.05, 0.15, 0.32)
"""Of sunlight by the air overhead, so strong that sunsets are red."""

DUST, DUST_HIGH = (0.66, 0.48, 0.29), (0.56, 0.41, 0.26)
"""The colours of dust near the ground and overhead."""

CLEAR, PER_FOG, PER_RAIN, PER_DUST = 0.0008, 0.0004, 0.006, 0.022
"""Extinction a metre: of clean air, and what 1 % of fog, 100 % of rain and 100 % of dust add."""
HAZY = 0.003
"""From which extinction on fog is drawn by its whole formula."""

RAYLEIGH, MIE = 0.0331, 0.03
"""CARLA's own values."""


@dataclass(frozen=True, eq=False)
class Air:
    """What the shaders have to know of a weather."""

    sun: Float[np.ndarray, "xyz=3"]
    """Towards the sun."""
    sunlight: Colour
    skylight: Colour
    zenith: Colour
    haze: Colour
    """Of the horizon and of fog."""
    cloud: Colour
    clear: float
    """How high the noise of the clouds must be for one to be there."""
    halo: Colour
    """Around the sun."""
    halo_sharpness: float
    drift: Float[np.ndarray, "xy=2"]
    """Of the clouds, a second; in heights of their base."""
    extinction: float
    """Of the fog, a metre."""
    fog_start: float
    """Metres from the eye."""
    fog_thinning: float
    """A metre upwards, the exponent of the fog's density."""
    film: float
    """How wet roads are, 0 to 1."""
    puddles: float
    """Below which height of the noise there is a puddle."""
    rain: float
    """0 to 1."""
    slant: float
    """Of the rain, to the side for one down."""
    lamps: float
    """How far street lamps and windows are lit, 0 to 1."""
    glare: float
    """How bright the halos of lamps are, 0 to 1."""
    spread: float
    """By how much the air makes halos larger."""
    contrast: float
    """Of the clouds."""
    opacity: float
    """Of the clouds."""

    @property
    def features(self) -> str:
        """What the shader of surfaces has to draw, as its program's name has it."""
        return self.sky_features + _names(WET=self.film > 0, LAMPS=self.lamps > 0)

    @property
    def sky_features(self) -> str:
        """What the shader of the sky has to draw."""
        return _names(SUN=bool(self.sunlight.max() > 0.02), FOG=self.extinction > HAZY)

    @property
    def screen_features(self) -> str:
        """What the shader of the final image has to draw."""
        return _names(WET=self.film > 0, RAIN=self.rain > 0)


def _names(**features: bool) -> str:
    return "".join(f" {name}" for name, on in features.items() if on)


@lru_cache(maxsize=8)
def air_of(weather: Weather) -> Air:
    """Return what a weather looks like."""
    w = weather.meant()
    altitude = round(w.sun_altitude_angle / SUN_STEP) * SUN_STEP
    rain, dust, deposits = w.precipitation / 100, w.dust_storm / 100, w.precipitation_deposits
    # Rain falls from clouds, even if none were asked for.
    cover = max(w.cloudiness / 100, 0.4 + 0.6 * rain if rain else 0.0)
    extinction = CLEAR + PER_FOG * w.fog_density + PER_RAIN * rain + PER_DUST * dust
    murk = 1 - math.exp(-45 * max(extinction - HAZY, 0.0))
    grey = _ramp(cover, 0.2, 0.85)
    blue = min(w.rayleigh_scattering_scale / RAYLEIGH, 2.0)
    warm = 1 - _ramp(altitude, 8.0, 35.0)
    dark = (1 - 0.25 * rain - 0.1 * _ramp(cover, 0.6, 1.0)) * (1 - 0.15 * warm * grey)
    lamps = 1 - _ramp(altitude, -4.0, 4.0)
    haze = _saturated(_at(altitude, HORIZON), 0.5 + 0.5 * blue)
    haze = _dusty(_faded(haze, max((1 - 0.4 * warm) * grey, murk), 0.95 * dark), dust)
    # Street lamps light the fog.
    haze = haze + lamps * murk * np.array([0.070, 0.063, 0.058])
    zenith = _dusty(_saturated(_at(altitude, ZENITH), blue) * (1 - 0.3 * grey), dust, DUST_HIGH)
    cloud = _dusty(_faded(_at(altitude, CLOUDS), grey ** (1 - 0.5 * warm), (0.80 - 0.1 * warm) * dark), dust)
    skylight = _faded(_at(altitude, SKYLIGHT), max(0.9 * grey, 0.6 * murk), 1.25 * dark)
    halo = min(w.mie_scattering_scale / MIE, 4.0) * (1 - 0.9 * grey) * (1 - murk) * _ramp(altitude, -8.0, 2.0)
    return Air(
        sun=_sun(altitude, round(w.sun_azimuth_angle / SUN_STEP) * SUN_STEP),
        sunlight=_sunlight(altitude) * _through(cover) * (1 - murk) ** 1.5,
        skylight=_dusty(skylight, 0.85 * dust),
        zenith=zenith,
        haze=haze,
        cloud=cloud,
        clear=float(np.interp(cover, (0, 0.05, 0.1, 0.2, 0.6, 1), (0.66, 0.56, 0.52, 0.50, 0.40, 0.05))),
        halo=halo * (1 + warm) * np.array([0.25, 0.25 - 0.12 * warm, 0.25 - 0.2 * warm]),
        halo_sharpness=24.0 - 16.0 * warm,
        drift=np.array([0.8, 0.6]) * w.wind_intensity * 4e-4,
        extinction=extinction,
        fog_start=w.fog_distance,
        fog_thinning=max(w.fog_falloff * 0.07, 1e-4),
        film=max(0.9 * w.wetness / 100, (0.25 + 0.6 * deposits / 100) * (deposits > 0), rain),
        puddles=float(np.interp(deposits, (0, 10, 50, 90, 100), (0.2, 0.36, 0.49, 0.60, 0.64))),
        rain=rain,
        slant=0.04 + 0.35 * w.wind_intensity / 100,
        lamps=lamps,
        glare=max(lamps, 0.6 * murk, 0.4 * rain),
        spread=1 + 2.5 * min(w.scattering_intensity, 2.0) * (1 - math.exp(-60 * max(extinction - HAZY, 0))),
        contrast=0.25 + 0.55 * grey,
        opacity=0.85 + 0.13 * grey,
    )


def _ramp(x: float, low: float, high: float) -> float:
    """Return 0 up to `low`, 1 from `high` on, and smoothly what is between."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _at(altitude: float, table: tuple[tuple[float, ...], ...]) -> Colour:
    """Return a colour under a sun so high."""
    return np.array([np.interp(altitude, ALTITUDES, column) for column in zip(*table, strict=True)])


def _saturated(colour: Colour, amount: float) -> Colour:
    """Return a colour with so much of what is not grey in it."""
    return np.asarray(np.clip(colour.mean() + amount * (colour - colour.mean()), 0, 1))


def _faded(colour: Colour, amount: float, brightness: float) -> Colour:
    """Return a colour, by some amount a grey that is so bright in relation to it."""
    return np.asarray(colour + amount * (brightness * colour.mean() * np.array([0.98, 1.0, 1.03]) - colour))


def _dusty(colour: Colour, amount: float, dust: tuple[float, float, float] = DUST) -> Colour:
    """Return a colour, by some amount that of dust in this light."""
    return np.asarray(colour + amount * (np.array(dust) * min(colour.mean() / 0.72, 1.0) - colour))


def _sun(altitude: float, azimuth: float) -> Float[np.ndarray, "xyz=3"]:
    up, yaw = math.radians(altitude), math.radians(AZIMUTH + azimuth)
    return np.array([math.cos(up) * math.cos(yaw), math.cos(up) * math.sin(yaw), math.sin(up)])


def _sunlight(altitude: float) -> Colour:
    """Return the light of the sun through clear air; it fades out just above the horizon."""
    longer = _air_mass(altitude) - _air_mass(45.0)
    return np.array(SUNLIGHT) * np.exp(-np.array(EXTINCTION) * longer) * _ramp(altitude, 0.0, 4.0)


def _air_mass(altitude: float) -> float:
    """Return how much air the sun shines through, 1 overhead.

    F. Kasten and A. T. Young, "Revised optical air mass tables and approximation formula", Applied Optics 28
    (1989), https://doi.org/10.1364/AO.28.004735.
    """
    up = max(altitude, 0.0)
    return 1 / (math.sin(math.radians(up)) + 0.50572 * math.pow(up + 6.07995, -1.6364))


def _through(cover: float) -> float:
    """Return which share of the sun's light comes through clouds."""
    return float(np.interp(cover, (0.2, 0.6, 0.8, 0.95), (1.0, 0.3, 0.06, 0.0)))
