"""Checks of a server: traffic lights and their stop lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import carla

from mtdrive.envs.bench import Bench, Checks
from mtdrive.envs.scene import GREEN, OFF, RED, YELLOW
from mtdrive.envs.signals import stop_lines

LIGHTS = Checks()
Found = tuple[str, bool]
NONE = "the map has none", True
CYCLE = 90.0
"""Seconds in which some light changes."""


@LIGHTS.add("lights", "known by the OpenDRIVE ids of the map's signals")
def names(bench: Bench) -> Found:
    """Compare with the landmarks."""
    lights, signals = _lights(bench), {mark.id for mark in bench.simulation.map.get_all_landmarks()}
    known = sum(name in signals for name in lights)
    return f"{known} of {len(lights)}", known == len(lights)


@LIGHTS.add("states of lights", "green, yellow, red and off as set, one tick later at the latest")
def states(bench: Bench) -> Found:
    """Set each state, and look."""
    lights = _lights(bench)
    if not lights:
        return NONE
    name, light = next(iter(lights.items()))
    car, found = bench.park(), []
    wished = (GREEN, YELLOW, RED, OFF)
    for state in wished:
        light.set_state(carla.TrafficLightState.values[state])
        bench.simulation.tick()
        bench.simulation.tick()
        found.append(bench.simulation.scene(car).lights[name])
    bench.simulation.reset_lights()
    return str(found), found == list(wished)


@LIGHTS.add(
    "cycle of lights", f"within {CYCLE:.0f} s some light becomes green, and some green one yellow or red"
)
def cycle(bench: Bench) -> Found:
    """Wait."""
    if not _lights(bench):
        return NONE
    car = bench.park()
    bench.simulation.tick()
    before, seen = _shown(bench, car), set()
    for _ in range(round(CYCLE * bench.simulation.rate)):
        bench.simulation.tick()
        now = _shown(bench, car)
        seen |= {(before[name], now[name]) for name in now if before[name] != now[name]}
        before = now
        if {GREEN} <= {old for old, _ in seen} & {new for _, new in seen}:
            return str(sorted(seen)), True
    return str(sorted(seen)), False


@LIGHTS.add("stop lines", "each light has one at least, where traffic comes from")
def lines(bench: Bench) -> Found:
    """Derive them from the map, and look which lane they are on."""
    lights = _lights(bench)
    found = [line for line in stop_lines(bench.simulation.world) if line.kind == "light"]
    with_line = {line.signal for line in found} & set(lights)
    against = 0
    for line in found:
        lane = bench.simulation.map.get_waypoint(carla.Location(*line.xyz)).transform.rotation.yaw
        against += abs((lane - line.yaw + 180) % 360 - 180) > 30
    text = f"{len(with_line)} of {len(lights)} lights, {against} of {len(found)} lines against their lane"
    return text, len(with_line) == len(lights) and not against


def _lights(bench: Bench) -> dict[str, Any]:
    actors = bench.simulation.world.get_actors().filter("traffic.traffic_light*")
    return {light.get_opendrive_id(): light for light in actors}


def _shown(bench: Bench, car: Any) -> Mapping[str, int]:
    return bench.simulation.scene(car).lights
