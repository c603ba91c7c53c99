"""What moves: the bodies of a stage, each kind drawn once with a copy for each body."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from mtdrive.envs.town.device import Device, Quads
from mtdrive.envs.town.far_figures import simplified
from mtdrive.envs.town.figures import figure
from mtdrive.envs.town.lamps import Lights, bulbs_of, carried, gathered
from mtdrive.envs.town.mesh import Mesh
from mtdrive.envs.town.stage import Body, Camera, Pose, Stage, matrices
from mtdrive.envs.town.still import SIGHT, in_view

INSTANCE = np.dtype([("place", "<f4", 16), ("placed", "<f4", 16), ("paint", "<f4", 4), ("body", "<u4", 4)])

ROOM = 32
"""Bodies of a kind that a buffer has room for at first."""

SMALL = 16.0
"""Pixels; a body that looks shorter is drawn with few details."""
LONGER = 1.5
"""By how much the shadow of a body may be longer than on level ground."""

Kind = tuple[int, tuple[float, float, float]]
Mask = Bool[np.ndarray, "n"]
Levels = tuple[Mask, Mask]
"""Which bodies are drawn with all details, and which with few."""
Lengths = Float[np.ndarray, "n"]
Point = Float[np.ndarray, "3"]


class _Figure:
    """A mesh of one kind of body, and the bodies that look so."""

    def __init__(self, device: Device, mesh: Mesh) -> None:
        self.device = device
        self.vertices, self.bulbs = mesh.packed(), bulbs_of(mesh, sides=True)
        self._make(ROOM)

    def _make(self, room: int) -> None:
        self.room = room
        self.instances = self.device.context.buffer(reserve=room * INSTANCE.itemsize, dynamic=True)
        self.quads = Quads(self.device, self.vertices, self.instances)

    def draw(self, program: str, rows: np.ndarray) -> None:
        """Draw a copy for each row under a program."""
        if len(rows) > self.room:
            self.quads.release()
            self.instances.release()
            self._make(2 * len(rows))
        self.instances.write(rows.tobytes())
        self.quads.draw(program, instances=len(rows))


class Crowd:
    """The bodies of the stage at hand."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.figures: dict[Kind, tuple[_Figure, _Figure]] = {}
        self._clear()

    def _clear(self) -> None:
        self.kinds: dict[Kind, np.ndarray] = {}
        self.rows = np.zeros(0, INSTANCE)
        self.middles, self.radii = np.zeros((0, 3)), np.zeros(0)

    def show(self, stage: Stage, previous: Stage) -> None:
        """Take over the bodies of a stage; one that was not there before has not moved."""
        self._clear()
        if not stage.bodies:
            return
        before = {b.id: b for b in previous.bodies}
        self.rows = _rows(stage.bodies, [before.get(b.id, b) for b in stage.bodies])
        self.middles = np.array([[b.pose.x, b.pose.y, b.pose.z] for b in stage.bodies])
        # The origin of a body may lie at its foot: twice its size holds it in any case.
        self.radii = 2 * np.linalg.norm(np.array([b.extent for b in stage.bodies]), axis=1)
        members: dict[Kind, list[int]] = defaultdict(list)
        for index, body in enumerate(stage.bodies):
            members[body.tag, body.extent].append(index)
        self.kinds = {kind: np.array(indices) for kind, indices in members.items()}

    def seen(self, camera: Camera) -> Levels:
        """Return which bodies a camera may see."""
        far = self._away(camera)
        return self._levels(camera, in_view(camera, self.middles, self.radii) & (far < SIGHT))

    def shading(self, camera: Camera, sun: Point, middle: Point, reach: float) -> Levels:
        """Return which bodies near a place may cast shadows that a camera sees."""
        near = np.linalg.norm(self.middles - middle, axis=1) - self.radii < reach
        level = math.hypot(sun[0], sun[1])
        long = LONGER * self.radii[:, None] * level / max(float(sun[2]), 0.05)
        along = self.middles - long / 2 * [sun[0] / max(level, 1e-6), sun[1] / max(level, 1e-6), 0.0]
        return self._levels(camera, near & in_view(camera, along, self.radii + long[:, 0] / 2))

    def _levels(self, camera: Camera, which: Mask) -> Levels:
        small = self.radii * camera.focal < SMALL * self._away(camera)
        return which & ~small, which & small

    def _away(self, camera: Camera) -> Lengths:
        place = [camera.pose.x, camera.pose.y, camera.pose.z]
        return np.asarray(np.linalg.norm(self.middles - place, axis=1))

    def draw(self, program: str, which: Levels) -> None:
        """Draw some of the bodies under a program."""
        for kind, indices in self.kinds.items():
            for level, chosen in enumerate(which):
                rows = self.rows[indices[chosen[indices]]]
                if len(rows):
                    self._figures(kind)[level].draw(program, rows)

    def _figures(self, kind: Kind) -> tuple[_Figure, _Figure]:
        if kind not in self.figures:
            mesh = figure(*kind)
            self.figures[kind] = _Figure(self.device, mesh), _Figure(self.device, simplified(mesh))
        return self.figures[kind]

    def lights(self) -> Lights:
        """Return the lamps of bodies that shine."""
        parts = []
        for kind, indices in self.kinds.items():
            rows = self.rows[indices]
            rows = rows[rows["body"][:, 2] != 0]
            if len(rows):
                places = rows["place"].reshape(-1, 4, 4).swapaxes(1, 2).astype(float)
                parts.append(carried(self._figures(kind)[0].bulbs, places, rows["body"][:, 2].astype(int)))
        return gathered(parts)


def _rows(bodies: Sequence[Body], before: Sequence[Body]) -> np.ndarray:
    out = np.zeros(len(bodies), INSTANCE)
    out["place"] = _columns([b.pose for b in bodies])
    out["placed"] = _columns([b.pose for b in before])
    out["paint"][:, :3] = np.array([b.colour for b in bodies]) / 255
    # By it people differ who wear one colour.
    out["paint"][:, 3] = [zlib.crc32(b.model.encode()) % 256 / 255 for b in bodies]
    out["body"][:, 0] = [b.id & 0xFFFF for b in bodies]
    out["body"][:, 1] = [b.tag for b in bodies]
    out["body"][:, 2] = [b.lights & 0xFFFFFFFF for b in bodies]
    return out


def _columns(poses: Sequence[Pose]) -> Float[np.ndarray, "n 16"]:
    """Return the matrices of poses as OpenGL reads them: column after column."""
    return matrices(poses).swapaxes(1, 2).reshape(-1, 16)
