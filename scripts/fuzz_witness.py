"""A client that behaves, next to scripts.fuzz_town, which starts it.

python -m scripts.fuzz_witness PORT PAUSE

It ticks until a line comes in, and looks at every tick for what another client must not change: frames follow
each other; a car of its own, which passes through others, drives as it does alone; one that it moves itself
is where it put it; a camera sends every frame; settings and actors can be read. Then it says what it saw.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from typing import Any

import carla

SIZE = (32, 16)
LOOK = 50
"""Ticks between two looks at everything."""
REPEATED = 2000
"""Ticks that are repeated alone."""


class Witness:
    """The client."""

    def __init__(self, port: int) -> None:
        self.client = carla.Client("127.0.0.1", port)
        self.client.set_timeout(120.0)
        self.client.get_world()
        self.slowest = 0.0
        self.errors: list[str] = []

    def begin(self) -> None:
        """Start an episode with actors of its own; the same in every episode."""
        self.world = world = self.client.reload_world()
        settings = world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
        world.apply_settings(settings)
        spots = world.get_map().get_spawn_points()
        self.driver = self._spawn("vehicle.tesla.model3", spots[0])
        self.puppet = self._spawn("vehicle.audi.tt", spots[1])
        self.walker = self._spawn("walker.pedestrian.0002", spots[2])
        self.bait = self._spawn("vehicle.audi.a2", spots[3])
        self.camera = self._spawn(
            "sensor.camera.rgb", carla.Transform(carla.Location(x=1.5, z=2.4)), self.driver
        )
        self.driver.set_collisions(False)
        self.walker.set_collisions(False)
        self.puppet.set_simulate_physics(False)
        self.images: queue.Queue[Any] = queue.Queue()
        self.camera.listen(self.images.put)
        self.frame = world.tick()
        self.images.get(timeout=120)
        self.home = self.puppet.get_transform()
        self.trace: list[tuple[float, ...]] = []

    def _spawn(self, name: str, place: Any, parent: Any = None) -> Any:
        blueprint = self.world.get_blueprint_library().find(name)
        blueprint.set_attribute("role_name", "witness")
        if parent is not None:
            for key, value in zip(("image_size_x", "image_size_y"), SIZE, strict=True):
                blueprint.set_attribute(key, str(value))
        return self.world.spawn_actor(blueprint, place, attach_to=parent)

    def tick(self, look: bool) -> None:
        """Make a tick and look."""
        number = len(self.trace)
        where = carla.Transform(
            self.home.location + carla.Location(x=0.01 * (number % 1000)), self.home.rotation
        )
        control = carla.VehicleControl(throttle=0.5, steer=0.4 if number // 40 % 2 else -0.3)
        apply = carla.command
        batch = [
            apply.ApplyVehicleControl(self.driver.id, control),
            apply.ApplyTransform(self.puppet.id, where),
        ]
        failed = [answer.error for answer in self.client.apply_batch_sync(batch) if answer.error]
        begun = time.monotonic()
        frame = self.world.tick(120.0)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        seen = self._image()
        there = self.puppet.get_location()
        self._check(not failed, f"commands failed: {failed}")
        self._check(frame == self.frame + 1, f"frame {frame} came after {self.frame}")
        self._check(seen == frame, f"the image of {seen} came with frame {frame}")
        self._check(there.distance(where.location) < 1e-3, f"the puppet is at {there}")
        self.frame = frame
        p, v = self.driver.get_transform(), self.driver.get_velocity()
        self.trace.append((p.location.x, p.location.y, p.location.z, p.rotation.yaw, v.x, v.y))
        if look:
            self._look()

    def _image(self) -> int:
        try:
            return int(self.images.get(timeout=30).frame)
        except queue.Empty:
            return -1

    def _look(self) -> None:
        settings = self.world.get_settings()
        self._check(
            settings.synchronous_mode and settings.fixed_delta_seconds == 0.05, "the settings changed"
        )
        actors = {actor.id: actor for actor in self.world.get_actors()}
        texts = [value for actor in actors.values() for value in actor.attributes.values()]
        mine = [self.driver, self.puppet, self.walker, self.camera]
        self._check(all(actor.id in actors for actor in mine), "an actor of mine is gone")
        self._check(all(actor.attributes["role_name"] == "witness" for actor in mine), "an attribute changed")
        self._check(len(texts) > 0, "no attributes")
        self._check(
            self.walker.get_location().distance(self.walker.get_transform().location) == 0, "no place"
        )

    def _check(self, fine: bool, text: str) -> None:
        if not fine and len(self.errors) < 20:
            self.errors.append(f"tick {len(self.trace)}: {text}")

    def end(self) -> None:
        """Stop listening and leave synchronous mode."""
        self.camera.stop()
        self.camera.destroy()
        settings = self.world.get_settings()
        settings.synchronous_mode = False
        self.world.apply_settings(settings)

    @property
    def guarded(self) -> list[int]:
        """Actors that nobody else may touch."""
        return [self.driver.id, self.puppet.id, self.walker.id, self.camera.id]


def main(port: int, pause: float) -> None:
    """Tick until told to stop, then once more alone, and say what was seen."""
    witness = Witness(port)
    witness.begin()
    say({"guarded": witness.guarded, "bait": witness.bait.id, "camera": witness.camera.id})
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
    begun = time.monotonic()
    while not told.is_set():
        witness.tick(len(witness.trace) % LOOK == 0)
        time.sleep(pause)
    seconds, trace = time.monotonic() - begun, witness.trace
    say({"ticks": len(trace)})
    witness.end()
    sys.stdin.readline()
    again = min(len(trace), REPEATED)
    witness.begin()
    while len(witness.trace) < again:
        witness.tick(False)
    witness.end()
    same = sum(a == b for a, b in zip(trace, witness.trace, strict=False))
    say({
        "ticks": len(trace), "ticks a second": len(trace) / seconds, "slowest tick s": witness.slowest,
        "repeated alone": again, "the same": same, "errors": witness.errors,
    })  # fmt: skip


def say(found: dict[str, Any]) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
