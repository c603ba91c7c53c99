"""The command line. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtdrive.errors import MtdriveError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:  # it takes an argument in the stubs only
    Commands = argparse._SubParsersAction

Command = Callable[[argparse.Namespace, list[str]], int | None]
"""Takes the options and the settings that the parser does not know; returns the exit status, None for 0."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0 if it finished, 1 for an error that the user can mend, 128 and the signal's number if one ended it.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_settings:
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    command: Command = options.command
    try:
        return command(options, rest) or 0
    except MtdriveError as error:
        sys.stderr.write(f"mtdrive: error: {error}\n")
        return 1
    except OSError as error:  # a full disk, a folder without permission
        sys.stderr.write(f"mtdrive: error: {error.filename or 'a file'}: {error.strerror or error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="mtdrive",
        description="Train end-to-end driving policies with auxiliary tasks on one shared encoder.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_train, _add_evaluate, _add_score, _add_split):
        add(commands)
    return parser


def _add(
    commands: Commands,
    name: str,
    run: Command,
    text: str,
    settings: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(command=run, takes_settings=settings)
    return parser


def _add_train(commands: Commands) -> None:
    parser = _add(commands, "train", _train, "train the model of a configuration", settings=True)
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


def _add_evaluate(commands: Commands) -> None:
    parser = _add(
        commands,
        "evaluate",
        _evaluate,
        "score the depth of a checkpoint by a published protocol",
        settings=True,
    )
    parser.usage = (
        "mtdrive evaluate CHECKPOINT [--config FILE] [--source CLASS --source.SETTING VALUE ...] "
        "[--protocol eigen] [--scaling median] [--flip true] [--out DIR]"
    )
    parser.add_argument(
        "checkpoint", type=Path, help="a checkpoint folder, such as runs/NAME/checkpoints/best"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write depth.json and depth.csv (a line an image)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument(
        "--settings", action="store_true", help="list every setting with its meaning, and stop"
    )
    parser.epilog = (
        "For example: mtdrive evaluate runs/a/checkpoints/best --source KittiRaw --source.root KITTI "
        "--source.split test.txt --protocol eigen --scaling median --flip true"
    )


def _evaluate(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive import experiment
    from mtdrive.checkpoint import write_atomically

    if options.settings:
        sys.stdout.write(experiment.evaluation_parser().format_help())
        return
    score = experiment.evaluate(options.checkpoint, rest)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        score.write_csv(options.out / "depth.csv")
        write_atomically(options.out / "depth.json", json.dumps(score.summary()).encode())
    _show(score.summary(), options.json)


def _add_score(commands: Commands) -> None:
    parser = commands.add_parser("score", help="score predictions made elsewhere")
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    depth = _add(kinds, "depth", _score_depth, "score predicted depth against ground truth")
    depth.add_argument(
        "pred",
        type=Path,
        help="folder of .npy, .npz (key data) or .npy stack: disparity; folder of PNG: depth",
    )
    depth.add_argument(
        "truth", type=Path, help="folder of .npy or KITTI PNG, or .npz (key data): depth in metres"
    )
    depth.add_argument(
        "--protocol", choices=("eigen", "benchmark"), default="eigen", help="which pixels count"
    )
    depth.add_argument(
        "--scaling",
        choices=("median", "none", "stereo"),
        default="median",
        help="how predictions become metres",
    )
    depth.add_argument("--json", action="store_true", help="print JSON in place of a table")
    depth.add_argument("--csv", type=Path, metavar="FILE", help="write a line an image")


def _score_depth(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.metrics import PROTOCOLS
    from mtdrive.score import score_depth

    score = score_depth(options.pred, options.truth, PROTOCOLS[options.protocol], options.scaling)
    if options.csv is not None:
        score.write_csv(options.csv)
    _show(score.summary(), options.json)


def _show(figures: dict[str, float], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, str(value) if isinstance(value, int) else f"{value:.4f}")
    Console().print(table)


def _add_split(commands: Commands) -> None:
    parser = _add(
        commands, "split", _split, "write the Eigen/Zhou training and validation lists of KITTI raw"
    )
    parser.add_argument("root", type=Path, help="KITTI raw, with a folder a day")
    parser.add_argument(
        "--test-scenes", type=Path, required=True, metavar="FILE", help="test_scenes_eigen.txt"
    )
    parser.add_argument("--static-frames", type=Path, required=True, metavar="FILE", help="static_frames.txt")
    parser.add_argument("--seed", type=int, default=0, help="of the validation frames")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for train_files.txt, val_files.txt"
    )


def _split(options: argparse.Namespace, rest: list[str]) -> None:
    from mtdrive.data.kitti_splits import eigen_zhou, write_split

    lists = eigen_zhou(options.root, options.test_scenes, options.static_frames, seed=options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(("train_files.txt", "val_files.txt"), lists, strict=True):
        write_split(options.out / name, lines)
        sys.stdout.write(f"{options.out / name}: {len(lines)} frames\n")
