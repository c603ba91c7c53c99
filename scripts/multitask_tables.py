"""What a study of several tasks on one encoder found: the best rates, what joining is worth, and tables."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtdrive.drive_scores import TITLES
from scripts.driving_study import AGENTS, SHOWN, cell, driven, intervals, plain, table

TASKS = ("policy", "depth", "flow", "segmentation")
JOINT = ("all", "fixed")
VARIANTS = {**{task: (task,) for task in TASKS}, **dict.fromkeys(JOINT, TASKS)}
"""The tasks of each: one alone, all with learned loss weights, all with every weight 1."""
MAIN = {"policy": ("ade", -1), "depth": ("abs_rel", -1), "flow": ("epe", -1), "segmentation": ("miou", 1)}
"""The figure that stands for a task, and whether more is better, as in `mtdrive inspect`."""
TRAFFIC = "depth on KITTI/abs_rel"
"""Of a drive of KITTI that no variant learns from."""

Figures = Mapping[str, float]


class Trial(NamedTuple):
    """One training."""

    variant: str
    seed: int
    rate: float
    """What the learning rates are multiplied by."""

    @property
    def name(self) -> str:
        """Of its folders."""
        return f"{self.variant}-{self.seed}-{self.rate:g}"


Read = Callable[[argparse.Namespace, Trial], Figures]


def finished(options: argparse.Namespace, trial: Trial) -> bool:
    """Return whether a training has come to its end."""
    return Path(options.out, trial.name, "checkpoints", f"step_{options.steps:08d}").exists()


def logged(options: argparse.Namespace, trial: Trial, prefix: str) -> dict[str, float]:
    """Return the last figures of a run whose names begin so, without that; not those that are not finite."""
    text = Path(options.out, trial.name, "log.jsonl").read_text().splitlines()
    lines: list[dict[str, float | None]] = [json.loads(line) for line in text]
    having = (line for line in reversed(lines) if any(name.startswith(prefix) for name in line))
    last = next(having, {})
    return {n.removeprefix(prefix): x for n, x in last.items() if n.startswith(prefix) and x is not None}


def validated(options: argparse.Namespace, trial: Trial) -> dict[str, float]:
    """Return what a training was worth on the drives that choose the rates; nothing if it is not finished."""
    return logged(options, trial, "validation/drives/") if finished(options, trial) else {}


def tested(options: argparse.Namespace, trial: Trial) -> dict[str, float]:
    """Return what a training was worth on the drives that nothing was chosen by, and on KITTI."""
    if not scored(options, trial).exists():
        return {}
    traffic = logged(options, trial, "validation/traffic/").get("depth/abs_rel")
    found = {key: row["value"] for key, row in _rows(options, trial) if row["value"] is not None}
    return found | ({} if traffic is None else {TRAFFIC: traffic})


def scored(options: argparse.Namespace, trial: Trial) -> Path:
    """Return where the figures of a training on held-out drives are."""
    return Path(options.out, "scored", trial.name, "tasks.json")


def _rows(options: argparse.Namespace, trial: Trial) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in json.loads(scored(options, trial).read_text())["rows"]:
        if row["name"]:
            yield f"{row['task']}/{row['name']}", row


def gains(joint: Figures, alone: Figures) -> dict[str, float]:
    """Return the share by which each task is better than alone, and `delta_m`, the mean if all are known."""
    found = {
        task: sign * (joint[key] - alone[key]) / abs(alone[key])
        for task, (figure, sign) in MAIN.items()
        if (key := f"{task}/{figure}") in joint and alone.get(key)
    }
    return found | ({"delta_m": math.fsum(found.values()) / len(MAIN)} if len(found) == len(MAIN) else {})


def alone(options: argparse.Namespace, best: Mapping[str, Trial], seed: int, read: Read) -> dict[str, float]:
    """Return together the figures of the runs of one task, those at the best rates."""
    found: dict[str, float] = {}
    for task in TASKS:
        if task in best:
            found |= read(options, best[task]._replace(seed=seed))
    return found


def choose(options: argparse.Namespace) -> dict[str, Trial]:
    """Return the best trial of each variant whose trials are all finished.

    One task is judged by its figure of `MAIN` on the validation drives, several by their delta-m there
    against the best single runs.
    """
    best: dict[str, Trial] = {}
    for variant in VARIANTS:
        trials = [Trial(variant, options.seeds[0], rate) for rate in options.rates]
        merits = {trial: merit(options, trial, best) for trial in trials if finished(options, trial)}
        known = len(trials) == 1 or max(merits.values(), default=-math.inf) > -math.inf
        if known and len(merits) == len(trials):
            best[variant] = max(merits, key=merits.__getitem__)
    return best


def merit(options: argparse.Namespace, trial: Trial, best: Mapping[str, Trial]) -> float:
    """Return how good a finished trial is; negative infinity if a figure is not known."""
    figures = validated(options, trial)
    if trial.variant in JOINT:
        return gains(figures, alone(options, best, trial.seed, validated)).get("delta_m", -math.inf)
    figure, sign = MAIN[trial.variant]
    value = figures.get(f"{trial.variant}/{figure}")
    return -math.inf if value is None else sign * value


def trainings(options: argparse.Namespace, best: Mapping[str, Trial]) -> list[Trial]:
    """Return every training of a study: those that choose the rates, then, as far as known, other seeds."""
    first = [Trial(variant, options.seeds[0], rate) for variant in options.variants for rate in options.rates]
    chosen = [best[variant] for variant in options.variants if variant in best]
    return first + [trial._replace(seed=seed) for trial in chosen for seed in options.seeds[1:]]


def tables(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures that are there."""
    best = choose(options)
    done = [trial for trial in trainings(options, best) if finished(options, trial)]
    with_scores = [trial for trial in done if scored(options, trial).exists()]
    rows = {key: row for trial in with_scores for key, row in _rows(options, trial)}
    by_seed = {
        variant: {seed: tested(options, trial._replace(seed=seed)) for seed in options.seeds}
        for variant, trial in best.items()
        if variant in JOINT
    }
    by_seed["alone"] = {seed: alone(options, best, seed, tested) for seed in options.seeds}
    return {
        "rates": {variant: trial.rate for variant, trial in best.items()},
        "trainings": [_training(options, trial, best) for trial in done],
        "titles": {key: row["title"] for key, row in rows.items()} | {TRAFFIC: "abs_rel"},
        "trivial": _trivial(options, with_scores),
        "held_out": {variant: means(list(part.values())) for variant, part in by_seed.items()},
        "gains": {
            variant: means([gains(part[seed], by_seed["alone"][seed]) for seed in options.seeds])
            for variant, part in by_seed.items()
            if variant in JOINT
        },
        "closed_loop": _closed_loop(options, best),
        "interference": _interference(options, best),
    }


def _trivial(options: argparse.Namespace, trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Return the figures of predictors that have learned nothing, if the same for all trainings."""
    found: dict[str, dict[str, Any]] = {}
    for trial in trials:
        for key, row in _rows(options, trial):
            if row["trivial"] is not None:
                this = {"value": round(row["trivial"], 6), "predictor": row["predictor"]}
                found[key] = this if found.get(key, this) == this else {}
    return {key: row for key, row in found.items() if row}


def _training(options: argparse.Namespace, trial: Trial, best: Mapping[str, Trial]) -> dict[str, Any]:
    value = merit(options, trial, best)
    return {
        **trial._asdict(),
        "chosen": best.get(trial.variant) == trial._replace(seed=options.seeds[0]),
        "judged_by": value if math.isfinite(value) else None,
        "validation": validated(options, trial),
        "held_out": tested(options, trial),
        "weights": logged(options, trial, "weight/"),
        "seconds_per_step": seconds_per_step(options, trial),
    }


def seconds_per_step(options: argparse.Namespace, trial: Trial) -> float | None:
    """Return what the last steps of a run took."""
    rate = logged(options, trial, "steps_per_second").get("")
    return round(1 / rate, 3) if rate else None


def means(rows: Sequence[Figures]) -> dict[str, list[float | None]]:
    """Return mean and half width of the t interval over the seeds, of what all that are there have."""
    there = [row for row in rows if row]
    return plain(intervals(there, list(there[0]))) if there else {}


def on_routes(options: argparse.Namespace, name: str) -> Path:
    """Return where the drives of an agent are."""
    return Path(options.out, "driven", "regular", name)


def _closed_loop(options: argparse.Namespace, best: Mapping[str, Trial]) -> dict[str, Any]:
    folders = {agent: [agent] for agent in AGENTS} | {
        variant: [trial._replace(seed=seed).name for seed in options.seeds]
        for variant, trial in best.items()
        if "policy" in VARIANTS[variant]
    }
    found = {name: [driven(on_routes(options, folder)) for folder in part] for name, part in folders.items()}
    rows = {
        name: [{key: row[key] for key in SHOWN if row[key] is not None} for row in part if row]
        for name, part in found.items()
    }
    return {name: means(part) for name, part in rows.items() if part}


def report(options: argparse.Namespace, trial: Trial) -> Path:
    """Return where the interference report of a training is."""
    return Path(options.out, "interference", trial.name, "inspect.json")


def _interference(options: argparse.Namespace, best: Mapping[str, Trial]) -> dict[str, Any]:
    if "all" not in best or not (path := report(options, best["all"])).exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    return {
        "report": str(path.parent.relative_to(options.out)),
        "cosines": found["cosines"]["all"],
        "same_task_on_the_next_batch": found["same_task_on_the_next_batch"],
        "norm_share": found["norm_share"]["all"],
        "compared": found["compared"],
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Return the tables as they stand on a page."""
    makers = (_held_out, _gains, _driven, _trainings, _cosines)
    return "\n\n".join(make(found) for make in makers) + "\n"


def _held_out(found: Mapping[str, Any]) -> str:
    trivial = found["trivial"]
    rows = [
        [
            key.rpartition("/")[0], title, *(cell(part.get(key)) for part in found["held_out"].values()),
            cell([trivial[key]["value"], None]) if key in trivial else "-",
            trivial.get(key, {}).get("predictor", ""),
        ]
        for key, title in found["titles"].items()
    ]  # fmt: skip
    return table(["held-out drives", "", *found["held_out"], "trivial", "which is"], rows)


def _gains(found: Mapping[str, Any]) -> str:
    keys = (*TASKS, "delta_m")
    rows = [[name, *(cell(part.get(key), 100) for key in keys)] for name, part in found["gains"].items()]
    return table(["better than alone by, %", *keys], rows)


def _driven(found: Mapping[str, Any]) -> str:
    rows = [[name, *(cell(part.get(key)) for key in SHOWN)] for name, part in found["closed_loop"].items()]
    return table(["closed loop", *(TITLES[key] for key in SHOWN)], rows)


def _trainings(found: Mapping[str, Any]) -> str:
    keys = [f"{task}/{figure}" for task, (figure, _) in MAIN.items()]
    rows = []
    for one in found["trainings"]:
        values = [*(one["validation"].get(key) for key in keys), one["judged_by"]]
        values += [one["weights"].get(task) for task in TASKS]
        marks = [one["variant"], str(one["seed"]), f"{one['rate']:g}", "x" if one["chosen"] else ""]
        rows.append([*marks, *(cell([value, None]) for value in values)])
    heads = ["seed", "rate", "chosen", *keys, "judged by", *(f"last weight of {task}" for task in TASKS)]
    return table(["validation drives", *heads], rows)


def _cosines(found: Mapping[str, Any]) -> str:
    rows = [
        [
            pair.replace("~", " and "),
            *(cell([values[key], None]) for key in ("mean", "deviation", "conflict")),
        ]
        for pair, values in found["interference"].get("cosines", {}).items()
    ]
    return table(["gradients at the encoder", "mean cosine", "deviation", "share below 0"], rows)
