"""What goes out on streams: headers, the state of the world, and the payloads of sensors."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence

import msgpack
import numpy as np
from jaxtyping import UInt32

from mtdrive.envs.town.actors import Actor
from mtdrive.envs.town.stage import FAR, Box, Camera, Layers, Pose
from mtdrive.envs.town.structs import Msg, write_box
from mtdrive.envs.town.world import World

_HEADER = struct.Struct("<QQd6f")
_STATE = struct.Struct("<Qdf3iI")
_TOKEN = struct.Struct("<IHBB4s12x")
_IMAGE = struct.Struct("<IIf")
TCP, IPV4 = 1, 1
MAP_CHANGED = 1

STATIC_NAMES = {
    3: "building",
    4: "wall",
    5: "fence",
    6: "pole",
    7: "trafficlight",
    8: "trafficsign",
    9: "vegetation",
}
"""What CARLA calls the parts of a map that were hit, by their semantic tags."""

Token = Callable[[int], bytes]


def token(stream: int, port: int) -> bytes:
    """Return what a client needs to subscribe to a stream."""
    return _TOKEN.pack(stream, port, TCP, IPV4, bytes([127, 0, 0, 1]))


def header(kind: int, world: World, pose: Pose) -> bytes:
    """Return the first bytes of a message."""
    place = pose.x, pose.y, pose.z, pose.pitch, pose.yaw, pose.roll
    return _HEADER.pack(kind, world.frame, world.elapsed, *place)


def world_state(kind: int, world: World, changed: bool) -> bytes:
    """Return the message with all actors; `changed` tells the client to ask for the map again."""
    flags = MAP_CHANGED if changed else 0
    head = _STATE.pack(world.episode, time.monotonic(), world.settings.dt, 0, 0, 0, flags)
    records = b"".join(actor.record() for actor in world.actors.values())
    return header(kind, world, Pose()) + head + records


def write_actor(actor: Actor, sign: Token) -> Msg:
    """Return CARLA's struct of an actor."""
    stream = sign(actor.stream) if actor.stream else b""
    tags = bytes([actor.tag]) if actor.tag else b""
    return [actor.id, actor.parent, actor.describe(), actor.box(), tags, stream]


def write_static(box: Box) -> Msg:
    """Return a part of the map as CARLA's struct of an actor; its id is 0."""
    name = f"static.{STATIC_NAMES.get(box.tag, 'static')}"
    middle = (box.pose.x, box.pose.y, box.pose.z)
    shape = write_box(middle, box.extent, (box.pose.pitch, box.pose.yaw, box.pose.roll))
    return [0, 0, [0, name, []], shape, bytes([box.tag]), b""]


def pack(value: Sequence[object]) -> bytes:
    """Return the bytes of a payload that is an array."""
    return bytes(msgpack.packb(value, use_bin_type=True))


def image(camera: Camera, kind: str, layers: Layers) -> bytes:
    """Return the payload of a camera; `kind` is the last word of its blueprint."""
    pixels = _ENCODE[kind](layers)
    return _IMAGE.pack(camera.width, camera.height, camera.fov) + pixels


def _packed(value: UInt32[np.ndarray, "h w"]) -> bytes:
    """Return 24 bits a pixel as blue, green, red and full alpha."""
    return (value << 8 | 255).astype(">u4").tobytes()


def _rgb(layers: Layers) -> bytes:
    red, green, blue = np.moveaxis(layers.rgb.astype(np.uint32), -1, 0)
    return _packed(blue << 16 | green << 8 | red)


def _depth(layers: Layers) -> bytes:
    """24 bits, the lowest in red: all ones are `FAR`."""
    part = np.clip(layers.depth.astype(np.float64) / FAR, 0.0, 1.0)
    return _packed(np.rint(part * (2**24 - 1)).astype(np.uint32))


def _tags(layers: Layers) -> bytes:
    return _packed(layers.tags.astype(np.uint32))


def _instances(layers: Layers) -> bytes:
    """Return the tags in red, the ids in green and blue, the lower bits in green."""
    return _packed(layers.instances.astype(np.uint32) << 8 | layers.tags)


def _flow(layers: Layers) -> bytes:
    return layers.flow.astype("<f4").tobytes()


_ENCODE: dict[str, Callable[[Layers], bytes]] = {
    "rgb": _rgb,
    "depth": _depth,
    "semantic_segmentation": _tags,
    "instance_segmentation": _instances,
    "optical_flow": _flow,
}
