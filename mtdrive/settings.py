"""Configurations: finding, reading and comparing them. The constructors' types are the schema."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from mtdrive import configs, data, tasks, weighting
from mtdrive.errors import ConfigError


def schema(command: str, of: type) -> ArgumentParser:
    """Return the parser of a command's settings: the fields of `of`.

    Every task, weighting and reader that ships is imported, so that settings may name classes without a path.
    """
    for package in (tasks, weighting, data):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    result = ArgumentParser(prog=f"mtdrive {command}", exit_on_error=False, allow_abbrev=False)
    result.add_argument("--config", action="config")
    result.add_class_arguments(of, None)
    return result


def find_config(name: str) -> str:
    """Return the path of a configuration: a file, or one that ships with mtdrive, `systems/monodepth2_m`.

    Raises:
        ConfigError: if there is none.
    """
    shipped = Path(str(configs.__path__[0]))
    for path in (Path(name), shipped / name, shipped / f"{name}.yaml"):
        if path.is_file():
            return str(path)
    known = sorted(str(p.relative_to(shipped).with_suffix("")) for p in shipped.rglob("*.yaml"))
    raise ConfigError(f"there is no configuration {name}; give a file, or one of {', '.join(known)}")


def parse(by: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Return the settings of a command line: `--config FILE`, later ones over earlier ones, and overrides.

    Raises:
        ConfigError: names the setting that is misspelt or mistyped.
    """
    arguments = list(arguments)
    for i, argument in enumerate(arguments[:-1]):
        if argument == "--config":
            arguments[i + 1] = find_config(arguments[i + 1])
    try:
        return by.parse_args(arguments)
    except (ArgumentError, yaml.YAMLError, OSError) as error:
        raise ConfigError(f"the settings do not fit: {' '.join(str(error).split())}") from error


def check_free(folder: Path, config: str, resume: bool) -> None:
    """Check that a run with these settings may be written to `folder`.

    Raises:
        ConfigError: if it holds a run and `resume` is not set, or holds a run with other settings.
    """
    path = folder / "config.yaml"
    if not path.exists():
        return
    if not resume:
        raise ConfigError(
            f"{folder} already holds a run; add --resume to continue it, or choose another folder"
        )
    if changed := sorted(_changed(yaml.safe_load(path.read_text()), yaml.safe_load(config))):
        raise ConfigError(
            f"{folder} holds a run with other settings: {', '.join(changed[:5])}; give the same settings, or "
            "choose another folder"
        )


def _free(path: str) -> bool:
    """Return whether a resumed run may change a setting: what decides when it stops and what it reports."""
    if path.startswith("training."):
        return path not in ("training.precision", "training.channels_last")
    return path.startswith(("validation.", "config")) or path.endswith(".workers")


def _changed(old: object, new: object, path: str = "") -> Iterator[str]:
    """Yield the paths of the settings that differ and must not."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            yield from _changed(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif old != new and not _free(path):
        yield path
