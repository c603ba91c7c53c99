"""The commands, a module each. A module's `add` registers it; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

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


def show(figures: Mapping[str, float], as_json: bool) -> None:
    """Print figures as a table or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(dict(figures)) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, str(value) if isinstance(value, int) else f"{value:.4f}")
    Console().print(table)
