"""OpenDRIVE texts of straight roads, made up for tests. OpenDRIVE's frame: y to the left."""

from __future__ import annotations


def straight(
    number: int = 1,
    start: tuple[float, float] = (0.0, 0.0),
    heading: float = 0.0,
    length: float = 200.0,
    height: float = 0.0,
    lanes: int = 2,
    mark: str = "broken",
    kind: str = "driving",
    limits: str = "",
    lane_limits: str = "",
) -> str:
    """Return a road with lanes 3.5 m wide on the right of its line, -1 the innermost."""
    paint = {
        "broken": '<roadMark sOffset="0" type="broken" laneChange="both" width="0.12"/>',
        "solid": '<roadMark sOffset="0" type="solid" laneChange="none" width="0.12"/>',
    }[mark]
    rows = "".join(
        f'<lane id="{-k}" type="{kind}" level="false"><width sOffset="0" a="3.5" b="0" c="0" d="0"/>{paint}'
        f"{lane_limits if k == 1 else ''}</lane>"
        for k in range(1, lanes + 1)
    )
    return (
        f'<road name="" length="{length}" id="{number}" junction="-1"><link/>{limits}'
        f'<planView><geometry s="0" x="{start[0]}" y="{start[1]}" hdg="{heading}" length="{length}">'
        f'<line/></geometry></planView><elevationProfile><elevation s="0" a="{height}" b="0" c="0" d="0"/>'
        '</elevationProfile><lanes><laneSection s="0">'
        '<center><lane id="0" type="none" level="false"/></center>'
        f"<right>{rows}</right></laneSection></lanes></road>"
    )


def opendrive(*roads: str) -> str:
    """Return the text of a map."""
    place = "<geoReference>+proj=tmerc +lat_0=0 +lon_0=0</geoReference>"
    header = f'<header revMajor="1" revMinor="4">{place}</header>'
    return f'<?xml version="1.0"?><OpenDRIVE>{header}{"".join(roads)}</OpenDRIVE>'
