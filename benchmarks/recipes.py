"""Trains every published system for 200 steps on real frames and shows that its loss falls.

Usage: python benchmarks/recipes.py --kitti FOLDER --stereo-drive DAY/DRIVE --out FOLDER

The recipes of configs/systems as they are, but for what a small machine and a few drives allow: 64x224
pixels (96x352 where the recipe tunes at a higher resolution), 2 items a step, weights from scratch. Video
comes from drive 0095, stereo pairs from the drive that is given. Writes recipes.json with the mean loss of
each 20 steps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

VIDEO = "2011_09_26/2011_09_26_drive_0095_sync"
STEPS, REPORT = 200, 20


@dataclass(frozen=True)
class Recipe:
    """A system: its configurations, and what it needs."""

    configs: tuple[str, ...]
    stereo: bool = False
    size: tuple[int, int] = (64, 224)
    starts_from: str | None = None
    """The recipe whose checkpoint it starts from."""


RECIPES = {
    "monodepth2_m": Recipe(("monodepth2_m", "monodepth2_m_scratch")),
    "monodepth2_m_1024": Recipe(
        ("monodepth2_m", "monodepth2_m_scratch", "monodepth2_m_1024"),
        size=(96, 352),
        starts_from="monodepth2_m",
    ),
    "monodepth2_s": Recipe(("monodepth2_s", "monodepth2_s_scratch"), stereo=True),
    "monodepth2_ms": Recipe(("monodepth2_ms", "monodepth2_m_scratch"), stereo=True),
    "sfmlearner": Recipe(("sfmlearner",)),
}


def command(name: str, recipe: Recipe, runs: Path, kitti: Path, stereo_drive: str) -> list[str]:
    """Return the command line of a run."""
    drive, side = (stereo_drive, "both") if recipe.stereo else (VIDEO, "l")
    settings = {
        "data.kitti.source.init_args.root": kitti / "raw",
        "data.kitti.source.init_args.drives": json.dumps([drive]),
        "data.kitti.source.init_args.side": side,
        "data.kitti.size": list(recipe.size),
        "data.kitti.batch_size": 2,
        "data.kitti.workers": 1,
        "training.steps": STEPS,
        "training.log_every": REPORT,
        "training.picture_every": STEPS,
        "training.save_every": STEPS,
        "training.accelerator": "cpu",
        "training.threads": 1,
    }
    if recipe.starts_from:
        settings["initial"] = runs / recipe.starts_from / "checkpoints" / "last"
    configs = [text for config in recipe.configs for text in ("--config", f"systems/{config}")]
    arguments = [f"--{key}={value}" for key, value in settings.items()]
    return [sys.executable, "-m", "mtdrive", "train", *configs, "--folder", str(runs / name), *arguments]


def losses(run: Path) -> list[float]:
    """Return the mean loss of each report."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["train/depth"] for line in lines if "train/depth" in line]


def main() -> None:
    """Run, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--kitti", type=Path, required=True, help="with raw/")
    arguments.add_argument("--stereo-drive", required=True, help="a drive with image_02 and image_03")
    arguments.add_argument("--out", type=Path, required=True)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    curves: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, recipe in RECIPES.items():
            subprocess.run(
                command(name, recipe, Path(scratch), options.kitti, options.stereo_drive), check=True
            )
            curves[name] = losses(Path(scratch) / name)
    (options.out / "recipes.json").write_text(json.dumps(curves, indent=1) + "\n")
    print(f"| recipe | steps 1 to {REPORT} | the last {REPORT} | ratio |\n|---|---|---|---|")
    for name, curve in curves.items():
        print(f"| {name} | {curve[0]:.4f} | {curve[-1]:.4f} | {curve[-1] / curve[0]:.2f} |")


if __name__ == "__main__":
    main()
