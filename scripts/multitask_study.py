"""Trains a policy, depth, flow and segmentation together and each alone, and compares what comes out.

Usage: python -m scripts.multitask_study --drives DIR --test DIR --kitti DIR --out FOLDER [--plan] [--tables]

`--drives` are recorded with semantics, `--test` with depth, semantics and flow; `--kitti` has `odometry` and
`raw`. Every variant has the same encoder, data, steps, seeds and number of learning rates, of which the best
on the validation drives is kept: every other drive of `--test`, unless `--validation` is a folder of them.
The other drives of `--test` are for the tables alone. All work is done by commands of mtdrive with a folder
each: the same line goes on where it was stopped. `--plan` says what is left to do.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from mtdrive.data.drives import find_drives
from mtdrive.files import write_atomically
from mtdrive.settings import find_config
from scripts.driving_study import AGENTS, do, driven, driving
from scripts.multitask_tables import (
    TASKS,
    VARIANTS,
    Trial,
    choose,
    finished,
    markdown,
    on_routes,
    report,
    scored,
    seconds_per_step,
    tables,
    trainings,
)

DATA = {
    "drives": {"policy"},
    "video": {"depth", "flow"},
    "pixels": {"segmentation"},
    "city": {"depth", "flow"},
    "road": {"depth", "flow"},
}
"""The tasks that each data set trains; the last two are KITTI's."""
KITTI = {"city": "odometry", "road": "raw"}
BATCHES = {"drives": 16, "video": 2, "pixels": 4, "city": 1, "road": 1}
RATE, DEPTH_RATE = 1e-3, 2e-4
"""Learning rates times a factor, the second one of the depth head, as in `policy_depth`."""
SAME = ("steps", "size", "kitti_size", "batches", "every", "drives", "validation", "test", "kitti")
"""Options that a study must go on with."""

Commands = list[list[str]]


def configuration(options: argparse.Namespace, trial: Trial) -> dict[str, Any]:
    """Return the settings of a training: `systems/wayve` with KITTI, and parts for machines without a GPU."""
    given, kitti = _shipped("systems/wayve"), _shipped("policy_depth_kitti")
    tasks = given["tasks"] | {name: _shipped(name)["tasks"][name] for name in ("flow", "segmentation")}
    given["tasks"] = {task: tasks[task] for task in VARIANTS[trial.variant]}
    sets = given["data"] | {name: kitti["data"][name] for name in KITTI}
    used = [name for name, trains in DATA.items() if trains & given["tasks"].keys()]
    given["data"] = {name: _data_set(options, name, sets[name]) for name in used}
    given["validation"] = _validation(options, given, kitti)
    weighting = "uncertainty.Uncertainty" if trial.variant == "all" else "fixed.Fixed"
    parts = {"tasks.depth": DEPTH_RATE * trial.rate} if "depth" in given["tasks"] else {}
    rates = {"learning_rate": RATE * trial.rate, "learning_rates": parts}
    return given | {
        "seed": trial.seed,
        "encoder": {"class_path": "mtdrive.compact.Compact"},
        "weighting": {"class_path": f"mtdrive.weighting.{weighting}"},
        "optimization": given["optimization"] | rates,
        "training": {
            "steps": options.steps, "epochs": 10**6, "threads": options.threads, "save_every": 50,
            "evaluate_every": options.steps, "picture_every": options.steps,
            "log_every": max(1, options.steps // 20), "share_every": max(1, options.steps // 10),
        },
    }  # fmt: skip


def _shipped(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(Path(find_config(name)).read_text())
    return found


def _data_set(options: argparse.Namespace, name: str, given: dict[str, Any]) -> dict[str, Any]:
    root = options.kitti / KITTI[name] if name in KITTI else options.drives
    given["source"]["init_args"]["root"] = str(root)
    if "depth" in DATA[name]:
        given["views"] = ["front", "front-1", "front+1"]  # the same frames, whichever task looks at them
    size = options.kitti_size if name in KITTI else options.size
    return given | {"batch_size": options.batches[name], "size": size, "workers": 1}


def _validation(
    options: argparse.Namespace, given: Mapping[str, Any], kitti: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the drives that choose the rates and, for depth, the one of KITTI that is only looked at."""
    drives, traffic = given["validation"]["test"], kitti["validation"]["traffic"]
    root, names = held_out(options)[0]
    drives["source"]["init_args"] |= {"root": str(root), "drives": names, "every": options.every}
    found = {"drives": drives | {"size": options.size, "workers": 0}}
    if "depth" in given["tasks"]:
        traffic["source"]["init_args"]["root"] = str(options.kitti / "raw")
        found["traffic"] = traffic | {"size": options.kitti_size}
    return found


def held_out(options: argparse.Namespace) -> tuple[tuple[Path, list[str]], tuple[Path, list[str]]]:
    """Return folder and names of the drives that choose the rates, and of those for the tables."""
    test = _names(options.test)
    if options.validation:
        return (options.validation, _names(options.validation)), (options.test, test)
    return (options.test, test[::2]), (options.test, test[1::2])


def _names(root: Path) -> list[str]:
    return sorted(os.path.relpath(folder, root) for folder in find_drives(root))


def learning(options: argparse.Namespace, trial: Trial) -> Commands:
    """Return what is left of a training, and of scoring it on the drives that nothing is chosen by."""
    found = []
    if not finished(options, trial):
        config = options.out / f"{trial.name}.yaml"
        settings = yaml.safe_dump(configuration(options, trial), sort_keys=False)
        write_atomically(config, settings.encode())
        run = str(options.out / trial.name)
        found.append(["train", "--config", str(config), "--folder", run, "--resume"])
    if not scored(options, trial).exists():
        root, names = held_out(options)[1]
        found.append([
            "evaluate", checkpoint(options, trial), "--kind", "tasks",
            "--out", str(scored(options, trial).parent), "--source", "Drives", "--source.root", str(root),
            "--source.drives", json.dumps(names), "--source.every", str(options.every),
        ])  # fmt: skip
    return found


def checkpoint(options: argparse.Namespace, trial: Trial) -> str:
    """Return where the last weights of a training are."""
    return str(options.out / trial.name / "checkpoints" / "last")


def closed_loop(options: argparse.Namespace, agent: str, name: str) -> Commands:
    """Return what is left of driving with an agent."""
    if driven(on_routes(options, name)):
        return []
    return [[*driving(options, agent, "regular", name), *options.driving]]


def inspection(options: argparse.Namespace, best: Mapping[str, Trial]) -> Commands:
    """Return what is left of the report on what the tasks of the joint run do to each other."""
    if not {"all", *TASKS} <= best.keys() or report(options, best["all"]).exists():
        return []
    singles = [f"--single={task}={options.out / best[task].name}" for task in TASKS]
    run, out = str(options.out / best["all"].name), str(report(options, best["all"]).parent)
    return [["inspect", run, "--out", out, "--batches", str(options.inspected), *singles]]


def first(options: argparse.Namespace) -> Iterator[Commands]:
    """Give what chooses the rates; each list is to be done in order, the lists side by side."""
    longest = sorted(trainings(options, {}), key=lambda trial: -len(VARIANTS[trial.variant]))
    yield from (learning(options, trial) for trial in longest)


def rest(options: argparse.Namespace, best: Mapping[str, Trial]) -> Iterator[Commands]:
    """Give what the chosen rates are needed for, and the agents that have learned nothing."""
    yield inspection(options, best)
    for variant in options.variants:
        for seed in options.seeds if variant in best else ():
            trial = best[variant]._replace(seed=seed)
            drive = closed_loop(options, checkpoint(options, trial), trial.name)
            yield [*learning(options, trial), *(drive if "policy" in VARIANTS[variant] else [])]
    for agent in AGENTS:
        yield closed_loop(options, agent, agent)


def run(options: argparse.Namespace, lists: Iterable[Commands]) -> None:
    """Do lists of commands side by side."""
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(lambda commands: do(options, commands), lists))


def plan(options: argparse.Namespace) -> str:
    """Return what is left to do, with the time of trainings whose pace is known."""
    best, lines = choose(options), []
    for variant in options.variants:
        number = len(options.rates) + len(options.seeds) - 1
        begun = [t for t in trainings(options, best) if t.variant == variant and steps_done(options, t)]
        left = number * options.steps - sum(steps_done(options, trial) for trial in begun)
        paces = [pace for trial in begun if (pace := seconds_per_step(options, trial))]
        time = f", {left * sum(paces) / len(paces) / 60:.0f} minutes by their pace" if paces else ""
        lines.append(f"{variant}: {number} trainings of {options.steps} steps, {left} steps left{time}")
    policies = sum("policy" in VARIANTS[variant] for variant in options.variants)
    agents = policies * len(options.seeds) + len(AGENTS)
    done = sum(bool(driven(folder)) for folder in on_routes(options, "").glob("*/"))
    lines.append(f"closed loop: {agents} agents, {done} done")
    report_is_there = {"all", *TASKS} <= best.keys() and not inspection(options, best)
    lines.append(f"report on interference: {'done' if report_is_there else 'left'}")
    lines.append(f"{options.workers} commands at a time")
    return "\n".join(lines)


def steps_done(options: argparse.Namespace, trial: Trial) -> int:
    """Return the number of the last step that is saved."""
    last = options.out / trial.name / "checkpoints" / "last"
    return int(last.resolve().name.removeprefix("step_")) if last.exists() else 0


def arguments() -> argparse.Namespace:
    """Return the options, with all paths in full."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("drives", "test", "kitti", "out"):
        parser.add_argument(f"--{name}", type=_path, required=True)
    parser.add_argument("--validation", type=_path, help="drives that choose the rates; half of --test")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rates", type=_numbers(float), default=[0.5, 1.0, 2.0], help="factors to try")
    parser.add_argument("--seeds", type=_numbers(int), default=[0, 1, 2], help="the first tries the rates")
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(VARIANTS))
    parser.add_argument("--size", type=_numbers(int), default=[160, 320], help="of drives: height, width")
    parser.add_argument("--kitti-size", type=_numbers(int), default=[64, 224])
    parser.add_argument("--batches", type=_batches, default=BATCHES, help="such as drives=32,video=8")
    parser.add_argument("--every", type=int, default=5, help="frames are scored")
    parser.add_argument("--inspected", type=int, default=16, help="batches for the interference report")
    parser.add_argument("--driving", type=shlex.split, default=[], help="more for `mtdrive drive`, in quotes")
    parser.add_argument("--threads", type=int, default=1, help="of a training")
    parser.add_argument("--workers", type=int, default=2, help="commands at a time")
    parser.add_argument("--plan", action="store_true", help="say what is left, and stop")
    parser.add_argument("--tables", action="store_true", help="make the tables of what is there")
    options = parser.parse_args()
    if unknown := set(options.variants) - VARIANTS.keys():
        parser.error(f"variants are {', '.join(VARIANTS)}, found {', '.join(sorted(unknown))}")
    return options


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _numbers(kind: type[int] | type[float]) -> Any:
    return lambda text: [kind(part) for part in text.split(",")]


def _batches(text: str) -> dict[str, int]:
    given = dict(part.split("=") for part in text.split(","))
    if unknown := given.keys() - BATCHES.keys():
        raise argparse.ArgumentTypeError(f"data sets are {', '.join(BATCHES)}, found {sorted(unknown)[0]!r}")
    return BATCHES | {name: int(number) for name, number in given.items()}


def checked(options: argparse.Namespace) -> dict[str, Any]:
    """Return what may not change when a study goes on; stop if it has."""
    path = options.out / "settings.json"
    given = json.loads(json.dumps({name: getattr(options, name) for name in SAME}, default=str))
    known = json.loads(path.read_text()) if path.exists() else given
    if changed := sorted(name for name in SAME if known[name] != given[name]):
        sys.exit(f"{options.out} has another {changed[0]}: {known[changed[0]]}; give that, or another --out")
    return dict(given)


def main() -> None:
    """Do what is left, and make the tables."""
    options = arguments()
    settings = checked(options)
    if options.plan:
        print(plan(options))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out / "settings.json", (json.dumps(settings, indent=1) + "\n").encode())
    if not options.tables:
        run(options, first(options))
        run(options, rest(options, choose(options)))
    found = {"settings": settings, **tables(options)}
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    write_atomically(options.out / "study.json", text.encode())
    print(markdown(found), end="")


if __name__ == "__main__":
    main()
