"""A server whose painter needs no OpenGL: `python -m tests.town_painter`, as `mtdrive town`."""

from __future__ import annotations

import argparse
import asyncio
import math
import time

import numpy as np

from mtdrive.envs.town.calls import CALLS
from mtdrive.envs.town.faults import read_fault
from mtdrive.envs.town.roads import load_map, map_names
from mtdrive.envs.town.serve import serve
from mtdrive.envs.town.server import Maps
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.stage import FAR, Camera, Land, Layers, Stage

SLOW = 33
"""The width of an image that takes its time."""


class Flat:
    """Paints a level ground at height 0 and the sky; a body shows as its tag where its centre is seen."""

    def __init__(self, land: Land) -> None:
        self.open = True

    def render(
        self,
        camera: Camera,
        previous_camera: Camera,
        stage: Stage,
        previous: Stage,
        *,
        colours: bool = True,
        labels: bool = True,
    ) -> Layers:
        """Return the look of the ground."""
        assert self.open
        if camera.width == SLOW:
            time.sleep(0.1)
        h, w = camera.height, camera.width
        turn = camera.pose.matrix()
        y, x = np.mgrid[0:h, 0:w] + 0.5
        rays = (
            np.stack([np.ones((h, w)), (x - w / 2) / camera.focal, -(y - h / 2) / camera.focal], -1)
            @ turn[:3, :3].T
        )
        with np.errstate(divide="ignore"):
            depth = -turn[2, 3] / rays[..., 2]
        depth = np.where((depth > 0) & (depth < FAR), depth, FAR).astype(np.float32)
        tags = np.where(depth < FAR, 1, 11).astype(np.uint8)
        instances = np.zeros((h, w), np.uint16)
        for body in stage.bodies:
            self._dot(camera, np.linalg.inv(turn), body, tags, instances)
        rgb = np.repeat(tags[..., None] * 20, 3, axis=-1).astype(np.uint8)
        flow = np.full((h, w, 2), stage.frame - previous.frame, np.float32)
        return Layers(rgb, depth, tags, instances, flow)

    def close(self) -> None:
        """Close."""
        self.open = False

    def _dot(self, camera, into, body, tags, instances) -> None:  # type: ignore[no-untyped-def]
        x, y, z = (into @ [body.pose.x, body.pose.y, body.pose.z + body.extent[2], 1.0])[:3].tolist()
        if x < 0.1:
            return
        column = math.floor(camera.width / 2 + camera.focal * y / x)
        row = math.floor(camera.height / 2 - camera.focal * z / x)
        if 0 <= row < camera.height and 0 <= column < camera.width:
            tags[row, column], instances[row, column] = body.tag, body.id & 0xFFFF


@CALLS.serve()
def count_all(session: Session) -> dict[str, int]:
    """Return what there is in the server that must not grow."""
    server = session.server
    return {
        "tasks": len(asyncio.all_tasks()),
        "sessions": len(server.sessions),
        "clients": len(server.door.inside),
        "listeners": len(server.streams.door.inside),
        "actors": len(server.world.actors),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--town")
    parser.add_argument("--xodr")
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--end-with-input", action="store_true")
    options = parser.parse_args()
    name = options.xodr or options.town or map_names()[0]
    faults = [read_fault(text) for text in options.fault]
    serve(Maps(load_map, map_names), name, Flat, options.port, options.seed, options.end_with_input, faults)


if __name__ == "__main__":
    main()
