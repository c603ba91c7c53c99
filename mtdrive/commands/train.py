"""`mtdrive train`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mtdrive.commands import Commands, register


def add(commands: Commands) -> None:
    """Register `train`."""
    parser = register(commands, "train", _train, "train the model of a configuration", settings=True)
    parser.usage = (
        "mtdrive train --config FILE [--config DELTA ...] --folder DIR [--resume] [--SETTING VALUE ...]"
    )
    parser.add_argument(
        "--config",
        action="append",
        metavar="FILE",
        help="a YAML file, or one that ships, such as systems/monodepth2_m; later ones lie over earlier ones",
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where logs, pictures and checkpoints go")
    parser.add_argument("--resume", action="store_true", help="continue the run in the folder, or start it")
    parser.add_argument(
        "--settings", action="store_true", help="list every setting with its meaning, and stop"
    )
    parser.epilog = "Any setting can be given as --NAME VALUE, for example --training.epochs 5 --seed 1."


def _train(options: argparse.Namespace, rest: list[str]) -> int:
    from mtdrive import experiment
    from mtdrive.errors import ConfigError

    if options.settings:
        sys.stdout.write(experiment.parser().format_help())
        return 0
    if not options.config or options.folder is None:
        raise ConfigError("train needs --config FILE and --folder DIR; see mtdrive train --help")
    configs = [text for name in options.config for text in ("--config", name)]
    state = experiment.train([*configs, *rest], options.folder, options.resume)
    if state.stopped_by is None:
        return 0
    sys.stderr.write(f"mtdrive: stopped and saved after step {state.step}; continue with --resume\n")
    return 128 + state.stopped_by
