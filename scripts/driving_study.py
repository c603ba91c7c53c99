"""Trains policies with and without depth, drives them, and compares them over training seeds.

Usage: python -m scripts.driving_study --drives DIR --test DIR --kitti DIR --out FOLDER [--steps 600]

`--drives` and `--test` are folders that `mtdrive record` made, the latter with depth; `--kitti` has
`odometry` and `raw`. Trainings and evaluations are commands of mtdrive with a folder each: the same line goes
on where it was stopped, and `--tables` makes tables of what is there; `study.json` in the folder has all
figures. They have t intervals over training seeds; so have differences to the variant `--against`, which are
taken seed by seed, or by Welch's t interval where one of the two has more seeds than the other.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mtdrive.drive_scores import TITLES, over_seeds
from mtdrive.envs.scoring import Interval
from mtdrive.files import write_atomically

VARIANTS = {
    "blind": ("policy", "policy_blind"),
    "policy": ("policy",),
    "depth": ("policy_depth",),
    "kitti": ("policy_depth_kitti",),
}
"""Configurations, one over the other: a policy that sees nothing, one alone, with depth, with KITTI, too."""
AGENTS = ("expert", "constant_velocity", "stand_still")
SETS = {
    "regular": ["--towns", "Grid,Large", "--densities", "regular"],
    "new": ["--towns", "New", "--densities", "regular", "--weathers", "WetSunset"],
    "empty": ["--towns", "Grid,Large", "--densities", "empty"],
}
"""New routes in the traffic of a town, in a town and a weather that no drive has, and in empty streets."""
SPARED = {"new": ("blind",), "empty": ("policy", "kitti")}
"""Variants that a set of routes is not driven with, for the time it takes."""
ROUTES = [
    "--routes",
    "8",
    "--routes-seed",
    "1000000",
    "--length",
    "200,300",
    "--turns",
    "1",
    "--videos",
    "none",
]
SHOWN = (
    "score_2.0", "completion", "done", "collisions_per_km", "red_lights_per_km", "stop_signs_per_km",
)  # fmt: skip
OPEN_LOOP = {
    "validation/test/policy/steer_mae": "steer_mae",
    "validation/test/policy/target_speed_mae": "target_speed_mae, m/s",
    "validation/test/depth/abs_rel": "depth abs_rel, drives",
    "validation/traffic/depth/abs_rel": "depth abs_rel, KITTI 0060",
}


def training(options: argparse.Namespace, variant: str, seed: int) -> list[str]:
    """Return the command that trains a variant."""
    drives, test, kitti = (str(path.absolute()) for path in (options.drives, options.test, options.kitti))
    given = {
        "seed": seed, "training.steps": options.steps, "training.epochs": 10**6, "training.threads": 1,
        "training.evaluate_every": options.steps, "training.picture_every": options.steps,
        "data.drives.source.init_args.root": drives,
        "validation.test.source.init_args.root": test, "validation.test.source.init_args.every": 5,
    }  # fmt: skip
    if variant in ("depth", "kitti"):
        given["data.video.source.init_args.root"] = drives
    if variant == "kitti":
        given |= {
            "data.city.source.init_args.root": f"{kitti}/odometry",
            "data.road.source.init_args.root": f"{kitti}/raw",
            "validation.traffic.source.init_args.root": f"{kitti}/raw",
        }
    folder = options.out / f"{variant}-{seed}"
    configs = [part for name in VARIANTS[variant] for part in ("--config", name)]
    resume = ["--resume"] if (folder / "config.yaml").exists() else []
    return ["train", *configs, "--folder", str(folder), *resume, *(f"--{k}={v}" for k, v in given.items())]


def trained(options: argparse.Namespace, variant: str, seed: int) -> bool:
    """Return whether a training has come to its end."""
    return (options.out / f"{variant}-{seed}" / "checkpoints" / f"step_{options.steps:08d}").exists()


def driving(options: argparse.Namespace, agent: str, which: str, name: str) -> list[str]:
    """Return the command that drives a set of routes with an agent."""
    return ["drive", agent, "--out", str(options.out / "driven" / which / name), *SETS[which], *ROUTES]


def work(options: argparse.Namespace) -> Iterator[list[list[str]]]:
    """Give lists of commands, each of which is to be done in order; the lists may be done side by side."""
    for seed in options.seeds:
        for variant in options.variants:
            folder = options.out / f"{variant}-{seed}"
            checkpoint = str(folder / "checkpoints" / "last")
            sets = [which for which in options.sets if variant not in SPARED.get(which, ())]
            yield [
                *([] if trained(options, variant, seed) else [training(options, variant, seed)]),
                *(driving(options, checkpoint, which, f"{variant}-{seed}") for which in sets),
            ]
    for agent in AGENTS:
        yield [driving(options, agent, which, agent) for which in options.sets]


def do(options: argparse.Namespace, commands: Sequence[Sequence[str]]) -> None:
    """Run commands one after the other, and write what they say to a file each."""
    for command in commands:
        folder = Path(command[command.index("--folder" if command[0] == "train" else "--out") + 1])
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.log").open("ab") as log:
            # The command has the lock, too: after a kill -9 of this process it may still be at work.
            fcntl.flock(log, fcntl.LOCK_EX)
            found = subprocess.run(
                [sys.executable, "-m", "mtdrive", *command], stdout=log, stderr=log, check=False
            )
        print(f"{found.returncode} {' '.join(command[:2])} {folder.relative_to(options.out)}", flush=True)
        if found.returncode:
            return


def driven(folder: Path) -> dict[str, float] | None:
    """Return the figures of a finished evaluation, None if there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    except FileNotFoundError:
        return None
    row = found["rows"][0]
    if row["recorded"] < row["planned"]:
        return None
    return {key: row["figures"][key]["mean"] for key in TITLES}


def open_loop(folder: Path) -> dict[str, float]:
    """Return the figures of a run's last validation."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    found = [line for line in lines if OPEN_LOOP.keys() & line.keys()]
    return {name: found[-1][name] for name in OPEN_LOOP if name in found[-1]}


def by_seed(options: argparse.Namespace, which: str, variant: str) -> dict[int, dict[str, float]]:
    """Return the figures of a variant in a set of routes, by the training seeds that are finished."""
    found = {seed: driven(options.out / "driven" / which / f"{variant}-{seed}") for seed in options.seeds}
    return {seed: values for seed, values in found.items() if values}


def intervals(values: Sequence[Mapping[str, float]], keys: Sequence[str]) -> dict[str, Interval]:
    """Return the mean and the t interval of each figure."""
    return {
        key: over_seeds([value[key] for value in values]) for key in keys if all(key in v for v in values)
    }


def differences(
    values: Mapping[int, Mapping[str, float]], base: Mapping[int, Mapping[str, float]]
) -> dict[str, Interval]:
    """Return how far each figure lies above that of another variant; rows are by seed, and may be none."""
    if not values or not base:
        return {}
    if values.keys() == base.keys():
        return intervals([{k: values[seed][k] - base[seed][k] for k in SHOWN} for seed in base], SHOWN)
    return {key: _apart(*([row[key] for row in rows.values()] for rows in (values, base))) for key in SHOWN}


def _apart(*groups: Sequence[float]) -> Interval:
    """Return the difference of two means with Welch's 95 % t interval; NaN without two values on a side."""
    from scipy.stats import ttest_ind

    first, second = ([value for value in group if math.isfinite(value)] for group in groups)
    if min(len(first), len(second)) < 2:
        return Interval(math.nan, math.nan)
    found = ttest_ind(first, second, equal_var=False).confidence_interval()
    return Interval(float(found.low + found.high) / 2, float(found.high - found.low) / 2)


def tables(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures that are there."""
    found: dict[str, Any] = {}
    for which in options.sets:
        part: dict[str, Any] = {}
        base = by_seed(options, which, options.against)
        for variant in options.variants:
            values = by_seed(options, which, variant)
            part[variant] = {
                "by seed": {seed: {k: _known(row[k]) for k in SHOWN} for seed, row in values.items()},
                "figures": plain(intervals(list(values.values()), SHOWN)) if values else {},
                f"less {options.against}": plain(differences(values, base)),
            }
        part |= {agent: driven(options.out / "driven" / which / agent) for agent in AGENTS}
        found[which] = part
    runs = {
        variant: [
            open_loop(options.out / f"{variant}-{s}") for s in options.seeds if trained(options, variant, s)
        ]
        for variant in options.variants
    }
    found["open loop"] = {v: plain(intervals(rows, tuple(OPEN_LOOP))) for v, rows in runs.items() if rows}
    return found


def plain(found: Mapping[str, Interval]) -> dict[str, list[float | None]]:
    """Return means and half widths; a single seed has no interval."""
    return {key: [_known(value.mean), _known(value.half)] for key, value in found.items()}


def _known(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def markdown(found: Mapping[str, Any], options: argparse.Namespace) -> str:
    """Return the tables as they stand on a page."""
    parts = [f"{which}\n\n{_routes(found[which], options)}" for which in options.sets]
    rows = [[name, *(cell(part.get(key)) for key in OPEN_LOOP)] for name, part in found["open loop"].items()]
    parts.append(table(["", *OPEN_LOOP.values()], rows))
    return "\n\n".join(parts) + "\n"


def _routes(part: Mapping[str, Any], options: argparse.Namespace) -> str:
    """Return the table of a set of routes, and the one by seeds."""
    agents = [(name.replace("_", " "), part[name]) for name in AGENTS if part.get(name)]
    rows = [[name, *(cell([row[key], None]) for key in SHOWN)] for name, row in agents]
    variants = [variant for variant in options.variants if part[variant]["by seed"]]
    rows += [[variant, *(cell(part[variant]["figures"].get(key)) for key in SHOWN)] for variant in variants]
    less = f"less {options.against}"
    rows += [
        [f"{variant}, {less}", *(cell(part[variant][less].get(key)) for key in SHOWN)]
        for variant in variants
        if variant != options.against and part[variant][less]
    ]
    seeds = [[variant, *_by_seed(part[variant]["by seed"].values())] for variant in variants]
    titles = [TITLES[key] for key in SHOWN]
    return f"{table(['', *titles], rows)}\n\n{table(['by seed', *titles], seeds)}"


def _by_seed(rows: Iterable[Mapping[str, float | None]]) -> list[str]:
    return [", ".join(cell([row[key], None]) for row in rows) for key in SHOWN]


def cell(value: Sequence[float | None] | None, factor: float = 1.0) -> str:
    """Return a mean, with the half width of its interval if it has one; a dash if nothing is known."""
    if not value or value[0] is None:
        return "-"
    mean, half = (None if x is None else f"{factor * x:.3g}" for x in value)
    return f"{mean} ± {half}" if half else str(mean)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))


def main() -> None:
    """Do what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("drives", "test", "kitti", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(VARIANTS))
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(SETS))
    parser.add_argument("--against", choices=VARIANTS, default="policy", help="what others are compared with")
    parser.add_argument("--workers", type=int, default=2, help="commands at a time")
    parser.add_argument("--tables", action="store_true", help="make the tables of what is there")
    options = parser.parse_args()
    options.out = options.out.absolute()
    if not options.tables:
        with ThreadPoolExecutor(options.workers) as pool:
            list(pool.map(lambda commands: do(options, commands), work(options)))
    found = tables(options)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    write_atomically(options.out / "study.json", text.encode())
    print(markdown(found, options), end="")


if __name__ == "__main__":
    main()
