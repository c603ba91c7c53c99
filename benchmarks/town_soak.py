"""Lets Town draw for long, and draw the same several times.

Usage: python benchmarks/town_soak.py [--town Grid] [--ticks 100000] [--repeats 3] [--out FILE]

A client looks through four cameras (RGB, depth, semantics, flow; 320x160) at forty vehicles and twenty
walkers. First they are driven by the same random controls for 1,000 ticks several times, each time in a new
server: states and images must have the same hash. Then one server makes all the ticks, and they are moved by
`apply_batch`, while its memory is read.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from timing import machine
from town_scene import KINDS, Task, client, result

from mtdrive.envs.town import Town

FRONT = tuple((kind, 0.0) for kind in KINDS)


def repeat(town: str, repeats: int, ticks: int) -> list[dict[str, Any]]:
    """Return the hashes of runs in servers of their own."""
    found = []
    for _ in range(repeats):
        with Town(town) as server:
            found.append(
                result(client(server.port, Task(cameras=FRONT, ticks=ticks, driven=True, hashed=True)))
            )
    return found


def soak(town: str, ticks: int) -> dict[str, Any]:
    """Return the rate and the memory of a server after every 1,000 ticks."""
    with Town(town) as server:
        begun = time.perf_counter()
        worker = client(server.port, Task(cameras=FRONT, ticks=ticks, report=1000))
        assert worker.stdout is not None
        memory: list[float] = []
        for line in worker.stdout:
            said = json.loads(line)
            if "ticks" in said:
                memory.append(resident(server.process.pid))
                print(f"{said['ticks']} ticks, {memory[-1]:.0f} MB", flush=True)
        status = worker.wait()
        alive = server.alive
    return {
        "ticks": ticks,
        "seconds": time.perf_counter() - begun,
        "client's status": status,
        "server lived": alive,
        "memory MB": memory,
    }


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e3


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--town", default="Grid")
    parser.add_argument("--ticks", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--length", type=int, default=1_000, help="ticks of a repeat (default: 1000)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    hashes = repeat(options.town, options.repeats, options.length)
    print(json.dumps(hashes, indent=1), flush=True)
    if len({(run["states"], run["images"]) for run in hashes}) > 1:
        raise SystemExit("the repeats differ")
    found = {"machine": machine(), "repeats": hashes, "soak": soak(options.town, options.ticks)}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    lasted = found["soak"]
    if not lasted["server lived"] or lasted["client's status"]:
        raise SystemExit("the server or its client died")
