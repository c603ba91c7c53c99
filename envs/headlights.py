"""When vehicles have their lights on."""

from __future__ import annotations

import carla

DUSK, FOG = 5.0, 40.0
"""Degrees of the sun below which, and density of fog above which, low beams are on."""


def low_beams(weather: carla.WeatherParameters) -> carla.VehicleLightState:
    """Return the lights that a vehicle should have on."""
    dark = weather.sun_altitude_angle < DUSK or weather.fog_density > FOG
    lights = carla.VehicleLightState
    return carla.VehicleLightState(lights.Position | lights.LowBeam if dark else lights.NONE)
