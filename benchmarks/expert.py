"""Lets the expert drive random routes and scores it.

Usage: python benchmarks/expert.py [--towns Small,Grid,Large] [--routes 50] [--density regular] [--out FILE]

Routes of about 400 m by seed, with turns; the score is mtdrive's by the Leaderboard's 2.0 rules, without
scenarios, and also without the penalty for driving slower than the traffic. Every route on which a rule was
broken is listed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mtdrive.envs.cameras import CameraSettings
from mtdrive.envs.car import Car
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.driving_settings import Density, DrivingSettings
from mtdrive.envs.expert import Expert
from mtdrive.envs.scoring import score


def drive(env: DrivingEnv, town: str, density: Density, seed: int) -> dict[str, Any]:
    """Return what became of a route."""
    env.reset(seed=seed, options={"town": town, "density": density})
    expert = Expert(env.route, env.lines, Car.of(env.car))
    offsets, over, why = [], False, ""
    while not over:
        decision = expert.act(env.scene, env.guide)
        _, _, terminated, truncated, _ = env.step(decision.action)
        offsets.append(abs(env.guide.offset))
        over = terminated or truncated
    if env.judge.ended == "blocked":
        why = ", ".join(f"{h.kind} {h.distance:.1f} m" for h in decision.hazards)
    faults, speeds = env.judge.infractions, env.judge.speeds
    found = score("2.0", env.judge.completion, faults, speeds)
    return {
        "town": town,
        "seed": seed,
        "metres": env.route.length,
        "seconds": env.scene.time,
        "ended": env.judge.ended,
        "completion": found.completion,
        "score": found.driving_score,
        "score without minimum speed": score("2.0", env.judge.completion, faults).driving_score,
        "percent of the traffic's speed": [round(percent, 1) for _, percent in speeds],
        "infractions": [[i.kind, round(i.time, 1), i.detail, *np.round(i.xyz, 1).tolist()] for i in faults],
        "offset p95": float(np.percentile(offsets, 95)),
        "blocked by": why,
    }


def main() -> None:
    """Drive and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--towns", default="Small,Grid,Large")
    parser.add_argument("--routes", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="seed of the first route")
    parser.add_argument("--density", default="regular", choices=["empty", "regular", "dense"])
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    camera = CameraSettings("front", 32, 16)
    towns = options.towns.split(",")
    settings = DrivingSettings(
        cameras=(camera,), towns=tuple(towns), length=(350.0, 450.0), turns=1, rate=options.rate
    )
    env, rows, begun = DrivingEnv(settings), [], time.perf_counter()
    for i in range(options.routes):
        town = towns[i * len(towns) // options.routes]  # a town at a time, as loading one takes seconds
        row = drive(env, town, options.density, options.first + i)
        rows.append(row)
        if row["score without minimum speed"] < 100:
            print(json.dumps(row), flush=True)
        else:
            print(f"{i}: {town}, {row['seconds']:.0f} s", file=sys.stderr, flush=True)
    env.close()
    without = [row["score without minimum speed"] for row in rows]
    kinds = Counter(i[0] for row in rows for i in row["infractions"])
    found = {
        "routes": len(rows),
        "mean completion": float(np.mean([row["completion"] for row in rows])),
        "mean score, 2.0 rules, no scenarios": float(np.mean([row["score"] for row in rows])),
        "the same without minimum speed": float(np.mean(without)),
        "perfect": sum(value >= 100 for value in without),
        "infractions": dict(kinds),
        "ended": dict(Counter(row["ended"] for row in rows)),
        "lateral offset p95, metres": float(np.mean([row["offset p95"] for row in rows])),
        "times real time": sum(row["seconds"] for row in rows) / (time.perf_counter() - begun),
    }
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps({**found, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
