"""The commands, a module each. A module's `add` registers it; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdrive.errors import DataError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:  # it takes an argument in the stubs only
    Commands = argparse._SubParsersAction

Command = Callable[[argparse.Namespace, list[str]], int | None]
"""Takes the options and the settings that the parser does not know; returns the exit status, None for 0."""


def register(
    commands: Commands,
    name: str,
    run: Command,
    text: str,
    settings: bool = False,
) -> argparse.ArgumentParser:
    """Add a command whose help is `text`; with `settings` it takes arguments unknown to its parser."""
    parser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(command=run, takes_settings=settings)
    return parser


def names(text: str) -> tuple[str, ...]:
    """Return names that are separated by commas; `none` stands for none."""
    return () if text == "none" else tuple(part.strip() for part in text.split(",") if part.strip())


def tell(notes: Iterable[str]) -> None:
    """Print what the user should know besides the figures."""
    for note in notes:
        sys.stderr.write(f"mtdrive: {note}\n")


def each(inputs: Mapping[str, Path], work: Callable[[str, Path], None]) -> int:
    """Work on every input by its name; a bad one is reported and costs the others nothing.

    Returns the exit status: 1 if one was bad.
    """
    failed = 0
    for name, path in inputs.items():
        try:
            work(name, path)
        except DataError as error:  # noqa: PERF203  the point of this function
            tell([f"error: {error}"])
            failed = 1
    return failed


def show(figures: Mapping[str, Any], as_json: bool) -> None:
    """Print figures as a table, where None is a dash, or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(dict(figures)) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value")
    for name, value in figures.items():
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(name, "-" if value is None else text)
    Console().print(table)
