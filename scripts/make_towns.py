"""Make Town's own maps: OpenDRIVE by scenariogeneration, and SUMO's network of each by netconvert.

pip install 'mtdrive[maps]'
python -m scripts.make_towns [folder]
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from mtdrive.envs.networks import convert
from scripts.town_builder import Builder
from scripts.town_tables import TOWNS


def write(name: str, folder: Path) -> None:
    """Write a town's OpenDRIVE and SUMO files."""
    junctions, streets = TOWNS[name]
    builder = Builder(name, junctions, streets, 1000 * (1 + list(TOWNS).index(name)))
    path = folder / f"{name}.xodr"
    builder.build().write_xml(str(path))
    tree = ElementTree.parse(path)
    _add_controllers(tree.getroot(), builder.controllers)
    for thing in tree.iter("object"):
        thing.extend(thing.findall("outlines/outline"))  # where OpenDRIVE 1.4 has them, and CARLA looks
        for outlines in thing.findall("outlines"):
            thing.remove(outlines)
    header = tree.getroot().find("header")
    assert header is not None
    header.set("date", "2026-01-01T00:00:00")  # the same file each time
    ElementTree.indent(tree, " ")
    tree.write(path, encoding="utf-8", xml_declaration=True)
    network = convert(name, path.read_text(encoding="utf-8"))
    (folder / f"{name}.net.xml").write_bytes(network)


def _add_controllers(root: ElementTree.Element, controllers: dict[int, list[list[int]]]) -> None:
    for junction in root.findall("junction"):
        for turn, signals in enumerate(controllers.get(int(junction.get("id", "0")), [])):
            number = f"{junction.get('id')}{turn}"
            controller = ElementTree.SubElement(
                root, "controller", id=number, name=f"turn {number}", sequence=str(turn)
            )
            for signal in signals:
                ElementTree.SubElement(controller, "control", signalId=str(signal), type="0")
            ElementTree.SubElement(junction, "controller", id=number, type="0", sequence=str(turn))


def main() -> None:
    """Write all towns to the folder of the package, or another."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "envs" / "town" / "maps")
    for name in TOWNS:
        write(name, folder)
        print(f"{folder / name}.xodr and .net.xml written")


if __name__ == "__main__":
    main()
