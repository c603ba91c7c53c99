"""A small map as OpenDRIVE text, and a land of which a test can choose everything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mtdrive.envs.town.stage import Box, Pose, Signal

XODR = """<?xml version="1.0"?>
<OpenDRIVE>
  <header revMajor="1" revMinor="4" name="street" version="1" north="50" south="-50" east="450" west="-50">
    <geoReference><![CDATA[+proj=tmerc +lat_0=42 +lon_0=2 +k=1 +x_0=0 +y_0=0 +datum=WGS84]]></geoReference>
  </header>
  <road name="street" length="400" id="1" junction="-1">
    <type s="0" type="town"><speed max="30" unit="mph"/></type>
    <planView><geometry s="0" x="0" y="0" hdg="0" length="400"><line/></geometry></planView>
    <elevationProfile><elevation s="0" a="0" b="0" c="0" d="0"/></elevationProfile>
    <lanes>
      <laneSection s="0">
        <left><lane id="1" type="driving" level="false">
          <width sOffset="0" a="3.5" b="0" c="0" d="0"/></lane></left>
        <center><lane id="0" type="none" level="false">
          <roadMark sOffset="0" type="broken" weight="standard" color="white" width="0.12"/></lane></center>
        <right><lane id="-1" type="driving" level="false"><width sOffset="0" a="3.5" b="0" c="0" d="0"/>
          <roadMark sOffset="0" type="solid" weight="standard" color="white" width="0.12"/></lane></right>
      </laneSection>
    </lanes>
    <signals>
      <signal name="light" id="7" s="200" t="-5" zOffset="0" hOffset="0" orientation="+" dynamic="yes"
        country="OpenDRIVE" type="1000001" subtype="-1" value="-1" height="1" width="0.5"/>
      <signal name="stop" id="8" s="300" t="-5" zOffset="0" hOffset="0" orientation="+" dynamic="no"
        country="OpenDRIVE" type="206" subtype="-1" value="-1" height="1" width="0.5"/>
    </signals>
  </road>
  <controller name="c" id="70" sequence="0"><control signalId="7" type=""/></controller>
</OpenDRIVE>
"""


@dataclass
class Plain:
    """A plane that rises along x, with what a test puts on it."""

    slope: float = 0.0
    """Metres a metre."""
    static: Sequence[Box] = ()
    signals: Mapping[str, Signal] = field(default_factory=dict)
    stop_signs: Mapping[str, Signal] = field(default_factory=dict)
    name: str = "plain"
    xodr: str = XODR
    spawn_points: Sequence[Pose] = (Pose(),)
    mesh: bytes = b""

    def navigation(self) -> bytes:
        """Return the mesh."""
        return self.mesh

    def ground(self, x: float, y: float, z: float | None = None) -> float:
        """Return the height."""
        return self.slope * x

    def speed_limit(self, x: float, y: float) -> float:
        """Return 30 km/h, and 50 from x = 100 on."""
        return 50.0 if x > 100 else 30.0


def wall(x: float, y: float = 0.0, yaw: float = 0.0) -> Box:
    """Return a wall of 1 m by 20 m."""
    return Box(Pose(x, y, 2.0, yaw=yaw), (0.5, 10.0, 2.0), 3)


def light(id: str, controller: str = "", x: float = 20.0) -> Signal:
    """Return a light of junction 1 that minds the traffic along x."""
    trigger = Box(Pose(x, 0.0, 1.0), (2.0, 2.0, 1.0))
    return Signal(id, Pose(x + 2, 4.0, 0.0, yaw=180.0), "1", controller, (trigger,))


def near(a: float, b: float, tolerance: float) -> bool:
    """Return whether two numbers are finite and close."""
    return math.isfinite(a) and abs(a - b) <= tolerance
