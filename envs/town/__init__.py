"""Town: a CARLA server that installs from the package index and needs no GPU.

Everything here uses CARLA's frame: x forward, y right, z up, left-handed; metres and degrees; yaw turns x
towards y, pitch lifts the nose, roll lowers the right side. Nothing converts it on this side of the socket.
"""

from mtdrive.envs.town.process import Town

__all__ = ["Town"]
