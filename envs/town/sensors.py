"""Sensors: what each sends after a step.

A camera's flow is the motion since the image that it sent before; its first image has none. The
accelerometer shows what the wheels and gravity do: 9.81 upwards at rest. Noise is a draw of the seed, the
sensor and the time.
"""

from __future__ import annotations

import logging
import math
import random
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtdrive.envs.town.actors import Actor, Prop, Sensor, Vehicle, Walker
from mtdrive.envs.town.chassis import GRAVITY
from mtdrive.envs.town.collisions import Hit
from mtdrive.envs.town.faults import Faults
from mtdrive.envs.town.messages import header, image, pack, write_actor, write_static
from mtdrive.envs.town.rays import meet
from mtdrive.envs.town.stage import Camera, Land, Layers, Painter, Stage
from mtdrive.envs.town.streams import Streams
from mtdrive.envs.town.structs import Msg, Vector
from mtdrive.envs.town.versions import Wire
from mtdrive.envs.town.world import World

LOG = logging.getLogger(__name__)

UPWARDS = np.array([0.0, 0.0, GRAVITY])

MakePainter = Callable[[Land], Painter]
Shot = tuple[Camera, Camera, int]
"""Where a camera is, where it was at its last image, and the frame of that one."""


@dataclass
class Memory:
    """What a sensor has of its last message."""

    camera: Camera
    stage: Stage


class Sensing:
    """The sensors of a world."""

    def __init__(
        self, world: World, streams: Streams, wire: Wire, paint: MakePainter, seed: int, faults: Faults
    ) -> None:
        self.world, self.streams, self.wire, self.seed, self.faults = world, streams, wire, seed, faults
        self._make = paint
        self._painter: tuple[Land, Painter] | None = None
        self._seen: dict[int, Memory] = {}
        self._speeds: dict[int, Vector] = {}
        self._geo: tuple[Land, Any] | None = None

    def painter(self) -> Painter:
        """Return the painter of this map; the first call opens it."""
        if self._painter is None or self._painter[0] is not self.world.land:
            self.close()
            self._painter = self.world.land, self._make(self.world.land)
        return self._painter[1]

    def close(self) -> None:
        """Close the painter."""
        if self._painter is not None:
            self._painter[1].close()
            self._painter = None

    def forget(self) -> None:
        """Start an episode."""
        self._seen.clear()
        self._speeds.clear()

    def drop(self, sensor: Actor) -> None:
        """Forget a sensor."""
        self._seen.pop(sensor.id, None)
        self._speeds.pop(sensor.id, None)

    def send(self, hits: Sequence[Hit]) -> None:
        """Send what the sensors that are heard and due have to say."""
        for stream, message in self.faults.overdue():
            self.streams.send(stream, message)
        cameras: list[Sensor] = []
        for sensor in self.world.of(Sensor):
            accelerometer = self._accelerate(sensor) if sensor.type == "sensor.other.imu" else None
            if not self._due(sensor) or not self.streams.heard(sensor.stream):
                continue
            if sensor.type.startswith("sensor.camera."):
                cameras.append(sensor)
                continue
            try:
                self._send_other(sensor, hits, accelerometer)
            except Exception:  # one that fails costs the others nothing
                LOG.exception("sensor %d (%s) sends nothing", sensor.id, sensor.type)
        if cameras and not self.world.settings.no_rendering:
            self._send_images(cameras)

    def _send_images(self, cameras: Sequence[Sensor]) -> None:
        """Send what cameras see; those that see the same share one look."""
        stage = self.world.stage()
        for (camera, earlier, _), (last, sensors) in self._shots(cameras, stage).items():
            kinds = [sensor.type.rsplit(".", 1)[1] for sensor in sensors]
            wanted = {"colours": "rgb" in kinds, "labels": set(kinds) != {"rgb"}}
            layers: Layers | None = None
            for sensor, kind in zip(sensors, kinds, strict=True):
                try:
                    layers = layers or self.painter().render(camera, earlier, stage, last, **wanted)
                    self._send(sensor, image(camera, kind, layers))
                except Exception:  # noqa: PERF203  as above
                    LOG.exception("sensor %d (%s) sends nothing", sensor.id, sensor.type)

    def _shots(self, cameras: Sequence[Sensor], stage: Stage) -> dict[Shot, tuple[Stage, list[Sensor]]]:
        """Return who sees the same, with the stage of their last images."""
        shots: dict[Shot, tuple[Stage, list[Sensor]]] = {}
        for sensor in cameras:
            size = int(sensor.value("image_size_x")), int(sensor.value("image_size_y"))
            camera = Camera(*size, float(sensor.value("fov")), sensor.pose)
            before = self._seen.get(sensor.id, Memory(camera, stage))
            self._seen[sensor.id] = Memory(camera, stage)
            shot = camera, before.camera, before.stage.frame
            shots.setdefault(shot, (before.stage, []))[1].append(sensor)
        return shots

    def _send_other(self, sensor: Sensor, hits: Sequence[Hit], accelerometer: Vector | None) -> None:
        if sensor.type == "sensor.other.collision":
            for payload in self._collisions(sensor, hits):
                self._send(sensor, payload)
        elif sensor.type == "sensor.other.gnss":
            self._send(sensor, self._locate(sensor))
        elif accelerometer is not None:
            self._send(sensor, self._inertial(sensor, accelerometer))
        else:
            self._send_obstacle(sensor)

    def _send(self, sensor: Sensor, payload: bytes) -> None:
        kind = self.wire.sensors[sensor.type]
        message = header(kind, self.world, sensor.pose) + payload
        if not self.faults.keeps(self.world.frame, sensor.type, sensor.stream, message):
            self.streams.send(sensor.stream, message)

    def _due(self, sensor: Sensor) -> bool:
        """Return whether a sensor's time has come, and set the next; it keeps to its own rhythm."""
        if self.world.elapsed < sensor.due - 1e-6:
            return False
        while sensor.tick and sensor.due <= self.world.elapsed + 1e-6:
            sensor.due += sensor.tick
        return True

    def _collisions(self, sensor: Sensor, hits: Sequence[Hit]) -> list[bytes]:
        payloads = []
        for hit in hits:
            impulse = hit.impulse
            me, other = hit.actor, hit.other
            if other is not None and other.id == sensor.parent:
                me, other = other, me
                impulse = -impulse[0], -impulse[1], -impulse[2]
            if me.id == sensor.parent:
                payloads.append(pack([self._write(me), self._write(other, hit.static), list(impulse)]))
        return payloads

    def _write(self, actor: Actor | None, static: int = -1) -> Msg:
        if actor is None:
            return write_static(self.world.land.static[static])
        return write_actor(actor, self.streams.token)

    def _locate(self, sensor: Sensor) -> bytes:
        import carla

        if self._geo is None or self._geo[0] is not self.world.land:
            self._geo = self.world.land, _earth(self.world.land)
        p = sensor.pose
        found = self._geo[1].transform_to_geolocation(carla.Location(p.x, p.y, p.z))
        draw = self._draw(sensor)
        values = {"lat": found.latitude, "lon": found.longitude, "alt": found.altitude}
        return pack([v + draw(f"{k}_stddev") + _noise(sensor, f"{k}_bias") for k, v in values.items()])

    def _accelerate(self, sensor: Sensor) -> Vector:
        """Return the change of the sensor's own velocity, in the world."""
        v = sensor.velocity
        before = self._speeds.get(sensor.id, v)
        self._speeds[sensor.id] = v
        dt = self.world.settings.dt
        return (v[0] - before[0]) / dt, (v[1] - before[1]) / dt, (v[2] - before[2]) / dt

    def _inertial(self, sensor: Sensor, acceleration: Vector) -> bytes:
        turn = sensor.pose.matrix()[:3, :3].T
        felt = turn @ (np.asarray(acceleration) + UPWARDS)
        rates = turn @ np.radians(sensor.spin)
        draw = self._draw(sensor)
        accelerometer = [v + draw(f"accel_stddev_{k}") for k, v in zip("xyz", felt.tolist(), strict=True)]
        gyroscope = [
            v + draw(f"gyro_stddev_{k}") + _noise(sensor, f"gyro_bias_{k}")
            for k, v in zip("xyz", rates.tolist(), strict=True)
        ]
        compass = math.radians(sensor.pose.yaw + 90) % (2 * math.pi)
        return pack([accelerometer, gyroscope, compass])

    def _draw(self, sensor: Sensor) -> Callable[[str], float]:
        """Return draws of normal noise whose deviations are attributes."""
        name = f"{self.seed} {sensor.value('noise_seed')} {sensor.id} {self.world.elapsed!r}"
        source = random.Random(name)
        return lambda deviation: source.gauss(0.0, 1.0) * _noise(sensor, deviation)

    def _send_obstacle(self, sensor: Sensor) -> None:
        parent = self.world.actors.get(sensor.parent)
        found = self._obstacle(sensor)
        if parent is not None and found is not None:
            distance, other, static = found
            payload = [self._write(parent), self._write(other, static), distance]
            self._send(sensor, pack(payload))

    def _obstacle(self, sensor: Sensor) -> tuple[float, Actor | None, int] | None:
        """Return what is nearest ahead of the sensor, as a ball that it rolls would meet it."""
        pose, ball = sensor.pose, float(sensor.value("hit_radius"))
        start, ahead = (pose.x, pose.y, pose.z), tuple(pose.forward.tolist())
        best: tuple[float, Actor | None, int] | None = None
        reach = float(sensor.value("distance"))
        bodies = [a for a in self.world.actors.values() if isinstance(a, (Vehicle, Walker, Prop))]
        for body in bodies:
            if body.id != sensor.parent:
                distance = meet(body.solid(), start, ahead, ball)
                if distance is not None and distance <= reach:
                    best, reach = (distance, body, -1), distance
        if sensor.value("only_dynamics").lower() != "true":
            for index, box in enumerate(self.world.land.static):
                near = math.hypot(box.pose.x - pose.x, box.pose.y - pose.y) - math.hypot(*box.extent[:2])
                distance = meet(box, start, ahead, ball) if near <= reach + ball else None
                if distance is not None and distance <= reach:
                    best, reach = (distance, None, index), distance
        return best


def _earth(land: Land) -> Any:
    """Return the client's map, without roads, that knows where on the earth a map is."""
    import carla

    header = ElementTree.fromstring(land.xodr).find("header")
    place = "" if header is None else header.findtext("geoReference", "")
    try:
        return carla.Map("", _empty(place))
    except (ValueError, IndexError, RuntimeError) as error:
        LOG.warning("%s: its geoReference cannot be read (%s); CARLA's default is taken", land.name, error)
        return carla.Map("", _empty(""))


def _empty(place: str) -> str:
    empty = ElementTree.Element("OpenDRIVE")
    ElementTree.SubElement(ElementTree.SubElement(empty, "header"), "geoReference").text = place
    return ElementTree.tostring(empty, "unicode")


def _noise(sensor: Sensor, name: str) -> float:
    return float(sensor.value(f"noise_{name}"))
